"""p2p-oicp send against a real HTTP server on loopback."""

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO, TextIOWrapper

import pytest

from p2p_oicp import cli
from p2p_oicp.oicp.operations import OPERATIONS

ACCEPTED = {"Result": True, "StatusCode": {"Code": "000"}}
START = b'{"OperatorID":"DE*GEF", "Identification":{"RFIDMifareFamily":{"UID":"7568290FFF765F"}} }\n'


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Endpoint:
    """An OICP endpoint that remembers what it was asked and answers what it is served."""

    url: str
    status: int = 200
    answer: bytes = json.dumps(ACCEPTED).encode()
    requests: list[Request] = field(default_factory=list)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            served.requests.append(Request(self.path, dict(self.headers), body))
            self.send_response(served.status)
            self.send_header("Process-ID", "p-1")
            self.send_header("Content-Length", str(len(served.answer)))
            self.end_headers()
            self.wfile.write(served.answer)

        def log_message(self, *_arguments: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Endpoint(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def send(monkeypatch, capsys):
    def command(*arguments: object, stdin: bytes = START) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["p2p-oicp", "send", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin)))
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(end.value.code or 0, captured.out, captured.err)

    return command


def test_the_bytes_arrive_unchanged_under_the_senders_own_id(endpoint, send, tmp_path):
    (tmp_path / "start.json").write_bytes(START)
    done = send("authorize-start", tmp_path / "start.json", "--url", endpoint.url)
    (request,) = endpoint.requests
    assert request.path == "/api/oicp/charging/v21/operators/DE*GEF/authorize/start"
    assert request.body == START
    assert request.headers["Content-Type"] == "application/json; charset=utf-8"
    assert done.code == 0


def test_the_answer_goes_out_and_what_carried_it_goes_to_the_side(endpoint, send):
    endpoint.answer = b'{"Result":true,"StatusCode":{"Code":"000"},"Energy":10.50}'
    done = send("authorize-start", "-", "--url", endpoint.url)
    assert done.out == '{\n  "Result": true,\n  "StatusCode": {\n    "Code": "000"\n  },\n  "Energy": 10.50\n}\n'
    assert done.err.startswith("HTTP 200, Process-ID p-1, ")
    assert done.err.endswith(" ms\n")


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        pytest.param(200, b'{"Result":true,"StatusCode":{"Code":"000"}}', 0, id="acknowledged"),
        pytest.param(200, b'{"Result":false,"StatusCode":{"Code":"603"}}', 1, id="not acknowledged"),
        pytest.param(200, b'{"StatusCode":{"Code":"021"}}', 1, id="a code alone"),
        pytest.param(200, b'{"StatusCode":{"Code":0}}', 0, id="a code as a number"),
        pytest.param(200, b'{"AuthorizationStatus":"Authorized","StatusCode":{"Code":"000"}}', 0, id="authorized"),
        pytest.param(
            200, b'{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"102"}}', 1, id="not authorized"
        ),
        pytest.param(200, b'{"EvseStatuses":{"OperatorEvseStatus":[]}}', 0, id="a page without a code"),
        pytest.param(400, b'{"message":"Error parsing/validating JSON."}', 1, id="HTTP 400"),
        pytest.param(401, b'{"StatusCode":{"Code":"017"}}', 1, id="HTTP 401"),
        pytest.param(200, b"", 1, id="nothing"),
        pytest.param(502, b"<html>", 1, id="a proxy's page"),
    ],
)
def test_the_exit_code_says_whether_it_was_granted(endpoint, send, status, answer, code):
    endpoint.status, endpoint.answer = status, answer
    done = send("authorize-start", "--url", endpoint.url)
    assert done.code == code
    assert f"HTTP {status}" in done.err


def test_pages_are_requested_in_the_query(endpoint, send):
    message = b'{"ProviderID": "DE-GDF", "GeoCoordinatesResponseFormat": "Google"}'
    send("pull-evse-data", "--url", endpoint.url, "--page", 2, "--size", 50, stdin=message)
    assert endpoint.requests[0].path == "/api/oicp/evsepull/v23/providers/DE-GDF/data-records?page=2&size=50"


def test_an_id_keeps_its_plus(endpoint, send):
    message = START.replace(b"DE*GEF", b"+49*810")
    send("authorize-start", "--url", endpoint.url, stdin=message)
    assert endpoint.requests[0].path == "/api/oicp/charging/v21/operators/%2B49*810/authorize/start"


PRICES = b'{"ActionType":"fullLoad","EVSEPricing":[]}'


def test_a_message_without_a_sender_needs_a_party(endpoint, send):
    silent = send("push-evse-pricing", "--url", endpoint.url, stdin=PRICES)
    assert silent.code == 2
    assert "add --party ID" in silent.err
    assert send("push-evse-pricing", "--url", endpoint.url, "--party", "DE*GEF", stdin=PRICES).code == 0
    assert endpoint.requests[0].path == "/api/oicp/dynamicpricing/v10/operators/DE*GEF/evse-pricing"


