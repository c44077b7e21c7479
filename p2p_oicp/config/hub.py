"""``hub.toml`` and the script of ``p2p-oicp hub``, a clearing house for tests.

Its partners are the tables ``[[partners]]``: what a node has as ``[[backends]]``, but each of another company. The
script has rules: which request of a partner is answered how, in place of the answer that it would get.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, Field, PlainValidator, SecretStr, ValidationError, model_validator

from p2p_oicp.config.backends import BackendSettings
from p2p_oicp.config.base import Seconds, SettingsSection, WholeNumber, is_loopback
from p2p_oicp.config.limits import DeadlineSettings, LimitSettings
from p2p_oicp.config.model import CdrSettings, SessionSettings
from p2p_oicp.config.recording import ExchangeSettings, LogSettings
from p2p_oicp.config.toml import configuration_error, read_toml
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers.models import PartyID, ProviderField

_MEBIBYTE = 1024 * 1024
_DEFAULT_PORT = 8330


def _known_operation(value: object) -> str:
    if not isinstance(value, str) or value not in OPERATION_BY_NAME:
        raise ValueError(f'"{value}" is no operation of OICP; `p2p-oicp endpoints` lists them')
    return value


ModelT = TypeVar("ModelT", bound=BaseModel)
OperationName = Annotated[str, PlainValidator(_known_operation)]


def _refusal_code(code: str) -> str:
    if code == StatusCodeValue.SUCCESS:
        raise ValueError('000 is no refusal; expected another code, or accept = true or authorize = "DE-XYZ"')
    return code


Code = Annotated[str, Field(pattern=r"^[0-9]{3}$"), AfterValidator(_refusal_code)]


class HubTable(SettingsSection):
    """The listener, and who may take part."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on. With any other than loopback, others can roam as any company."
    )
    port: WholeNumber = Field(_DEFAULT_PORT, ge=0, le=65535, description="Port; 0 = any free port.")
    learn: bool = Field(
        default=True, description="Whether a company that is no partner becomes one when it speaks; else it gets 300."
    )
    token: SecretStr | None = Field(
        None, min_length=8, description='Secret that every request must carry as "Authorization: Bearer TOKEN".'
    )

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but programs on this machine reaches the listener."""
        return is_loopback(self.host)


class PartnerSettings(BackendSettings):
    """A company that roams through this hub, and where its system is called: the keys of `[[backends]]` of a node.

    Without `url` it is asked nothing; what is sent to it waits for its pulls.
    """

    paths: Mapping[OperationName, str] = Field(
        default_factory=dict,
        description="By the name of an operation, its path below `path` where it is none of OICP's; `{id}` in it "
        "stands for the sender's id.",
    )

    @property
    def table(self) -> str:
        return "[[partners]]"

    @property
    def own_paths(self) -> Mapping[str, str]:
        return self.paths

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:  # noqa: ANN401 - whatever the file has
        """Name a partner after its first party, and derive its role from its parties."""
        if not isinstance(values, Mapping):
            return values
        operators, providers = values.get("operators"), values.get("providers")
        if not operators and not providers:
            raise ValueError('no party; expected operators = ["DE*ABC"] or providers = ["DE-XYZ"], or both')
        role = "both" if operators and providers else "cpo" if operators else "emp"
        # What is no list is reported by its own field.
        parties = [each for ids in (operators, providers) if isinstance(ids, list | tuple) for each in ids]
        first = next((each for each in parties if isinstance(each, str)), "partner")
        return {"name": first, "role": role, **values}

    @model_validator(mode="after")
    def _require_party(self) -> Self:
        for role, key, parties in (("cpo", "operators", self.operators), ("emp", "providers", self.providers)):
            if self.serves_role(role) and not parties:
                raise ValueError(f'no party; expected {key} = ["…"] of the partner "{self.name}"')
        if self.signature:
            raise ValueError("signature: a hub for tests has no keys of its own")
        if self.token_file is not None:
            raise ValueError('token_file: expected token = "…" in a hub for tests')
        return self

    @property
    def all_parties(self) -> tuple[PartyID, ...]:
        """Its operators and providers."""
        return (*self.operators, *self.providers)


class HubCdrSettings(CdrSettings):
    """As of a node, but a clearing house refuses what is implausible."""

    implausible: Literal["report", "refuse"] = Field("refuse", description="As of a node.")


class HubExchangeSettings(ExchangeSettings):
    """As of a node, but all is recorded, and nothing is masked."""

    record: Literal["off", "memory", "disk"] = Field("memory", description="As of a node.")
    max_body: WholeNumber = Field(_MEBIBYTE, ge=0, description="As of a node.")


class HubSettings(SettingsSection):
    """All settings of a hub."""

    hub: HubTable = Field(default_factory=HubTable)
    partners: tuple[PartnerSettings, ...] = Field((), description="One table for each partner.")
    cdr: HubCdrSettings = Field(default_factory=HubCdrSettings)
    deadlines: DeadlineSettings = Field(default_factory=DeadlineSettings)
    sessions: SessionSettings = Field(default_factory=SessionSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    exchanges: HubExchangeSettings = Field(default_factory=HubExchangeSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @model_validator(mode="after")
    def _require_distinct(self) -> Self:
        check_distinct(self.partners)
        return self


def check_distinct(partners: Iterable[PartnerSettings]) -> None:
    """Raise ValueError for a name or a party that two partners have."""
    owners: dict[str, PartnerSettings] = {}
    for partner in partners:
        for key, text in ((partner.name, partner.name), *((party.key, party.text) for party in partner.all_parties)):
            if owners.setdefault(key, partner) is not partner:
                raise ValueError(f'"{text}" belongs to two partners; expected one')


class ScriptRule(SettingsSection):
    """Which requests of partners are answered how. Of several rules, the first that fits counts."""

    operation: OperationName | None = Field(None, description="Only requests of this operation.")
    party: str | None = Field(None, description="Only those of this OperatorID or ProviderID, in any spelling.")
    uid: str | None = Field(None, description="Only those with this UID of an RFID card.")
    evco_id: str | None = Field(None, description="Only those with this EvcoID.")
    evse_id: str | None = Field(None, description="Only those with this EvseID.")
    session_id: str | None = Field(None, description="Only those of this SessionID.")
    times: WholeNumber | None = Field(None, ge=1, description="Only for so many requests; absent: for all.")
    wait: Seconds = Field(0.0, ge=0, le=3600, description="Seconds to wait before anything else.")
    refuse: Code | None = Field(None, description="Refuse with this OICP code.")
    info: str = Field("by the script", description="AdditionalInfo of that refusal.")
    authorize: ProviderField | None = Field(
        None, description="Authorize a start or stop in the name of this provider, which is not asked."
    )
    accept: bool = Field(
        default=False, description="Accept a remote start, stop or reservation in the CPO's name, which is not asked."
    )
    http_status: WholeNumber | None = Field(None, ge=400, le=599, description="Answer with this HTTP status.")
    hang: bool = Field(default=False, description="Never answer.")
    drop: bool = Field(default=False, description="End the connection without an answer.")

    @model_validator(mode="after")
    def _require_one_action(self) -> Self:
        actions = [self.refuse, self.authorize, self.accept, self.http_status, self.hang, self.drop]
        if sum(bool(action) for action in actions) > 1:
            raise ValueError("expected one of refuse, authorize, accept, http_status, hang and drop")
        if not any(actions) and not self.wait:
            raise ValueError("does nothing; expected wait, refuse, authorize, accept, http_status, hang or drop")
        return self


class Script(SettingsSection):
    """The rules, in their order."""

    rules: tuple[ScriptRule, ...] = ()


def load_hub_settings(path: Path) -> HubSettings:
    """Read ``hub.toml``; raises ConfigurationError with one line about the first mistake."""
    settings = _load(path, HubSettings)
    folder = path.absolute().parent
    partners = tuple(_with_absolute_paths(partner, folder) for partner in settings.partners)
    return settings.model_copy(update={"partners": partners})


def load_script(path: Path) -> Script:
    """Read a script; raises ConfigurationError as `load_hub_settings` does."""
    return _load(path, Script)


def parse_script(members: object) -> Script:
    """Return the script of a JSON object; raises ConfigurationError."""
    return _parse(members, Script)


def parse_partner(members: object) -> PartnerSettings:
    """Return the partner of a JSON object; raises ConfigurationError."""
    return _parse(members, PartnerSettings)


def stored_members(partner: PartnerSettings) -> dict[str, Any]:
    """Return the members by which `parse_partner` makes a partner again, its token in clear text."""
    members: dict[str, Any] = partner.model_dump(mode="json", exclude_unset=True, fallback=str)
    return members | ({"token": partner.token.get_secret_value()} if partner.token is not None else {})


def _load(path: Path, model: type[ModelT]) -> ModelT:
    if not path.exists():
        raise ConfigurationError(f"{path}: no such file")
    file = read_toml(path)
    try:
        return model.model_validate(file.data)
    except ValidationError as exc:
        raise configuration_error(exc, model, file.locate) from exc


def _parse(members: object, model: type[ModelT]) -> ModelT:
    try:
        return model.model_validate(members)
    except ValidationError as exc:
        raise configuration_error(exc, model, lambda location: ".".join(map(str, location)) or "the body") from exc


def _with_absolute_paths(partner: PartnerSettings, folder: Path) -> PartnerSettings:
    files = {name: getattr(partner, name) for name in ("certificate", "key", "ca")}
    return partner.model_copy(update={name: folder / file for name, file in files.items() if file is not None})
