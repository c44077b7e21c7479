"""GET /events: what happens is streamed as it happens, and who comes back misses nothing."""

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
from structlog.testing import capture_logs

from p2p_oicp.errors import StoreError
from p2p_oicp.events.feed import EventFeed
from p2p_oicp.server.event_stream import StreamLimits
from tests.support.event_streams import UNLIMITED, EventStream, listening
from tests.support.messages import CDR, PUSH_STATUS, cdr, plausible, push_status
from tests.support.nodes import pair, query, start_session, stopped
from tests.support.pairing import Admin
from tests.support.sessions import until_state
from tests.support.waiting import eventually, eventually_equals

__all__ = ["pair", "stopped"]


def url(pair, at: str = "a") -> str:
    return f"http://127.0.0.1:{pair.ports[at + ' backend']}"


def stream(pair, query: str = "", at: str = "a", **headers: str):
    return listening(pair.http, url(pair, at), query, **headers)


async def push(pair, **statuses: str) -> None:
    await pair.a.post(PUSH_STATUS, push_status("fullLoad", **statuses))


def is_status(status: str):
    return lambda event: event["type"] == "evse_status" and event["what"] == status


async def test_what_happens_is_streamed_with_the_names_of_its_session(pair):
    async with stream(pair) as events:
        session = await start_session(pair)
        await pair.a.post(CDR, cdr(session, **plausible()))
        settled = await events.read_until(lambda event: event["what"] == "settled")
    assert (settled["session_id"], settled["peer"], settled["role"]) == (session, "node b", "cpo")
    assert events.names == [event["type"] for event in events.events]
    assert events.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    listed = (await Admin(pair, "a").ask("GET", "/events?limit=1000"))["events"]
    assert [event for event in listed if event in events.events] == events.events


async def test_who_comes_back_gets_what_has_happened_meanwhile_and_nothing_twice(pair):
    async with stream(pair, "type=evse_status") as first:
        await push(pair, E1="Available")
        await first.read_until(is_status("Available"))
    for status in ("Occupied", "Reserved"):
        await push(pair, E1=status)
    async with stream(pair, "type=evse_status", **{"Last-Event-ID": first.last_id}) as second:
        await second.read_until(is_status("Reserved"))
    assert [event["what"] for event in second.events] == ["Occupied", "Reserved"]
    async with stream(pair, f"type=evse_status&after={first.last_id}") as third:
        await third.read_until(is_status("Reserved"))
    assert third.events == second.events
    async with stream(pair, "after=0") as everything:
        await everything.read_until(is_status("Reserved"))
    assert [event["number"] for event in everything.events][:2] == [1, 2]


async def test_a_stream_ends_with_its_node_and_goes_on_with_the_next_one(stopped):
    async with stopped.running("a"):
        await push(stopped, E1="Available")
        before = await stack_of(stopped)
        await before.read_until(is_status("Available"))
        ending = asyncio.ensure_future(before.read())
    assert await ending is None
    async with stopped.running("a"):
        await push(stopped, E1="Occupied")
        async with stream(stopped, "type=evse_status", **{"Last-Event-ID": before.last_id}) as after:
            await after.read_until(is_status("Occupied"))
    assert [event["what"] for event in after.events] == ["Occupied"]


async def stack_of(pair) -> EventStream:
    response = await pair.http.get(f"{url(pair)}/events?after=0&type=evse_status", timeout=UNLIMITED)
    return EventStream(response)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("type=session", {"session"}),
        ("type=session.settled&type=cdr", {"session", "cdr"}),
        ("type=session&type=cdr&peer=node%20b", {"session", "cdr"}),
        ("party=DE*GDF", {"session", "cdr"}),
        ("party=DE-GEF", {"session", "cdr", "evse_status"}),
        ("evse=DE*GEF*E1234567*1", {"session", "cdr"}),
        ("evse=DEGEFEE1", {"evse_status"}),
        ("session=SESSION", {"session", "cdr"}),
        ("session=b2688855-7f00-0002-6d8e-48d883f6abb6", set()),
        ("peer=nobody", set()),
    ],
)
async def test_a_filter_selects_by_type_peer_party_evse_and_session(pair, selection, expected):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session, **plausible()))
    await until_state(pair, "a", "settled")
    await push(pair, E1="Available")
    async with stream(pair, f"after=0&{selection.replace('SESSION', session.upper())}") as events:
        await events.read_for(0.4)
    assert {event["type"] for event in events.events} == expected


@pytest.mark.parametrize("wrong", ["type=cdrs", "after=x", "party=x", "evse=1", "session=1"])
async def test_a_query_that_is_wrong_is_refused_with_what_is_expected(pair, wrong):
    async with pair.http.get(f"{url(pair)}/events?{wrong}") as response:
        assert response.status == 400
        assert wrong.partition("=")[2] in await response.text()


async def test_who_goes_on_after_what_was_deleted_is_informed_of_it(pair):
    for number in range(3):
        await push(pair, E1="Available" if number % 2 else "Occupied")
    query(pair, "a", "DELETE FROM event_batches WHERE first_number < (SELECT max(first_number) FROM event_batches)")
    page = await Admin(pair, "a").ask("GET", "/events")
    async with stream(pair, "after=1&type=evse_status") as events:
        missed, first = await events.read(), await events.read()
    assert (missed["type"], missed["what"], missed["oldest"]) == ("events", "missed", first["id"])
    assert (missed["after"], first["number"]) == (first["id"][:13] + "1", page["oldest"])


