"""GetChargeDetailRecords, and records that an EMP's node misses."""

import json

import pytest

from tests.support.messages import CDR, GET_CDRS, START, UNKNOWN_SESSION, authorize_start, cdr, get_cdrs
from tests.support.nodes import query


async def settled(pair, **members) -> str:
    session = (await pair.a.post(START, authorize_start())).json["SessionID"]
    assert (await pair.a.post(CDR, cdr(session, **members))).json["Result"] is True
    return session


async def delivered(pair, *sessions: str) -> None:
    await pair.contracts.until(lambda book: {record.session_id.text for record in book.records} >= set(sessions))
    for node in "ab":
        await pair.at_rest(node)


def ids(answer) -> list[str]:
    assert answer.code == "000"
    return [record["SessionID"] for record in answer.json["content"]]


async def test_a_backend_gets_the_records_of_a_period_unchanged(pair):
    session = await settled(pair, ConsumedEnergy=22.50)
    await delivered(pair, session)
    answer = await pair.b.post(GET_CDRS, get_cdrs())
    assert ids(answer) == [session]
    assert answer.json["content"][0] == cdr(session)


async def test_a_peer_gets_the_records_of_its_own_sessions(pair):
    session = await settled(pair)
    assert ids(await pair.a_peer.post(GET_CDRS, get_cdrs())) == [session]


TIMES = {
    "before": ("2026-03-01T00:00:00Z", "2026-03-01T09:40:59Z", 0),
    "to the second of its SessionEnd": ("2026-03-01T00:00:00Z", "2026-03-01T09:41:00Z", 1),
    "from the second of its SessionEnd": ("2026-03-01T10:41:00+01:00", "2026-03-02T00:00:00Z", 1),
    "after": ("2026-03-01T09:41:01Z", "2026-03-02T00:00:00Z", 0),
}


@pytest.mark.parametrize(("begin", "end", "found"), TIMES.values(), ids=TIMES)
async def test_the_requested_period_is_that_of_session_end(pair, begin, end, found):
    await settled(pair)
    answer = await pair.a_peer.post(GET_CDRS, get_cdrs(From=begin, To=end))
    assert len(ids(answer)) == found


FILTERS = {
    "its SessionID": (lambda session: {"SessionID": [session.upper()]}, 1),
    "another SessionID": (lambda _: {"SessionID": [UNKNOWN_SESSION]}, 0),
    "its OperatorID": (lambda _: {"OperatorID": "DEGEF"}, 1),
    "operators as a list": (lambda _: {"OperatorID": ["DE*ABC", "DE*GEF"]}, 1),
    "another OperatorID": (lambda _: {"OperatorID": "DE*ABC"}, 0),
    "forwarded": (lambda _: {"CDRForwarded": True}, 1),
    "not forwarded": (lambda _: {"CDRForwarded": False}, 0),
    "in the spelling of the OpenAPI document": (lambda _: {"CDRForwarder": False}, 0),
}


@pytest.mark.parametrize(("filters", "found"), FILTERS.values(), ids=FILTERS)
async def test_the_filters_find(pair, filters, found):
    session = await settled(pair)
    await delivered(pair, session)
    assert len(ids(await pair.b.post(GET_CDRS, get_cdrs(**filters(session))))) == found


async def test_a_record_that_did_not_arrive_is_not_forwarded(stopped):
    async with stopped.running("a"), stopped.running("b"):
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
    async with stopped.running("a"):
        await stopped.a.post(CDR, cdr(session))
        assert ids(await stopped.a_peer.post(GET_CDRS, get_cdrs(CDRForwarded=False))) == [session]
        assert ids(await stopped.a_peer.post(GET_CDRS, get_cdrs(CDRForwarded=True))) == []


async def test_from_after_to_is_refused(pair):
    answer = await pair.b.post(GET_CDRS, get_cdrs(From="2026-03-03T00:00:00Z"))
    assert "From" in json.dumps(answer.json)
    assert answer.json.get("content") is None


async def test_pages_tell_all_of_the_envelope_and_keep_their_order(pair):
    sessions = [await settled(pair) for _ in range(3)]
    first = await pair.a_peer.post(f"{GET_CDRS}?page=0&size=2", get_cdrs())
    await settled(pair)
    second = await pair.a_peer.post(f"{GET_CDRS}?page=1&size=2", get_cdrs())
    assert ids(first) == sessions[:2]
    assert ids(second)[0] == sessions[2]
    envelope = {name: value for name, value in first.json.items() if name not in {"content", "StatusCode"}}
    assert envelope == {
        "number": 0, "size": 2, "totalElements": 3, "last": False, "totalPages": 2, "first": True, "numberOfElements": 2
    }  # fmt: skip


SIZES = {"none": ("", 20), "too large": ("?size=5000", 2000), "nothing": ("?size=0", 1)}


@pytest.mark.parametrize(("query", "size"), SIZES.values(), ids=SIZES)
async def test_the_size_says_what_it_is(pair, query, size):
    answer = await pair.b.post(GET_CDRS + query, get_cdrs())
    assert (answer.json["size"], answer.json["last"], answer.json["totalElements"]) == (size, True, 0)


@pytest.mark.parametrize("query", ["page=-1", "page=one", "size=1.5", f"page={10**18}", "page=" + "9" * 5_000])
async def test_a_page_that_is_no_number_is_022(pair, query):
    answer = await pair.b.post(f"{GET_CDRS}?{query}", get_cdrs())
    assert answer.code == "022"


async def lost(stopped) -> str:
    """Let a record be acknowledged to the CPO's backend, and its outbox message to the EMP be lost."""
    async with stopped.running("a"), stopped.running("b"):
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
    async with stopped.running("a"):
        await stopped.a.post(CDR, cdr(session))
    query(stopped, "a", "DELETE FROM outbox")
    return session


async def test_a_missing_record_is_requested_on_command(stopped):
    session = await lost(stopped)
    async with stopped.running("a"), stopped.running("b"):
        answer = await stopped.b.admin("cdrs/reconcile", {"since": "2026-02-01T00:00:00Z"})
        assert answer.json == {
            "peers": [{"peer": "node a", "reported": 1, "imported": 1, "rejected": 0, "error": None}]
        }
        await delivered(stopped, session)
        again = await stopped.b.admin("cdrs/reconcile", {"since": "2026-02-01T00:00:00Z"})
        assert again.json["peers"][0]["imported"] == 0


async def test_a_missing_record_is_requested_at_every_interval(stopped):
    stopped.extra_config = "[cdr]\nreconcile_interval = 0.05\n"
    stopped.write()
    session = await lost(stopped)
    query(stopped, "b", "DELETE FROM cdr_reconciliations")
    query(stopped, "b", "INSERT INTO cdr_reconciliations SELECT id, 0 FROM peers WHERE name = 'node a'")
    async with stopped.running("a"), stopped.running("b"):
        await delivered(stopped, session)


async def test_a_peer_that_cannot_be_reached_is_reported(stopped):
    async with stopped.running("b"):
        peers = (await stopped.b.admin("cdrs/reconcile")).json["peers"]
    assert [(peer["peer"], peer["reported"]) for peer in peers] == [("node a", 0)]
    assert peers[0]["error"]


async def test_a_node_without_drivers_has_nothing_to_reconcile(pair):
    assert (await pair.a.admin("cdrs/reconcile")).status == 404


@pytest.mark.parametrize("since", ["yesterday", "2026-03-01T00:00:00", 7])
async def test_a_since_that_is_no_time_is_refused(pair, since):
    assert (await pair.b.admin("cdrs/reconcile", {"since": since})).status == 400
