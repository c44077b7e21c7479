"""A Python program iterates over what happens at its node."""

import asyncio

import pytest

from tests.support.messages import CDR, PUSH_STATUS, cdr, plausible, push_status
from tests.support.nodes import start_session, stopped
from tests.support.waiting import eventually

__all__ = ["stopped"]


async def read(events, count: int) -> list:
    async with asyncio.timeout(10):
        return [await anext(events) for _ in range(count)]


async def test_a_program_reads_what_happens_of_one_session_and_goes_on_after_a_restart(stopped):
    async with stopped.running("a") as node, stopped.running("b"):
        session = await start_session(stopped)
        events = node.events(types=["session", "cdr"], sessions=[session], after="0")
        [opened] = await read(events, 1)
        assert (opened.type, opened.session_id, opened.peer) == ("session", session, "node b")
        await stopped.a.post(CDR, cdr(session, **plausible()))
        rest = [event async for event in until_settled(events)]
        assert {event.type for event in rest} == {"session", "cdr"}
        await events.aclose()
        await eventually(lambda: len(node._feed) == 0)
    async with stopped.running("a") as node:
        again = await read(node.events(sessions=[session], after=opened.id), len(rest))
        assert again == rest


async def until_settled(events):
    async for event in events:
        yield event
        if event.what == "settled":
            return


async def test_an_iteration_ends_with_its_node(stopped):
    async with stopped.running("a") as node:
        events = []
        reading = asyncio.ensure_future(collect(node.events(types=["evse_status"]), events))
        await eventually(lambda: len(node._feed) == 1)
        await stopped.a.post(PUSH_STATUS, push_status("fullLoad", E1="Available", E2="Occupied"))
        await eventually(lambda: len(events) == 2)
    await reading
    assert [event.what for event in events] == ["Available", "Occupied"]


async def collect(events, to: list) -> None:
    async for event in events:
        to += [event]


async def test_wrong_selections_are_refused_at_the_first_step(stopped):
    async with stopped.running("a") as node:
        for selection in ({"types": ["cdrs"]}, {"after": "x"}, {"evses": ["1"]}):
            with pytest.raises(ValueError, match=r"expected|is no"):
                await anext(node.events(**selection))
    with pytest.raises(RuntimeError, match="not running"):
        await anext(type(node)(node._settings).events())
