"""A day in the life of the simulated backends, in as many seconds as a person wants to wait.

At each CPO one driver after the other charges: with a card or with an app, of any EMP, now and then with a card that
nobody knows. All CPOs are at work at the same time. A node that is away costs sessions, as it would in reality, and no
record: a CDR is sent until the CPO's node has answered. At the end the records of all backends are compared.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType, TracebackType
from typing import Self

import msgspec

from p2p_oicp.clock import SystemClock
from p2p_oicp.errors import PeerError
from p2p_oicp.oicp import UID, EvcoID, EvseID, OperatorID, ProviderID, PushEvseData, SessionID
from p2p_oicp.oicp.sample_fleets import Fleet, fleet
from p2p_oicp.simulator.backend_connection import DEFAULT_ADDRESS, BackendAddress
from p2p_oicp.simulator.csms import ChargingPoint, ChargingSession, Csms, SimulatedClock
from p2p_oicp.simulator.emp import Contract, ContractSystem
from p2p_oicp.simulator.exchange_log import ExchangeLog

DAY = timedelta(hours=24)

_POINTS = 8
_UNKNOWN_CARD = UID("CAFEBABE")
_UNKNOWN_CARD_PART, _APP_PART = 0.05, 0.4
# Simulated time begins so long before the day ends: its last session may last into the next day.
_MARGIN = timedelta(hours=6)
_RETRY_SECONDS = 0.5
_LAST_CDR_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ChargedSession:
    """A session of the day; ``at`` is its start in simulated time, ``energy`` in kWh."""

    at: datetime
    operator: str
    provider: str
    evse_id: str
    how: str
    energy: Decimal


@dataclass
class DayResult:
    """What the CPOs' backends have of the day; ``missing`` are CDRs that no EMP's backend has, or one has twice."""

    sessions: list[ChargedSession] = field(default_factory=list)
    refused: int = 0
    failed: int = 0
    missing: list[str] = field(default_factory=list)

    @property
    def energy(self) -> Decimal:
        """All energy, in kWh."""
        return sum((session.energy for session in self.sessions), Decimal(0))


@dataclass(frozen=True, slots=True)
class _Operator:
    """A CSMS with its clock, and with chances of its own: operators live side by side, in no certain order."""

    csms: Csms
    clock: SimulatedClock
    random: random.Random
    fleet: Fleet


class SimulatedBackends:
    """The backends of a cluster's companies; an async context manager. ``urls`` are theirs, by the names of the nodes.

    Args:
        operators: OperatorIDs by the names of the nodes; ``providers`` likewise ProviderIDs.
        seed: of the day: the same seed lets the same things happen.
        addresses: where they listen, by the names of the nodes; the others at free loopback ports.
    """

    def __init__(
        self,
        operators: Mapping[str, str],
        providers: Mapping[str, str],
        *,
        seed: int = 1,
        addresses: Mapping[str, BackendAddress] = MappingProxyType({}),
    ) -> None:
        self.result = DayResult()
        log, start = ExchangeLog(SystemClock()), datetime.now().astimezone().replace(microsecond=0) - DAY - _MARGIN
        self._start = start.timestamp()
        self._operators = {
            name: _create_operator(name, OperatorID(party), log, start, seed, addresses.get(name, DEFAULT_ADDRESS))
            for name, party in operators.items()
        }
        self._contracts = {
            name: _create_contracts(name, ProviderID(party), log, addresses.get(name, DEFAULT_ADDRESS))
            for name, party in providers.items()
        }
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for backend in self._backends().values():
            await self._stack.enter_async_context(backend)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def urls(self) -> dict[str, str]:
        """Where the nodes reach their backends."""
        return {name: backend.url for name, backend in self._backends().items()}

    def connect(self, urls: Mapping[str, str]) -> None:
        """Set the base URLs of the nodes' backend APIs, by the names of the nodes."""
        for name, backend in self._backends().items():
            backend.connect(name, urls[name])

    async def live(self, seconds: float, on_session: Callable[[ChargedSession], None]) -> DayResult:
        """Let the day pass in so many seconds; return what came of it."""
        async with asyncio.TaskGroup() as group:
            for operator in self._operators.values():
                group.create_task(self._live_of(operator, seconds, on_session))
        self.result.missing = await self._missing_cdrs()
        return self.result

    def _backends(self) -> dict[str, Csms | ContractSystem]:
        return {**{name: each.csms for name, each in self._operators.items()}, **self._contracts}

    async def _live_of(self, operator: _Operator, seconds: float, on_session: Callable[[ChargedSession], None]) -> None:
        timer, systems = SystemClock(), list(self._contracts.values())
        started, end = timer.monotonic(), self._start + DAY.total_seconds()
        await _push_statuses(operator.csms, fleet=operator.fleet)
        while systems and operator.clock.time() < end:
            operator.clock.advance(60 * operator.random.randint(5, 45))
            part = (operator.clock.time() - self._start) / DAY.total_seconds()
            await asyncio.sleep(max(0.0, started + seconds * part - timer.monotonic()))
            session = await self._charge(operator, operator.random.choice(systems))
            if session is not None:
                self.result.sessions.append(session)
                on_session(session)

    async def _charge(self, operator: _Operator, contracts: ContractSystem) -> ChargedSession | None:
        """Let a driver of an EMP charge; None if it came to nothing."""
        csms, with_app = operator.csms, operator.random.random() < _APP_PART
        free = [evse_id for evse_id, status in csms.statuses.items() if status == "Available"]
        evse_id = operator.random.choice(free or list(csms.points))
        try:
            session = await self._start_session(operator, contracts, evse_id, with_app=with_app)
        except PeerError:
            self.result.failed += 1
            return None
        if session is None:
            self.result.refused += 1
            return None
        await self._play_session(operator, session, contracts, with_app=with_app)
        how, provider = "app" if with_app else "card", contracts.provider.text
        return ChargedSession(
            session.session_start, csms.operator.text, provider, evse_id.text, how, session.consumed_energy
        )

    async def _start_session(
        self, operator: _Operator, contracts: ContractSystem, evse_id: EvseID, *, with_app: bool
    ) -> ChargingSession | None:
        csms, contract = operator.csms, contracts.contracts[0]
        if with_app:
            session_id, _ = await contracts.start_remotely(contract.evco_id, evse_id)
            return csms.sessions.get(session_id) if session_id is not None else None
        is_unknown = operator.random.random() < _UNKNOWN_CARD_PART
        session, _ = await csms.swipe(evse_id, _UNKNOWN_CARD if is_unknown else contract.uids[0])
        return session

    async def _play_session(
        self, operator: _Operator, session: ChargingSession, contracts: ContractSystem, *, with_app: bool
    ) -> None:
        csms = operator.csms
        await _push_statuses(csms)
        with suppress(PeerError):
            await csms.start_charging(session)
        for _ in range(operator.random.randint(1, 3)):
            energy = Decimal(operator.random.randint(500, 9000)).scaleb(-3)
            with suppress(PeerError):
                await csms.charge(session, energy, minutes=operator.random.randint(10, 25))
        with suppress(PeerError):
            if with_app:
                await contracts.stop_remotely(session.session_id)
            else:
                await csms.swipe_to_stop(session, contracts.contracts[0].uids[0])
        with suppress(PeerError):
            await csms.end_session(session)
        await _push_statuses(csms)
        await _send_cdr(csms, session)

    async def _missing_cdrs(self) -> list[str]:
        """Wait for the last CDRs; return the SessionIDs of those that are not there once."""
        sessions = [each for operator in self._operators.values() for each in operator.csms.sessions.values()]
        sent = [session.session_id for session in sessions if session.cdr is not None]

        def missing() -> list[SessionID]:
            counts = {each: sum(len(emp.cdrs.get(each, ())) for emp in self._contracts.values()) for each in sent}
            return [session_id for session_id, count in counts.items() if count != 1]

        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_CDR_SECONDS):
                while missing():  # noqa: ASYNC110 - what several backends receive
                    await asyncio.sleep(_RETRY_SECONDS)
        return [str(session_id) for session_id in missing()]


