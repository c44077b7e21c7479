"""The peers file: TOML with one ``[[peer]]`` table for each peer; ``peers.example.toml`` explains all keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from p2p_oicp.config.toml import configuration_error, read_toml, unknown_key_message
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp.operations import BASE_PATH, OPERATION_BY_NAME
from p2p_oicp.peers.models import (
    CertificateField,
    CredentialType,
    FingerprintField,
    NameField,
    NetworkField,
    OperatorField,
    PathField,
    Peer,
    Profile,
    ProviderField,
    PublicKeyField,
    PullIntervalField,
    PullSettings,
    Source,
    UrlField,
)
from p2p_oicp.peers.publishing import PublishFilter, PublishRule
from p2p_oicp.peers.registry import conflicts


def _check_operation_name(name: str) -> str:
    if name not in OPERATION_BY_NAME:
        suggestion = unknown_key_message(name, list(OPERATION_BY_NAME)).removeprefix("unknown key; ")
        raise ValueError(f'"{name}" is no operation; {suggestion}')
    return name


OperationNames = frozenset[Annotated[str, AfterValidator(_check_operation_name)]]


def _check_country(text: str) -> str:
    if not (len(text) == _COUNTRY_LENGTH and text.isascii() and text.isalpha() and text.isupper()):
        raise ValueError(f'"{text}" is no country of addresses; expected ISO 3166 alpha-3, such as "DEU"')
    return text


_COUNTRY_LENGTH = 3
CountryField = Annotated[str, AfterValidator(_check_country)]


class PublishRuleEntry(BaseModel):
    """``include`` or ``exclude`` of ``[peer.publish]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evse_ids: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="beginnings of EvseIDs")
    operators: tuple[OperatorField, ...] = Field((), description="OperatorIDs")
    stations: tuple[str, ...] = Field((), description="ChargingStationIDs")
    products: tuple[str, ...] = Field((), description="ProductIDs")
    countries: tuple[CountryField, ...] = Field((), description="ISO 3166 alpha-3 codes")

    def rule(self) -> PublishRule:
        """Return the rule of the registry."""
        operators = tuple(operator.key for operator in self.operators)
        return PublishRule(self.evse_ids, operators, self.stations, self.products, self.countries)


class PublishEntry(BaseModel):
    """The table ``[peer.publish]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include: PublishRuleEntry = Field(PublishRuleEntry(), description="what is published; absent = everything")
    exclude: PublishRuleEntry = Field(PublishRuleEntry(), description="what is not published")


class PullEntry(BaseModel):
    """A table ``[peer.pull.EvseData]``, or of another dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interval: float | None = Field(None, ge=0, description="seconds between two pulls; 0 = never")
    countries: tuple[CountryField, ...] = Field((), description="ISO 3166 alpha-3 codes")
    operators: tuple[OperatorField, ...] = Field((), description="OperatorIDs")

    def settings(self) -> PullSettings:
        """Return the settings of the registry."""
        return PullSettings(self.interval, self.countries, self.operators)


class PullsEntry(BaseModel):
    """The tables ``[peer.pull.…]``, by dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    EvseData: PullEntry = Field(PullEntry(), description="EVSE data: interval, countries, operators")
    EvseStatus: PullEntry = Field(PullEntry(), description="EVSE statuses: interval")
    PricingProductData: PullEntry = Field(PullEntry(), description="products: interval, operators")
    EVSEPricing: PullEntry = Field(PullEntry(), description="EVSE prices: interval, operators")
    AuthenticationData: PullEntry = Field(PullEntry(), description="authentication data: interval")

    @model_validator(mode="after")
    def _check_filters(self) -> PullsEntry:
        for name, entry in self:
            if entry.countries and name != "EvseData":
                raise ValueError(f"{name} countries: OICP has no such filter; expected none, or one of EvseData")
            if entry.operators and name in {"EvseStatus", "AuthenticationData"}:
                raise ValueError(f"{name} operators: OICP has no such filter; expected none")
        return self

    def settings(self) -> tuple[tuple[str, PullSettings], ...]:
        """Return the settings of the registry: of datasets that have any."""
        return tuple((name, entry.settings()) for name, entry in self if entry != PullEntry())


class PeerEntry(BaseModel):
    """One ``[[peer]]`` table. Descriptions are part of error messages: "missing; expected: …"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: NameField = Field(description="the peer's name in logs and on the command line")
    url: UrlField = Field(description="the peer's base URL, with or without /api/oicp")
    operators: tuple[OperatorField, ...] = Field((), description="its OperatorIDs, sub-operators included")
    providers: tuple[ProviderField, ...] = Field((), description="its ProviderIDs, sub-providers included")
    path: PathField = Field(BASE_PATH, description="what its base URL is followed by, if not by /api/oicp")
    services: OperationNames | None = Field(None, description="names of the operations that it serves; absent = all")
    may_call: OperationNames | None = Field(
        None, description="names of the operations that it may ask of us; absent = all of its role"
    )
    profile: Profile = Field(Profile.OICP, description="what kind of system it is: oicp, wwcp or hub")
    security: tuple[CredentialType, ...] | None = Field(
        None, description="credentials that its requests must have: signature, mtls; absent = as in node.toml"
    )
    public_keys: tuple[PublicKeyField, ...] = Field((), description="keys that verify its signatures")
    certificates: tuple[CertificateField, ...] = Field((), description="its client certificates")
    default_route: bool = Field(
        default=False, description="also responsible for parties without a peer; one peer at most"
    )
    networks: tuple[NetworkField, ...] = Field((), description="networks of its requests; absent = any")
    publish: PublishEntry | None = Field(None, description="what of our own datasets it may see; absent = everything")
    pull_interval: PullIntervalField | None = Field(
        None, description="seconds between two pulls of its datasets, if it does not push; absent = it pushes"
    )
    pull: PullsEntry = Field(PullsEntry(), description="how single datasets of it are pulled")
    requests_per_second: float | None = Field(None, gt=0, description="its requests per second, on average")
    concurrent: int | None = Field(None, gt=0, description="its concurrent requests")
    max_body: int | None = Field(None, ge=1024, description="largest request body of it, in bytes")

    @model_validator(mode="after")
    def _require_party(self) -> PeerEntry:
        if not self.operators and not self.providers and not self.default_route:
            raise ValueError(
                'names no party; expected operators = ["DE*ABC"], providers = ["DE-XYZ"] or default_route = true'
            )
        return self


