"""The tables of ``node.toml``; each description is also the key's documentation (``docs/configuration.md``).

All settings together: the file below, the environment above.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from p2p_oicp.peers.models import CredentialType, NameField, OperatorField, ProviderField, UrlField

_MEBIBYTE = 1024 * 1024
_LOOPBACK_HOSTS = {"localhost", "::1"}
_WILDCARD_HOSTS = {"", "0.0.0.0", "::"}  # noqa: S104  # named to recognise it, not to bind it


def _default_url(data: dict[str, Any]) -> str:
    host = data.get("host", "")
    if host in _WILDCARD_HOSTS:
        return ""
    return f"http://{f'[{host}]' if ':' in host else host}:{data.get('port')}"


def _reject_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true/false")  # noqa: TRY004  # pydantic reports ValueError only
    return value


WholeNumber = Annotated[int, BeforeValidator(_reject_boolean)]
Seconds = Annotated[float, BeforeValidator(_reject_boolean)]
Days = Annotated[float, BeforeValidator(_reject_boolean)]


class SettingsSection(BaseModel):
    """One table of ``node.toml``: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class NodeSettings(SettingsSection):
    """Who this node is."""

    name: NameField = Field(description="Name of this node in logs and to its peers.")
    operators: tuple[OperatorField, ...] = Field(
        (),
        description="OperatorIDs of this company, the main one first, sub-operators included. Empty: not a CPO.",
    )
    providers: tuple[ProviderField, ...] = Field(
        (),
        description="ProviderIDs of this company, the main one first, sub-providers included. Empty: not an EMP.",
    )
    data_dir: Path = Field(Path("data"), description="Folder of the database, relative to the folder of node.toml.")

    @model_validator(mode="after")
    def _require_party(self) -> NodeSettings:
        if not self.operators and not self.providers:
            raise ValueError('speaks for nobody; expected operators = ["DE*ABC"] or providers = ["DE-XYZ"], or both')
        return self


class PeerApiSettings(SettingsSection):
    """The listener that peers call."""

    host: str = Field("127.0.0.1", description="Address that the peer API listens on; loopback until you open it.")
    port: WholeNumber = Field(8320, ge=0, le=65535, description="Port of the peer API; 0 = any free port.")
    url: UrlField = Field(
        default_factory=_default_url,
        description="Base URL under which peers reach this node. Absent: http://host:port.",
    )
    max_body: WholeNumber = Field(32 * _MEBIBYTE, ge=1024, description="Largest request body of a peer, in bytes.")
    requests_per_second: Seconds = Field(
        5000.0, gt=0, description="Requests that a peer may send in a second, on average; twice as many at once."
    )

    @model_validator(mode="after")
    def _require_reachable_url(self) -> PeerApiSettings:
        if not self.url:
            raise ValueError(
                f'host "{self.host}" is no address that peers can call; expected url = "https://…" as well'
            )
        return self


class BackendApiSettings(SettingsSection):
    """The listener that this company's own systems call, and where they are called back."""

    host: str = Field(
        "127.0.0.1", description="Address that the backend API listens on; all but loopback need a token."
    )
    port: WholeNumber = Field(8321, ge=0, le=65535, description="Port of the backend API; 0 = any free port.")
    token: SecretStr | None = Field(
        None,
        min_length=8,
        description='Secret that our systems send as "Authorization: Bearer TOKEN". Absent: none is needed.',
    )
    cpo_url: UrlField | None = Field(
        None,
        description="Base URL of our charging station management system; remote starts and stops are sent there. Over "
        "https, its certificate must come from a CA of this machine, or of the file that SSL_CERT_FILE names.",
    )
    emp_url: UrlField | None = Field(
        None,
        description="Base URL of our contract system; authorizations, notifications and CDRs are sent there. https: "
        "as for cpo_url.",
    )
    max_body: WholeNumber = Field(32 * _MEBIBYTE, ge=1024, description="Largest request body of our systems, in bytes.")

    @model_validator(mode="after")
    def _require_token_unless_loopback(self) -> BackendApiSettings:
        is_loopback = self.host in _LOOPBACK_HOSTS or self.host.startswith("127.")
        if not is_loopback and self.token is None:
            raise ValueError(
                f'host "{self.host}" is open to others, who could act as this company; expected a token as well'
            )
        return self


class SecuritySettings(SettingsSection):
    """What proves who is calling."""

    require: tuple[CredentialType, ...] = Field(
        ("signature",),
        description='What requests of peers must carry: "signature", "mtls", both, or nothing (insecure).',
    )
    pin_rounds: WholeNumber = Field(
        10, ge=4, le=14, description="What hashing a driver's PIN with bcrypt costs: 2 to this power; 10 takes 50 ms."
    )
    keys: Path = Field(
        Path("keys"), description="Folder of this node's key pairs, relative to the folder of node.toml."
    )


