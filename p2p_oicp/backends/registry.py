"""The backends of this node, and which of them serves a party (DESIGN section 5, "Backends").

`build_registry` makes them at start, from the tables ``[[backends]]``, the short form and the Python objects; what
serves the rest is built in (`config.backends`). A party has one backend. What names no party goes to the backend that
serves all others, or else to the first one of the role.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ssl import SSLContext
from typing import Protocol, TypeVar

from p2p_oicp.backends.client import (
    PUSH_METHODS,
    Backend,
    CallOutcome,
    DatasetReceiver,
    HttpBackend,
    LimitedBackend,
    PythonBackend,
    UnsupportedBackend,
    ignore_outcome,
)
from p2p_oicp.client import HttpTransport, OicpClient
from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.config import Settings
from p2p_oicp.config.backends import BackendSettings, destination_of
from p2p_oicp.config.ocpi import OcpiPartnerSettings, ocpi_destination
from p2p_oicp.crypto import BearerToken, MessageSigner, OwnBackendSigner, RequestSigner
from p2p_oicp.crypto.tls import own_backend_context
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import Identification, OperatorID, ProviderID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation, Party
from p2p_oicp.peers import Peer

# As many requests of drivers as another backend gets at a time.
_OCPI_CONCURRENT = 64
_NOBODY = Peer("", "", is_self=True)

PartyT = TypeVar("PartyT", OperatorID, ProviderID)


@dataclass(frozen=True, slots=True)
class OwnBackend:
    """One of our own systems.

    Attributes:
        name: its name for people.
        backend: calls it.
        parties: this node's own entry, with the parties that it serves only.
        roles: ``cpo``, ``emp`` or both.
        serves_others: the roles of which it serves all parties that no other backend lists.
        remote_timeout: seconds after which its answer to a remote operation is late.
        receiver: what pushes are sent to, if it is told of changes.
        pushes: the names of the push operations that it gets.
        url: its base URL, where it is called over HTTP.
        tls: the context for ``https``; None: that of the machine.
        is_ocpi: it is an OCPI partner, by way of the gateway.
    """

    name: str
    backend: Backend = field(repr=False)
    parties: Peer = field(repr=False)
    roles: frozenset[str]
    serves_others: frozenset[str] = frozenset()
    remote_timeout: float = 60.0
    receiver: DatasetReceiver | None = field(default=None, repr=False)
    pushes: tuple[str, ...] = ()
    url: str | None = None
    tls: SSLContext | None = field(default=None, repr=False)
    is_ocpi: bool = False

    @property
    def destination(self) -> str:
        """The destination of its messages, and its name in errors."""
        return ocpi_destination(self.name) if self.is_ocpi else destination_of(self.name)

    @property
    def is_built_in(self) -> bool:
        """Whether nothing is configured for its parties: the node's token list answers for them, or nobody."""
        return self.receiver is None and not self.is_ocpi


class BackendRegistry:
    """Which backend serves which party.

    Attributes:
        all: all backends, in the order of the file.
        cpo: the backends of our operators, in the order of the file; at least one if there are operators.
        emp: those of our providers.
        destinations: the destination of messages for each provider, by its key.
        default_destination: that of messages for no certain provider; empty if there are none.
    """

    def __init__(self, backends: Sequence[OwnBackend]) -> None:
        self.replace(backends)

    def replace(self, backends: Sequence[OwnBackend]) -> None:
        """Replace all backends: a clearing house gets more of them as it runs."""
        self.all = tuple(backends)
        self.cpo = tuple(each for each in backends if "cpo" in each.roles)
        self.emp = tuple(each for each in backends if "emp" in each.roles)
        self._by_operator = {party.key: each for each in self.cpo for party in each.parties.operators}
        self._by_provider = {party.key: each for each in self.emp for party in each.parties.providers}
        self._default_cpo, self._default_emp = _default(self.cpo, "cpo"), _default(self.emp, "emp")
        # For those that look it up in a transaction, for each message.
        self.destinations = {key: each.destination for key, each in self._by_provider.items()}
        self.default_destination = self._default_emp.destination if self._default_emp else ""

    def __repr__(self) -> str:
        return f"<BackendRegistry cpo={[each.name for each in self.cpo]} emp={[each.name for each in self.emp]}>"

    def for_operator(self, operator: OperatorID | None) -> OwnBackend:
        """Return the backend of one of our operators."""
        found = self._by_operator.get(operator.key) if operator is not None else None
        return found or _required(self._default_cpo)

    def for_provider(self, provider_key: str) -> OwnBackend:
        """Return the backend of one of our providers, by its key."""
        return self._by_provider.get(provider_key) or _required(self._default_emp)

    def name_for(self, operation: Operation, party: str | None) -> str:
        """Return the name of the backend that sends an operation, by its party; empty if there is none."""
        if operation.sender is Party.CPO:
            found = self._by_operator.get(OperatorID(party).key) if party else None
            found = found or self._default_cpo
        else:
            found = self._by_provider.get(ProviderID(party).key) if party else None
            found = found or self._default_emp
        return "" if found is None else found.name

    def for_identification(self, identification: Identification) -> Sequence[OwnBackend]:
        """Return the backend of the provider that an identification names; all, if it names none of ours."""
        if len(self.emp) > 1 and (provider := identification.provider) is not None:
            found = self._by_provider.get(provider.key)
            return self.emp if found is None else (found,)
        return self.emp