async def test_an_id_of_another_database_is_answered_by_what_is_missed_and_everything(pair):
    await push(pair, E1="Available")
    async with stream(pair, **{"Last-Event-ID": "00000000000a-77"}) as events:
        first, second = await events.read(), await events.read()
    assert (first["what"], first["after"]) == ("missed", "00000000000a-77")
    assert (second["number"], second["id"]) == (1, first["oldest"])


async def test_a_page_goes_on_after_what_cannot_be_read(pair):
    for status in ("Available", "Occupied"):
        await push(pair, E1=status)
    second = (await Admin(pair, "a").ask("GET", "/events?type=evse_status"))["events"][1]["number"]
    query(pair, "a", "UPDATE event_batches SET events = x'00' WHERE first_number + count > ?", second)
    page = await Admin(pair, "a").ask("GET", "/events?type=evse_status")
    assert [event["what"] for event in page["events"]] == ["Available"]
    assert page["next"] == page["newest"] >= second


async def test_a_database_that_fails_ends_the_stream_and_who_comes_back_misses_nothing(pair, monkeypatch):
    failures = [StoreError("disk I/O error")]
    read = EventFeed.chunk_after

    async def fail_once(feed, number):
        if failures:
            raise failures.pop()
        return await read(feed, number)

    monkeypatch.setattr(EventFeed, "chunk_after", fail_once)
    await push(pair, E1="Available")
    with capture_logs() as logs:
        async with stream(pair, "after=0&type=evse_status") as first:
            assert await first.read() is None
    assert [each["log_level"] for each in logs if each["event"] == "events.stream_ended"] == ["warning"]
    async with stream(pair, "type=evse_status", **{"Last-Event-ID": first.last_id}) as second:
        await second.read_until(is_status("Available"))


@asynccontextmanager
async def running(pair, monkeypatch=None, extra_config: str = "", **limits: float):
    """Run node A with other settings."""
    pair.extra_config += extra_config
    pair.write()
    if limits:
        monkeypatch.setattr("p2p_oicp.apps.StreamLimits", partial(StreamLimits, **limits))
    async with pair.running("a"):
        yield


async def test_a_stream_that_selects_nothing_shows_signs_of_life_and_how_far_it_is(stopped, monkeypatch):
    async with running(stopped, monkeypatch, heartbeat=0.1), stream(stopped, "type=certificate") as events:
        await events.read_for(0.3)
        start, comments = events.last_id, events.comments
        await push(stopped, E1="Available")
        await events.read_for(0.5)
    assert (events.events, comments > 0, events.comments > comments) == ([], True, True)
    assert int(events.last_id.partition("-")[2]) > int(start.partition("-")[2])


async def test_more_clients_than_allowed_are_refused_until_one_goes(stopped):
    async with running(stopped, extra_config="[limits]\nevent_clients = 2\n"), stream(stopped):
        async with stream(stopped), stopped.http.get(f"{url(stopped)}/events") as refused:
            assert (refused.status, "Retry-After" in refused.headers) == (503, True)

        async def status() -> int:
            async with stopped.http.get(f"{url(stopped)}/events") as response:
                return response.status

        await eventually_equals(status, 200)


async def test_a_client_that_reads_nothing_is_cut_off_and_delays_no_other(stopped, monkeypatch):
    async with running(stopped, monkeypatch, write_timeout=0.3), stream(stopped, "type=evse_status") as reads:
        reader, writer = await asyncio.open_connection("127.0.0.1", stopped.ports["a backend"], limit=1024)
        writer.write(b"GET /events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reading = asyncio.ensure_future(reads.read_until(lambda _: len(reads.events) == 60 * 500, timeout=60))
        with capture_logs() as logs:
            for number in range(60):
                records = {f"E{each}": ("Available", "Occupied")[number % 2] for each in range(500)}
                await push(stopped, **records)
            await reading
            await eventually(lambda: [each for each in logs if each["event"] == "events.client_cut"])
        # What was on its way still arrives, and then the connection is no more.
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while await reader.read(65536):
                    pass
        writer.close()
    numbers = [event["number"] for event in reads.events]
    assert numbers == sorted(set(numbers))


async def test_the_stream_needs_the_token_of_the_administration(stopped):
    (stopped.folder / "a").mkdir(exist_ok=True)
    token = stopped.folder / "a" / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o600)
    toml = stopped.folder / "a" / "node.toml"
    toml.write_text(toml.read_text().replace("[backend_api]\n", '[backend_api]\ntoken_file = "token"\n'))
    async with stopped.running("a"):
        async with stopped.http.get(f"{url(stopped)}/events") as refused:
            assert (refused.status, "017" in await refused.text()) == (401, True)
        async with stream(stopped, "after=0", Authorization="Bearer 0123456789abcdef") as events:
            await push(stopped, E1="Available")
            await events.read_until(is_status("Available"))
