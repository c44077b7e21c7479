"""The scenes of the demo, their checks, and `run_demo`, which plays them.

A scene drives the two simulated backends, then checks that what both have recorded agrees.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from p2p_oicp.clock import SystemClock
from p2p_oicp.errors import P2pOicpError
from p2p_oicp.oicp import ChargeDetailRecord, SessionID
from p2p_oicp.simulator.csms import ChargingSession
from p2p_oicp.simulator.demo.world import (
    APP_DRIVER,
    BLOCKED_CARD,
    CARD,
    EVSES,
    OPERATOR,
    PROVIDER,
    UNKNOWN_CARD,
    Check,
    DemoContext,
    Report,
    Timeline,
    open_demo,
)
from p2p_oicp.simulator.emp import ContractSystem
from p2p_oicp.simulator.exchange_log import is_accepted, is_refused, status_code_of

Scene = Callable[[DemoContext], Awaitable[None]]

_POLL_SECONDS = 0.05
_DEMO_TIMEOUT_SECONDS = 60.0
_SCENE_TIMEOUT_SECONDS = 25.0

_NOTIFICATIONS_BEFORE_END = ["Start", "Progress"]
_ALL_NOTIFICATIONS = ["Start", "Progress", "End"]


async def push_and_pull_statuses(context: DemoContext) -> None:
    """Replicate statuses from the charging points to the app: all of them, then one that changed."""
    response = await context.csms.push_all_statuses()
    context.check("node A took the full load of statuses", is_accepted(response))
    await _check_statuses_replicated(context)

    context.csms.set_status(EVSES[3], "OutOfService")
    await context.csms.push_changed_statuses()
    await _check_statuses_replicated(context)
    pulled = await context.contracts.pull_statuses_by_id(EVSES[3], EVSES[0])
    context.check("a change of one EVSE is seen by id", pulled, {EVSES[3]: "OutOfService", EVSES[0]: "Available"})
    pulled = await context.contracts.pull_statuses_by_operator(OPERATOR)
    context.check("a pull by operator returns all of its EVSEs", pulled, context.csms.statuses)


async def charge_with_card(context: DemoContext) -> None:
    """Charge with an RFID card of the provider."""
    session, response = await context.csms.swipe(EVSES[0], CARD)
    context.check("the card is authorized", is_accepted(response))
    if session is None:
        return
    context.check("the answer names the provider", getattr(response, "provider_id", None), PROVIDER)
    context.check(
        "both backends know the session by the same SessionID", session.session_id in context.contracts.sessions
    )
    await _charge(context, session, Decimal("7.350"), Decimal("4.012"))
    response = await context.csms.swipe_to_stop(session, UNKNOWN_CARD)
    context.check("another driver's card does not stop the session", is_refused(response))
    response = await context.csms.swipe_to_stop(session, CARD)
    context.check("the driver's own card does", is_accepted(response))
    await _end_and_check_session(context, session, Decimal("11.362"))


async def charge_with_app(context: DemoContext) -> None:
    """Start and stop charging from the provider's app."""
    session_id, response = await context.contracts.start_remotely(APP_DRIVER, EVSES[1])
    context.check("the remote start is accepted", is_accepted(response))
    if session_id is None:
        return
    session = context.csms.sessions.get(session_id)
    context.check("the CSMS has the session under the app's SessionID", session is not None)
    if session is None:
        return
    _, response = await context.contracts.start_remotely(APP_DRIVER, EVSES[1])
    context.check("an EVSE in use refuses a second remote start", is_refused(response))
    await _charge(context, session, Decimal("0.1"), Decimal("0.2"))
    response = await context.contracts.stop_remotely(session_id)
    context.check("the remote stop is accepted", is_accepted(response))
    await _end_and_check_session(context, session, Decimal("0.3"))


async def reject_invalid_tokens(context: DemoContext) -> None:
    """Swipe cards that no provider has, or whose contract is locked."""
    counts_before = len(context.csms.sessions), len(context.contracts.sessions)
    for uid, label, code in ((UNKNOWN_CARD, "an unknown card", "102"), (BLOCKED_CARD, "a locked card", "200")):
        session, response = await context.csms.swipe(EVSES[2], uid)
        context.check(f"{label} is refused", is_refused(response) and session is None)
        context.check(f"the provider's own code for {label} reaches the CSMS", status_code_of(response), code)
    counts_after = len(context.csms.sessions), len(context.contracts.sessions)
    context.check("no session came of it, in either backend", counts_after, counts_before)


