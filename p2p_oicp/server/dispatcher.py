"""One OICP request, from bytes to bytes: find the operation, prove the sender, read the message, ask the role."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import Enum, auto
from functools import lru_cache, partial
from http import HTTPStatus
from time import perf_counter

import structlog
from msgspec.structs import replace

from p2p_oicp.client import RECIPIENT_HEADER
from p2p_oicp.delivery import PeerLiveness
from p2p_oicp.errors import Refusal, StoreBusy, StoreError, Unauthorized
from p2p_oicp.oicp import InvalidMessage, Message, OperatorID, ProviderID, Severity, read, read_records
from p2p_oicp.oicp.operations import OPERATIONS, Operation, Party, find, sender_party
from p2p_oicp.peers import Peer, Profile
from p2p_oicp.roles import CpoRole, EmpRole, OperationRequest, OperationResponse
from p2p_oicp.roles.context import OperationHandler
from p2p_oicp.roles.responses import SessionIds, refusal_response
from p2p_oicp.server.authentication import Authenticator, InboundRequest, Principal, format_parties
from p2p_oicp.server.limits import OVERLOAD_STATUSES, PeerConcurrencyLimiter
from p2p_oicp.server.metrics import RequestObserver
from p2p_oicp.server.problems import HttpError, as_refusal, validation_error_response

log = structlog.get_logger(__name__)

_SYSTEM_ERROR = "021"
_PARTNER_NOT_FOUND = "300"
_NO_CONTRACT = "210"
_NOT_OFFERED = "320"
_RETRY_AFTER_SECONDS = "1"


class ListenerKind(Enum):
    """Which listener a request came in at."""

    PEER = auto()
    BACKEND = auto()


class OperationDispatcher:
    """Serves OICP at one listener."""

    def __init__(
        self,
        listener_kind: ListenerKind,
        *,
        me: Peer,
        authenticator: Authenticator,
        cpo: CpoRole | None,
        emp: EmpRole | None,
        liveness: PeerLiveness,
        observe_request: RequestObserver,
        peer_concurrency: PeerConcurrencyLimiter,
    ) -> None:
        self._listener_kind = listener_kind
        self._me = me
        self._authenticator = authenticator
        self._liveness = liveness
        self._observe_request = observe_request
        self._peer_concurrency = peer_concurrency
        self._handlers = _handlers_by_operation(listener_kind, cpo, emp)
        self._is_recipient = lru_cache(maxsize=256)(partial(_is_recipient, me))

    def dispatch(self, path: str, inbound: InboundRequest) -> Awaitable[OperationResponse]:
        """Answer the request at ``path`` below ``/api/oicp/``; raises HttpProblem for what is not OICP."""
        route = find(path)
        if route is None:
            raise HttpError(404, _NOT_OFFERED, f"/api/oicp/{path} is not a path of OICP 2.3")
        return self.execute(route.choose(inbound.body), route.party, inbound)

    async def execute(self, operation: Operation, party: str | None, inbound: InboundRequest) -> OperationResponse:
        """Answer one operation; ``party`` is the sender's id in the path."""
        start, result, inbound.operation = perf_counter(), "unavailable", operation.name
        try:
            self._check_recipient(inbound)
            response = await self._execute(operation, party, inbound)
            result = _result_label(response)
        except HttpError as http_error:
            result = "unavailable" if http_error.http_status in OVERLOAD_STATUSES else "problem"
            raise
        except StoreError as error:
            raise _store_unavailable_error(error, operation) from error
        else:
            return response
        finally:
            self._observe_request(operation.name, result, perf_counter() - start)

    async def _execute(self, operation: Operation, party: str | None, inbound: InboundRequest) -> OperationResponse:
        """(1) Who sends, by what is proved and what the path claims, (2) what, (3) path against body, (4) the role."""
        message, peer = None, None
        try:
            principal = await self._authenticator.authenticate(inbound, _party_in_path(operation, party))  # (1)
            peer = principal.peer
            if peer is not None:
                _check_contract(peer, operation)
            request = self._read(operation, party, peer, inbound)  # (2)
            message = request.message
            request = self._check_sender(request, principal, inbound)  # (3)
            return await self._invoke(request)  # (4)
        except InvalidMessage as invalid_message:
            log.info(
                "oicp.invalid", operation=operation.name, peer=peer.name if peer else None, reason=str(invalid_message)
            )
            refusal_error = as_refusal(invalid_message)
            if refusal_error is not None:
                return refusal_response(operation, refusal_error, SessionIds.from_message(message))
            return validation_error_response(invalid_message, as_wwcp=peer is not None and peer.profile is Profile.WWCP)
        except Refusal as refusal_error:
            log.info(
                "oicp.refused",
                operation=operation.name,
                code=refusal_error.code,
                reason=refusal_error.info,
                party=party,
            )
            return refusal_response(operation, refusal_error, SessionIds.from_message(message))

    def _check_recipient(self, inbound: InboundRequest) -> None:
        """Refuse what is meant for another node, whose address we have now; its sender shall not think it delivered."""
        recipient = inbound.signed_parts.headers.get(RECIPIENT_HEADER)
        if recipient and self._listener_kind is ListenerKind.PEER and not self._is_recipient(recipient):
            info = f"this node answers for {format_parties(self._me)}, not for {recipient}"
            raise HttpError(421, _PARTNER_NOT_FOUND, info)

    def _handler_for(self, operation: Operation) -> OperationHandler:
        handler = self._handlers.get(operation.name)
        if handler is None:
            raise Refusal(_NOT_OFFERED, f"{operation.name} is not offered by this node")
        return handler

    async def _invoke(self, request: OperationRequest[Message]) -> OperationResponse:
        if self._listener_kind is ListenerKind.BACKEND:
            return await self._handler_for(request.operation)(request)
        peer = request.peer
        peer_name = peer.name if peer else ""
        if self._liveness.has_backoff(peer_name):
            await self._liveness.mark_alive(peer_name)
        self._peer_concurrency.acquire(peer_name, peer.concurrent if peer else None)
        try:
            return await self._handler_for(request.operation)(request)
        finally:
            self._peer_concurrency.release(peer_name)

    async def authenticate_party(self, party: OperatorID | ProviderID, inbound: InboundRequest) -> Peer:
        """Return the peer that asks for ``party`` what is not OICP; raises Refusal 017 or 300."""
        principal = await self._authenticator.authenticate(inbound, party)
        return self._authenticator.authorize_party(principal, party, inbound)

    def _check_sender(
        self, request: OperationRequest[Message], principal: Principal, inbound: InboundRequest
    ) -> OperationRequest[Message]:
        """Hold the sender's id in the body to the path's (CPO-01, Security); it counts where the path has none."""
        body_party = sender_party(request.operation, request.message)
        if body_party is None:
            return request
        if request.sender_id is None:
            peer = self._authenticator.authorize_party(principal, body_party, inbound)
            _check_contract(peer, request.operation)
            return replace(request, peer=peer)
        is_same = body_party.text == request.sender_id or type(body_party)(request.sender_id) == body_party
        if not is_same and not self._is_delegated(body_party, request):
            raise Unauthorized(f"the body speaks for {body_party}, the path for {request.sender_id}")
        return request

    def _is_delegated(self, derived_party: OperatorID | ProviderID, request: OperationRequest[Message]) -> bool:
        """Whether the path's party may speak for the operator of an EvseID: a hub operator for its sub-operators."""
        peer = request.peer
        return (
            request.operation.sender_is_derived
            and peer is not None
            and self._authenticator.is_authorized_for(peer, derived_party)
        )

    def _read(
        self, operation: Operation, party: str | None, peer: Peer | None, inbound: InboundRequest
    ) -> OperationRequest[Message]:
        """Read and validate; the records of a push are left to the role, which reads them one by one."""
        body = inbound.body
        if not operation.is_push:
            message, warnings = read(operation.request, body)
            if warnings:
                log.info("oicp.warnings", operation=operation.name, warnings=[str(finding) for finding in warnings])
            return OperationRequest(
                operation, message, peer, party, None, body, inbound.signed_parts.query, inbound.sign_in_transaction
            )
        record_stream = read_records(operation.request, body)
        if any(finding.severity is Severity.ERROR for finding in record_stream.findings):
            raise InvalidMessage(record_stream.findings)
        return OperationRequest(operation, record_stream.envelope, peer, party, record_stream, body)


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


