"""How letters travel: to a peer, and to our own EMP backend."""

from __future__ import annotations

from p2p_oicp.backends import EmpBackend
from p2p_oicp.delivery import Courier
from p2p_oicp.errors import PeerBroken, PeerRejected, PeerUnreachable
from p2p_oicp.oicp import Acknowledgement, ChargeDetailRecord, ChargingNotification, Message
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import PeerRegistry
from p2p_oicp.roles.answers import TROUBLE
from p2p_oicp.storage import Transaction, cdrs, sessions
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.outbox import Letter

_CDR = "ChargeDetailRecord"


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
        reply = await self._courier.call(peer, operation, letter.party, letter.body, deadline=operation.deadline)
        check_acknowledged(letter.destination, reply.message, reply.http_status)


class EmpBackendCarrier(_Carrier):
    """Hands letters to our own contract system."""

    def __init__(self, backend: EmpBackend) -> None:
        self._backend = backend

    async def carry(self, letter: Letter) -> None:
        """Hand it over; see ``delivery.Carrier``."""
        if letter.operation == _CDR:
            told = await self._backend.charge_detail_record(ChargeDetailRecord.from_json(letter.body))
        else:
            told = await self._backend.charging_notifications(ChargingNotification.from_json(letter.body))
        check_acknowledged(letter.destination, told)


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