class TlsSettings(SettingsSection):
    """TLS of the peer API, and the certificate that this node shows to peers."""

    certificate: Path | None = Field(
        None, description="PEM file of this node's certificate; with it, the peer API speaks TLS. Absent: plain HTTP."
    )
    key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    ca: Path | None = Field(
        None,
        description="PEM file of a CA (with its intermediates) whose certificates count, if they name a peer's party.",
    )

    @model_validator(mode="after")
    def _require_certificate_with_key(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError('expected both or none of certificate = "…" and key = "…"')
        return self


class StorageSettings(SettingsSection):
    """The database."""

    file: Path = Field(Path("node.sqlite3"), description="SQLite file, relative to data_dir.")
    synchronous: Literal["FULL", "NORMAL"] = Field(
        "FULL",
        description="FULL: what was acknowledged survives a loss of power; NORMAL: faster, survives a crash.",
    )
    history_days: Days = Field(
        365.0,
        gt=0,
        description="Days for which earlier versions of EVSE data, prices and authentication data are kept, the "
        "stories of settled sessions, sessions that came to nothing, and which peer said yes to a card.",
    )
    status_history_days: Days = Field(30.0, gt=0, description="Days for which earlier EVSE statuses are kept.")
    evidence_days: Days = Field(
        1095.0,
        gt=0,
        description="Days for which signed exchanges and refused CDRs are kept, as evidence in a dispute.",
    )
    quarantine_days: Days = Field(
        90.0, gt=0, description="Days for which a peer's unusable records are kept, after they last came."
    )


class LimitSettings(SettingsSection):
    """What each of the two listeners takes on at a time. Beyond it, requests are answered with 429 or 503 at once."""

    connections: WholeNumber = Field(
        1000,
        ge=16,
        description="Open connections; a further one takes the place of the one that was opened first.",
    )
    requests: WholeNumber = Field(
        256,
        ge=4,
        description="Requests being answered that a driver waits for, and as many CDRs and notifications. One caller "
        "(address and party) gets three quarters of them.",
    )
    pushes: WholeNumber = Field(
        8, ge=1, description="Pushes and pulls of state being answered; others wait, for 10 seconds at most."
    )
    waiting: WholeNumber = Field(256, ge=0, description="Pushes and pulls that may wait.")


class DeliverySettings(SettingsSection):
    """How messages owed to a peer are sent again."""

    retry_first: Seconds = Field(0.5, gt=0, description="Seconds before the first repetition; doubled each time.")
    retry_max: Seconds = Field(300.0, gt=0, description="Longest pause between two repetitions, in seconds.")

    @model_validator(mode="after")
    def _check_retry_range(self) -> DeliverySettings:
        if self.retry_max < self.retry_first:
            raise ValueError(f"retry_max = {self.retry_max:g}: expected at least retry_first = {self.retry_first:g}")
        return self


class AuthorizationSettings(SettingsSection):
    """Asking EMPs whether a driver may charge."""

    deadline: Seconds = Field(
        5.0,
        gt=0,
        le=60,
        description="Seconds for all EMPs together to answer, where nobody knows whose card it is.",
    )


class SessionSettings(SettingsSection):
    """How long sessions are waited for."""

    authorize_ttl: Seconds = Field(
        86_400.0, gt=0, description="Seconds after which an authorization that nothing followed expires."
    )
    session_ttl: Seconds = Field(
        2_592_000.0,
        gt=0,
        description="Seconds after which a session under way expires, when nothing is heard of it. A late CDR counts.",
    )
    clarify_interval: Seconds = Field(
        30.0,
        gt=0,
        description="Seconds between two questions to a CPO's node about a remote start that it never answered.",
    )


class CdrSettings(SettingsSection):
    """Charge detail records."""

    reconcile_interval: Seconds = Field(
        3600.0, ge=0, description="Seconds between two looks for records at our CPO peers that never came; 0: never."
    )


class DiscoverySettings(SettingsSection):
    """Finding peers."""

    mdns: bool = Field(
        default=False, description="Announce this node in the local network by mDNS, and find others there."
    )
    interfaces: tuple[str, ...] = Field((), description="Addresses of this machine to do so on. Empty: all of them.")
    auto_accept: bool = Field(
        default=False, description="Believe whoever is found. Only where nobody has to prove anything (require = [])."
    )


class LogSettings(SettingsSection):
    """The log, on standard error."""

    format: Literal["text", "json"] = Field("text", description="text for people, json for machines.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least important events that are logged."
    )


ENVIRONMENT_PREFIX = "P2P_OICP_"
ENVIRONMENT_DELIMITER = "__"


class _EnvironmentSource(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401  # the base class says so
        """Read JSON, or names separated by commas where a list is expected."""
        del field_name
        try:
            return json.loads(value)
        except ValueError:
            is_list = "tuple" in str(field.annotation)
            return [part.strip() for part in value.split(",") if part.strip()] if is_list else value


class Settings(BaseSettings):
    """Everything that the operator of a node decides."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=ENVIRONMENT_DELIMITER,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    peers_file: Path = Field(
        Path("peers.toml"), description="File that names the peers, relative to the folder of node.toml."
    )
    node: NodeSettings = Field(description="The table [node] with a name, and operators or providers.")
    peer_api: PeerApiSettings = Field(default_factory=PeerApiSettings)
    backend_api: BackendApiSettings = Field(default_factory=BackendApiSettings)
    security: SecuritySettings = Field(default_factory=SecuritySettings)
    tls: TlsSettings = Field(default_factory=TlsSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    authorization: AuthorizationSettings = Field(default_factory=AuthorizationSettings)
    sessions: SessionSettings = Field(default_factory=SessionSettings)
    cdrs: CdrSettings = Field(default_factory=CdrSettings)
    discovery: DiscoverySettings = Field(default_factory=DiscoverySettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and read nothing else."""
        del env_settings, dotenv_settings, file_secret_settings
        return _EnvironmentSource(settings_cls), init_settings

    @model_validator(mode="after")
    def _require_distinct_listeners(self) -> Settings:
        peer_api, backend_api = self.peer_api, self.backend_api
        if peer_api.port == backend_api.port != 0 and peer_api.host == backend_api.host:
            raise ValueError(
                f"[peer_api] and [backend_api] both have port {peer_api.port}; expected two different ports"
            )
        return self
