"""``p2p-oicp pull``: a snapshot in a folder, and what has changed since the last one."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_oicp.testing import FakeCsms, FakeEmp, open_cluster, open_hub, samples
from tests.integration.cli.test_tables import compare
from tests.support.command_line import p2p_oicp
from tests.support.pull_server import SUCCESS, evse, pull_server
from tests.support.terminals import Terminal

__all__ = ["p2p_oicp"]
FILES = {"evse-data.json", "evse-status.json", "pricing-products.json", "evse-pricing.json", "state.json", ".lock"}


@pytest.fixture
def server():
    with pull_server() as server:
        server.evses = [evse(number) for number in (1, 2, 3)]
        server.statuses = {"DE*ABC*E1": "Available", "DE*ABC*E2": "Occupied"}
        server.products = [{"ProductID": "AC 1", "PricePerReferenceUnit": 1.5}]
        yield server


@pytest.fixture
def pull(server, p2p_oicp, tmp_path):
    """Return a function that pulls the server into a folder."""

    def run(*options):
        return p2p_oicp("pull", tmp_path / "snapshot", "--url", server.url, "--provider", "DE-DCB", *options)

    run.folder = tmp_path / "snapshot"
    return run


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "state.json"}


def changes_of(outcome) -> list[tuple[str, str, str]]:
    lines = map(json.loads, outcome.out.splitlines())
    return [(line["dataset"], line["change"], line["id"]) for line in lines if line["kind"] == "change"]


def test_the_first_pull_stores_all_and_prints_how_much(pull):
    outcome = pull()
    assert (outcome.code, outcome.out) == (0, "")
    assert "EvseData: 3 records, 3 added" in outcome.err
    assert {path.name for path in pull.folder.iterdir()} == FILES, outcome.err
    evses = json.loads((pull.folder / "evse-data.json").read_bytes())["content"]
    assert [each["EvseID"] for each in evses] == ["DE*ABC*E1", "DE*ABC*E2", "DE*ABC*E3"]
    (operator,) = json.loads((pull.folder / "pricing-products.json").read_bytes())["PricingProductData"]
    assert (operator["PricingDefaultPrice"], len(operator["PricingProductDataRecords"])) == (0.5, 1)


def test_the_next_pull_asks_for_changes_and_prints_them(pull, server):
    pull()
    server.requests.clear()
    server.changes = [
        evse(1, deltaType="update", Plugs=["CHAdeMO"]), evse(2, deltaType="delete"), evse(4, deltaType="insert"),
    ]  # fmt: skip
    server.statuses["DE*ABC*E1"] = "Occupied"
    outcome = pull()
    assert outcome.out.splitlines() == [
        "Change\tDataset\tID\tWhat",
        "changed\tEvseData\tDE*ABC*E1\tPlugs",
        "removed\tEvseData\tDE*ABC*E2\t",
        "added\tEvseData\tDE*ABC*E4\t",
        "changed\tEvseStatus\tDE*ABC*E1\tAvailable → Occupied",
    ]
    assert [("LastCall" in body) for operation, body in server.requests if operation == "PullEvseData"] == [True] * 2
    stored = json.loads((pull.folder / "evse-data.json").read_bytes())["content"]
    assert [each["EvseID"] for each in stored] == ["DE*ABC*E1", "DE*ABC*E3", "DE*ABC*E4"]
    assert not [each for each in stored if "deltaType" in each]
    assert changes_of(pull("--json")) == []


def test_programs_get_each_record_before_and_after(pull, server):
    pull()
    server.statuses["DE*ABC*E1"] = "Unknown"
    lines = [json.loads(line) for line in pull("--json").out.splitlines()]
    assert lines[0] == {
        "kind": "change", "dataset": "EvseStatus", "change": "changed", "operator": "DE*ABC", "id": "DE*ABC*E1",
        "record": {"EvseID": "DE*ABC*E1", "EvseStatus": "Unknown"},
        "previous": {"EvseID": "DE*ABC*E1", "EvseStatus": "Available"},
    }  # fmt: skip
    assert {
        "kind": "summary", "dataset": "EvseStatus", "records": 2, "added": 0, "changed": 1, "removed": 0
    } in lines[1:]  # fmt: skip


def test_records_are_stored_byte_for_byte(pull, server):
    raw = b'{"EvseID" : "DE*ABC*E1", "Own": 1.50, "Name": "\\u00fc"}'
    server.answers["PullEvseData"] = (200, "application/json", b'{"content":[%b],"last":true}' % raw)
    pull()
    assert raw in (pull.folder / "evse-data.json").read_bytes()


def test_deltas_lead_to_the_same_files_as_a_full_pull(p2p_oicp, tmp_path):
    fleet = samples.fleet(30, operator="DE*ABC")
    with FakeCsms("DE*ABC") as csms, FakeEmp("DE-DCB") as emp, open_hub(csms, emp) as hub:

        def pull(name):
            return p2p_oicp("pull", tmp_path / name, "--url", hub.url, "--provider", "DE-DCB", "--json")

        for operation, body in (
            ("PushEvseData", fleet.push_evse_data()), ("PushEvseStatus", fleet.push_evse_status()),
            ("PushPricingProductData", fleet.push_pricing_products()),
        ):  # fmt: skip
            assert csms.send(operation, body).is_positive
            assert pull("deltas").code == 0
        gone, changed = fleet.records[0], {**fleet.records[1], "Accessibility": "Restricted access"}
        for action, record in (("delete", gone), ("update", changed)):
            data = {"OperatorID": "DE*ABC", "OperatorName": "ABC", "EvseDataRecord": [record]}
            assert csms.send("PushEvseData", {"ActionType": action, "OperatorEvseData": data}).is_positive
        outcome = pull("deltas")
        assert [each[:2] for each in changes_of(outcome) if each[2] == gone["EvseID"]][:1] == [("EvseData", "removed")]
        assert ("EvseData", "changed", changed["EvseID"]) in changes_of(outcome)
        pull("at once")
    assert content(tmp_path / "deltas") == content(tmp_path / "at once")


def test_a_cpos_node_and_ones_own_node_are_pulled(p2p_oicp, tmp_path):
    with open_cluster(cpo=1, emp=1) as cluster:
        fleet = samples.fleet(5, operator="DE*C01")
        assert cluster.cpos[0].csms.send("PushEvseData", fleet.push_evse_data()).is_positive
        direct = p2p_oicp("pull", tmp_path / "direct", "--url", cluster.cpos[0].peer_url, "--provider", "DE-M01")
        assert (direct.code, "EvseData: 5 records" in direct.err) == (0, True), direct.err
        own = p2p_oicp("pull", tmp_path / "own", "--config", cluster.emps[0].config)
        assert (own.code, "EvseData: " in own.err) == (0, True), own.err
        stranger = p2p_oicp("pull", tmp_path / "x", "--url", cluster.cpos[0].peer_url, "--provider", "DE-XXX")
        assert (stranger.code, "check --provider" in stranger.err) == (1, True), stranger.err


def test_a_node_with_mtls_is_pulled_with_the_certificate_of_the_emp(p2p_oicp, tmp_path):
    with open_cluster(cpo=1, emp=1, secure="mtls") as cluster:
        fleet = samples.fleet(2, operator="DE*C01")
        assert cluster.cpos[0].csms.send("PushEvseData", fleet.push_evse_data()).is_positive
        keys, ca = cluster.emps[0].process.keys, cluster.cpos[0].process.keys / "tls.crt"
        endpoint = ("--url", cluster.cpos[0].peer_url, "--provider", "DE-M01", "--ca", ca)
        own = ("--cert", keys / "tls.crt", "--key", keys / "tls.key")
        outcome = p2p_oicp("pull", tmp_path / "a", *endpoint, *own)
        assert (outcome.code, "EvseData: 2 records" in outcome.err) == (0, True), outcome.err
        for missing, words in ((endpoint, "check --provider, and --token or --cert"), ((*endpoint[:4], *own), "--ca")):
            outcome = p2p_oicp("pull", tmp_path / "b", *missing)
            assert (outcome.code, words in outcome.err) == (2, True), outcome.err


def test_a_server_that_does_not_tell_changes_is_pulled_as_a_whole(pull, server):
    pull()
    server.changes = server.evses = [evse(1), evse(3)]
    outcome = pull("--json")
    assert "no deltaType" in outcome.err
    assert changes_of(outcome) == [("EvseData", "removed", "DE*ABC*E2")]


def test_a_refused_delta_is_followed_by_a_full_pull(pull, server):
    pull()
    refusal = json.dumps({"content": [], "StatusCode": {"Code": "022"}}).encode()
    complete = server.answer

    def answer(operation, body, page):
        return json.loads(refusal) if "LastCall" in body else complete(operation, body, page)

    server.answer = answer
    server.evses = server.evses[:2]
    outcome = pull("--json")
    assert "Changes since the last pull are refused" in outcome.err
    assert changes_of(outcome) == [("EvseData", "removed", "DE*ABC*E3")]


def test_prices_that_are_not_offered_stop_nothing_unless_they_were_named(pull, server):
    server.answers["PullPricingProductData"] = (404, "text/html", b"<html>Not Found</html>")
    outcome = pull()
    assert (outcome.code, "PricingProductData: not offered" in outcome.err) == (0, True)
    assert (pull.folder / "evse-data.json").exists()
    assert pull("--dataset", "PricingProductData").code == 2


@pytest.mark.parametrize(
    ("status", "media_type", "body", "code", "words"),
    [
        (401, "application/json", b'{"StatusCode":{"Code":"017","Description":"Unauthorized"}}', 2, "--token"),
        (200, "text/html", b"<html>Welcome</html>", 2, "check --url: no OICP there"),
        (404, "text/html", b"<html>Not Found</html>", 2, "check --url: no OICP there"),
        (302, "text/html", b"<html>Moved</html>", 2, "a redirect"),
        (500, "application/json", b"{}", 2, "HTTP 500"),
        (200, "application/json", b'{"StatusCode":{"Code":"210"},"Result":false}', 1, "210"),
    ],
    ids=["401", "a web page", "no such page", "a redirect", "an error", "a refusal"],
)
def test_an_answer_that_is_none_leaves_the_snapshot_as_it_was_and_says_what_to_do(
    pull, server, status, media_type, body, code, words
):
    pull()
    before = content(pull.folder)
    server.answers["PullEvseStatus"] = (status, media_type, body)
    server.changes = [evse(1, deltaType="delete")]
    outcome = pull("--dataset", "EvseData", "--dataset", "EvseStatus")
    assert (outcome.code, outcome.out, words in outcome.err) == (code, "", True), outcome.err
    assert content(pull.folder) == before


@pytest.mark.parametrize(
    ("operation", "body", "dataset"),
    [
        ("PullEvseData", b'{"error": "later"}', "EvseData"),
        ("PullEvseStatus", b'{"error": "later"}', "EvseStatus"),
        ("PullEvseStatus", b'{"EvseStatuses": [5]}', "EvseStatus"),
        ("PullPricingProductData", b'{"PricingProductData": [{"PricingProductDataRecords": 5}]}', "PricingProductData"),
    ],
    ids=["no page", "no statuses", "no operator", "no records"],
)
def test_json_that_is_no_answer_to_a_pull_removes_nothing(pull, server, operation, body, dataset):
    pull()
    before = content(pull.folder)
    server.answers[operation] = (200, "application/json", body)
    outcome = pull("--full", "--dataset", dataset, "--operator", "DE*ABC")
    assert (outcome.code, "not OICP" in outcome.err) == (2, True), outcome.err
    assert content(pull.folder) == before


def test_a_url_where_nothing_answers_is_reported_with_what_to_check(p2p_oicp, tmp_path):
    outcome = p2p_oicp("pull", tmp_path / "snapshot", "--url", "http://127.0.0.1:1", "--provider", "DE-DCB")
    assert (outcome.code, "check --url, and whether it runs" in outcome.err) == (2, True)


def test_a_record_without_an_id_is_left_out_and_pulled_again(pull, server):
    pull()

    def watermark():
        return json.loads((pull.folder / "state.json").read_bytes())["last_call"]

    first = watermark()
    server.dates.append("Tue, 01 Dec 2026 00:00:00 GMT")
    server.changes = [{"deltaType": "insert", "EvseID": None}, evse(5, deltaType="insert")]
    outcome = pull("--json")
    assert "1 records without an id" in outcome.err
    assert changes_of(outcome) == [("EvseData", "added", "DE*ABC*E5")]
    assert watermark() == first
    pull()  # the same bytes are requested once more, and not for ever
    assert watermark() == "2026-12-01T00:00:00.000+00:00"


def test_changes_that_could_not_be_printed_come_again(pull, server):
    pull()
    server.statuses["DE*ABC*E1"] = "Unknown"
    command = [sys.executable, "-m", "p2p_oicp", "pull", pull.folder, "--url", server.url, "--provider", "DE-DCB"]
    with Path("/dev/full").open("w") as full:
        failed = subprocess.run([*command, "--json"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (failed.returncode, b"standard output" in failed.stderr) == (2, True), failed.stderr
    assert changes_of(pull("--json")) == [("EvseStatus", "changed", "DE*ABC*E1")]


@pytest.mark.parametrize("name", ["evse-data.json", "evse-status.json", "state.json"])
def test_a_crash_between_two_files_costs_no_change_and_no_file(pull, server, monkeypatch, name):
    pull()
    server.changes = [evse(1, deltaType="delete")]
    server.statuses["DE*ABC*E1"] = "Unknown"
    replace = Path.replace

    def crash(path, target):
        if target.name == name:
            raise OSError(5, "Input/output error")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", crash)
    first = pull("--json")
    monkeypatch.undo()
    assert first.code == 2
    assert set(changes_of(first)) == {("EvseData", "removed", "DE*ABC*E1"), ("EvseStatus", "changed", "DE*ABC*E1")}
    assert {path.name for path in pull.folder.iterdir()} == FILES
    assert pull("--json").code == 0
    assert len(json.loads((pull.folder / "evse-data.json").read_bytes())["content"]) == 2
    assert changes_of(pull("--json")) == []


def test_a_folder_is_of_one_endpoint_and_of_one_pull_at_a_time(pull, server, p2p_oicp, tmp_path):
    pull()
    other = p2p_oicp("pull", pull.folder, "--url", server.url, "--provider", "DE-XYZ")
    assert (other.code, "choose another folder" in other.err) == (2, True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    mine = p2p_oicp("pull", tmp_path / "mine", "--url", server.url, "--provider", "DE-DCB")
    assert (mine.code, "neither empty nor a snapshot" in mine.err) == (2, True)
    with (pull.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another pull works in this folder" in pull().err


def test_a_damaged_file_is_named_and_nothing_is_pulled(pull, server):
    pull()
    server.requests.clear()
    (pull.folder / "evse-data.json").write_text('{"content":[')
    outcome = pull()
    assert (outcome.code, "evse-data.json: cannot be read" in outcome.err) == (2, True)
    assert server.requests == []


def test_a_token_goes_along_and_is_read_from_a_file(pull, server, tmp_path):
    (tmp_path / "token").write_text("secret of mine\n")
    assert pull("--token-file", tmp_path / "token").code == 0
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer secret of mine"}


def test_an_empty_answer_that_removes_all_is_reported(pull, server):
    pull()
    server.statuses = {}
    server.answers["PullEvseStatus"] = (200, "application/json", json.dumps({"EvseStatuses": [], **SUCCESS}).encode())
    outcome = pull("--dataset", "EvseStatus")
    assert "the answer is empty, so all 2 records are removed" in outcome.err


@pytest.mark.parametrize("width", [60, 80, 140])
def test_changes_are_a_table_at_a_terminal_as_agreed(pull, server, width):
    pull()
    server.changes = [
        evse(1, deltaType="update", Plugs=["CHAdeMO"], Address={}, ChargingFacilities=[], Accessibility="Free"),
        evse(2, deltaType="delete"),
        evse(7000000000, deltaType="insert"),
    ]
    server.statuses["DE*ABC*E1"] = "Occupied"
    arguments = ("pull", str(pull.folder), "--url", server.url, "--provider", "DE-DCB")
    terminal = Terminal(*arguments, width=width)
    assert terminal.exit_code() == 0
    compare(f"pull-{width}", terminal.raw)
