"""What happens to sessions, CDRs, statuses and peers is in the event log of each node, and listed by its admin API."""

from tests.support.messages import CDR, PUSH_STATUS, cdr, push_status
from tests.support.nodes import start_session
from tests.support.pairing import Admin
from tests.support.sessions import until_state
from tests.support.waiting import eventually_equals


async def events(pair, at: str, query: str = "") -> list[dict]:
    return (await Admin(pair, at).ask("GET", f"/events?{query}"))["events"]


async def test_a_session_and_its_record_are_in_the_log_of_both_nodes(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    for at, role, peer in (("a", "cpo", "node b"), ("b", "emp", "node a")):
        await until_state(pair, at, "settled")
        listed = await events(pair, at)
        assert [each["number"] for each in listed] == list(range(1, len(listed) + 1))
        of_session = [each for each in listed if each.get("session_id") == session]
        assert {each["role"] for each in of_session} == {role}
        assert {each["peer"] for each in of_session} == {peer}
        steps = [(each["type"], each["what"]) for each in of_session]
        states = [what for type_, what in steps if type_ == "session" and what != "requested"]
        assert states == ["authorized", "ended", "settled"]
        records = [what for type_, what in steps if type_ == "cdr"]
        assert (records[0], records[-1]) == ("received", "accepted")


async def test_a_status_is_in_the_log_of_both_nodes_as_it_was_sent(pair):
    for status in ("Available", "OutOfService"):
        await pair.a.post(PUSH_STATUS, push_status("fullLoad", E1=status))
        for at in "ab":
            await eventually_equals(lambda at=at: statuses(pair, at), [("DEGEFEE1", status)])


async def statuses(pair, at: str) -> list[tuple[str, str]]:
    return [(each["evse"], each["what"]) for each in (await events(pair, at, "type=evse_status"))[-1:]]


async def test_the_log_is_read_in_pages_and_by_type(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    await until_state(pair, "a", "settled")
    everything = await events(pair, "a")
    paged, after = [], 0
    while page := await Admin(pair, "a").ask("GET", f"/events?after={after}&limit=2"):
        paged, after = paged + page["events"], page["next"]
        if not page["events"]:
            break
    assert paged == everything
    assert {each["type"] for each in await events(pair, "a", "type=cdr")} == {"cdr"}


async def test_a_query_that_is_wrong_is_refused_with_what_is_expected(pair):
    for query, reason in (
        ("type=cdrs", "expected session, cdr"),
        ("after=-1", "no id of an event"),
        ("limit=x", "number"),
    ):
        assert reason in str(await Admin(pair, "a").ask("GET", f"/events?{query}", 400))