async def recover_from_peer_outage(context: DemoContext) -> None:
    """Crash node B during a session: the CDR stays pending at node A, also over a restart of A, until B is back."""
    session, response = await context.csms.swipe(EVSES[2], CARD)
    context.check("the card is authorized while both nodes are up", is_accepted(response))
    if session is None:
        return
    await _charge(context, session, Decimal("21.007"), Decimal("0.993"))
    await context.csms.swipe_to_stop(session, CARD)
    await _check_notifications(context, session.session_id, _NOTIFICATIONS_BEFORE_END)

    await context.node_b.kill()
    context.record_event("node B is killed")
    _, response = await context.csms.swipe(EVSES[0], CARD)
    context.check("a provider that cannot be reached counts as a no", is_refused(response))
    await context.csms.end_session(session)
    response = await context.csms.send_cdr(session)
    context.check("node A acknowledges the CDR although node B is down", is_accepted(response))
    context.record_event("node A is restarted")
    await context.node_a.restart()
    context.check("nothing has arrived yet", received_cdrs(context.contracts, session.session_id), [])
    context.record_event("node B is started again")
    await context.node_b.start()
    await _check_cdr_received(context, session)
    await _check_notifications_ignoring_duplicates(context, session.session_id)
    await context.csms.push_changed_statuses()
    await _check_statuses_replicated(context)


async def stop_nodes_and_compare(context: DemoContext) -> None:
    """Stop the nodes, then compare the records of both backends as a whole."""
    for node in (context.node_a, context.node_b):
        context.record_event(f"{node.spec.name} is stopped")
        await node.stop()
    context.check("both nodes ended in order", [context.node_a.exit_code, context.node_b.exit_code], [0, 0])
    sessions = {session.session_id: session for session in context.csms.sessions.values()}
    context.check("both backends know the same sessions", set(context.contracts.sessions), set(sessions))
    counts = {session_id: len(context.contracts.cdrs.get(session_id, [])) for session_id in sessions}
    context.check("each session has exactly one CDR", counts, dict.fromkeys(sessions, 1))
    sold = sum((session.consumed_energy for session in sessions.values()), Decimal(0))
    billed = sum((billed_energy(context.contracts, session_id) for session_id in sessions), Decimal(0))
    context.check(f"all {sold} kWh that were sold are billed, to the watt-hour", billed, sold)


SCENES: tuple[tuple[str, Scene], ...] = (
    ("EVSE statuses, pushed and pulled", push_and_pull_statuses),
    ("A driver with an RFID card", charge_with_card),
    ("A driver with an app", charge_with_app),
    ("Cards that are refused", reject_invalid_tokens),
    ("A peer that is down for a while", recover_from_peer_outage),
    ("Closing time", stop_nodes_and_compare),
)


async def _charge(context: DemoContext, session: ChargingSession, *energies: Decimal) -> None:
    await context.csms.push_changed_statuses()
    await context.csms.start_charging(session)
    for energy in energies:
        await context.csms.charge(session, energy, minutes=30)


async def _end_and_check_session(context: DemoContext, session: ChargingSession, energy: Decimal) -> None:
    """End a session and check that the EMP has its notifications and its CDR."""
    await context.csms.end_session(session)
    await context.csms.push_changed_statuses()
    response = await context.csms.send_cdr(session)
    context.check("node A acknowledges the CDR", is_accepted(response))
    await _check_cdr_received(context, session)
    context.check(
        "it bills what the meter counted, exactly", billed_energy(context.contracts, session.session_id), energy
    )
    await _check_notifications(context, session.session_id, _ALL_NOTIFICATIONS)


async def _check_cdr_received(context: DemoContext, session: ChargingSession) -> None:
    cdrs = context.contracts.cdrs
    await context.contracts.wait_until(lambda: bool(cdrs.get(session.session_id)), timeout_seconds=context.timeout)
    sent = [cdr_members(session.cdr)] if session.cdr else []
    context.check(
        "the CDR arrived, once, equal in every member", received_cdrs(context.contracts, session.session_id), sent
    )


async def _check_notifications(context: DemoContext, session_id: SessionID, expected: list[str]) -> None:
    def received() -> list[str]:
        return notification_types(context.contracts, session_id)

    await context.contracts.wait_until(lambda: received() == expected, timeout_seconds=context.timeout)
    context.check(f"the notifications {', '.join(expected)} arrived in order, none twice", received(), expected)


