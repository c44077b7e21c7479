"""What a web page makes a browser on the node's machine send to the backend listener is refused, on every path."""

import json
from contextlib import asynccontextmanager

import pytest

from p2p_oicp.cli.init import NodeTemplate, write_node_files
from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.simulator.node_files import free_ports
from tests.support.clients import Reply

STATUS_PATH = "/api/oicp/evsepush/v21/operators/DE*ALF/status-records"
STATUS = {
    "ActionType": "fullLoad",
    "OperatorEvseStatus": {
        "OperatorID": "DE*ALF",
        "OperatorName": "Alpha",
        "EvseStatusRecord": [{"EvseID": "DE*ALF*E1", "EvseStatus": "Available"}],
    },
}
INVITE = "/admin/v1/peers/invitations"
JSON = {"Content-Type": "application/json"}
PATHS = [("POST", STATUS_PATH), ("POST", INVITE), *(("GET", path) for path in ("/healthz", "/readyz", "/metrics", "/"))]


@pytest.fixture
async def fresh(tmp_path, http):
    """A node as ``init`` writes it, running; and a function that sends it a request."""
    peer, backend = free_ports(2)
    write_node_files(tmp_path / "n", NodeTemplate("Alpha", ("DE*ALF",), (), ("signature",), peer, backend))
    async with running(tmp_path / "n" / "node.toml", http) as send:
        yield send


@asynccontextmanager
async def running(file, http):
    settings = load_settings(file)

    async def send(method: str, path: str, headers: dict, body: bytes | None = None) -> Reply:
        url = f"http://127.0.0.1:{settings.backend_api.port}{path}"
        async with http.request(method, url, data=body, headers=headers) as answer:
            text = await answer.text()
            content = json.loads(text) if answer.content_type == "application/json" else {"text": text}
            return Reply(answer.status, dict(answer.headers), content)

    async with Node(settings):
        send.token = settings.backend_api.token.get_secret_value()
        send.port = settings.backend_api.port
        yield send


FOREIGN = {
    "another site's page": ({"Origin": "https://evil.example"}, 403),
    "a page without an origin": ({"Origin": "null"}, 403),
    "a page on another port": ({"Origin": "http://127.0.0.1:1"}, 403),
    "a page on another name of this machine": ({"Origin": "http://localhost:{port}"}, 403),
    "an origin that is none": ({"Origin": "http://[::1"}, 403),
    "a browser that says so": ({"Sec-Fetch-Site": "cross-site"}, 403),
    "a link on another site": ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
    "a picture on another port": ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403),
    "a rebound name": ({"Host": "evil.example"}, 421),
    "a rebound name, with its page": ({"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"}, 421),
    "a name that begins like loopback": ({"Host": "localhost.evil.example"}, 421),
    "an address within a name": ({"Host": "127.0.0.1.evil.example"}, 421),
    "a user before the address": ({"Host": "evil.example@127.0.0.1"}, 421),
    "a number that is an address to some": ({"Host": "2130706433"}, 421),
}


@pytest.mark.parametrize(("headers", "status"), FOREIGN.values(), ids=FOREIGN)
async def test_a_request_of_a_foreign_page_is_refused_on_every_path(fresh, headers, status):
    filled = {name: value.format(port=fresh.port) for name, value in headers.items()}
    authorized = JSON | {"Authorization": f"Bearer {fresh.token}"}
    for method, path in PATHS:
        body = json.dumps(STATUS if path == STATUS_PATH else {}).encode() if method == "POST" else None
        reply = await fresh(method, path, authorized | filled, body)
        assert (reply.status, reply.code) == (status, "017"), path
        assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/plain;charset=application/json", "application/x-www-form-urlencoded", "multipart/form-data",
     "application/jsonp", "application/json-seq", None],
)  # fmt: skip
async def test_a_body_that_a_page_may_send_without_asking_is_refused(fresh, content_type):
    """Without ``Origin`` and ``Sec-Fetch-Site``, as browsers of old send it."""
    headers = {"Authorization": f"Bearer {fresh.token}"} | ({"Content-Type": content_type} if content_type else {})
    for path, body in ((STATUS_PATH, STATUS), (INVITE, {})):
        reply = await fresh("POST", path, headers, no_content_type(json.dumps(body).encode(), content_type))
        assert (reply.status, reply.code) == (415, "022"), path