def _require_array_of_tables(value: object) -> object:
    # "[peer]" is the most likely mistake, and pydantic would report a wrong type.
    if isinstance(value, dict):
        raise ValueError("expected [[peer]], with two brackets: every peer is an entry of a list")  # noqa: TRY004 - pydantic reports ValueError only
    return value


class _PeersFileModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    banned_keys: tuple[FingerprintField, ...] = Field((), description="fingerprints of keys that are refused")
    peer: Annotated[tuple[PeerEntry, ...], BeforeValidator(_require_array_of_tables)] = Field(
        (), description="one table for each peer"
    )


@dataclass(frozen=True, slots=True)
class PeersFile:
    """The content of the peers file."""

    peers: tuple[Peer, ...] = ()
    banned_keys: tuple[str, ...] = ()


def read_peers_file(path: Path, own: Peer | None = None) -> PeersFile:
    """Read the peers file; raises ConfigurationError with file, line, key and what is expected.

    ``own`` is the entry of this node, whose name, parties and keys no peer has.
    """
    file = read_toml(path)
    try:
        content = _PeersFileModel.model_validate(file.data)
    except ValidationError as exc:
        raise configuration_error(exc, _PeersFileModel, file.locate) from exc
    peers = tuple(_build_peer(entry) for entry in content.peer)
    # The registry would find them too, but without a line number.
    others = () if own is None else (own,)
    for conflict in conflicts((*others, *peers)):
        location = ("peer", conflict.index - len(others), conflict.key)
        raise ConfigurationError(f"{file.locate(location)}: {conflict.message}")
    return PeersFile(peers, content.banned_keys)


def file_signature(path: Path) -> object:
    """Return what changes with the content of a file; None where it cannot be read."""
    try:
        stat_result = path.stat()
    except OSError:
        return None
    # The inode as well: editors replace the file, and a file system may store times in seconds.
    return (stat_result.st_mtime_ns, stat_result.st_size, stat_result.st_ino)


def load_peers(path: Path, own: Peer | None = None) -> tuple[Peer, ...]:
    """Return the peers of the peers file; raises ConfigurationError."""
    return read_peers_file(path, own).peers


def peer_from_entry(entry: dict[str, object], source: Source) -> Peer:
    """Return the peer of an entry that ``peer_to_entry`` returned; raises ConfigurationError."""
    # Up to 0.2.0, the services of a paired peer were also all that it might ask of us.
    entry = {"may_call": entry.get("services")} | entry
    try:
        return _build_peer(PeerEntry.model_validate(entry), source)
    except ValidationError as exc:
        raise configuration_error(exc, PeerEntry, lambda location: "/".join(map(str, location)) or "peer") from exc


def peer_to_entry(peer: Peer) -> dict[str, object]:
    """Return a peer as JSON, with the keys of the peers file; paired peers are stored in this form."""
    return {
        "name": peer.name,
        "url": peer.url,
        "operators": [party.text for party in peer.operators],
        "providers": [party.text for party in peer.providers],
        "path": peer.path,
        "services": None if peer.services is None else sorted(peer.services),
        "may_call": None if peer.may_call is None else sorted(peer.may_call),
        "profile": peer.profile.value,
        "security": None if peer.security is None else list(peer.security),
        "public_keys": list(peer.public_keys),
        "certificates": list(peer.certificates),
        "default_route": peer.default_route,
        "networks": [str(network) for network in peer.networks],
        "publish": None if peer.publish is None else peer.publish.to_entry(),
        "pull_interval": peer.pull_interval,
        "pull": {name: _pull_to_entry(settings) for name, settings in peer.pull},
        "requests_per_second": peer.requests_per_second,
        "concurrent": peer.concurrent,
        "max_body": peer.max_body,
    }


def _build_peer(entry: PeerEntry, source: Source = Source.FILE) -> Peer:
    values = {name: getattr(entry, name) for name in PeerEntry.model_fields}
    publish = entry.publish
    values["publish"] = publish and PublishFilter(publish.include.rule(), publish.exclude.rule())
    values["pull"] = entry.pull.settings()
    return Peer(**values, source=source)


def _pull_to_entry(settings: PullSettings) -> dict[str, object]:
    operators = [operator.text for operator in settings.operators]
    return {"interval": settings.interval, "countries": list(settings.countries), "operators": operators}
