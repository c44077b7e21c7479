"""One OICP operation, from a decoded body to a response: read the message, check its sender, call the role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from functools import lru_cache, partial
from http import HTTPStatus
from itertools import islice

import structlog
from msgspec.structs import replace

from p2p_oicp.client import RECIPIENT_HEADER
from p2p_oicp.clock import Clock
from p2p_oicp.delivery import PeerLiveness
from p2p_oicp.errors import Refusal, StoreError, Unauthorized
from p2p_oicp.oicp import (
    Finding,
    InvalidMessage,
    Message,
    OperatorID,
    ProviderID,
    Severity,
    StatusCodeValue,
    read,
    read_records,
)
from p2p_oicp.oicp.intake import rewritten
from p2p_oicp.oicp.operations import OPERATIONS, Operation, Party, Route, find, party_at
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.models import PartyID
from p2p_oicp.roles import CpoRole, EmpRole, OperationRequest, OperationResponse
from p2p_oicp.roles.context import OperationHandler, TransactionalSigner
from p2p_oicp.roles.responses import NO_IDS, SessionIds, refusal_response
from p2p_oicp.server.authentication import Authenticator, Principal, format_parties
from p2p_oicp.server.inbound import InboundRequest
from p2p_oicp.server.limits import PeerLimiter
from p2p_oicp.server.metrics import RequestObservers
from p2p_oicp.server.problems import (
    OVERLOAD_STATUSES,
    HttpError,
    as_refusal,
    store_unavailable,
    validation_error_response,
)
from p2p_oicp.storage.event_log import Event, EventType
from p2p_oicp.storage.limited_events import LimitedEventLog

log = structlog.get_logger(__name__)

_MAX_FINDINGS_IN_EVENT = 3


class ListenerKind(Enum):
    """Which listener a request came in at."""

    PEER = auto()
    BACKEND = auto()


class OperationDispatcher:
    """Serves the OICP operations of one listener, once the roles are registered.

    Args:
        listener_kind: which role serves an operation: at the peer API the one of its recipient, at the backend API
            the one of its sender, which acts for our backend as the clearing house would.
        registry: has this node's own entry.
        authenticator: decides for which parties of a body a sender may act.
        liveness: told of each authenticated request of a peer that is in backoff.
        observers: count operations, results and seconds, and what is refused before it is processed.
        limiter: bounds the concurrency of a peer.
        events: learns what is refused, and what was found in messages.
        clock: measures how long requests take.
    """

    def __init__(
        self,
        listener_kind: ListenerKind,
        *,
        registry: PeerRegistry,
        authenticator: Authenticator,
        liveness: PeerLiveness,
        observers: RequestObservers,
        limiter: PeerLimiter,
        events: LimitedEventLog,
        clock: Clock,
    ) -> None:
        self.clock = clock
        self._registry = registry
        self._listener_kind = listener_kind
        self._authenticator = authenticator
        self._liveness = liveness
        self._observe_request, self.observe_rejection = observers
        self._limiter = limiter
        self._events = events
        self._handlers: dict[str, OperationHandler] = {}
        # Partners send the same few values; comparing identifiers costs some microseconds.
        self._is_recipient = lru_cache(maxsize=256)(partial(_is_recipient, registry.own))

    def __repr__(self) -> str:
        return f"<OperationDispatcher {self._listener_kind.name.lower()} operations={len(self._handlers)}>"

    def register(self, cpo: CpoRole | None, emp: EmpRole | None) -> None:
        """Serve the operations of these roles; None where this node has none."""
        self._handlers.update(_handlers_by_operation(self._listener_kind, cpo, emp))

    def find_route(self, path: str) -> Route:
        """Return what ``path`` below ``/api/oicp/`` stands for; raise HttpError 404 where it is no path of OICP."""
        route = find(path)
        if route is None:
            raise HttpError(404, StatusCodeValue.SERVICE_NOT_AVAILABLE, f"/api/oicp/{path} is not a path of OICP 2.3")
        return route

    def check_recipient(self, headers: Mapping[str, str]) -> None:
        """Raise HttpError 421 where the request is meant for another node, whose address this node has now.

        Its sender must not count the message as delivered.
        """
        recipient = headers.get(RECIPIENT_HEADER)
        if recipient and self._listener_kind is ListenerKind.PEER and not self._is_recipient(recipient):
            info = f"this node answers for {format_parties(self._registry.own)}, not for {recipient}"
            raise HttpError(421, StatusCodeValue.PARTNER_NOT_FOUND, info)

    async def execute(
        self,
        operation: Operation,
        party: str | None,
        principal: Principal,
        request: InboundRequest,
        body: bytes,
        *,
        sign_in_transaction: TransactionalSigner | None = None,
    ) -> OperationResponse:
        """Serve one operation.

        Args:
            operation: what is asked for.
            party: the sender's id in the path.
            principal: the sender, authenticated and authorized for that party.
            request: the head.
            body: the message, as UTF-8.
            sign_in_transaction: for the role; None where the response is not recorded.
        """
        message, peer = None, principal.peer
        try:
            # Order: that of RULES L25.
            operation_request = _read(operation, party, peer, request, body, sign_in_transaction)
            message = operation_request.message
            operation_request = self._identify_sender(operation_request, principal, request)
            if operation_request.warnings:
                self._add_finding(operation_request)
            handler = self._handler_for(operation)
            self._check_id(operation_request)
            if (peer := operation_request.peer) is not None:
                _check_contract(peer, operation)
            return await self._invoke(handler, operation_request)
        except (InvalidMessage, Refusal) as error:
            return self.refuse(operation, error, peer, SessionIds.from_message(message))
        except StoreError as error:
            raise store_unavailable(error, operation=operation.name) from error

    async def execute_in_process(
        self, operation: Operation, party: str | None, request: InboundRequest, body: bytes
    ) -> OperationResponse:
        """Serve a request of this very process: our own company is its sender, and nothing has to be proved."""
        started, outcome = self.clock.monotonic(), None
        principal = Principal(self._registry.own, is_authenticated=True)
        try:
            if self._listener_kind is ListenerKind.BACKEND:
                self._authenticator.authorize(principal, claimed_party(operation, party), request)
            outcome = await self.execute(operation, party, principal, request, body)
        except Refusal as error:
            outcome = self.refuse(operation, error, principal.peer)
        finally:
            self.observe(operation, started, outcome)
        return outcome

    def refuse(
        self, operation: Operation, error: InvalidMessage | Refusal, peer: Peer | None, ids: SessionIds | None = None
    ) -> OperationResponse:
        """Return the response to a message that is refused, in the form that its operation and its sender read."""
        name = peer.name if peer else None
        self.record_refusal(operation.name, error, peer)
        if isinstance(error, InvalidMessage):
            log.info("oicp.invalid", operation=operation.name, peer=name, reason=str(error))
            refusal = as_refusal(error)
            if refusal is None:
                return validation_error_response(error, as_wwcp=peer is not None and peer.traits.answers_200)
        else:
            refusal = error
            log.info("oicp.refused", operation=operation.name, peer=name, code=refusal.code, reason=refusal.info)
        return refusal_response(operation, refusal, ids or NO_IDS)

    def observe(self, operation: Operation, started: float, outcome: OperationResponse | Exception | None) -> None:
        """Count one request: by its response, or by the exception that is answered in its place.

        Args:
            operation: what was asked for.
            started: monotonic time at the request's head.
            outcome: None where it was cancelled.
        """
        if isinstance(outcome, HttpError):
            self.record_refusal(operation.name, outcome, None)
        self._observe_request(operation.name, _result_label(outcome), self.clock.monotonic() - started)

    def record_refusal(self, what: str, error: Exception, peer: Peer | None) -> None:
        """Add an event of a request that is refused; overload is counted, and no event.

        Args:
            what: the name of the operation, or the path of another request.
            error: why it is refused; what is no refusal is left out.
            peer: the sender, if that is known.
        """
        match error:
            case InvalidMessage():
                # Not the texts, which repeat what was sent.
                code, text = "invalid", _finding_codes(error.findings)
            case HttpError() if error.http_status not in OVERLOAD_STATUSES:
                code, text = error.code, error.info
            case Refusal():
                code, text = error.code, error.info or ""
            case _:
                return
        peer_id = "" if peer is None else peer.id
        self._events.add(Event(EventType.REFUSAL, str(code), self.clock.time(), what, peer=peer_id, text=text))

    def _add_finding(self, request: OperationRequest[Message]) -> None:
        peer, text = request.peer, _finding_codes(request.warnings)
        peer_id = "" if peer is None else peer.id
        now, operation = self.clock.time(), request.operation.name
        self._events.add(Event(EventType.FINDING, "warning", now, operation, peer=peer_id, text=text))

    def _handler_for(self, operation: Operation) -> OperationHandler:
        handler = self._handlers.get(operation.name)
        if handler is None:
            raise Refusal(StatusCodeValue.SERVICE_NOT_AVAILABLE, f"{operation.name} is not offered by this node")
        return handler

    async def _invoke(self, handler: OperationHandler, request: OperationRequest[Message]) -> OperationResponse:
        if self._listener_kind is ListenerKind.BACKEND:
            return await handler(request)
        peer = request.peer
        # An authenticated request shows that the peer is up: what waits for it in backoff is sent now. Asked first, for
        # nearly always nothing waits, and the answer costs no await.
        if peer is not None and self._liveness.has_backoff(peer.id):
            await self._liveness.mark_alive(peer.id)
        self._limiter.acquire(peer)
        try:
            return await handler(request)
        finally:
            self._limiter.release(peer)

    def _identify_sender(
        self, request: OperationRequest[Message], principal: Principal, http_request: InboundRequest
    ) -> OperationRequest[Message]:
        """Compare the sender in the body with the path (CPO-01, Security); without one in the path, find the sender."""
        party = party_at(request.operation.sender_path, request.message)
        if request.sender_id is None:
            # An EvseID names the sender only where nothing else does (RULES L19).
            if party is None and principal.peer is None:
                party = party_at(request.operation.id_path, request.message)
            if party is not None:
                return replace(request, peer=self._authenticator.authorize_party(principal, party, http_request))
        # As text first: parsing an identifier costs some microseconds, and partners spell their own id in one way.
        elif party is not None and party.text != request.sender_id and type(party)(request.sender_id) != party:
            raise Unauthorized(f"the sender is {party} in the body, and {request.sender_id} in the path")
        return request

    def _check_id(self, request: OperationRequest[Message]) -> None:
        """Raise Refusal 018 or 019 where an id in the body is not the sender's own (RULES L10); a hub has all EvcoIDs.

        Its own are those of all its parties: a hub operator sends for its sub-operators.
        """
        party, peer = party_at(request.operation.id_path, request.message), request.peer
        if party is None or peer is None or party.text == request.sender_id:
            return
        is_operator = isinstance(party, OperatorID)
        if self._authenticator.is_authorized_for(peer, party) or (peer.default_route and not is_operator):
            return
        code = StatusCodeValue.INCONSISTENT_EVSE_ID if is_operator else StatusCodeValue.INCONSISTENT_EVCO_ID
        id_name = "EvseID" if is_operator else "EvcoID"
        raise Refusal(code, f"the {id_name} is one of {party}, which {peer.name} does not speak for")


def _read(
    operation: Operation,
    party: str | None,
    peer: Peer | None,
    request: InboundRequest,
    body: bytes,
    sign_in_transaction: TransactionalSigner | None,
) -> OperationRequest[Message]:
    """Read and validate; the records of a push are left to the role, which reads them one by one."""
    if operation.is_push:
        record_stream = read_records(operation.request, body)
        if any(finding.severity is Severity.ERROR for finding in record_stream.findings):
            raise InvalidMessage(record_stream.findings)
        return OperationRequest(operation, record_stream.envelope, peer, party, record_stream, body)
    message, warnings = read(operation.request, body)
    if warnings:
        log.info("oicp.warnings", operation=operation.name, warnings=[str(finding) for finding in warnings])
    message = rewritten(message)
    return OperationRequest(
        operation, message, peer, party, None, message.to_json(), request.query, sign_in_transaction, body, warnings
    )


def _finding_codes(findings: Iterable[Finding]) -> str:
    return ", ".join(f"{finding.pointer}: {finding.code}" for finding in islice(findings, _MAX_FINDINGS_IN_EVENT))


def _handlers_by_operation(
    listener_kind: ListenerKind, cpo: CpoRole | None, emp: EmpRole | None
) -> dict[str, OperationHandler]:
    """Return what serves each operation that is offered."""
    roles = {Party.CPO: cpo, Party.EMP: emp}
    handlers = {}
    for operation in OPERATIONS:
        role = roles[operation.sender if listener_kind is ListenerKind.BACKEND else operation.server]
        handler = role.find_handler(operation) if role else None
        if handler is not None:
            handlers[operation.name] = handler
    return handlers


def _result_label(outcome: OperationResponse | Exception | None) -> str:
    """Return a metric's label; a refusal by another system that was only passed on is ok."""
    # Not a case of the match, whose comparison with the enumeration costs a microsecond: nearly all are this one.
    if type(outcome) is OperationResponse and outcome.http_status == 200:  # noqa: PLR2004
        return "refused" if outcome.is_refusal else "ok"
    match outcome:
        case OperationResponse(http_status=HTTPStatus.BAD_REQUEST):
            return "invalid"
        case OperationResponse():
            return "refused"
        case HttpError() if outcome.http_status not in OVERLOAD_STATUSES:
            return "problem"
    return "unavailable"


def _is_recipient(local_peer: Peer, recipient: str) -> bool:
    party_ids = [text.strip() for text in recipient.split(",")]
    return any(
        local_peer.handles_party(OperatorID(text)) or local_peer.handles_party(ProviderID(text)) for text in party_ids
    )


def _check_contract(peer: Peer, operation: Operation) -> None:
    if not peer.may_request(operation.name):
        raise Refusal(StatusCodeValue.NO_VALID_CONTRACT, f"there is no contract with {peer.name} for {operation.name}")


# Partners name few different parties; a cached identifier has computed its key already.
_operator_id = lru_cache(maxsize=1024)(OperatorID)
_provider_id = lru_cache(maxsize=1024)(ProviderID)


def claimed_party(operation: Operation, party: str | None) -> PartyID | None:
    """Return the sender that the path names."""
    if party is None:
        return None
    return _operator_id(party) if operation.sender is Party.CPO else _provider_id(party)
