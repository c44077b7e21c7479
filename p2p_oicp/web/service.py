"""One OICP request, from bytes to bytes: find the operation, prove the sender, read the message, ask the role."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto

import structlog

from p2p_oicp.delivery import SignsOfLife
from p2p_oicp.errors import Refusal, StoreBusy, StoreError, Unauthorized
from p2p_oicp.oicp import InvalidMessage, Message, OperatorID, ProviderID, Severity, read, read_records
from p2p_oicp.oicp.operation import Operation, Party
from p2p_oicp.oicp.operations import find, sender_party
from p2p_oicp.peers import Peer, Profile
from p2p_oicp.roles import Answer, CpoRole, EmpRole, Incoming
from p2p_oicp.roles.answers import NO_IDS, Ids, refusal
from p2p_oicp.roles.role import Method
from p2p_oicp.web.gate import Arrival, Caller, Gate
from p2p_oicp.web.problems import HttpProblem, invalid

log = structlog.get_logger(__name__)

_SYSTEM_ERROR = "021"
_NO_CONTRACT = "210"
_NOT_OFFERED = "320"
_RETRY_AFTER_SECONDS = "1"


class Side(Enum):
    """Which listener a request came in at."""

    PEER = auto()
    BACKEND = auto()


class Api:
    """Serves OICP at one listener."""

    def __init__(
        self,
        side: Side,
        *,
        gate: Gate,
        cpo: CpoRole | None,
        emp: EmpRole | None,
        signs: SignsOfLife,
    ) -> None:
        self._side = side
        self._gate = gate
        self._roles = {Party.CPO: cpo, Party.EMP: emp}
        self._signs = signs

    async def serve(self, path: str, arrival: Arrival) -> Answer:
        """Answer the request at ``path`` below ``/api/oicp/``; raises HttpProblem for what is not OICP."""
        route = find(path)
        if route is None:
            raise HttpProblem(404, _NOT_OFFERED, f"/api/oicp/{path} is not a path of OICP 2.3")
        return await self.answer(route.choose(arrival.body), route.party, arrival)

    async def answer(self, operation: Operation, party: str | None, arrival: Arrival) -> Answer:
        """Answer one operation; ``party`` is the sender's id in the path."""
        try:
            return await self._answer(operation, party, arrival)
        except StoreBusy as error:
            raise HttpProblem(503, _SYSTEM_ERROR, str(error), {"Retry-After": _RETRY_AFTER_SECONDS}) from error
        except StoreError as error:
            log.exception("oicp.store_failed", operation=operation.name, error=str(error))
            raise HttpProblem(503, _SYSTEM_ERROR, "this node cannot write its database now; try again later") from error

    async def _answer(self, operation: Operation, party: str | None, arrival: Arrival) -> Answer:
        """(1) Who sends, by what is proved and what the path claims, (2) what, (3) path against body, (4) the role."""
        ids, peer = NO_IDS, None
        try:
            caller = await self._sender(operation, party, arrival)  # (1)
            peer = caller.peer
            incoming = self._read(operation, party, peer, arrival.body)  # (2)
            ids = Ids.of(incoming.message)
            incoming = self._bound(incoming, caller, arrival)  # (3)
            await self._heard(incoming.peer)
            return await self._method(operation)(incoming)  # (4)
        except InvalidMessage as problem:
            log.info("oicp.invalid", operation=operation.name, peer=peer.name if peer else None, reason=str(problem))
            return invalid(problem, as_wwcp=peer is not None and peer.profile is Profile.WWCP)
        except Refusal as refused:
            log.info("oicp.refused", operation=operation.name, code=refused.code, reason=refused.info, party=party)
            return refusal(operation, refused, ids)

    def _method(self, operation: Operation) -> Method:
        role = self._roles[operation.sender if self._side is Side.BACKEND else operation.server]
        method = role.method_for(operation) if role else None
        if method is None:
            raise Refusal(_NOT_OFFERED, f"{operation.name} is not offered by this node")
        return method

    async def _heard(self, peer: Peer | None) -> None:
        if peer is not None and self._side is Side.PEER:
            await self._signs.heard_from(peer.name)

    async def _sender(self, operation: Operation, party: str | None, arrival: Arrival) -> Caller:
        """Return who sends: proved, or in insecure mode the peer that answers for the claimed id."""
        caller = await self._gate.admit(arrival, _claimed(operation, party))
        if caller.peer is not None:
            _check_contract(caller.peer, operation)
        return caller

    def _bound(self, incoming: Incoming[Message], caller: Caller, arrival: Arrival) -> Incoming[Message]:
        """Hold the sender's id in the body to the path's (CPO-01, Security); it counts where the path has none."""
        named = sender_party(incoming.operation, incoming.message)
        if named is None:
            return incoming
        if incoming.party is None:
            peer = self._gate.hold_to(caller, named, arrival)
            _check_contract(peer, incoming.operation)
            return replace(incoming, peer=peer)
        if type(named)(incoming.party) != named and not _is_sub_operator(named, incoming):
            raise Unauthorized(f"the body speaks for {named}, the path for {incoming.party}")
        return incoming

    def _read(self, operation: Operation, party: str | None, peer: Peer | None, body: bytes) -> Incoming[Message]:
        """Read and validate; our own backend's push is all or nothing, of a peer's push the readable records count."""
        if not operation.is_push:
            message, warnings = read(operation.request, body)
            if warnings:
                log.info("oicp.warnings", operation=operation.name, warnings=[str(found) for found in warnings])
            return Incoming(operation, message, peer, party, None, body)
        reading = read_records(operation.request, body)
        wrong = [found for found in reading.findings if found.severity is Severity.ERROR]
        if self._side is Side.BACKEND:
            wrong += [found for one in reading.records for found in one.findings if found.severity is Severity.ERROR]
        if wrong:
            raise InvalidMessage(wrong)
        return Incoming(operation, reading.envelope, peer, party, reading, body)


def _is_sub_operator(derived: OperatorID | ProviderID, incoming: Incoming[Message]) -> bool:
    """Whether the path's party may speak for the operator of an EvseID: a hub operator for its sub-operators."""
    return incoming.operation.sender_is_derived and incoming.peer is not None and incoming.peer.answers_for(derived)


def _check_contract(peer: Peer, operation: Operation) -> None:
    if not peer.serves(operation.name):
        raise Refusal(_NO_CONTRACT, f"there is no contract with {peer.name} for {operation.name}")


def _claimed(operation: Operation, party: str | None) -> OperatorID | ProviderID | None:
    if party is None:
        return None
    return OperatorID(party) if operation.sender is Party.CPO else ProviderID(party)