def _default(backends: Sequence[OwnBackend], role: str) -> OwnBackend | None:
    for_others = (each for each in backends if role in each.serves_others)
    return next(for_others, backends[0] if backends else None)


def _required(backend: OwnBackend | None) -> OwnBackend:
    if backend is None:
        raise RuntimeError("a backend of a role that this node does not have")
    return backend


class GatewayBackend(Backend, DatasetReceiver, Protocol):
    """A backend that speaks another protocol."""

    @property
    def pushes(self) -> tuple[str, ...]:
        """Return the names of the push operations that it gets."""


@dataclass(frozen=True, slots=True)
class BackendFactory:
    """Makes the backends of a node.

    Attributes:
        transport: sends requests over HTTP.
        signer: has this node's keys, for backends that want signatures.
        ids: makes a Process-ID where none is given.
        clock: tells the time.
        token_list: the built-in EMP backend.
        observe: learns what became of each call.
        ocpi: returns the backend that an OCPI partner is; None: it offers nothing.
    """

    transport: HttpTransport
    signer: MessageSigner
    ids: IdGenerator
    clock: Clock
    token_list: Callable[[], Backend]
    observe: CallOutcome = ignore_outcome
    ocpi: Callable[[OcpiPartnerSettings], GatewayBackend | None] | None = None

    def build_registry(
        self, settings: Settings, local_peer: Peer, python_backends: Mapping[str, object]
    ) -> BackendRegistry:
        """Return all backends; Python objects have precedence over URLs.

        Raises ConfigurationError for mistakes in the tables, files that cannot be used, and objects that serve nobody.
        """
        for conflict in settings.backend_conflicts():
            name = settings.backends[conflict.index].name
            raise ConfigurationError(f'[[backends]] "{name}" {conflict.key}: {conflict.message}')
        own, backends = _without_ocpi(settings, local_peer), settings.all_backends()
        names = [each.name for each in backends]
        for name in python_backends:
            if name not in names:
                known = ", ".join(f'"{each}"' for each in names)
                raise ConfigurationError(f'the Python backend "{name}" serves no party of this node; expected {known}')
        targets = [python_backends.get(each.name) for each in backends]
        return BackendRegistry(
            [
                *(
                    replace(self.create(each, target, settings), parties=_parties_of(each, backends, own))
                    for each, target in zip(backends, targets, strict=True)
                ),
                *(self._ocpi_backend(partner, local_peer, settings) for partner in settings.ocpi_partners),
            ]
        )

    def _ocpi_backend(self, partner: OcpiPartnerSettings, own: Peer, settings: Settings) -> OwnBackend:
        keys, is_cpo = {OperatorID(text).key for text in partner.parties}, partner.face == "cpo"
        parties = replace(
            own,
            operators=tuple(party for party in own.operators if is_cpo and party.key in keys),
            providers=tuple(party for party in own.providers if not is_cpo and party.key in keys),
        )
        roles, gateway = frozenset({"cpo" if is_cpo else "emp"}), self.ocpi(partner) if self.ocpi else None
        if gateway is None:
            return OwnBackend(partner.name, UnsupportedBackend(), parties, roles, is_ocpi=True)
        remote_timeout = settings.deadlines.remote_backend
        limited = LimitedBackend(
            partner.destination,
            gateway,
            concurrent=_OCPI_CONCURRENT,
            remote_timeout=remote_timeout,
            observe=self.observe,
        )
        return OwnBackend(
            *(partner.name, limited, parties, roles, frozenset(), remote_timeout, gateway, gateway.pushes), is_ocpi=True
        )

    def create(self, entry: BackendSettings, target: object | None, settings: Settings) -> OwnBackend:
        """Return a backend; its parties are still to be set."""
        name = destination_of(entry.name)
        roles = frozenset(role for role in ("cpo", "emp") if entry.serves_role(role))
        others = frozenset(role for role in roles if not entry.parties(role))
        if target is None and entry.url is None:
            if entry in settings.backends:
                info = f'expected url = "…", or a Python object: Node(backends={{"{entry.name}": …}})'
                raise ConfigurationError(f'[[backends]] "{entry.name}": {info}')
            built_in = UnsupportedBackend() if entry.role == "cpo" else self.token_list()
            return OwnBackend(entry.name, built_in, _NOBODY, roles, others)
        receiver: PythonBackend | HttpBackend
        tls: SSLContext | None = None
        if target is not None:
            receiver = PythonBackend(name, target)
            pushes = _pushes_to(receiver, entry)
        else:
            tls = _tls_context(entry)
            receiver = self._http_backend(name, entry, tls)
            pushes = tuple(f"Push{dataset}" for dataset in entry.push)
        remote_timeout = min(entry.remote_timeout or math.inf, settings.deadlines.remote_backend)
        limited = LimitedBackend(
            name,
            receiver,
            concurrent=entry.concurrent,
            authorize_timeout=entry.authorize_timeout,
            remote_timeout=remote_timeout,
            record_timeout=entry.record_timeout,
            observe=self.observe,
        )
        url = entry.url if target is None else None
        return OwnBackend(entry.name, limited, _NOBODY, roles, others, remote_timeout, receiver, pushes, url, tls)

    def _http_backend(self, name: str, entry: BackendSettings, tls: SSLContext | None) -> HttpBackend:
        credentials = self._credentials(entry)
        client = OicpClient(self.transport, ids=self.ids, clock=self.clock, credentials=credentials, tls=tls)
        return HttpBackend(name, entry.url or "", client, entry.path, entry.own_paths)

    def _credentials(self, entry: BackendSettings) -> RequestSigner | None:
        token = BearerToken(entry.token.get_secret_value()) if entry.token is not None else None
        return OwnBackendSigner(self.signer, token) if entry.signature else token


