"""A session from request to settlement, as the store of each node tells it, and one that nothing is heard of."""

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from tests.support.clocks import ManualClock
from tests.support.messages import CDR, NOTIFY, START, STOP, authorize_start, authorize_stop, cdr, notification
from tests.support.nodes import query
from tests.support.sessions import until_state


async def test_every_step_is_in_the_story_of_both_nodes(pair):
    session = (await pair.a.post(START, authorize_start())).json["SessionID"]
    await until_state(pair, "a", "authorized")
    await pair.a.post(NOTIFY, notification("Start", session))
    await until_state(pair, "b", "charging")
    await pair.a.post(STOP, authorize_stop(session))
    await pair.a.post(NOTIFY, notification("End", session))
    await until_state(pair, "b", "ended")
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "settled")
    await until_state(pair, "b", "settled")
    expected = ["notification Start", "AuthorizeStop requested", "AuthorizeStop accepted", "notification End"]
    for at in "ab":
        events = [event for (event,) in query(pair, at, "SELECT event FROM session_events ORDER BY id")]
        assert events[0] == "authorized"
        assert [event for event in events if event in expected] == expected
        assert events[-1] == "charge detail record accepted"
        # To the peer. Of our own backend, the verdict says that it has arrived.
        assert events.count("ChargeDetailRecord delivered") == (at == "a")


async def test_what_nothing_follows_expires_and_its_late_record_is_taken(stopped):
    stopped.extra_config = "[sessions]\nauthorize_ttl = 0.2\n"
    stopped.write()
    async with stopped.running("b"):
        settings, clock = load_settings(stopped.folder / "a" / "node.toml"), ManualClock()
        async with Node(settings, cpo=stopped.csms, clock=clock):
            session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
            clock.now += 1
            await until_state(stopped, "a", "expired")
            assert (await stopped.a.post(STOP, authorize_stop(session))).code == "400"
            assert (await stopped.a.post(CDR, cdr(session))).json["Result"] is True
            clock.now += 1000
            await stopped.contracts.until(lambda book: book.records)