def _store_unavailable_error(error: StoreError, operation: Operation) -> HttpError:
    """Return what is answered where the database cannot be used: for the moment, or until somebody looks after it."""
    info = str(error)
    if not isinstance(error, StoreBusy):
        log.error("oicp.store_error", operation=operation.name, error=info, exc_info=error)
        info = "this node cannot use its database now; try again later"
    return HttpError(503, _SYSTEM_ERROR, info, {"Retry-After": _RETRY_AFTER_SECONDS})


def _result_label(response: OperationResponse) -> str:
    """Return what a metric calls an answer; one that was given by another system, and passed on, is ok."""
    if response.http_status == HTTPStatus.OK:
        return "refused" if response.is_refusal else "ok"
    return "invalid" if response.http_status == HTTPStatus.BAD_REQUEST else "refused"


def _is_recipient(me: Peer, recipient: str) -> bool:
    party_ids = [text.strip() for text in recipient.split(",")]
    return any(me.handles_party(OperatorID(text)) or me.handles_party(ProviderID(text)) for text in party_ids)


def _check_contract(peer: Peer, operation: Operation) -> None:
    if not peer.serves(operation.name):
        raise Refusal(_NO_CONTRACT, f"there is no contract with {peer.name} for {operation.name}")


# Partners name few different parties; an identifier that is kept has its key already.
_operator_id = lru_cache(maxsize=1024)(OperatorID)
_provider_id = lru_cache(maxsize=1024)(ProviderID)


def _party_in_path(operation: Operation, party: str | None) -> OperatorID | ProviderID | None:
    if party is None:
        return None
    return _operator_id(party) if operation.sender is Party.CPO else _provider_id(party)