def test_a_hub_operator_sends_for_its_sub_operator(endpoint, send):
    send("authorize-start", "--url", endpoint.url, "--party", "DE*HUB")
    assert endpoint.requests[0].path == "/api/oicp/charging/v21/operators/DE*HUB/authorize/start"


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        pytest.param(
            ["authorise-start", "--url", "http://a"], START, 'did you mean "authorize-start"?', id="no operation"
        ),
        pytest.param(["authorize-start"], START, "either --url BASE or --config FILE", id="no target"),
        pytest.param(["authorize-start", "--url", "a"], START, '--url: "a" is no base URL', id="no URL"),
        pytest.param(
            ["authorize-start", "none.json", "--url", "http://a"], START, "none.json: cannot be read", id="no file"
        ),
        pytest.param(["authorize-start", "--url", "http://a"], b"{", "JSON", id="no JSON"),
        pytest.param(["authorize-start", "--url", "http://a"], b"{}", "Identification", id="no such message"),
        pytest.param(
            ["authorize-start", "--url", "http://127.0.0.1:1"],
            START,
            "no connection to 127.0.0.1:1: Connection refused",
            id="nobody there",
        ),
        pytest.param(["authorize-start", "--url", "http://a", "--page", "1"], START, "leave out --page", id="no pages"),
        pytest.param(
            ["push-evse-status", "--url", "http://a", "--list-operators"], START, "expected a feed", id="no feed"
        ),
        pytest.param(["push-evse-status", "--url", "http://a"], b'{"EVSEStatuses":[1]}', "group 1", id="a bad feed"),
    ],
)
def test_a_message_that_cannot_be_sent_is_explained_in_one_line(send, arguments, stdin, expected):
    done = send(*arguments, stdin=stdin)
    assert done.code == 2
    assert expected in done.err
    assert done.err.count("\n") == 1


LIDL = [{"EvseID": "CH*LIDE1", "EVSEStatus": "Available"}]
EVPASS = [{"EvseID": "CHEVPE1", "EVSEStatus": "Occupied"}, {"EvseID": "ATETNE1", "EVSEStatus": "Unknown"}]
GROUPS = [
    {"OperatorID": "CH*LIDL", "OperatorName": "Lidl", "EVSEStatusRecord": LIDL},
    {"OperatorID": "CHEVP", "EVSEStatusRecord": EVPASS},
]
FEED = json.dumps({"EVSEStatuses": GROUPS}).encode()


@pytest.fixture
def config(endpoint, tmp_path):
    def write(operators: str) -> str:
        port = endpoint.url.rsplit(":", 1)[1]
        text = f'[node]\nname = "A"\n{operators}\n[backend_api]\nport = {port}\ntoken = "swordfish"\n'
        (tmp_path / "node.toml").write_text(text)
        return str(tmp_path / "node.toml")

    return write


def test_a_feed_is_one_full_load_an_operator(endpoint, send, config):
    settings = config('operators = ["CHLID", "CHEVP", "AT*ETN"]')
    done = send("push-evse-status", "--config", settings, stdin=FEED)
    assert done.code == 0
    assert [request.path for request in endpoint.requests] == [
        "/api/oicp/evsepush/v21/operators/CH*LID/status-records",
        "/api/oicp/evsepush/v21/operators/CHEVP/status-records",
    ]
    assert {request.headers["Authorization"] for request in endpoint.requests} == {"Bearer swordfish"}
    assert '"CH*LIDL" is no OperatorID: sent as CH*LID, the operator of 1 of its 1 EvseIDs' in done.out
    assert done.out.splitlines()[-1].startswith("2 operators, 3 records, ")
    assert done.out.endswith(", 0 failures\n")


def test_an_operator_that_the_node_does_not_have_stops_a_feed_before_it_starts(endpoint, send, config):
    done = send("push-evse-status", "--config", config('operators = ["DE*OWN", "CHEVP"]'), stdin=FEED)
    assert done.code == 2
    assert done.err.splitlines()[1:] == ['operators = ["DE*OWN", "CHEVP", "CH*LID", "ATETN"]']
    assert endpoint.requests == []


def test_the_operators_of_a_feed_can_be_had_before_there_is_a_node(send):
    done = send("push-evse-status", "--list-operators", stdin=FEED)
    assert (done.code, done.out) == (0, 'operators = ["CH*LID", "CHEVP", "ATETN"]\n')


def test_a_refused_operator_does_not_stop_the_others(endpoint, send):
    endpoint.answer = b'{"Result":false,"StatusCode":{"Code":"018"}}'
    done = send("push-evse-status", "--url", endpoint.url, stdin=FEED)
    assert done.code == 1
    assert len(endpoint.requests) == 2
    assert done.out.count("REFUSED: HTTP 200") == 2
    assert done.out.endswith(", 2 failures\n")


def test_a_feed_stops_without_an_answer(send):
    done = send("push-evse-status", "--url", "http://127.0.0.1:1", stdin=FEED)
    assert done.code == 2
    assert done.err.splitlines()[0] == "Stopped after 0 of 2 operators."


def test_the_help_names_every_operation(send, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = send("--help").out
    assert [operation.command for operation in OPERATIONS if operation.command not in text] == []
