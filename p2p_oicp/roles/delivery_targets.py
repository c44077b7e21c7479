"""Whom the outbox is delivered to: a peer's node, and our own EMP backend (`delivery.DeliveryTarget`).

Both send the message as it was stored and read the refusal the same way: for good (a dead letter), or not about the
message (the message is due again later).
"""

from __future__ import annotations

from p2p_oicp.backends import Backend
from p2p_oicp.client import OicpReply
from p2p_oicp.delivery import PeerClient
from p2p_oicp.errors import PeerError, PeerProtocolError, PeerRejected, PeerUnauthorized
from p2p_oicp.oicp import Acknowledgement, Message, StatusCodeValue
from p2p_oicp.oicp.enums import INDETERMINATE_CODES
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peering.evidence_recorder import ExchangeRecorder
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import EMP_BACKEND
from p2p_oicp.storage import Transaction, cdrs, sessions
from p2p_oicp.storage.outbox import OutboxMessage
from p2p_oicp.storage.sessions import SessionState

_CDR = "ChargeDetailRecord"
# These speak of the contract or of the other side's settings: a person corrects that, and then the message is accepted.
_RETRYABLE_CODES = frozenset({StatusCodeValue.UNAUTHORIZED_ACCESS, StatusCodeValue.PARTNER_NOT_FOUND})
# A peer without a contract for notifications must not hold back the CDR that follows them. The CDR itself waits.
_CDR_RETRYABLE_CODES = _RETRYABLE_CODES | {StatusCodeValue.NO_VALID_CONTRACT, StatusCodeValue.SERVICE_NOT_AVAILABLE}
# Refusals of this message by a server that gives no OICP code; any other status may come from a proxy.
_UNPROCESSABLE_STATUSES = frozenset({400, 413, 422})


class _SessionMessageTarget:
    def on_delivered(self, tx: Transaction, message: OutboxMessage, now: float) -> None:
        """Add the delivery to the session's events; a delivered CDR settles the session."""
        sessions.add_event(tx, message.role, message.session_key, now, f"{message.operation} delivered")
        if message.operation == _CDR:
            cdrs.mark_forwarded(tx, message.role, message.session_key, now)
            sessions.transition(tx, message.role, message.session_key, now, SessionState.SETTLED)


class PeerDeliveryTarget(_SessionMessageTarget):
    """Delivers to a peer as it is now; a change of its entry stops its workers and starts others."""

    def __init__(self, peer: Peer, client: PeerClient, recorder: ExchangeRecorder) -> None:
        self.name = peer.name
        self._peer = peer
        self._client = client
        self._recorder = recorder

    async def send(self, message: OutboxMessage) -> None:
        try:
            reply = await self._call(message)
            raise_for_refusal(self.name, reply.message, reply.http_status)
        except PeerRejected as error:
            raise _classify_rejection(message, error) from error

    async def _call(self, message: OutboxMessage) -> OicpReply:
        operation = OPERATION_BY_NAME[message.operation]
        try:
            reply = await self._client.call(
                self._peer, operation, message.sender_id, message.body, deadline=operation.deadline
            )
        except PeerError as error:
            # A refusal that the peer has signed is evidence as well.
            await self._recorder.record(error.exchange)
            raise
        await self._recorder.record(reply.exchange)
        return reply


class BackendDeliveryTarget(_SessionMessageTarget):
    """Delivers to our own EMP backend."""

    name = EMP_BACKEND

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def send(self, message: OutboxMessage) -> None:
        operation = OPERATION_BY_NAME[message.operation]
        request = operation.request.from_json(message.body)
        try:
            reply = await self._backend.call(operation, request, sender=message.sender_id)
            raise_for_refusal(self.name, reply)
        except PeerRejected as error:
            raise _classify_rejection(message, error) from error


def _classify_rejection(message: OutboxMessage, error: PeerRejected) -> PeerError:
    """Return the error unchanged if it refuses this message for good, else one that has it sent again."""
    if error.code is None:
        return error if error.http_status in _UNPROCESSABLE_STATUSES else PeerProtocolError(error.peer, error.reason)
    retryable_codes = _CDR_RETRYABLE_CODES if message.operation == _CDR else _RETRYABLE_CODES
    return PeerUnauthorized(error.peer, error.reason) if error.code in retryable_codes else error


def raise_for_refusal(peer: str, reply: Message, http_status: int = 200) -> None:
    """Raise PeerRejected for a refusal, PeerProtocolError if its code speaks of the other side's own failure (H3)."""
    if isinstance(reply, Acknowledgement) and reply.result:
        return
    status = getattr(reply, "status_code", None)
    code = str(status.code) if status is not None else None
    info = f"{getattr(status, 'description', None) or ''} {getattr(status, 'additional_info', None) or ''}".strip()
    reason = f"answered {code or 'without a status code'} {info}".strip()
    if code in INDETERMINATE_CODES:
        raise PeerProtocolError(peer, reason)
    raise PeerRejected(peer, reason, http_status=http_status, code=code)
