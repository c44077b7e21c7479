"""The tables ``[ocpi]`` and ``[[ocpi.partners]]``: the listener for OCPI, and the systems that roam by it.

A profile presets what a known system deviates in; a key of the file wins. `partner_conflicts` finds the mistakes that
are seen only beside the rest of the settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from p2p_oicp.config.backends import BackendSettings, parse_backend_name, require_array_of_tables
from p2p_oicp.config.base import Seconds, SettingsSection, WholeNumber, is_loopback
from p2p_oicp.ocpi.enumerations import ModuleID, Role, TariffType
from p2p_oicp.ocpi_mapping.ids import Party, party_of, party_of_operator
from p2p_oicp.ocpi_mapping.terms import CITRINEOS, EXTRAWEST, Profile, Terms
from p2p_oicp.oicp.enums import Accessibility, AuthenticationMode
from p2p_oicp.oicp.identifiers import OperatorID, ProviderID
from p2p_oicp.peers.models import UrlField

OCPI_PREFIX = "ocpi:"
#: In ``as``: every peer under contract.
EVERY_PEER: Final = "*"
#: The path of the listener, below which all stands.
OCPI_PATH: Final = "/ocpi"
_WILDCARD_HOSTS = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to
_COUNTRY_LENGTH, _PARTY_LENGTH = 2, 3
_SECONDS_A_DAY = 86_400


def ocpi_destination(name: str) -> str:
    """Return the destination (outbox, health) of the OCPI partner ``name``; no peer has such a name."""
    return f"{OCPI_PREFIX}{name}"


def _default_url(data: dict[str, Any]) -> str:
    host = data.get("host", "")
    # No partner can call such an address; the empty URL makes the validator below ask for one.
    if host in _WILDCARD_HOSTS:
        return ""
    return f"http://{f'[{host}]' if ':' in host else host}:{data.get('port')}{OCPI_PATH}"


def _option_of(words: type[StrEnum]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in set(words):
            raise ValueError(f'"{value}": expected one of {", ".join(words)}')
        return value

    return AfterValidator(check)


def _as_list(value: object) -> object:
    return [value] if value == EVERY_PEER else value


def _parse_alias(text: str) -> str:
    if party_of(text) is None:
        raise ValueError(f'"{text}" is no party of OCPI; expected one such as "DE*810"')
    return text


def _parse_amount(value: object) -> str:
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    try:
        amount = Decimal(text)
    except ArithmeticError:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise ValueError('expected an amount in quotes, such as "0.45"')
    return text


class OcpiParty(SettingsSection):
    """A party as OCPI names it."""

    country_code: str = Field(pattern=r"^[A-Za-z]{2}$", description="Its country (ISO 3166-1 alpha-2).")
    party_id: str = Field(pattern=r"^[A-Za-z0-9]{3}$", description="Its id in that country.")


class DefaultPrice(SettingsSection):
    """A price of OICP for what has none in OCPI."""

    amount: Annotated[str, BeforeValidator(_parse_amount)] = Field("0.00", description="The amount, in quotes.")
    unit: Literal["KILOWATT_HOUR", "HOUR", "MINUTE"] = Field("KILOWATT_HOUR", description="Of what.")


#: What known systems deviate in; `OcpiPartnerSettings` reads it before its own keys.
_PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {CITRINEOS: {"accept_issued_token": True, "push_token_before_start": True}, EXTRAWEST: {}, "standard": {}}
)


class OcpiPartnerSettings(SettingsSection):
    """A system that roams by OCPI 2.2.1, as if this node were its OCPI partner: any number, each with its own table.

    What OICP demands and OCPI has no word for stands here as well. In the environment all tables are one list, as JSON.
    """

    name: Annotated[str, PlainValidator(parse_backend_name)] = Field(
        description="Name of the system in logs and on the command line. Its messages wait for `ocpi:NAME`."
    )
    face: Literal["cpo", "emsp"] = Field(
        description='What the system is: "cpo" for one with charging stations, "emsp" for one with drivers.'
    )
    parties: tuple[str, ...] = Field(
        description='Those of our parties that it serves, the main one first: OperatorIDs with face = "cpo", '
        'ProviderIDs with face = "emsp". Each has one system.',
    )
    party: OcpiParty | None = Field(
        None,
        description="The system's own party, `{ country_code = …, party_id = … }`. Absent: that of the first of "
        "parties.",
    )
    presented: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(
        (EVERY_PEER,),
        alias="as",
        description='Who we are to it, the main one first: ProviderIDs of EMP peers with face = "cpo", OperatorIDs of '
        'CPO peers with face = "emsp"; "*": every peer under contract.',
    )
    profile: Profile = Field(
        "standard", description="What is known of the system: standard, citrineos or extrawest. It presets other keys."
    )
    versions_url: UrlField | None = Field(
        None,
        description="URL of its versions, where we register with it. Over http only this server, and servers on this "
        "machine, are called; all others over https.",
    )
    operator_name: str = Field("", max_length=100, description="OperatorName of its EVSEs. Absent: the node's name.")
    hotline: str = Field(
        "",
        pattern=r"^(\+[0-9]{5,15})?$",
        description='HotlinePhoneNumber of its EVSEs, such as "+4930123456". Required with face = "cpo".',
    )
    language: str = Field(
        "en", pattern=r"^[a-z]{2}$", description="Language of its texts where OCPI has none (ISO 639-1)."
    )
    calibration_law: Literal["Local", "External", "Not Available"] = Field(
        "Not Available", description="CalibrationLawDataAvailability of its EVSEs."
    )
    accessibility: Annotated[str, _option_of(Accessibility)] = Field(
        Accessibility.FREE.value, description="Accessibility of its EVSEs."
    )
    authentication: tuple[Annotated[str, _option_of(AuthenticationMode)], ...] = Field(
        (AuthenticationMode.RFID_CLASSIC.value, AuthenticationMode.RFID_DESFIRE.value, AuthenticationMode.REMOTE.value),
        min_length=1,
        description="AuthenticationModes of EVSEs without capabilities.",
    )
    renewable: bool = Field(default=False, description="RenewableEnergy of EVSEs without an energy mix.")
    reservations: bool = Field(default=True, description="Whether reservable EVSEs are offered as such.")
    export_unpublished: bool = Field(
        default=False, description="Whether locations that are not published are shown, as Restricted access."
    )
    currency: str = Field("EUR", pattern=r"^[A-Z]{3}$", description="Currency where no product has one (ISO 4217).")
    whitelist: Literal["ALWAYS", "ALLOWED", "ALLOWED_OFFLINE"] = Field(
        "ALLOWED", description="WhitelistType of the tokens that are pushed to it."
    )
    progress_seconds: WholeNumber = Field(300, ge=1, description="Least seconds between two Progress notifications.")
    match_seconds: WholeNumber = Field(
        120,
        ge=0,
        description="Seconds between an authorization and the start of a session that may still be one and the same.",
    )
    reservation_minutes: WholeNumber = Field(15, ge=1, le=99, description="Minutes of a reservation that names none.")
    tariff_types: tuple[Annotated[str, _option_of(TariffType)], ...] | None = Field(
        None, description="Types of tariffs that become products. Absent: all."
    )
    default_price: DefaultPrice = Field(
        default_factory=DefaultPrice, description="Price of a product that needs one, `{ amount = …, unit = … }`."
    )
    time_zones: Mapping[str, str] = Field(
        default_factory=dict,
        description='Time zone of a country that has several, by ISO 3166-1 alpha-3: `{ USA = "America/Chicago" }`.',
    )
    aliases: Mapping[str, Annotated[str, AfterValidator(_parse_alias)]] = Field(
        default_factory=dict,
        description='Parties of OperatorIDs that have none in OCPI: `{ "+49*810" = "DE*810" }`.',
    )
    endpoints: Mapping[ModuleID, UrlField] = Field(
        default_factory=dict,
        description="URLs of modules that its version details leave out or have wrong: `{ commands = … }`.",
    )
    accept_plain_token: bool = Field(
        default=False, description="Whether its token may come as it is, and not in base64."
    )
    accept_issued_token: bool = Field(
        default=False, description="Whether the token that it has given us is accepted from it as well."
    )
    push_token_before_start: bool = Field(
        default=False, description="Whether a driver's token is sent to it before a remote start."
    )
    push_on_register: bool = Field(
        default=False, description='Whether an "emsp" is sent all locations and tariffs when it registers.'
    )

    @property
    def destination(self) -> str:
        """Where its messages wait, and its name in health and errors."""
        return ocpi_destination(self.name)

    @property
    def role(self) -> Role:
        """What the partner is."""
        return Role.CPO if self.face == "cpo" else Role.EMSP

    @property
    def own_role(self) -> Role:
        """What we are to it."""
        return Role.EMSP if self.face == "cpo" else Role.CPO

    @property
    def presents_every_peer(self) -> bool:
        """Whether we are to it whoever is our peer."""
        return self.presented == (EVERY_PEER,)

    @property
    def own_party(self) -> Party:
        """The partner's main party."""
        if self.party is not None:
            return Party(self.party.country_code.upper(), self.party.party_id.upper())
        party = self.party_of(self.parties[0])
        if party is None:
            raise ValueError(f'parties: "{self.parties[0]}" has no form in OCPI; expected party = {{…}} or an alias')
        return party

    @property
    def all_parties(self) -> tuple[Party, ...]:
        """The partner's main party, and what its further parties are in OCPI."""
        further = (self.party_of(text) for text in self.parties[1:])
        return tuple(dict.fromkeys([self.own_party, *(party for party in further if party is not None)]))

    def party_of(self, text: str) -> Party | None:
        """Return the party of an OperatorID or ProviderID, by an alias if it has one; None: there is none."""
        return party_of_operator(text, Terms(aliases=self.aliases))

    @property
    def terms(self) -> Terms:
        """What the mapping depends on; names of providers and the time are added by `Terms` themselves (`terms_at`)."""
        own, first = self.own_party, None if self.presents_every_peer else self.party_of(self.presented[0])
        is_cpo = self.face == "cpo"
        cpo, emsp = (own, first) if is_cpo else (first, own)
        same = {name: getattr(self, name) for name in _SAME_IN_TERMS}
        return Terms(
            operator_id=self.parties[0] if is_cpo else "",
            provider_id="" if is_cpo else self.parties[0],
            sub_operators=self.parties[1:] if is_cpo else (),
            country_code=cpo.country_code if cpo else "",
            party_id=cpo.party_id if cpo else "",
            emsp_country_code=emsp.country_code if emsp else "",
            emsp_party_id=emsp.party_id if emsp else "",
            **same,
        )

    def terms_at(self, now: datetime, providers: Mapping[str, str]) -> Terms:
        """Return the terms at a time, with the names of the providers that are known."""
        return replace(self.terms, now=now, providers=providers)

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:  # noqa: ANN401 - whatever the file has
        profile = values.get("profile") if isinstance(values, Mapping) else None
        return {**_PRESETS.get(profile, {}), **values} if isinstance(profile, str) else values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.face == "cpo" and not self.hotline:
            raise ValueError('hotline: missing; every EVSE of OICP has one; expected hotline = "+4930123456"')
        if not self.parties:
            raise ValueError('parties: expected at least one, such as parties = ["DE*ABC"]')
        ours, theirs = (OperatorID, ProviderID) if self.face == "cpo" else (ProviderID, OperatorID)
        for key, kind, texts in (("parties", ours, self.parties), ("as", theirs, self.presented)):
            for text in () if texts == (EVERY_PEER,) else texts:
                if not kind(text).is_valid:
                    example = "DE*ABC" if kind is OperatorID else "DE-XYZ"
                    raise ValueError(f'{key}: "{text}" is no {kind.__name__}; expected one such as "{example}"')
        if not self.presented:
            raise ValueError('as: expected "*", or a list of ids')
        for text in self.parties[:1] if self.party is None else ():
            if self.party_of(text) is None:
                raise ValueError(f'parties: "{text}" has no form in OCPI; expected aliases = {{ "{text}" = "DE*810" }}')
        return self


