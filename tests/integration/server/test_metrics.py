"""What Prometheus is metrics of a node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client.parser import text_string_to_metric_families

from tests.support.messages import CDR, START, UNKNOWN_SESSION, authorize_start, cdr


async def numbers(pair, caller) -> dict:
    async with pair.http.get(f"{caller.base}/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = await response.text()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_operation_and_result(pair):
    for _ in range(3):
        await pair.a.post(START, authorize_start())
    await pair.a.post(CDR, cdr(UNKNOWN_SESSION))
    await pair.a.post(CDR, b"{")
    metrics = await numbers(pair, pair.a)
    requests = {key[1:]: value for key, value in metrics.items() if key[0] == "p2p_oicp_requests_total"}
    assert requests == {
        ("AuthorizeStart", "backend", "ok"): 3,
        ("ChargeDetailRecord", "backend", "refused"): 1,
        ("ChargeDetailRecord", "backend", "invalid"): 1,
    }
    assert metrics["p2p_oicp_request_duration_seconds_count", "AuthorizeStart", "backend"] == 3
    assert (await numbers(pair, pair.b))["p2p_oicp_requests_total", "AuthorizeStart", "ok", "peer"] == 3


async def test_what_waits_for_a_peer_that_is_away_is_shown_with_its_age_attempts_next_try_and_error(patient):
    async with with_waiting_record(patient):
        async with asyncio.timeout(10):
            metrics = await numbers(patient, patient.a)
            while metrics.get(("p2p_oicp_outbox_attempts", "node b", "waiting"), 0) < 1:
                metrics = await numbers(patient, patient.a)
    assert metrics["p2p_oicp_outbox_messages", "node b", "waiting"] == 1
    assert metrics["p2p_oicp_outbox_attempts", "node b", "waiting"] >= 1
    assert 200 < metrics["p2p_oicp_destination_next_try_seconds", "node b"] <= 300
    assert 0 < metrics["p2p_oicp_outbox_oldest_seconds", "node b", "waiting"] < 20
    kinds = {key[1] for key in metrics if key[0] == "p2p_oicp_destination_last_error" and key[2] == "node b"}
    assert kinds <= {"PeerUnreachable", "PeerSilent"}  # a connection that was open when the peer went breaks
    assert len(kinds) == 1


async def test_the_list_of_peers_says_what_waits_for_each_why_and_when_it_was_heard(patient):
    async with with_waiting_record(patient):
        async with asyncio.timeout(10):
            while not (peer := await listed(patient))["failures"]:
                await asyncio.sleep(0.01)
    assert (peer["name"], peer["waiting"]) == ("node b", 1)
    assert peer["last_error"]
    assert "node b" in peer["problem"]
    assert peer["last_seen"]


@asynccontextmanager
async def with_waiting_record(pair) -> AsyncIterator[None]:
    """Node A runs and has a record for node B, which is away."""
    async with pair.running("a"):
        async with pair.running("b"):
            session = (await pair.a.post(START, authorize_start())).json["SessionID"]
        assert (await pair.a.post(CDR, cdr(session))).code == "000"
        yield


async def listed(pair) -> dict:
    async with pair.http.get(f"{pair.a.base.removesuffix('/api/oicp')}/admin/v1/peers") as response:
        (peer,) = (await response.json())["peers"]
        return peer
