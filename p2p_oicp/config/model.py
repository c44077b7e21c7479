"""The settings of a node: one class for each table of ``node.toml``, and ``Settings`` for the whole file.

The docstring of a class and the description of a key are also the documentation (``docs/configuration.md``) and part of
error messages, so they are written for operators. The environment wins over the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from p2p_oicp.config.backends import (
    BackendConflict,
    BackendSettings,
    BackendsField,
    OwnParties,
    backend_conflicts,
    effective_backends,
)
from p2p_oicp.config.base import (
    ENVIRONMENT_DELIMITER,
    ENVIRONMENT_PREFIX,
    EnvironmentSource,
    Seconds,
    SettingsSection,
    WholeNumber,
    is_loopback,
)
from p2p_oicp.config.limits import DeadlineSettings, DeliverySettings, LimitSettings
from p2p_oicp.config.ocpi import OcpiPartnerSettings, OcpiSettings, PartnerConflict, parties_by_role, partner_conflicts
from p2p_oicp.config.recording import ExchangeSettings, LogSettings, StorageSettings, TracingSettings
from p2p_oicp.config.sources import SettingSource
from p2p_oicp.config.webhooks import WebhooksField
from p2p_oicp.peers.models import CredentialType, NameField, NetworkField, OperatorField, ProviderField, UrlField

# Limits of bodies: a fullLoad of 10,000 EVSE records has 18 MB.
_MEBIBYTE = 1024 * 1024
_WILDCARD_HOSTS = {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, not bound to


def _default_url(data: dict[str, Any]) -> str:
    host = data.get("host", "")
    # No peer can call such an address; the empty URL makes the validator below ask for one.
    if host in _WILDCARD_HOSTS:
        return ""
    return f"http://{f'[{host}]' if ':' in host else host}:{data.get('port')}"


class NodeSettings(SettingsSection):
    """The identity of this node."""

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
        # Without a party nothing can be routed to this node, and no peer could accept a request of it.
        if not self.operators and not self.providers:
            raise ValueError('no party; expected operators = ["DE*ABC"] or providers = ["DE-XYZ"], or both')
        return self


class PeerApiSettings(SettingsSection):
    """The public listener, which peers call."""

    host: str = Field("127.0.0.1", description="Address that the peer API listens on; loopback by default.")
    port: WholeNumber = Field(8320, ge=0, le=65535, description="Port of the peer API; 0 = any free port.")
    url: UrlField = Field(
        default_factory=_default_url,
        description="Base URL under which peers reach this node. Absent: http://host:port.",
    )
    max_body: WholeNumber = Field(32 * _MEBIBYTE, ge=1024, description="Largest request body of a peer, in bytes.")
    requests_per_second: Seconds = Field(
        5000.0, gt=0, description="Requests per second of one peer, on average; bursts of twice as many are accepted."
    )
    trusted_proxies: tuple[NetworkField, ...] = Field(
        (),
        description="Addresses or networks of our reverse proxies: what they tell in X-Forwarded-For (or Forwarded) is "
        "the address of the client, and in Client-Cert (RFC 9440) its certificate. Of others it is not believed.",
    )

    @model_validator(mode="after")
    def _require_reachable_url(self) -> PeerApiSettings:
        if not self.url:
            raise ValueError(
                f'host "{self.host}" is no address that peers can connect to; expected url = "https://…" as well'
            )
        return self


class BackendApiSettings(SettingsSection):
    """The listener for this company's own systems, and the URLs of these systems."""

    host: str = Field(
        "127.0.0.1", description="Address that the backend API listens on; any other than loopback needs a token."
    )
    port: WholeNumber = Field(8321, ge=0, le=65535, description="Port of the backend API; 0 = any free port.")
    token: SecretStr | None = Field(
        None,
        min_length=8,
        description='Secret that our systems and the command line send as "Authorization: Bearer TOKEN", for OICP too. '
        "Goes before token_file; better there, or in the environment.",
    )
    token_file: Path | None = Field(
        None,
        description="File of mode 0600 with such a secret, relative to the folder of node.toml; `init` writes one. It "
        "is for the administration (/admin/v1), and for the details of /readyz and /metrics. Neither: no token.",
    )
    require_token: bool = Field(
        default=False,
        description="Whether OICP needs the token too. It always does where host is not loopback, or with token.",
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Names by which our systems reach this listener, as in the Host header, besides localhost and "
        "literal addresses. Requests for any other name are refused: they are those of web pages.",
    )
    certificate: Path | None = Field(None, description="PEM file of its certificate and chain: it is https then.")
    key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    ca: Path | None = Field(
        None,
        description="PEM file of the CAs of our systems' client certificates: OICP needs such a certificate then, or "
        "the token; with require_token the token in any case.",
    )
    cpo_url: UrlField | None = Field(
        None,
        description="Base URL of our charging station management system; remote starts and stops are sent there. Over "
        "https, its certificate must be issued by a CA of this machine, or of the file in SSL_CERT_FILE. For more "
        "systems, credentials and pushes: [[backends]].",
    )
    emp_url: UrlField | None = Field(
        None,
        description="Base URL of our contract system; authorizations, notifications and CDRs are sent there. https: "
        "as for cpo_url.",
    )
    max_body: WholeNumber = Field(32 * _MEBIBYTE, ge=1024, description="Largest request body of our systems, in bytes.")

    @property
    def oicp_needs_token(self) -> bool:
        """Whether OICP needs the token (or a client certificate), and not only the administration."""
        is_token_for_all = self.token is not None and self.token_file is None
        return self.require_token or self.ca is not None or not self._is_loopback or is_token_for_all

    @property
    def accepts_certificates(self) -> bool:
        """Whether a client certificate does for OICP."""
        return self.ca is not None and not self.require_token

    @property
    def _is_loopback(self) -> bool:
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _check_tls(self) -> BackendApiSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError('expected both or none of certificate = "…" and key = "…"')
        if self.ca is not None and self.certificate is None:
            raise ValueError('ca is for https; expected certificate = "…" and key = "…" as well')
        if self.ca is not None and self.token is None and self.token_file is None:
            raise ValueError("ca: expected token_file or token as well, which the administration and the commands need")
        return self

    @model_validator(mode="after")
    def _require_token_unless_loopback(self) -> BackendApiSettings:
        if self.token is not None or self.token_file is not None:
            return self
        # Whoever reaches the backend API acts as this company towards all peers, without any further authentication.
        if not self._is_loopback:
            raise ValueError(
                f'host "{self.host}" is reachable by others, who could act as this company; expected a token as well'
            )
        if self.require_token:
            raise ValueError("require_token = true: expected token_file or token as well")
        return self


