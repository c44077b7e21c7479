"""Whom the outbox is delivered to: a peer's node, and our own EMP backend (`delivery.DeliveryTarget`).

Both send the message as it was stored and read the refusal the same way: for good (a dead letter), or not about the
message (the message is due again later).
"""

from __future__ import annotations

from p2p_oicp.backends import OwnBackend
from p2p_oicp.client import OicpReply
from p2p_oicp.delivery import NodeClient
from p2p_oicp.delivery.node_protocol import CDR_VERDICT
from p2p_oicp.errors import (
    FailureCause,
    PeerContradiction,
    PeerError,
    PeerProtocolError,
    PeerRejected,
    PeerUnauthorized,
)
from p2p_oicp.oicp import Acknowledgement, Message, StatusCodeValue
from p2p_oicp.oicp.answers import ContradictoryAcknowledgement
from p2p_oicp.oicp.enums import INDETERMINATE_CODES
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import Services
from p2p_oicp.roles.verdicts import PendingVerdicts, log_refusal, read_verdict, store_backend_verdict
from p2p_oicp.storage import Transaction, cdrs, sessions
from p2p_oicp.storage.cdrs import CdrState, Verdict
from p2p_oicp.storage.outbox import OutboxMessage

_CDR = "ChargeDetailRecord"
# These speak of the contract or of the other side's settings: a person corrects that, and then the message is accepted.
_RETRYABLE_CODES = frozenset({StatusCodeValue.UNAUTHORIZED_ACCESS, StatusCodeValue.PARTNER_NOT_FOUND})
# A peer without a contract for notifications must not hold back the CDR that follows them. The CDR itself waits.
_CDR_RETRYABLE_CODES = _RETRYABLE_CODES | {StatusCodeValue.NO_VALID_CONTRACT, StatusCodeValue.SERVICE_NOT_AVAILABLE}
# So often a message is sent whose answer contradicts itself, within some seconds: a fault may pass.
_MAX_CONTRADICTIONS = 5
# Refusals of this message by a server that gives no OICP code; any other status may come from a proxy.
_UNPROCESSABLE_STATUSES = frozenset({400, 413, 422})


class PeerDeliveryTarget:
    """Delivers to a peer as it is now; a change of its entry stops its workers and starts others."""

    def __init__(self, peer: Peer, services: Services, nodes: NodeClient) -> None:
        self.name = peer.name
        self._peer = peer
        self._services = services
        self._nodes = nodes

    async def send(self, message: OutboxMessage) -> Verdict | None:
        if message.operation == CDR_VERDICT:
            await self._nodes.send_verdict(self._peer, message)
            return None
        try:
            reply = await self._call(message)
            # A node that has stored the CDR says what its backend says of it: a refusal too is no dead letter then.
            if message.operation == _CDR and (verdict := read_verdict(reply.message)) is not None:
                if verdict.state is CdrState.DISPUTED:
                    log_refusal(message.role, message.session_key, verdict)
                return verdict
            _check_answer(self.name, message, reply.message, reply.http_status)
        except PeerRejected as error:
            raise _classify_rejection(message, error) from error
        return Verdict(CdrState.DELIVERED) if message.operation == _CDR else None

    async def _call(self, message: OutboxMessage) -> OicpReply:
        operation = OPERATION_BY_NAME[message.operation]
        try:
            reply = await self._services.peers.call(
                self._peer, operation, message.sender_id, message.body, deadline=self._services.deadlines.record
            )
        except PeerError as error:
            # A refusal that the peer has signed is evidence as well.
            await self._services.recorder.record(error.exchange)
            raise
        # The dispatcher has no transaction at the moment of the reply, so the exchange is recorded in one of its own.
        await self._services.recorder.record(reply.exchange)
        return reply

    def on_delivered(self, tx: Transaction, message: OutboxMessage, verdict: Verdict | None, now: float) -> None:
        """Add the delivery to the session's events; a CDR that is delivered for good settles the session."""
        sessions.add_event(tx, message.role, message.session_key, now, f"{message.operation} delivered")
        if verdict is not None:
            cdrs.apply_verdict(tx, message.role, message.session_key, verdict, now)

    def on_dead(self, tx: Transaction, message: OutboxMessage, error: PeerRejected, now: float) -> None:
        """Mark the CDR that the peer's node refused."""
        if message.operation == _CDR:
            verdict = Verdict(CdrState.DEAD, error.code or "", error.reason)
            cdrs.apply_verdict(tx, message.role, message.session_key, verdict, now)

    def on_ended(self, message: OutboxMessage) -> None:
        del message


