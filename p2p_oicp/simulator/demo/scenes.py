"""The day, scene by scene: what is done, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from decimal import Decimal

from p2p_oicp.oicp import SessionID
from p2p_oicp.simulator.answers import code_of, said_no, said_yes
from p2p_oicp.simulator.charging import ChargingSession
from p2p_oicp.simulator.demo.books import billed_energy, content, kinds_of_notifications, received_cdrs
from p2p_oicp.simulator.demo.world import (
    APP_DRIVER,
    BLOCKED_CARD,
    CARD,
    EVSES,
    OPERATOR,
    PROVIDER,
    STRANGE_CARD,
    World,
)

Scene = Callable[[World], Awaitable[None]]

_BETWEEN_LOOKS = 0.05

_WHILE_CHARGING = ["Start", "Progress"]
_OVER_ALL = ["Start", "Progress", "End"]


async def statuses(world: World) -> None:
    """Bring statuses from the charging points to the app, all of them and then one that changed."""
    answer = await world.csms.push_all_statuses()
    world.check("node A took the full load of statuses", said_yes(answer))
    await _statuses_arrive(world)

    world.csms.points[EVSES[3]].status = "OutOfService"
    await world.csms.push_changed_statuses()
    await _statuses_arrive(world)
    found = await world.contracts.pull_statuses_of(EVSES[3], EVSES[0])
    world.check("a change of one EVSE is seen by id", found, {EVSES[3]: "OutOfService", EVSES[0]: "Available"})
    found = await world.contracts.pull_statuses_of_operator(OPERATOR)
    world.check("a pull by operator returns all of its EVSEs", found, world.csms.statuses)


async def card(world: World) -> None:
    """Let a driver of the provider charge with an RFID card."""
    session, answer = await world.csms.swipe(EVSES[0], CARD)
    world.check("the card is authorized", said_yes(answer))
    if session is None:
        return
    world.check("the answer names the provider", getattr(answer, "provider_id", None), PROVIDER)
    world.check("both backends know the session by the same SessionID", session.session_id in world.contracts.sessions)
    await _charge(world, session, Decimal("7.350"), Decimal("4.012"))
    answer = await world.csms.swipe_to_stop(session, STRANGE_CARD)
    world.check("another driver's card does not stop the session", said_no(answer))
    answer = await world.csms.swipe_to_stop(session, CARD)
    world.check("the driver's own card does", said_yes(answer))
    await _settle(world, session, Decimal("11.362"))


async def app(world: World) -> None:
    """Let a driver of the provider start and stop from the app."""
    session_id, answer = await world.contracts.start_remotely(APP_DRIVER, EVSES[1])
    world.check("the remote start is accepted", said_yes(answer))
    if session_id is None:
        return
    session = world.csms.sessions.get(session_id)
    world.check("the CSMS has the session under the app's SessionID", session is not None)
    if session is None:
        return
    _, answer = await world.contracts.start_remotely(APP_DRIVER, EVSES[1])
    world.check("an EVSE in use refuses a second remote start", said_no(answer))
    await _charge(world, session, Decimal("0.1"), Decimal("0.2"))
    answer = await world.contracts.stop_remotely(session_id)
    world.check("the remote stop is accepted", said_yes(answer))
    await _settle(world, session, Decimal("0.3"))


async def refused_cards(world: World) -> None:
    """Try cards that nobody answers for, or whose contract is not valid."""
    before = len(world.csms.sessions), len(world.contracts.sessions)
    for uid, whose, code in ((STRANGE_CARD, "an unknown card", "102"), (BLOCKED_CARD, "a locked card", "200")):
        session, answer = await world.csms.swipe(EVSES[2], uid)
        world.check(f"{whose} is refused", said_no(answer) and session is None)
        world.check(f"the provider's own code for {whose} reaches the CSMS", code_of(answer), code)
    after = len(world.csms.sessions), len(world.contracts.sessions)
    world.check("no session came of it, in either backend", after, before)


async def peer_down(world: World) -> None:
    """Crash node B during a session: its CDR waits at node A, which restarts meanwhile, until B is back."""
    session, answer = await world.csms.swipe(EVSES[2], CARD)
    world.check("the card is authorized while both nodes are up", said_yes(answer))
    if session is None:
        return
    await _charge(world, session, Decimal("21.007"), Decimal("0.993"))
    await world.csms.swipe_to_stop(session, CARD)
    await _notifications_arrive(world, session.session_id, _WHILE_CHARGING)

    await world.node_b.kill()
    world.tell("node B is killed")
    _, answer = await world.csms.swipe(EVSES[0], CARD)
    world.check("a provider that cannot be reached counts as a no", said_no(answer))
    await world.csms.leave(session)
    answer = await world.csms.send_cdr(session)
    world.check("node A acknowledges the CDR although node B is down", said_yes(answer))
    world.tell("node A is restarted")
    await world.node_a.restart()
    world.check("nothing has arrived yet", received_cdrs(world.contracts, session.session_id), [])
    world.tell("node B is started again")
    await world.node_b.start()
    await _cdr_arrives(world, session)
    await _all_notifications_arrive_at_last(world, session.session_id)
    await world.csms.push_changed_statuses()
    await _statuses_arrive(world)


async def closing_time(world: World) -> None:
    """End the nodes in order, then compare the books once more."""
    for node in (world.node_a, world.node_b):
        world.tell(f"{node.spec.name} is stopped")
        await node.stop()
    world.check("both nodes ended in order", [world.node_a.exit_code, world.node_b.exit_code], [0, 0])
    sessions = {session.session_id: session for session in world.csms.sessions.values()}
    world.check("both backends know the same sessions", set(world.contracts.sessions), set(sessions))
    counts = {session_id: len(world.contracts.cdrs.get(session_id, [])) for session_id in sessions}
    world.check("each session has exactly one CDR", counts, dict.fromkeys(sessions, 1))
    sold = sum((session.consumed for session in sessions.values()), Decimal(0))
    billed = sum((billed_energy(world.contracts, session_id) for session_id in sessions), Decimal(0))
    world.check(f"all {sold} kWh that were sold are billed, to the watt-hour", billed, sold)


SCENES: tuple[tuple[str, Scene], ...] = (
    ("EVSE statuses, pushed and pulled", statuses),
    ("A driver with an RFID card", card),
    ("A driver with an app", app),
    ("Cards that are refused", refused_cards),
    ("A peer that is down for a while", peer_down),
    ("Closing time", closing_time),
)


async def _charge(world: World, session: ChargingSession, *energies: Decimal) -> None:
    await world.csms.push_changed_statuses()
    await world.csms.begin(session)
    for energy in energies:
        await world.csms.charge(session, energy, minutes=30)


async def _settle(world: World, session: ChargingSession, energy: Decimal) -> None:
    """End a session and check what both sides have of it."""
    await world.csms.leave(session)
    await world.csms.push_changed_statuses()
    answer = await world.csms.send_cdr(session)
    world.check("node A acknowledges the CDR", said_yes(answer))
    await _cdr_arrives(world, session)
    world.check("it bills what the meter counted, exactly", billed_energy(world.contracts, session.session_id), energy)
    await _notifications_arrive(world, session.session_id, _OVER_ALL)


async def _cdr_arrives(world: World, session: ChargingSession) -> None:
    books = world.contracts.cdrs
    await world.contracts.wait_until(lambda: bool(books.get(session.session_id)), within=world.patience)
    sent = [content(session.cdr)] if session.cdr else []
    world.check(
        "the CDR arrived, once, equal in every member", received_cdrs(world.contracts, session.session_id), sent
    )


async def _notifications_arrive(world: World, session_id: SessionID, expected: list[str]) -> None:
    def found() -> list[str]:
        return kinds_of_notifications(world.contracts, session_id)

    await world.contracts.wait_until(lambda: found() == expected, within=world.patience)
    world.check(f"the notifications {', '.join(expected)} arrived in order, none twice", found(), expected)


async def _all_notifications_arrive_at_last(world: World, session_id: SessionID) -> None:
    """Check that a crash cost none; one that was handed over at the moment of the crash may have come twice."""

    def found() -> list[str]:
        return kinds_of_notifications(world.contracts, session_id, without_repetitions=True)

    await world.contracts.wait_until(lambda: found() == _OVER_ALL, within=world.patience)
    world.check(f"the notifications {', '.join(_OVER_ALL)} arrived in order, none was lost", found(), _OVER_ALL)


async def _statuses_arrive(world: World) -> None:
    """Wait until node B has what the charging points say; looks that come too early are not shown."""
    # A pull is all that an OICP backend has to find out; the check that follows says what is missing when time is up.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(world.patience):
            while await world.contracts.pull_statuses(journaled=False) != world.csms.statuses:  # noqa: ASYNC110
                await asyncio.sleep(_BETWEEN_LOOKS)
    found = await world.contracts.pull_statuses()
    world.check("a pull at node B returns exactly the statuses of the charging points", found, world.csms.statuses)
