"""The partners of a hub: companies that roam through it, learned from who speaks, and told by files or over HTTP.

All of them are parties of one node, and each has a backend (DESIGN section 5). What is sent in the name of one is
judged by its own parties alone (`PartnerAuthenticator`). A partner that has told no URL is asked nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import structlog

from p2p_oicp.backends import Backend, BackendFactory, BackendRegistry, OwnBackend
from p2p_oicp.builder import NodeComponents
from p2p_oicp.concurrency import TaskSupervisor
from p2p_oicp.config import Settings
from p2p_oicp.config.hub import PartnerSettings, check_distinct, parse_partner, stored_members
from p2p_oicp.errors import ConfigurationError, PeerRejected, Refusal
from p2p_oicp.hub.script import scripted_answer, scripted_provider
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    Identification,
    Message,
    OperatorID,
    StatusCode,
    StatusCodeValue,
)
from p2p_oicp.oicp.operations import Operation, Party
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.models import PartyID
from p2p_oicp.roles.peer_workers import workers_for_backend
from p2p_oicp.server.authentication import Principal
from p2p_oicp.server.inbound import InboundRequest

log = structlog.get_logger(__name__)

_AUTHORIZATIONS = frozenset({AuthorizationStart, AuthorizationStop})
_HOW_TO_SET_URL = "its base URL is set by POST /hub/v1/partners, or in hub.toml"


class PartnerBackend:
    """The system of a partner; the script may answer in its place.

    Args:
        parties: the partner.
        backend: calls it; None: it has told no URL.
    """

    def __init__(self, parties: Peer, backend: Backend | None) -> None:
        self._parties = parties
        self._backend = backend

    def supports(self, operation: Operation) -> bool:
        return self._backend is None or self._backend.supports(operation)

    async def call(
        self, operation: Operation, message: Message, *, sender: str | None = None, deadline: float | None = None
    ) -> Message:
        """See `Backend.call`."""
        if (answer := scripted_answer(operation, message, self._parties)) is not None:
            return answer
        if self._backend is not None:
            return await self._backend.call(operation, message, sender=sender, deadline=deadline)
        return self._answer_without_url(operation, message)

    def _answer_without_url(self, operation: Operation, message: Message) -> Message:
        """Refuse what a partner without a URL would have to decide; what it is only told, it can pull."""
        session_id = getattr(message, "session_id", None)
        info = f"{self._parties.name} cannot be asked: {_HOW_TO_SET_URL}"
        if operation.response in _AUTHORIZATIONS:
            status = StatusCode.of(StatusCodeValue.NO_POSITIVE_AUTHENTICATION, info)
            return operation.response(authorization_status=AuthorizationStatus.NOT_AUTHORIZED, status_code=status)
        if operation.sender is Party.CPO:
            success = StatusCode.of(StatusCodeValue.SUCCESS)
            return Acknowledgement(result=True, status_code=success, session_id=session_id)
        code = StatusCodeValue.SERVICE_NOT_AVAILABLE
        raise PeerRejected(self._parties.name, f"cannot be asked: {_HOW_TO_SET_URL}", http_status=200, code=code)


class PartnerBackends(BackendRegistry):
    """The backends of all partners."""

    def for_identification(self, identification: Identification) -> Sequence[OwnBackend]:
        """Ask those that have told a URL, or the one in whose name the script authorizes."""
        if (scripted := scripted_provider()) is not None:
            return (self.for_provider(scripted.key),)
        candidates = super().for_identification(identification)
        return [each for each in candidates if each.url is not None] or candidates[:1]


class PartnerDirectory:
    """Knows the partners, and adds new ones.

    Args:
        registry: of the node; its own entry has the parties of all partners.
        settings: of the node.
        learns: whether a company that speaks becomes a partner.
        file: where partners that are added are kept; None: nowhere.
    """

    def __init__(self, registry: PeerRegistry, settings: Settings, *, learns: bool, file: Path | None = None) -> None:
        self._registry = registry
        self._settings = settings
        self._learns = learns
        self._file = file
        self._configured: frozenset[str] = frozenset()
        self._entries: dict[str, PartnerSettings] = {}
        self._peers: dict[str, Peer] = {}
        self._factory: BackendFactory | None = None
        self._backends = PartnerBackends(())
        self._running: tuple[NodeComponents, TaskSupervisor] | None = None
        self._workers: dict[str, list[str]] = {}

    def __repr__(self) -> str:
        return f"<PartnerDirectory partners={len(self._entries)}>"

    def load(self, configured: Iterable[PartnerSettings]) -> None:
        """Take over the partners of hub.toml, and those that were added in an earlier run."""
        for entry in configured:
            self._put(entry)
        self._configured = frozenset(self._entries)
        for entry in self._read_file():
            if not any(party.key in self._peers for party in entry.all_parties):
                self._put(entry)
        self._apply()

    def _read_file(self) -> list[PartnerSettings]:
        if self._file is None or not self._file.exists():
            return []
        try:
            return [parse_partner(members) for members in orjson.loads(self._file.read_bytes())]
        except (OSError, orjson.JSONDecodeError, ConfigurationError) as error:
            raise ConfigurationError(
                f"{self._file}: the partners of an earlier run cannot be read: {error}; delete the file"
            ) from error

    def create_backends(self, factory: BackendFactory) -> BackendRegistry:
        """Return the backends of all partners, to which those of new ones are added."""
        self._factory = factory
        self._backends.replace([self._create_backend(entry, _peer_of(entry)) for entry in self._entries.values()])
        return self._backends

    def start(self, components: NodeComponents, supervisor: TaskSupervisor) -> None:
        """Start the workers that deliver to the partners, and from now on those of new ones."""
        self._running = (components, supervisor)
        for own in self._backends.all:
            self._start_workers(own)

    def find(self, party: PartyID) -> Peer:
        """Return the partner that a party belongs to; one that speaks for the first time becomes a partner.

        Raises Refusal 300 for an id that is none, and for a stranger where nobody is learned.
        """
        if (peer := self._peers.get(party.key)) is not None and peer.handles_party(party):
            return peer
        if not self._learns or not party.is_valid:
            reason = "is no partner of this hub" if party.is_valid else "is no valid id"
            raise Refusal(StatusCodeValue.PARTNER_NOT_FOUND, f"{party} {reason}")
        key = "operators" if isinstance(party, OperatorID) else "providers"
        entry = self.put(parse_partner({key: [party.text]}))
        log.info("hub.partner_learned", partner=entry.name)
        return self._peers[party.key]

    def put(self, entry: PartnerSettings) -> PartnerSettings:
        """Add a partner, or change the one that has these parties; raises ConfigurationError.

        It keeps its name and its other parties: what waits for it is under its name.
        """
        owners = {self._peers[party.key].name for party in entry.all_parties if party.key in self._peers}
        if len(owners) > 1:
            raise ConfigurationError(f"these parties are of several partners: {', '.join(sorted(owners))}")
        before = self._entries[owners.pop()] if owners else None
        if before is not None:
            entry = _merged(before, entry)
        try:
            check_distinct([*(each for each in self._entries.values() if each is not before), entry])
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        # Order: the backend first. A certificate that cannot be used refuses the partner, and nothing has changed.
        own = self._create_backend(entry, _peer_of(entry))
        self._put(entry)
        self._apply()
        self._replace_backend(own)
        self._write_file()
        return entry

    def _write_file(self) -> None:
        """Write the partners that hub.toml does not have; for its owner only, since it has their tokens."""
        if self._file is None:
            return
        added = [entry for name, entry in self._entries.items() if name not in self._configured]
        partial = self._file.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_bytes(orjson.dumps([stored_members(entry) for entry in added]))
        partial.replace(self._file)

    def to_json(self) -> list[dict[str, Any]]:
        """Return all partners, with their names, parties and URLs."""
        return [
            {
                "name": entry.name,
                "operators": [party.text for party in entry.operators],
                "providers": [party.text for party in entry.providers],
                "url": entry.url,
                "path": entry.path,
                "push": list(entry.push),
            }
            for entry in self._entries.values()
        ]

    def _put(self, entry: PartnerSettings) -> None:
        self._entries[entry.name] = entry
        self._peers |= dict.fromkeys((party.key for party in entry.all_parties), _peer_of(entry))

    def _apply(self) -> None:
        """Let the node answer for the parties of all partners."""
        entries = self._entries.values()
        operators = tuple(party for entry in entries for party in entry.operators)
        providers = tuple(party for entry in entries for party in entry.providers)
        self._registry.replace_own(replace(self._registry.own, operators=operators, providers=providers))

    def _create_backend(self, entry: PartnerSettings, parties: Peer) -> OwnBackend:
        if entry.url is None or self._factory is None:
            roles = frozenset(role for role in ("cpo", "emp") if entry.serves_role(role))
            return OwnBackend(entry.name, PartnerBackend(parties, None), parties, roles)
        own = self._factory.create(entry, None, self._settings)
        return replace(own, backend=PartnerBackend(parties, own.backend), parties=parties)

    def _replace_backend(self, own: OwnBackend) -> None:
        if self._factory is None:
            return
        others = [each for each in self._backends.all if each.name != own.name]
        self._backends.replace([*others, own])
        self._stop_workers(own)
        self._start_workers(own)

    def _start_workers(self, own: OwnBackend) -> None:
        if self._running is None:
            return
        components, supervisor = self._running
        if components.emp is None:
            raise RuntimeError("a hub has both roles")
        backoff, verdicts = components.environment.backoff, components.emp.pending_verdicts
        workers = list(workers_for_backend(own, verdicts, components.services, backoff))
        for name, worker in workers:
            supervisor.start_service(name, worker.run)
        self._workers[own.name] = [name for name, _ in workers]

    def _stop_workers(self, own: OwnBackend) -> None:
        if self._running is None:
            return
        components, supervisor = self._running
        for name in self._workers.pop(own.name, ()):
            supervisor.stop(name)
        components.services.wakeups.unregister(own.destination)


def _peer_of(entry: PartnerSettings) -> Peer:
    return Peer(entry.name, "", operators=entry.operators, providers=entry.providers, is_self=True)


def _merged(before: PartnerSettings, entry: PartnerSettings) -> PartnerSettings:
    """Return a partner with what is new of it; its name and its parties stay."""
    members: dict[str, Any] = {name: getattr(before, name) for name in before.model_fields_set}
    members |= {name: getattr(entry, name) for name in entry.model_fields_set - {"name", "role"}}
    for key in ("operators", "providers"):
        parties = {party.key: party.text for party in (*getattr(before, key), *getattr(entry, key))}
        members[key] = list(parties.values())
    members.pop("role", None)
    return parse_partner({**members, "name": before.name})


class PartnerAuthenticator:
    """For the listener of a hub: whoever speaks is the partner that it names; see `server.Authenticator`."""

    def __init__(self, partners: PartnerDirectory) -> None:
        self._partners = partners

    async def authenticate(self, request: InboundRequest, claimed_party: PartyID | None) -> Principal:  # noqa: ARG002
        # A notification names its sender in its body, by OperatorID or EvseID: `authorize_party` finds it.
        peer = None if claimed_party is None else self._partners.find(claimed_party)
        return Principal(peer, is_authenticated=True)

    def authorize(self, principal: Principal, claimed_party: PartyID | None, request: InboundRequest) -> None:
        """Accept everyone: the claimed party is who speaks."""

    def verify_body(self, principal: Principal, request: InboundRequest, body: bytes) -> None:
        """Accept any body."""

    def refusal_delay(self, request: InboundRequest) -> float:  # noqa: ARG002
        return 0.0

    def authorize_party(self, principal: Principal, party: PartyID, request: InboundRequest) -> Peer:  # noqa: ARG002
        return self._partners.find(party)

    def is_authorized_for(self, peer: Peer, party: PartyID) -> bool:
        return peer.handles_party(party)
