"""What Prometheus is told of a node."""

from prometheus_client.parser import text_string_to_metric_families

from tests.node.messages import CDR, START, UNKNOWN_SESSION, authorize_start, cdr


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
    told = await numbers(pair, pair.a)
    requests = {key[1:]: value for key, value in told.items() if key[0] == "p2p_oicp_requests_total"}
    assert requests == {
        ("AuthorizeStart", "backend", "ok"): 3,
        ("ChargeDetailRecord", "backend", "refused"): 1,
        ("ChargeDetailRecord", "backend", "invalid"): 1,
    }
    assert told["p2p_oicp_request_seconds_count", "AuthorizeStart", "backend"] == 3
    assert (await numbers(pair, pair.b))["p2p_oicp_requests_total", "AuthorizeStart", "ok", "peer"] == 3


async def test_what_waits_for_a_peer_that_is_away_is_shown_with_its_age_attempts_and_error(stopped):
    async with stopped.running("a"):
        async with stopped.running("b"):
            session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        assert (await stopped.a.post(CDR, cdr(session))).code == "000"
        told = await numbers(stopped, stopped.a)
        while told.get(("p2p_oicp_outbox_attempts", "node b", "waiting"), 0) < 1:
            told = await numbers(stopped, stopped.a)
    assert told["p2p_oicp_outbox_letters", "node b", "waiting"] == 1
    assert told["p2p_oicp_outbox_attempts", "node b", "waiting"] >= 1
    assert told["p2p_oicp_outbox_oldest_seconds", "node b", "waiting"] < 10
    kinds = {key[1] for key in told if key[0] == "p2p_oicp_destination_last_error" and key[2] == "node b"}
    assert kinds <= {"PeerUnreachable", "PeerSilent"}  # a connection that was open when the peer went breaks
    assert len(kinds) == 1
