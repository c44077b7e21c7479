"""One OICP request, from bytes to bytes: find the operation, prove the sender, read the message, ask the role."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import Enum, auto
from functools import lru_cache, partial
from http import HTTPStatus
from time import perf_counter

import structlog
from msgspec.structs import replace

from p2p_oicp.delivery import SignsOfLife
from p2p_oicp.errors import Refusal, StoreBusy, StoreError, Unauthorized
from p2p_oicp.oicp import InvalidMessage, Message, OperatorID, ProviderID, Severity, read, read_records
from p2p_oicp.oicp.operation import Operation, Party
from p2p_oicp.oicp.operations import OPERATIONS, find, sender_party
from p2p_oicp.peers import Peer, Profile
from p2p_oicp.roles import Answer, CpoRole, EmpRole, Incoming
from p2p_oicp.roles.answers import Ids, refusal
from p2p_oicp.roles.role import Method
from p2p_oicp.transport import RECIPIENT
from p2p_oicp.web.gate import Arrival, Caller, Gate, parties_of
from p2p_oicp.web.limits import BUSY, Crowd
from p2p_oicp.web.metrics import Meter
from p2p_oicp.web.problems import HttpProblem, business_refusal, invalid

log = structlog.get_logger(__name__)

_SYSTEM_ERROR = "021"
_PARTNER_NOT_FOUND = "300"
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
        me: Peer,
        gate: Gate,
        cpo: CpoRole | None,
        emp: EmpRole | None,
        signs: SignsOfLife,
        meter: Meter,
        crowd: Crowd,
    ) -> None:
        self._side = side
        self._me = me
        self._gate = gate
        self._signs = signs
        self._meter = meter
        self._crowd = crowd
        self._methods = _methods(side, cpo, emp)
        self._is_for_us = lru_cache(maxsize=256)(partial(_names, me))

    def serve(self, path: str, arrival: Arrival) -> Awaitable[Answer]:
        """Answer the request at ``path`` below ``/api/oicp/``; raises HttpProblem for what is not OICP."""
        route = find(path)
        if route is None:
            raise HttpProblem(404, _NOT_OFFERED, f"/api/oicp/{path} is not a path of OICP 2.3")
        return self.answer(route.choose(arrival.body), route.party, arrival)

    async def answer(self, operation: Operation, party: str | None, arrival: Arrival) -> Answer:
        """Answer one operation; ``party`` is the sender's id in the path."""
        start, result, arrival.operation = perf_counter(), "unavailable", operation.name
        try:
            self._check_recipient(arrival)
            answer = await self._answer(operation, party, arrival)
            result = _result(answer)
        except HttpProblem as problem:
            result = "unavailable" if problem.http_status in BUSY else "problem"
            raise
        except StoreError as error:
            raise _unavailable(error, operation) from error
        else:
            return answer
        finally:
            self._meter(operation.name, result, perf_counter() - start)

    async def _answer(self, operation: Operation, party: str | None, arrival: Arrival) -> Answer:
        """(1) Who sends, by what is proved and what the path claims, (2) what, (3) path against body, (4) the role."""
        message, peer = None, None
        try:
            caller = await self._gate.admit(arrival, _claimed(operation, party))  # (1)
            peer = caller.peer
            if peer is not None:
                _check_contract(peer, operation)
            incoming = self._read(operation, party, peer, arrival)  # (2)
            message = incoming.message
            incoming = self._bound(incoming, caller, arrival)  # (3)
            return await self._serve(incoming)  # (4)
        except InvalidMessage as problem:
            log.info("oicp.invalid", operation=operation.name, peer=peer.name if peer else None, reason=str(problem))
            refused = business_refusal(problem)
            if refused is not None:
                return refusal(operation, refused, Ids.of(message))
            return invalid(problem, as_wwcp=peer is not None and peer.profile is Profile.WWCP)
        except Refusal as refused:
            log.info("oicp.refused", operation=operation.name, code=refused.code, reason=refused.info, party=party)
            return refusal(operation, refused, Ids.of(message))

    def _check_recipient(self, arrival: Arrival) -> None:
        """Refuse what is meant for another node, whose address we have now; its sender shall not think it delivered."""
        meant = arrival.parts.headers.get(RECIPIENT)
        if meant and self._side is Side.PEER and not self._is_for_us(meant):
            info = f"this node answers for {parties_of(self._me)}, not for {meant}"
            raise HttpProblem(421, _PARTNER_NOT_FOUND, info)

    def _method(self, operation: Operation) -> Method:
        method = self._methods.get(operation.name)
        if method is None:
            raise Refusal(_NOT_OFFERED, f"{operation.name} is not offered by this node")
        return method

    async def _serve(self, incoming: Incoming[Message]) -> Answer:
        if self._side is Side.BACKEND:
            return await self._method(incoming.operation)(incoming)
        peer = incoming.peer
        who = peer.name if peer else ""
        if self._signs.are_wanted(who):
            await self._signs.heard_from(who)
        self._crowd.enter(who, peer.concurrent if peer else None)
        try:
            return await self._method(incoming.operation)(incoming)
        finally:
            self._crowd.leave(who)

    async def who_asks(self, party: OperatorID | ProviderID, arrival: Arrival) -> Peer:
        """Return the peer that asks for ``party`` what is not OICP; raises Refusal 017 or 300."""
        caller = await self._gate.admit(arrival, party)
        return self._gate.hold_to(caller, party, arrival)

    def _bound(self, incoming: Incoming[Message], caller: Caller, arrival: Arrival) -> Incoming[Message]:
        """Hold the sender's id in the body to the path's (CPO-01, Security); it counts where the path has none."""
        named = sender_party(incoming.operation, incoming.message)
        if named is None:
            return incoming
        if incoming.party is None:
            peer = self._gate.hold_to(caller, named, arrival)
            _check_contract(peer, incoming.operation)
            return replace(incoming, peer=peer)
        is_same = named.text == incoming.party or type(named)(incoming.party) == named
        if not is_same and not self._is_sub_operator(named, incoming):
            raise Unauthorized(f"the body speaks for {named}, the path for {incoming.party}")
        return incoming

    def _is_sub_operator(self, derived: OperatorID | ProviderID, incoming: Incoming[Message]) -> bool:
        """Whether the path's party may speak for the operator of an EvseID: a hub operator for its sub-operators."""
        peer = incoming.peer
        return incoming.operation.sender_is_derived and peer is not None and self._gate.speaks_for(peer, derived)

    def _read(self, operation: Operation, party: str | None, peer: Peer | None, arrival: Arrival) -> Incoming[Message]:
        """Read and validate; the records of a push are left to the role, which reads them one by one."""
        body = arrival.body
        if not operation.is_push:
            message, warnings = read(operation.request, body)
            if warnings:
                log.info("oicp.warnings", operation=operation.name, warnings=[str(found) for found in warnings])
            return Incoming(operation, message, peer, party, None, body, arrival.parts.query)
        reading = read_records(operation.request, body)
        if any(found.severity is Severity.ERROR for found in reading.findings):
            raise InvalidMessage(reading.findings)
        return Incoming(operation, reading.envelope, peer, party, reading, body)