class SecuritySettings(SettingsSection):
    """Authentication of peers, and the keys of this node."""

    require: tuple[CredentialType, ...] = Field(
        ("signature",),
        description='Credentials that requests of peers must have: "signature", "mtls", both, or none (insecure).',
    )
    pin_rounds: WholeNumber = Field(
        10, ge=4, le=14, description="Cost of hashing a driver's PIN with bcrypt: 2 to this power; 10 takes 50 ms."
    )
    keys: Path = Field(
        Path("keys"), description="Folder of this node's key pairs, relative to the folder of node.toml."
    )


class TlsSettings(SettingsSection):
    """TLS of the peer API, and the client certificate of this node."""

    certificate: Path | None = Field(
        None, description="PEM file of this node's certificate; with it, the peer API uses TLS. Absent: plain HTTP."
    )
    key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    ca: Path | None = Field(
        None,
        description="PEM file of CAs (with their intermediates). They verify the certificates of peers' https URLs, in "
        "place of the machine's CAs (or those of SSL_CERT_FILE); and a client certificate issued by them is that of "
        "the peer whose party is its common name or an alternative name. Needs no certificate of our own.",
    )

    @model_validator(mode="after")
    def _require_certificate_with_key(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError('expected both or none of certificate = "…" and key = "…"')
        return self


class SessionSettings(SettingsSection):
    """Expiry of sessions."""

    authorize_ttl: Seconds = Field(
        86_400.0,  # a day
        gt=0,
        description="Seconds after which an authorized session expires if no further message follows.",
    )
    session_ttl: Seconds = Field(
        2_592_000.0,
        gt=0,
        description="Seconds after the last message after which an active session expires. A late CDR is accepted.",
    )
    clarify_interval: Seconds = Field(
        30.0,
        gt=0,
        description="Seconds between two requests to a CPO's node for the status of a remote start without a response.",
    )


class CdrSettings(SettingsSection):
    """Charge detail records."""

    implausible: Literal["report", "refuse"] = Field(
        "report",
        description="What becomes of a CDR or notification that the clock, the data of its EVSE, the products or its "
        "session speak against. report: it is taken, and answer, log and cdrs list --doubtful say why. refuse: 022.",
    )
    reconcile_interval: Seconds = Field(
        3600.0, ge=0, description="Seconds between two pulls of missing CDRs from our CPO peers; 0: never."
    )


class DiscoverySettings(SettingsSection):
    """Discovery of peers in the local network."""

    mdns: bool = Field(
        default=False, description="Announce this node in the local network by mDNS, and discover others there."
    )
    interfaces: tuple[str, ...] = Field(
        (),
        description="Addresses of this machine to use for mDNS; only nodes in their networks are called. Empty: all.",
    )
    auto_accept: bool = Field(
        default=False, description="Accept any discovered node as a peer; only with [security] require = [] (insecure)."
    )


class DashboardSettings(SettingsSection):
    """The pages for people, below /ui of the backend listener."""

    enabled: bool = Field(
        default=True, description="Serve the dashboard. Whoever opens it needs the token of the backend API."
    )
    read_only_token: SecretStr | None = Field(
        None,
        min_length=8,
        description="Secret with which a person may look at the dashboard, and change nothing. Better in the "
        "environment (P2P_OICP_DASHBOARD__READ_ONLY_TOKEN).",
    )
    map_tiles: Path | None = Field(
        None,
        description="PMTiles archive of pictures (PNG, JPEG, WebP) that the map shows below the EVSEs; without it, the "
        "outline of countries. Relative to the folder of node.toml.",
    )


class Settings(BaseSettings):
    """All settings of a node."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=ENVIRONMENT_DELIMITER,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    peers_file: Path = Field(Path("peers.toml"), description="The peers file, relative to the folder of node.toml.")
    node: NodeSettings = Field(description="The table [node] with a name, and operators or providers.")
    peer_api: PeerApiSettings = Field(default_factory=PeerApiSettings)
    backend_api: BackendApiSettings = Field(default_factory=BackendApiSettings)
    backends: BackendsField = Field((), description="One table for each of this company's own systems.")
    webhooks: WebhooksField = Field((), description="One table for each receiver of events.")
    ocpi: OcpiSettings | None = Field(None, description="The table of the listener for OCPI.")
    security: SecuritySettings = Field(default_factory=SecuritySettings)
    tls: TlsSettings = Field(default_factory=TlsSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    deadlines: DeadlineSettings = Field(default_factory=DeadlineSettings)
    sessions: SessionSettings = Field(default_factory=SessionSettings)
    cdr: CdrSettings = Field(default_factory=CdrSettings)
    discovery: DiscoverySettings = Field(default_factory=DiscoverySettings)
    dashboard: DashboardSettings = Field(default_factory=DashboardSettings)
    exchanges: ExchangeSettings = Field(default_factory=ExchangeSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    _sources: Mapping[tuple[str, str], SettingSource] = PrivateAttr(default_factory=dict)

    def with_sources(self, sources: Mapping[tuple[str, str], SettingSource]) -> Settings:
        """Set where tables and keys come from, and return the settings."""
        self._sources = sources
        return self

    @property
    def sources(self) -> Mapping[tuple[str, str], SettingSource]:
        """By table ("": none) and key, where it comes from; empty where a program has made the settings."""
        return self._sources

    def all_backends(self) -> list[BackendSettings]:
        """Return the tables ``[[backends]]``, and what the short form and the built-in backends add to them."""
        return effective_backends(self.backends, self._own_parties())

    def backend_conflicts(self) -> list[BackendConflict]:
        """Return what is wrong with the tables ``[[backends]]``, seen together."""
        return list(backend_conflicts(self.backends, self._own_parties()))

    @property
    def ocpi_partners(self) -> tuple[OcpiPartnerSettings, ...]:
        """The tables ``[[ocpi.partners]]``."""
        return self.ocpi.partners if self.ocpi is not None else ()

    def ocpi_conflicts(self) -> list[PartnerConflict]:
        """Return what is wrong with the tables ``[[ocpi.partners]]``, seen together with the rest."""
        node = self.node
        return list(partner_conflicts(self.ocpi_partners, self.backends, node.operators, node.providers))

    def ocpi_parties(self) -> dict[str, frozenset[str]]:
        """Return by role (``cpo``, ``emp``) the keys of our parties that an OCPI partner serves."""
        return parties_by_role(self.ocpi_partners)

    def _own_parties(self) -> OwnParties:
        api = self.backend_api
        return OwnParties(self.node.operators, self.node.providers, api.cpo_url, api.emp_url, self.ocpi_parties())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The first source wins: the environment over the file, which is passed as keyword arguments. No .env files.
        del env_settings, dotenv_settings, file_secret_settings
        return EnvironmentSource(settings_cls), init_settings

    @model_validator(mode="after")
    def _require_distinct_listeners(self) -> Settings:
        listeners = {"peer_api": self.peer_api, "backend_api": self.backend_api, "ocpi": self.ocpi}
        names: dict[tuple[str, int], str] = {}
        for name, listener in listeners.items():
            # Port 0 is any free port: two of them differ.
            if listener is None or listener.port == 0:
                continue
            other = names.setdefault((listener.host, listener.port), name)
            if other != name:
                raise ValueError(f"[{other}] and [{name}] both have port {listener.port}; expected two different ports")
        return self