class BackendDeliveryTarget:
    """Delivers to one of our own EMP backends; what it says of a CDR is told to the CPO's node."""

    def __init__(self, own: OwnBackend, verdicts: PendingVerdicts, services: Services) -> None:
        self.name = own.destination
        self._backend = own.backend
        self._verdicts = verdicts
        self._services = services
        self._verdicts_in_outbox: dict[str, str] = {}

    async def send(self, message: OutboxMessage) -> Verdict | None:
        operation = OPERATION_BY_NAME[message.operation]
        request = operation.request.from_json(message.body)
        try:
            reply = await self._backend.call(operation, request, sender=message.sender_id)
            _check_answer(self.name, message, reply)
        except PeerRejected as error:
            classified = _classify_rejection(message, error)
            if message.operation == _CDR and isinstance(classified, PeerRejected):
                verdict = Verdict(CdrState.DISPUTED, error.code or "", error.reason)
                log_refusal(message.role, message.session_key, verdict)
                return verdict
            raise classified from error
        return Verdict(CdrState.ACCEPTED) if message.operation == _CDR else None

    def on_delivered(self, tx: Transaction, message: OutboxMessage, verdict: Verdict | None, now: float) -> None:
        """Add the delivery, or the verdict, to the session's events; enqueue a verdict that nobody waits for."""
        key = message.session_key
        if verdict is None:
            sessions.add_event(tx, message.role, key, now, f"{message.operation} delivered")
        else:
            provider, is_awaited = self._services.local_peer.providers[0], self._verdicts.take(key)
            peer = store_backend_verdict(tx, message, verdict, now, provider=provider, is_awaited=is_awaited)
            if peer is not None:
                self._verdicts_in_outbox[key] = peer

    def on_dead(self, tx: Transaction, message: OutboxMessage, error: PeerRejected, now: float) -> None:
        del tx, message, error, now  # a notification that the backend refuses; a CDR is disputed instead

    def on_ended(self, message: OutboxMessage) -> None:
        if message.operation == _CDR:
            self._verdicts.resolve(message.session_key, self.name)
        if (peer := self._verdicts_in_outbox.pop(message.session_key, None)) is not None:
            self._services.wakeups.notify_outbox(peer)


def _classify_rejection(message: OutboxMessage, error: PeerRejected) -> PeerError:
    """Return the error unchanged if it refuses this message for good, else one that has it sent again."""
    if error.code is None:
        if error.http_status in _UNPROCESSABLE_STATUSES:
            return error
        return PeerProtocolError(error.peer, error.reason).because_of(FailureCause.NOT_OICP)
    retryable_codes = _CDR_RETRYABLE_CODES if message.operation == _CDR else _RETRYABLE_CODES
    if error.code not in retryable_codes:
        return error
    return PeerUnauthorized(error.peer, error.reason).because_of(error.cause)


def _check_answer(name: str, message: OutboxMessage, reply: Message, http_status: int = 200) -> None:
    """Raise as `raise_for_refusal`; an answer that contradicts itself again and again refuses the message (RULES L1).

    A person sees it then, and may have it sent again.
    """
    try:
        raise_for_refusal(name, reply, http_status)
    except PeerContradiction as error:
        attempts = message.attempts + 1
        if attempts < _MAX_CONTRADICTIONS:
            raise
        reason, code = f"{error.reason} (attempt {attempts})", StatusCodeValue.PARTNER_DID_NOT_RESPOND.value
        raise PeerRejected(name, reason, http_status=http_status, code=code) from error


def raise_for_refusal(peer: str, reply: Message, http_status: int = 200) -> None:
    """Raise PeerRejected for a refusal, PeerProtocolError if its code speaks of the other side's own failure (H3)."""
    if isinstance(reply, Acknowledgement) and reply.result:
        return
    status = getattr(reply, "status_code", None)
    code = str(status.code) if status is not None else None
    info = f"{getattr(status, 'description', None) or ''} {getattr(status, 'additional_info', None) or ''}".strip()
    reason = f"answered {code or 'without a status code'} {info}".strip()
    if isinstance(reply, ContradictoryAcknowledgement):
        raise PeerContradiction(peer, reason)
    if code in INDETERMINATE_CODES:
        raise PeerProtocolError(peer, reason).because_of(FailureCause.SERVER_ERROR)
    raise PeerRejected(peer, reason, http_status=http_status, code=code)