async def _check_notifications_ignoring_duplicates(context: DemoContext, session_id: SessionID) -> None:
    """Check that none was lost in a crash; one in flight at the crash may be delivered twice (at least once)."""

    def received() -> list[str]:
        return notification_types(context.contracts, session_id, ignore_duplicates=True)

    await context.contracts.wait_until(lambda: received() == _ALL_NOTIFICATIONS, timeout_seconds=context.timeout)
    context.check(
        f"the notifications {', '.join(_ALL_NOTIFICATIONS)} arrived in order, none was lost",
        received(),
        _ALL_NOTIFICATIONS,
    )


async def _check_statuses_replicated(context: DemoContext) -> None:
    """Wait until node B has the statuses of the charging points; the polls before that are not logged."""
    # Polling: OICP gives an EMP's backend a pull only. After the timeout, the check below names the difference.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(context.timeout):
            while await context.contracts.pull_statuses(logged=False) != context.csms.statuses:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    pulled = await context.contracts.pull_statuses()
    context.check("a pull at node B returns exactly the statuses of the charging points", pulled, context.csms.statuses)


async def run_demo(
    directory: Path,
    timeline: Timeline,
    scenes: Sequence[tuple[str, Scene]] = SCENES,
    afterwards: Callable[[DemoContext], Awaitable[None]] | None = None,
) -> Report:
    """Play all scenes with the nodes' files in ``directory``; return the checks. Takes 60 s at most.

    ``afterwards`` is called when all was played, while both nodes are still running; it may take as long as it wants.
    """
    report = Report()
    clock = SystemClock()
    started = clock.monotonic()
    try:
        async with asyncio.timeout(_DEMO_TIMEOUT_SECONDS) as limit, open_demo(directory, timeline, report) as context:
            context.record_event("node A and node B are up")
            for number, (title, scene) in enumerate(scenes, start=1):
                await _run_scene(context, number, title, scene)
            if afterwards is not None:
                limit.reschedule(None)
                await afterwards(context)
    except (P2pOicpError, TimeoutError) as exc:
        _record_failure(report, timeline, "The day", "the day was played to its end", exc)
    report.seconds = clock.monotonic() - started
    timeline.summary(report)
    return report


async def _run_scene(context: DemoContext, number: int, title: str, scene: Scene) -> None:
    context.begin_scene(number, title)
    try:
        async with asyncio.timeout(_SCENE_TIMEOUT_SECONDS):
            await scene(context)
    except (P2pOicpError, TimeoutError) as exc:
        _record_failure(context.report, context.timeline, title, "the scene was played to its end", exc)


def _record_failure(report: Report, timeline: Timeline, scene: str, sentence: str, exc: Exception) -> None:
    check = Check(scene, sentence, held=False, detail=str(exc) or "took too long")
    report.checks.append(check)
    timeline.check(check)


def cdr_members(cdr: ChargeDetailRecord) -> Any:  # noqa: ANN401 - any JSON
    """Return a CDR's JSON members; numbers as exact decimals, so 12.340 equals 12.34."""
    return json.loads(cdr.to_json(), parse_float=Decimal, parse_int=Decimal)


def received_cdrs(contracts: ContractSystem, session_id: SessionID) -> list[Any]:
    """Return the members of every CDR that the EMP received for a session."""
    return [cdr_members(cdr) for cdr in contracts.cdrs.get(session_id, [])]


def billed_energy(contracts: ContractSystem, session_id: SessionID) -> Decimal:
    """Return the energy of all CDRs that the EMP received for a session, in kWh."""
    return sum((cdr.consumed_energy for cdr in contracts.cdrs.get(session_id, [])), Decimal(0))


def notification_types(
    contracts: ContractSystem, session_id: SessionID, *, ignore_duplicates: bool = False
) -> list[str]:
    """Return the types of the notifications that the EMP received for a session, in their order.

    Consecutive Progress counts as one: a node replaces a pending one by a newer one. A duplicate (byte for byte) is
    marked with "again", or left out.
    """
    labels: list[str] = []
    seen: set[bytes] = set()
    for notification in contracts.notifications.get(session_id, []):
        body = notification.to_json()
        label = f"{notification.type} again" if body in seen else str(notification.type)
        if not (body in seen and ignore_duplicates) and labels[-1:] != [label]:
            labels.append(label)
        seen.add(body)
    return labels
