"""What Prometheus is shown of a node."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from p2p_oicp.version import VERSION
from tests.support.messages import CDR, PUSH_STATUS, START, UNKNOWN_SESSION, authorize_start, cdr, push_status
from tests.support.nodes import configured, start_session
from tests.support.prometheus import HISTOGRAMS, METRICS, PREFIX, families, samples
from tests.support.signed_nodes import SignedPair
from tests.support.waiting import eventually

TOKEN = "0123456789abcdef"
CREDENTIALS = {"Authorization": f"Bearer {TOKEN}"}


async def test_requests_are_counted_by_operation_and_result(pair):
    for _ in range(3):
        await pair.a.post(START, authorize_start())
    await pair.a.post(CDR, cdr(UNKNOWN_SESSION))
    await pair.a.post(CDR, b"{")
    metrics = await samples(pair, "a")
    requests = {key[1:]: value for key, value in metrics.items() if key[0] == "p2p_oicp_requests_total"}
    assert requests == {
        ("backend", "AuthorizeStart", "ok"): 3,
        ("backend", "ChargeDetailRecord", "refused"): 1,
        ("backend", "ChargeDetailRecord", "invalid"): 1,
    }
    assert metrics["p2p_oicp_request_duration_seconds_count", "backend", "AuthorizeStart"] == 3
    assert (await samples(pair, "b"))["p2p_oicp_requests_total", "peer", "AuthorizeStart", "ok"] == 3
    assert metrics["p2p_oicp_peer_request_duration_seconds_count", "AuthorizeStart", "node b"] == 3


async def test_requests_that_are_refused_at_the_door_are_counted_by_reason(pair):
    assert (await pair.a.post("nonsense", {})).status == 404
    assert (await pair.a.post(START, b"{}", headers={"Content-Type": "text/plain"})).status == 415
    metrics = await samples(pair, "a")
    assert metrics["p2p_oicp_requests_rejected_total", "backend", "not_found"] == 1
    assert metrics["p2p_oicp_requests_rejected_total", "backend", "unsupported_media_type"] == 1


async def test_what_waits_for_a_peer_that_is_away_is_shown_with_its_age_and_reason(patient):
    failed = ("p2p_oicp_delivery_failures_total", "outbox", "node b", "cannot_connect")
    async with with_waiting_record(patient):
        await eventually(partial(shows, patient, failed), timeout=10)
        metrics = await samples(patient, "a")
    assert metrics["p2p_oicp_outbox_messages", "node b", "waiting"] == 1
    assert metrics["p2p_oicp_outbox_messages", "node b", "dead"] == 0
    assert 0 < metrics["p2p_oicp_outbox_oldest_seconds", "node b"] < 20
    assert metrics["p2p_oicp_peer_up", "outbox", "node b"] == 0
    assert metrics["p2p_oicp_cdrs", "cpo", "waiting"] == 1


async def test_sessions_and_records_are_counted_by_state_and_a_delivered_one_waits_no_more(pair):
    session = await start_session(pair)
    await start_session(pair, EvseID="DE*GEF*E2")
    await pair.a.post(CDR, cdr(session))
    await pair.contracts.until(lambda book: book.records)
    await pair.at_rest("a")
    a, b = await samples(pair, "a"), await samples(pair, "b")
    assert (a["p2p_oicp_sessions", "cpo", "settled"], a["p2p_oicp_sessions", "cpo", "authorized"]) == (1, 1)
    assert (a["p2p_oicp_cdrs", "cpo", "accepted"], b["p2p_oicp_cdrs", "emp", "accepted"]) == (1, 1)
    assert a["p2p_oicp_outbox_messages", "node b", "waiting"] == a["p2p_oicp_outbox_oldest_seconds", "node b"] == 0
    assert (a["p2p_oicp_peer_up", "outbox", "node b"], a["p2p_oicp_peer_up", "hello", "node b"]) == (1, 1)


async def test_how_far_a_dataset_is_behind_is_shown_by_channel(patient):
    async with patient.running("a"):
        statuses = dict.fromkeys("123", "Available")
        await patient.a.post(PUSH_STATUS, push_status(**statuses))
        metrics = await samples(patient, "a")
    assert metrics["p2p_oicp_replication_lag_changes", "evse_status", "node b"] == 3
    assert 0 < metrics["p2p_oicp_replication_lag_seconds", "evse_status", "node b"] < 20
    assert metrics["p2p_oicp_replication_lag_changes", "evse_data", "node b"] == 0


async def test_the_list_of_metrics_and_labels_holds_for_a_real_node(tmp_path):
    async with configured(partial(SignedPair, require=("signature", "mtls")), tmp_path) as pair, pair.running("a"):
        await pair.a.post(START, authorize_start())
        async with pair.running("b"):
            session = await start_session(pair)
            await pair.a.post(CDR, cdr(session))
            await pair.contracts.until(lambda book: book.records)
            found = [*await families(pair, "a"), *await families(pair, "b")]
    ours = [family for family in found if family.name.startswith(PREFIX)]
    names = {f"{family.name}{'_total' if family.type == 'counter' else ''}" for family in ours}
    assert names == {f"{PREFIX}{name}" for name in METRICS}
    assert {name for name in METRICS if name in HISTOGRAMS} == {
        family.name.removeprefix(PREFIX) for family in ours if family.type == "histogram"
    }
    for family in ours:
        for sample in family.samples:
            name = sample.name.removeprefix(PREFIX)
            name = re.sub(r"_(bucket|sum|count)$", "", name) if family.type == "histogram" else name
            assert set(sample.labels) - {"le"} == METRICS[name], sample
            assert not any(label in sample.labels and " " in sample.labels[label] for label in ("channel", "reason"))


async def test_certificates_keys_clock_and_version_are_shown(tmp_path):
    proved = partial(SignedPair, require=("signature", "mtls"))
    async with configured(proved, tmp_path) as pair, pair.running("b"), pair.running("a"):
        await start_session(pair)
        metrics = await samples(pair, "a")
        (certificate,) = (await pair.a.get("/admin/v1/status")).json["certificates"]
    assert metrics["p2p_oicp_build_info", VERSION] == 1
    assert metrics["p2p_oicp_database_bytes",] > 10_000
    assert 0 <= metrics["p2p_oicp_event_loop_lag_seconds",] < 5
    assert metrics["p2p_oicp_certificate_not_after_seconds", certificate["subject"]] > 1_700_000_000
    assert abs(metrics["p2p_oicp_clock_skew_seconds", "node b"]) < 5
    keys = {key[2]: value for key, value in metrics.items() if key[0] == "p2p_oicp_key_valid_until_seconds"}
    assert keys == {"node a": float("inf"), "node b": float("inf")}


async def test_signatures_that_are_not_accepted_are_counted_by_peer_and_reason(tmp_path):
    async with configured(SignedPair, tmp_path) as pair, pair.running("b"):
        unsigned = pair.b_peer
        unsigned.signs = False
        assert (await unsigned.post(START, authorize_start())).status == 401
        metrics = await samples(pair, "b")
    assert metrics["p2p_oicp_signature_failures_total", "node a", "missing"] == 1
    assert metrics["p2p_oicp_requests_rejected_total", "peer", "unauthorized"] == 1


async def test_without_the_token_no_peer_is_named(stopped):
    file = stopped.folder / "a" / "node.toml"
    secret = stopped.folder / "a" / "token"
    secret.touch(0o600)
    secret.write_text(TOKEN)
    file.write_text(file.read_text().replace("[security]", 'token_file = "token"\n[security]'))
    async with stopped.running("a"):
        await stopped.a.post(START, authorize_start())
        metrics = await samples(stopped, "a")
        async with stopped.http.get(f"{stopped.a.base}/metrics", headers=CREDENTIALS) as response:
            assert 'peer="node b"' in await response.text()
    assert not [key for key in metrics if "node b" in key]
    assert metrics["p2p_oicp_requests_total", "backend", "AuthorizeStart", "refused"] == 1


async def test_the_list_of_peers_says_what_waits_for_each_why_and_when_it_was_heard(patient):
    async with with_waiting_record(patient):
        await eventually(lambda: has_failed(patient), timeout=10)
        peer = await listed(patient)
    assert (peer["name"], peer["waiting"]) == ("node b", 1)
    assert peer["last_error"]
    assert "node b" in peer["problem"]
    assert peer["last_seen"]


async def shows(pair, key: tuple[str, ...]) -> bool:
    return key in await samples(pair, "a")


@asynccontextmanager
async def with_waiting_record(pair) -> AsyncIterator[None]:
    """Node A runs and has a record for node B, which is away."""
    async with pair.running("a"):
        async with pair.running("b"):
            session = (await pair.a.post(START, authorize_start())).json["SessionID"]
        assert (await pair.a.post(CDR, cdr(session))).code == "000"
        yield


async def has_failed(pair) -> bool:
    return (await listed(pair))["failures"] > 0


async def listed(pair) -> dict:
    async with pair.http.get(f"{pair.a.base}/admin/v1/peers") as response:
        (peer,) = (await response.json())["peers"]
        return peer
