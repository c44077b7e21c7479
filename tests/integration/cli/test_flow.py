"""``p2p-oicp flow``: who has said what to whom, from a node, a hub or a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from p2p_oicp.testing import FakeCsms, FakeEmp, open_cluster, open_hub
from tests.integration.cli.test_tables import compare
from tests.support.command_line import p2p_oicp
from tests.support.terminals import Terminal
from tests.support.waiting import eventually_blocking

__all__ = ["p2p_oicp"]
SESSION = "f98efba4-02d8-4fa0-b810-9a9d50d2c527"


def recorded(number, direction, operation, request, response, **members):
    return {
        "number": number, "at": 1_790_000_000.0 + number, "seconds": 0.012, "direction": direction, "method": "POST",
        "backend": "DE*ABC", "operation": operation, "path": "/", "session_id": SESSION, "http_status": 200,
        "process_id": f"p{number}", "request": {"bytes": 2, "json": request},
        "response": {"bytes": 2, "json": response}, **members,
    }  # fmt: skip


CARD = {"RFIDMifareFamilyIdentification": {"UID": "***"}}
EXCHANGES = [
    recorded(
        1, "in", "AuthorizeStart", {"OperatorID": "DE*ABC", "Identification": CARD},
        {"AuthorizationStatus": "Authorized", "ProviderID": "DE-DCB", "StatusCode": {"Code": "000"}}, code="000",
    ),
    recorded(
        2, "out", "AuthorizeRemoteReservationStart", {}, {"Result": False, "StatusCode": {"Code": "601",
        "Description": "Communication to EVSE failed!"}}, code="601", evse_id="DE*ABC*E1",
    ),
    recorded(3, "in", "PushEvseStatus", {}, {}, http_status=413),
    {key: value for key, value in recorded(4, "out", "ChargeDetailRecord", {}, {}).items()
     if key not in {"http_status", "response"}} | {"error": "no connection to 127.0.0.1:9000: Connection refused"},
]  # fmt: skip


@contextmanager
def recording_hub(exchanges):
    """Serve ``/hub/v1/exchanges`` of a hub that has recorded these; None: another server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps({"exchanges": exchanges, "newest": len(exchanges)} if exchanges else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.parametrize("width", [60, 80, 140])
def test_exchanges_at_a_terminal_are_as_agreed(width):
    with recording_hub(EXCHANGES) as url:
        terminal = Terminal("flow", "--hub", url, width=width, environment={"TZ": "UTC"})
        assert terminal.exit_code() == 0
    compare(f"flow-{width}", terminal.text)
    assert "Connection refused" in " ".join(terminal.text.split())


def test_a_pipe_gets_one_exchange_a_line_and_bodies_where_they_are_requested(p2p_oicp):
    with recording_hub(EXCHANGES) as url:
        compare("flow-pipe", p2p_oicp("flow", "--hub", url).out)
        assert '"UID": "***"' in p2p_oicp("flow", "--hub", url, "--bodies").out


def test_programs_read_json(p2p_oicp):
    with recording_hub(EXCHANGES) as url:
        exchanges = json.loads(p2p_oicp("flow", "--hub", url, "--json").out)
        with_bodies = json.loads(p2p_oicp("flow", "--hub", url, "--json", "--bodies").out)
    assert [(each["from"], each["to"], each["good"]) for each in exchanges] == [
        ("DE*ABC", "hub", True), ("hub", "DE*ABC", False), ("DE*ABC", "hub", False), ("hub", "DE*ABC", False),
    ]  # fmt: skip
    assert ("request" in exchanges[0], "request" in with_bodies[0]) == (False, True)


def test_a_hub_shows_its_partners(p2p_oicp):
    with FakeCsms("DE*ABC") as csms, FakeEmp("DE-DCB") as emp, open_hub(csms, emp) as hub:
        csms.authorize_start(emp.uid)
        hub.wait_for("AuthorizeStart", direction="in")
        lines = p2p_oicp("flow", "--hub", hub.url).out.splitlines()[1:]
        parties = [tuple(line.split("\t")[1:4]) for line in lines]
        assert parties == [("DE*ABC", "hub", "AuthorizeStart"), ("hub", "DE-DCB", "AuthorizeStart")]
        assert len(p2p_oicp("flow", "--hub", hub.url, "--peer", "DE-DCB").out.splitlines()) == 2


COMMAND = [sys.executable, "-m", "p2p_oicp", "flow", "--json"]


def flow(folder, *options):
    """Return the exchanges of a cluster: from whom, to whom, what; and what is on standard error."""
    done = subprocess.run([*COMMAND, "--cluster", folder, *options], capture_output=True, text=True, check=True)
    return [(each["from"], each["to"], each["operation"]) for each in json.loads(done.stdout)], done.stderr


def test_a_cluster_is_merged_by_time_and_what_two_nodes_recorded_is_shown_once(tmp_path):
    with open_cluster(cpo=1, emp=2, directory=tmp_path) as cluster:
        emp = cluster.emps[0].contracts
        session = cluster.cpos[0].csms.charge(emp.uid)
        emp.wait_for("ChargeDetailRecord", SessionID=session)
        emp.wait_for("ChargingNotifications", SessionID=session, count=2)
        eventually_blocking(lambda: len(flow(tmp_path)[0]) >= 14, 30, "not all 14 exchanges were recorded")
        exchanges, _ = flow(tmp_path)
        way = [("cpo-1's system", "cpo-1"), ("cpo-1", "emp-1"), ("emp-1", "emp-1's system")]
        assert exchanges[0] == (*way[0], "AuthorizeStart")
        for operation, count in {"AuthorizeStart": 1, "ChargingNotifications": 2, "ChargeDetailRecord": 1}.items():
            for hop in way:
                assert exchanges.count((*hop, operation)) == count, exchanges
        assert len(exchanges) == 14  # the other EMP was requested to authorize, too
        assert {each[2] for each in flow(tmp_path, "--operation", "authorize-start")[0]} == {"AuthorizeStart"}
        assert flow(tmp_path, "--session", "unknown")[0] == []
        of_cpo, _ = flow(tmp_path, "--peer", "cpo-1")
        assert (len(of_cpo), {each for each in of_cpo if "cpo-1" not in each}) == (9, set())
        assert {("emp-1", "emp-1's system")} < {each[:2] for each in flow(tmp_path, "--session", session)[0]}
        cluster.emps[1].kill()
        remaining, errors = flow(tmp_path)
        assert (len(remaining), errors) == (13, "emp-2 does not run.\n")


def test_new_exchanges_follow_until_ctrl_c():
    with FakeCsms("DE*ABC") as csms, FakeEmp("DE-DCB") as emp, open_hub(csms, emp) as hub:
        command = [*COMMAND, "--hub", hub.url, "--follow"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(2):
                csms.authorize_start(emp.uid)
                lines = [json.loads(process.stdout.readline()) for _ in range(2)]
                assert {(each["from"], each["to"]) for each in lines} == {("DE*ABC", "hub"), ("hub", "DE-DCB")}
            process.send_signal(2)
            assert process.wait(20) == 130


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--hub", "http://127.0.0.1:1"), "no connection"),
        (("--cluster", "/nowhere"), "no cluster in this folder"),
        (("--cluster", "/nowhere", "--hub", "http://127.0.0.1:1"), "only one of"),
        (("--hub", "http://127.0.0.1:1", "--operation", "autorize-start"), "authorize-start"),
    ],
    ids=["no hub", "no cluster", "two sources", "no such operation"],
)
def test_what_cannot_be_shown_is_one_line_that_says_why(p2p_oicp, options, words):
    outcome = p2p_oicp("flow", *options)
    assert (outcome.code, outcome.err.count("\n"), words in outcome.err) == (2, 1, True), outcome.err


def test_another_server_than_a_hub_is_named(p2p_oicp):
    with recording_hub(None) as url:
        outcome = p2p_oicp("flow", "--hub", url)
    assert (outcome.code, "expected `p2p-oicp hub` there" in outcome.err) == (2, True)