#: The terms that are keys of the table, with the same names.
_SAME_IN_TERMS = (
    *("operator_name", "hotline", "language", "calibration_law", "accessibility", "authentication", "renewable"),
    *("reservations", "export_unpublished", "currency", "whitelist", "progress_seconds", "match_seconds"),
    *("reservation_minutes", "tariff_types", "aliases", "time_zones", "profile"),
)


def _require_array(value: object) -> object:
    return require_array_of_tables(value, "ocpi.partners", "partner")


class OcpiSettings(SettingsSection):
    """The listener for systems that roam by OCPI 2.2.1. Without this table there is none."""

    host: str = Field("127.0.0.1", description="Address that OCPI is served at; loopback by default.")
    port: WholeNumber = Field(8322, ge=0, le=65535, description="Port of the listener; 0 = any free port.")
    url: UrlField = Field(
        default_factory=_default_url,
        description="URL under which partners reach its path `/ocpi`; all links are built from it. Absent: "
        "http://host:port/ocpi.",
    )
    page_limit: WholeNumber = Field(
        100, ge=1, le=1000, description="Most objects of a page; a page has 50 where nothing else is asked for."
    )
    pull_interval: Seconds = Field(
        3600.0, ge=0, description="Seconds between two pulls that find what a partner's lost pushes had; 0: never."
    )
    invitation_ttl: Seconds = Field(
        7.0 * _SECONDS_A_DAY, gt=0, description="Seconds that a token of `ocpi invite` (CREDENTIALS_TOKEN_A) lives."
    )
    requests_per_second: Seconds = Field(
        50.0, gt=0, description="Requests per second of one partner, on average; bursts of twice as many are accepted."
    )
    partners: Annotated[tuple[OcpiPartnerSettings, ...], BeforeValidator(_require_array)] = Field(
        (), description="One table for each system that roams by OCPI."
    )

    @model_validator(mode="after")
    def _require_reachable_url(self) -> Self:
        if not self.url:
            raise ValueError(
                f'host "{self.host}" is no address that partners can connect to; expected url = "https://…/ocpi"'
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but programs on this machine reaches the listener."""
        return is_loopback(self.host)


def parties_by_role(partners: Sequence[OcpiPartnerSettings]) -> dict[str, frozenset[str]]:
    """Return by role of this node (``cpo``, ``emp``) the keys of the parties that OCPI partners serve."""
    roles = {"cpo": "cpo", "emp": "emsp"}
    return {
        role: frozenset(OperatorID(text).key for each in partners if each.face == face for text in each.parties)
        for role, face in roles.items()
    }


@dataclass(frozen=True, slots=True)
class PartnerConflict:
    """A mistake that is seen only beside the rest: the position of the table, its key, a text for people."""

    index: int
    key: str
    message: str


def partner_conflicts(
    partners: Sequence[OcpiPartnerSettings],
    backends: Sequence[BackendSettings],
    operators: Sequence[OperatorID],
    providers: Sequence[ProviderID],
) -> Iterator[PartnerConflict]:
    """Find names and parties that two partners have, or a partner and a backend, and parties that are not ours."""
    names: set[str] = set()
    owners: dict[tuple[str, str], str] = {}
    for backend in backends:
        owners |= {("cpo", party.key): f'backend "{backend.name}"' for party in backend.operators}
        owners |= {("emsp", party.key): f'backend "{backend.name}"' for party in backend.providers}
    for index, partner in enumerate(partners):
        if partner.name in names:
            message = f'"{partner.name}" is the name of another partner; expected a name of its own'
            yield PartnerConflict(index, "name", message)
        names.add(partner.name)
        ours, key = (operators, "operators") if partner.face == "cpo" else (providers, "providers")
        keys = {party.key for party in ours}
        for text in partner.parties:
            party_key = OperatorID(text).key
            if party_key not in keys:
                message = f'"{text}" is none of the {key} of this node ([node] {key})'
                yield PartnerConflict(index, "parties", message)
            owner = owners.setdefault((partner.face, party_key), f'partner "{partner.name}"')
            if owner != f'partner "{partner.name}"':
                yield PartnerConflict(index, "parties", f'"{text}" is served by {owner} already')
