"""The tables of ``node.toml``; each description is also the key's documentation (``docs/configuration.md``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from p2p_oicp.peers.fields import NameField, OperatorField, Proof, ProviderField, UrlField

_MEBIBYTE = 1024 * 1024
_LOOPBACK = {"localhost", "::1"}
_EVERY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104  # named to recognise it, not to bind it


def _url_of(data: dict[str, Any]) -> str:
    host = data.get("host", "")
    if host in _EVERY_ADDRESS:
        return ""
    return f"http://{f'[{host}]' if ':' in host else host}:{data.get('port')}"


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true/false")  # noqa: TRY004  # pydantic reports ValueError only
    return value


WholeNumber = Annotated[int, BeforeValidator(_no_boolean)]
Seconds = Annotated[float, BeforeValidator(_no_boolean)]
Days = Annotated[float, BeforeValidator(_no_boolean)]


class Section(BaseModel):
    """One table of ``node.toml``: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class Node(Section):
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
    def _has_a_party(self) -> Node:
        if not self.operators and not self.providers:
            raise ValueError('speaks for nobody; expected operators = ["DE*ABC"] or providers = ["DE-XYZ"], or both')
        return self


class PeerApi(Section):
    """The listener that peers call."""

    host: str = Field("127.0.0.1", description="Address that the peer API listens on; loopback until you open it.")
    port: WholeNumber = Field(8320, ge=0, le=65535, description="Port of the peer API; 0 = any free port.")
    url: UrlField = Field(
        default_factory=_url_of,
        description="Base URL under which peers reach this node. Absent: http://host:port.",
    )
    max_body: WholeNumber = Field(32 * _MEBIBYTE, ge=1024, description="Largest request body of a peer, in bytes.")
    requests_per_second: Seconds = Field(
        5000.0, gt=0, description="Requests that a peer may send in a second, on average; twice as many at once."
    )

    @model_validator(mode="after")
    def _can_be_called(self) -> PeerApi:
        if not self.url:
            raise ValueError(
                f'host "{self.host}" is no address that peers can call; expected url = "https://…" as well'
            )
        return self


class BackendApi(Section):
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
    def _is_loopback_or_has_a_token(self) -> BackendApi:
        loopback = self.host in _LOOPBACK or self.host.startswith("127.")
        if not loopback and self.token is None:
            raise ValueError(
                f'host "{self.host}" is open to others, who could act as this company; expected a token as well'
            )
        return self


class Security(Section):
    """What proves who is calling."""

    require: tuple[Proof, ...] = Field(
        ("signature",),
        description='What requests of peers must carry: "signature", "mtls", both, or nothing (insecure).',
    )
    pin_rounds: WholeNumber = Field(
        10, ge=4, le=14, description="What hashing a driver's PIN with bcrypt costs: 2 to this power; 10 takes 50 ms."
    )
    keys: Path = Field(
        Path("keys"), description="Folder of this node's key pairs, relative to the folder of node.toml."
    )


class Tls(Section):
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
    def _is_whole(self) -> Tls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError('expected both or none of certificate = "…" and key = "…"')
        return self


class Storage(Section):
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


class Limits(Section):
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


class Delivery(Section):
    """How messages owed to a peer are sent again."""

    retry_first: Seconds = Field(0.5, gt=0, description="Seconds before the first repetition; doubled each time.")
    retry_max: Seconds = Field(300.0, gt=0, description="Longest pause between two repetitions, in seconds.")

    @model_validator(mode="after")
    def _grows(self) -> Delivery:
        if self.retry_max < self.retry_first:
            raise ValueError(f"retry_max = {self.retry_max:g}: expected at least retry_first = {self.retry_first:g}")
        return self


class Authorization(Section):
    """Asking EMPs whether a driver may charge."""

    deadline: Seconds = Field(
        5.0,
        gt=0,
        le=60,
        description="Seconds for all EMPs together to answer, where nobody knows whose card it is.",
    )


class Sessions(Section):
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


class Cdrs(Section):
    """Charge detail records."""

    reconcile_interval: Seconds = Field(
        3600.0, ge=0, description="Seconds between two looks for records at our CPO peers that never came; 0: never."
    )


class Discovery(Section):
    """Finding peers."""

    mdns: bool = Field(
        default=False, description="Announce this node in the local network by mDNS, and find others there."
    )
    interfaces: tuple[str, ...] = Field((), description="Addresses of this machine to do so on. Empty: all of them.")
    auto_accept: bool = Field(
        default=False, description="Believe whoever is found. Only where nobody has to prove anything (require = [])."
    )


class Log(Section):
    """The log, on standard error."""

    format: Literal["text", "json"] = Field("text", description="text for people, json for machines.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least important events that are logged."
    )