def no_content_type(body: bytes, content_type: str | None):
    """aiohttp names a type for bytes: a generator is sent in chunks and without."""

    async def chunks():
        yield body

    return body if content_type else chunks()


async def test_a_preflight_request_gets_no_permission(fresh):
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    reply = await fresh("OPTIONS", STATUS_PATH, headers)
    assert reply.status == 403
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]


OWN = [
    {},
    {"Host": "localhost:{port}"},
    {"Host": "LOCALHOST."},
    {"Host": "node-a.localhost:{port}"},
    {"Host": "[::1]:{port}"},
    {"Host": "192.168.3.4"},
    {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
    {"Host": "localhost", "Origin": "http://localhost:80"},
    {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
]


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_our_own_systems_and_pages_are_served_and_oicp_on_loopback_needs_no_token(fresh, headers):
    filled = {name: value.format(port=fresh.port) for name, value in headers.items()}
    reply = await fresh("POST", STATUS_PATH, JSON | filled, json.dumps(STATUS).encode())
    assert (reply.status, reply.code) == (200, "000")


async def test_a_link_from_another_port_of_this_machine_may_be_followed(fresh):
    headers = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}
    assert (await fresh("GET", "/readyz", headers)).status == 200
    assert (await fresh("POST", INVITE, JSON | headers, b"{}")).status == 403


async def test_names_of_the_listener_are_configured(tmp_path, http):
    peer, backend = free_ports(2)
    write_node_files(tmp_path / "n", NodeTemplate("Alpha", ("DE*ALF",), (), ("signature",), peer, backend))
    file = tmp_path / "n" / "node.toml"
    file.write_text(file.read_text().replace("[backend_api]", '[backend_api]\nhosts = ["Node.internal"]'))
    async with running(file, http) as send:
        assert (await send("GET", "/readyz", {"Host": "node.internal:8321"})).status == 200
        assert (await send("GET", "/readyz", {"Host": "node", "Origin": "https://node.internal"})).status == 421
        proxied = {"Host": f"127.0.0.1:{backend}", "Origin": "https://node.internal"}
        assert (await send("GET", "/readyz", proxied)).status == 200


async def test_the_administration_needs_the_token_that_init_wrote_and_tells_nothing_without(fresh):
    token = {"Authorization": f"Bearer {fresh.token}"}
    for headers in ({}, {"Authorization": fresh.token}, {"Authorization": f"Basic {fresh.token}"},
                    {"Authorization": f"Bearer {fresh.token[:-1]}"}, {"Authorization": "Bearer \udcff"}):  # fmt: skip
        for method, path in (("GET", "/admin/v1/peers"), ("POST", INVITE), ("GET", "/%61dmin/v1/peers")):
            reply = await fresh(method, path, headers)
            assert (reply.status, reply.code) == (401, "017"), (path, headers)
            assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert (await fresh("GET", "/readyz", headers)).json == {"status": "ready"}
        assert "destination" not in (await fresh("GET", "/metrics", headers)).json["text"]
    assert (await fresh("GET", "/admin/v1/peers", token)).json["peers"] == []
    assert (await fresh("GET", "/admin/v1/peers", {"Authorization": f"bearer  {fresh.token}"})).status == 200
    assert (await fresh("GET", "/readyz", token)).json["node"] == "Alpha"


async def test_with_require_token_oicp_needs_it_too(tmp_path, http):
    peer, backend = free_ports(2)
    write_node_files(tmp_path / "n", NodeTemplate("Alpha", ("DE*ALF",), (), ("signature",), peer, backend))
    file = tmp_path / "n" / "node.toml"
    file.write_text(file.read_text().replace("# require_token", "require_token"))
    async with running(file, http) as send:
        body = json.dumps(STATUS).encode()
        assert (await send("POST", STATUS_PATH, JSON, body)).status == 401
        assert (await send("GET", "/metrics", {})).status == 401
        assert (await send("GET", "/readyz", {})).status == 200
        assert (await send("POST", STATUS_PATH, JSON | {"Authorization": f"Bearer {send.token}"}, body)).status == 200