def _create_operator(
    name: str, operator: OperatorID, log: ExchangeLog, start: datetime, seed: int, address: BackendAddress
) -> _Operator:
    clock = SimulatedClock(start)
    evses = fleet(_POINTS, operator=operator.text)
    points = [ChargingPoint(EvseID(evse_id), Decimal("1000.125")) for evse_id in evses.evse_ids]
    csms = Csms(name=f"{name} CSMS", operator=operator, points=points, exchange_log=log, clock=clock, address=address)
    return _Operator(csms, clock, random.Random(f"{seed} {name}"), evses)  # noqa: S311 - no secret


def _create_contracts(name: str, provider: ProviderID, log: ExchangeLog, address: BackendAddress) -> ContractSystem:
    party = provider.text
    contract = Contract(EvcoID(f"{party}-C00000001-X"), uids=(driver_card(party),))
    return ContractSystem(
        name=f"{name} contracts", provider=provider, contracts=[contract], exchange_log=log, address=address
    )


def driver_card(provider: str) -> UID:
    """Return the UID of the card that a provider of tests authorizes: the same for all spellings of its id."""
    return UID(f"04{ProviderID(provider).key.encode().hex().upper():0<12.12}")


async def _push_statuses(csms: Csms, *, fleet: Fleet | None = None) -> None:
    """Push the statuses that have changed; with a fleet, its records and all statuses."""
    # A node that is away gets them with the next change.
    with suppress(PeerError):
        if fleet is None:
            await csms.push_changed_statuses()
            return
        await csms.push_evse_data(PushEvseData.from_json(msgspec.json.encode(fleet.push_evse_data())))
        await csms.push_all_statuses()


async def _send_cdr(csms: Csms, session: ChargingSession) -> None:
    """Send the CDR until the node has answered."""
    while True:
        with suppress(PeerError):
            # A refusal is an answer as well: the comparison at the end names the record.
            await csms.send_cdr(session)
            return
        await asyncio.sleep(_RETRY_SECONDS)
