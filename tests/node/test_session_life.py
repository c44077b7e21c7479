"""A session from request to settlement, as the store of each node tells it, and one that nothing is heard of."""

import asyncio
import sqlite3
from contextlib import closing

from p2p_oicp.node import Node
from p2p_oicp.settings import load_settings
from tests.conftest import ManualClock

from .messages import CDR, NOTIFY, START, STOP, authorize_start, authorize_stop, cdr, notification


def rows(pair, at: str, query: str) -> list[tuple]:
    with closing(sqlite3.connect(pair.folder / at / "data" / "node.sqlite3")) as connection:
        return connection.execute(query).fetchall()


async def until(pair, at: str, state: str) -> None:
    async with asyncio.timeout(10):
        while rows(pair, at, "SELECT state FROM sessions") != [(state,)]:
            await asyncio.sleep(0.01)


async def test_every_step_is_in_the_story_of_both_nodes(pair):
    session = (await pair.a.post(START, authorize_start())).json["SessionID"]
    await until(pair, "a", "authorized")
    await pair.a.post(NOTIFY, notification("Start", session))
    await until(pair, "b", "charging")
    await pair.a.post(STOP, authorize_stop(session))
    await pair.a.post(NOTIFY, notification("End", session))
    await until(pair, "b", "ended")
    await pair.a.post(CDR, cdr(session))
    await until(pair, "a", "settled")
    await until(pair, "b", "settled")
    told = ["notification Start", "AuthorizeStop requested", "AuthorizeStop accepted", "notification End"]
    for at in "ab":
        events = [event for (event,) in rows(pair, at, "SELECT event FROM session_events ORDER BY id")]
        assert events[0] == "authorized"
        assert [event for event in events if event in told] == told
        assert events[-1] == "ChargeDetailRecord delivered"


async def test_what_nothing_follows_expires_and_its_late_record_is_taken(stopped):
    stopped.more = "[sessions]\nauthorize_ttl = 0.2\n"
    stopped.write()
    async with stopped.running("b"):
        settings, clock = load_settings(stopped.folder / "a" / "node.toml"), ManualClock()
        async with Node(settings, cpo=stopped.csms, clock=clock):
            session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
            clock.now += 1
            await until(stopped, "a", "expired")
            assert (await stopped.a.post(STOP, authorize_stop(session))).code == "400"
            assert (await stopped.a.post(CDR, cdr(session))).json["Result"] is True
            clock.now += 1000
            await stopped.contracts.until(lambda book: book.records)