def _without_ocpi(settings: Settings, own: Peer) -> Peer:
    """Return our own entry without what OCPI partners serve, which no backend for "all others" does."""
    taken = settings.ocpi_parties()
    return replace(
        own,
        operators=tuple(party for party in own.operators if party.key not in taken["cpo"]),
        providers=tuple(party for party in own.providers if party.key not in taken["emp"]),
    )


def _tls_context(entry: BackendSettings) -> SSLContext | None:
    if not (entry.certificate or entry.ca or entry.server_certificates):
        return None
    key_pair = (entry.certificate, entry.key) if entry.certificate and entry.key else None
    try:
        return own_backend_context(entry.server_certificates, entry.ca, key_pair)
    except ConfigurationError as error:
        raise ConfigurationError(f'{entry.table} "{entry.name}": {error}') from error


def _pushes_to(backend: PythonBackend, entry: BackendSettings) -> tuple[str, ...]:
    """Return the pushes that an object has methods for; raise ConfigurationError if one in ``push`` has none."""
    offered = tuple(backend.pushes())
    for dataset in entry.push:
        if f"Push{dataset}" not in offered:
            method = PUSH_METHODS[f"Push{dataset}"]
            raise ConfigurationError(f'[[backends]] "{entry.name}" push: the Python object has no method {method}')
    return tuple(name for name in offered if entry.serves_role(OPERATION_BY_NAME[name].server.lower()))


def _parties_of(entry: BackendSettings, all_entries: Sequence[BackendSettings], own: Peer) -> Peer:
    operators = _served(entry, "cpo", entry.operators, own.operators, all_entries)
    providers = _served(entry, "emp", entry.providers, own.providers, all_entries)
    return replace(own, operators=operators, providers=providers)


def _served(
    entry: BackendSettings,
    role: str,
    listed: Sequence[PartyT],
    ours: Sequence[PartyT],
    all_entries: Sequence[BackendSettings],
) -> tuple[PartyT, ...]:
    """Return the parties of a role that a backend serves: those that it lists, or those that no backend lists."""
    if listed or not entry.serves_role(role):
        return tuple(listed)
    taken = {party.key for each in all_entries if each.serves_role(role) for party in each.parties(role)}
    return tuple(party for party in ours if party.key not in taken)