def _methods(side: Side, cpo: CpoRole | None, emp: EmpRole | None) -> dict[str, Method]:
    """Return what serves each operation that is offered."""
    roles = {Party.CPO: cpo, Party.EMP: emp}
    methods = {}
    for operation in OPERATIONS:
        role = roles[operation.sender if side is Side.BACKEND else operation.server]
        method = role.method_for(operation) if role else None
        if method is not None:
            methods[operation.name] = method
    return methods


def _unavailable(error: StoreError, operation: Operation) -> HttpProblem:
    """Return what is answered where the database cannot be used: for the moment, or until somebody looks after it."""
    info = str(error)
    if not isinstance(error, StoreBusy):
        log.error("oicp.store_failed", operation=operation.name, error=info, exc_info=error)
        info = "this node cannot use its database now; try again later"
    return HttpProblem(503, _SYSTEM_ERROR, info, {"Retry-After": _RETRY_AFTER_SECONDS})


def _result(answer: Answer) -> str:
    """Return what a metric calls an answer; one that was given by another system, and passed on, is ok."""
    if answer.http_status == HTTPStatus.OK:
        return "refused" if answer.is_refusal else "ok"
    return "invalid" if answer.http_status == HTTPStatus.BAD_REQUEST else "refused"


def _names(me: Peer, recipient: str) -> bool:
    named = [text.strip() for text in recipient.split(",")]
    return any(me.answers_for(OperatorID(text)) or me.answers_for(ProviderID(text)) for text in named)


def _check_contract(peer: Peer, operation: Operation) -> None:
    if not peer.serves(operation.name):
        raise Refusal(_NO_CONTRACT, f"there is no contract with {peer.name} for {operation.name}")


# Partners name few different parties; an identifier that is kept has its key already.
_operator_id = lru_cache(maxsize=1024)(OperatorID)
_provider_id = lru_cache(maxsize=1024)(ProviderID)


def _claimed(operation: Operation, party: str | None) -> OperatorID | ProviderID | None:
    if party is None:
        return None
    return _operator_id(party) if operation.sender is Party.CPO else _provider_id(party)
