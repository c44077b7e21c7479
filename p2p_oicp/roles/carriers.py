"""How letters travel: to a peer, and to our own EMP backend."""

from __future__ import annotations

from p2p_oicp.backends import EmpBackend, Forwarding
from p2p_oicp.delivery import Courier
from p2p_oicp.errors import PeerBroken, PeerError, PeerRejected, PeerUnauthorized, PeerUnreachable
from p2p_oicp.oicp import Acknowledgement, ChargeDetailRecord, ChargingNotification, Message
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import PeerRegistry
from p2p_oicp.roles.answers import TROUBLE
from p2p_oicp.storage import Transaction, cdrs, sessions
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.outbox import Letter

_CDR = "ChargeDetailRecord"
# What the other side says of our contract or its own settings: a person will mend it, and then the letter is welcome.
_NOT_YET = frozenset({"017", "300"})
_NOT_YET_FOR_MONEY = _NOT_YET | {"210", "320"}
_UNREADABLE = frozenset({400, 413, 422})


class _Carrier:
    def arrived(self, tx: Transaction, letter: Letter, now: float) -> None:
        """Settle the session whose record arrived."""
        sessions.note(tx, letter.role, letter.session_key, now, f"{letter.operation} delivered")
        if letter.operation == _CDR:
            cdrs.mark_forwarded(tx, letter.role, letter.session_key, now)
            sessions.move(tx, letter.role, letter.session_key, now, State.SETTLED)


class PeerCarrier(_Carrier):
    """Brings letters to one peer."""

    def __init__(self, registry: PeerRegistry, courier: Courier) -> None:
        self._registry = registry
        self._courier = courier

    async def carry(self, letter: Letter) -> None:
        """Send it; see ``delivery.Carrier``."""
        peer = self._registry.by_name(letter.destination)
        if peer is None:
            raise PeerUnreachable(letter.destination, "is no longer a peer of this node")
        operation = OPERATION_BY_NAME[letter.operation]
        try:
            reply = await self._courier.call(peer, operation, letter.party, letter.body, deadline=operation.deadline)
            check_acknowledged(letter.destination, reply.message, reply.http_status)
        except PeerRejected as error:
            raise _judged(letter, error) from error


class EmpBackendCarrier(_Carrier):
    """Hands letters to our own contract system."""

    def __init__(self, backend: EmpBackend) -> None:
        self._backend = backend

    async def carry(self, letter: Letter) -> None:
        """Hand it over; see ``delivery.Carrier``."""
        try:
            check_acknowledged(letter.destination, await self._hand_over(letter))
        except PeerRejected as error:
            raise _judged(letter, error) from error

    async def _hand_over(self, letter: Letter) -> Acknowledgement:
        operation = OPERATION_BY_NAME[letter.operation]
        if isinstance(self._backend, Forwarding):
            return await self._backend.forward(operation, letter.party, operation.request.from_json(letter.body))
        if letter.operation == _CDR:
            return await self._backend.charge_detail_record(ChargeDetailRecord.from_json(letter.body))
        return await self._backend.charging_notifications(ChargingNotification.from_json(letter.body))


def _judged(letter: Letter, error: PeerRejected) -> PeerError:
    """Tell a refusal of the message, which is for good, from one that is not about the message.

    A peer that has no contract for notifications shall not hold back the record that follows; the record itself waits.
    """
    if error.code is None:
        return error if error.http_status in _UNREADABLE else PeerBroken(error.peer, error.reason)
    held = _NOT_YET_FOR_MONEY if letter.operation == _CDR else _NOT_YET
    return PeerUnauthorized(error.peer, error.reason) if error.code in held else error


def check_acknowledged(who: str, told: Message, http_status: int = 200) -> None:
    """Raise PeerRejected for a refusal, PeerBroken where it speaks of the other side's own trouble (box H3)."""
    if isinstance(told, Acknowledgement) and told.result:
        return
    status = getattr(told, "status_code", None)
    code = str(status.code) if status is not None else None
    info = f"{getattr(status, 'description', None) or ''} {getattr(status, 'additional_info', None) or ''}".strip()
    reason = f"answered {code or 'without a status code'} {info}".strip()
    if code in TROUBLE:
        raise PeerBroken(who, reason)
    raise PeerRejected(who, reason, http_status=http_status, code=code)
