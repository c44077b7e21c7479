"""Each listener serves its document, and answers as it says."""

import json
from functools import partial

import aiohttp
import pytest

from p2p_oicp.cli.init import NodeTemplate, write_node_files
from p2p_oicp.config import load_settings
from p2p_oicp.config.hub import HubSettings, HubTable
from p2p_oicp.errors import PeerUnreachable
from p2p_oicp.hub import Hub
from p2p_oicp.node import Node
from p2p_oicp.server.openapi.documents import SERVED, Access, Listener, openapi_document
from p2p_oicp.server.openapi.endpoints import Endpoint
from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.storage import open_for_change, tokens
from p2p_oicp.storage.tokens import Token
from tests.support.api_documents import Documented
from tests.support.dataset_messages import PUSH_DATA, evse
from tests.support.messages import (
    A_CPO,
    CDR,
    EVSE,
    NOTIFY,
    PUSH_STATUS,
    START,
    authorize_start,
    cdr,
    notification,
    plausible,
    push_status,
)
from tests.support.nodes import configured, query, start_session
from tests.support.signed_nodes import SignedPair
from tests.support.waiting import eventually

DOCUMENTED = Documented(Listener.BACKEND)


def read_endpoints(listener: Listener) -> list[Endpoint]:
    return [each for each in SERVED[listener] if each.method == "GET" and "application/json" in each.answer_types]


READ_ENDPOINTS = read_endpoints(Listener.BACKEND)
RECORDED = '[exchanges]\nrecord = "memory"\n'


@pytest.fixture
async def pair(tmp_path):
    """Two nodes between which much has happened: sessions, CDRs, one of which waits, data, refusals."""
    making = partial(SignedPair, extra_config=RECORDED)
    async with configured(making, tmp_path) as pair, pair.running("a"), pair.running("b"):
        pair.sessions = [await live(pair) for _ in range(2)]
        pair.contracts.fail_with = PeerUnreachable("backend:emp", "the contract system is away")
        waiting = await start_session_offline(pair)
        assert (await pair.a.post(CDR, cdr(waiting, **plausible()))).code == "000"
        await eventually(lambda: query(pair, "b", "SELECT 1 FROM outbox WHERE attempts > 0"))
        yield pair


async def live(pair) -> str:
    """Charge once, settled."""
    session = await start_session(pair)
    for kind in ("Start", "Progress", "End"):
        await pair.a.post(NOTIFY, notification(kind, session))
    assert (await pair.a.post(CDR, cdr(session, **plausible()))).code == "000"
    data = {"OperatorID": A_CPO, "OperatorName": "GEF", "EvseDataRecord": [evse(name) for name in ("X", "Y")]}
    assert (await pair.a.post(PUSH_DATA, {"ActionType": "fullLoad", "OperatorEvseData": data})).code == "000"
    await pair.a.post(PUSH_STATUS, push_status(X="Occupied"))
    await pair.a.post(START, {**authorize_start(), "EvseID": "nonsense"})
    await pair.at_rest("a")
    return session


async def start_session_offline(pair) -> str:
    pair.contracts.fail_with, failure = None, pair.contracts.fail_with
    session = await start_session(pair)
    pair.contracts.fail_with = failure
    return session


def paths_of(endpoint, pair, name: str) -> list[str]:
    """Return paths with what is there in the place of the placeholders."""
    known = {
        "{session_id}": pair.sessions,
        "{evse_id}": ["DE*GEF*EX", EVSE],
        "{id}": [str(row[0]) for row in query(pair, name, "SELECT id FROM outbox")] or ["1"],
        "{number}": ["1", "999999"],
        "{name}": [{"a": "node%20b", "b": "node%20a"}[name], "backend:cpo", "backend:emp", "nobody"],
    }
    paths = [endpoint.path]
    for placeholder, values in known.items():
        if placeholder in endpoint.path:
            paths = [path.replace(placeholder, value) for path in paths for value in values]
    return paths


@pytest.mark.parametrize("name", ["a", "b"])
async def test_every_answer_to_a_get_is_as_the_document_says(pair, name):
    with open_for_change(pair.database("b")) as tx:
        tokens.upsert_token(tx, Token("1234ABC0", "1234abc0", b"a hash"), 5.0)
    problems, statuses = {}, {}
    for endpoint in READ_ENDPOINTS:
        for path in paths_of(endpoint, pair, name):
            url = f"http://127.0.0.1:{pair.ports[name + ' backend']}{path}"
            async with pair.http.get(url) as answer:
                content = json.loads(await answer.read())
                statuses.setdefault(endpoint.path, set()).add(answer.status)
                if found := DOCUMENTED.problems("GET", path, answer.status, content):
                    problems[path] = found
    assert problems == {}
    # Each path was seen with an answer that is no refusal.
    nothing_there = {"/admin/v1/outbox/{id}"} if name == "a" else set()
    refused = {path for path, seen in statuses.items() if 200 not in seen} - nothing_there
    # Of an OCPI partner, which these have not: tests/integration/ocpi looks at its answers (`RoamingPair.admin`).
    assert not [path for path in refused if not path.startswith("/admin/v1/ocpi/partners/{name}/")]


CHANGES = [
    ("POST", "/admin/v1/doctor", None),
    ("POST", "/admin/v1/reload", None),
    ("POST", "/admin/v1/peers/node%20b/check", None),
    ("POST", "/admin/v1/peers/node%20b/retry", None),
    ("POST", "/admin/v1/peers/nobody/retry", None),
    ("POST", "/admin/v1/peers/invitations", {"expires_in": 60}),
    ("POST", "/admin/v1/peers/inspect", {"link": "nonsense"}),
    ("POST", "/admin/v1/peers/join", {"link": "nonsense"}),
    ("POST", "/admin/v1/peers/node%20b/accept", {}),
    ("POST", "/admin/v1/peers/node%20b/publish", {"include": {"countries": ["DEU"]}}),
    ("POST", "/admin/v1/cdrs/reconcile", {}),
    ("POST", "/admin/v1/cdrs/0199c1c2-7b1f-7c3a-9d52-4f1f0a6a8c11/retry", {}),
    ("POST", "/admin/v1/outbox/retry", None),
    ("POST", "/admin/v1/outbox/move?to=nobody", None),
    ("POST", "/admin/v1/outbox/99/retry", None),
    ("DELETE", "/admin/v1/outbox/99", None),
    ("DELETE", "/admin/v1/peers/nobody", None),
    ("DELETE", "/admin/v1/peers/node%20b/pull?dataset=EvseData", None),
    ("PUT", "/admin/v1/status", None),
]


async def test_every_answer_to_a_change_is_as_the_document_says(pair):
    problems, seen = {}, set()
    for method, path, body in CHANGES:
        url = f"http://127.0.0.1:{pair.ports['a backend']}{path}"
        async with pair.http.request(method, url, json=body) as answer:
            documented_as = ("GET", path) if method == "PUT" else (method, path.partition("?")[0])
            seen.add(answer.status)
            if found := DOCUMENTED.problems(*documented_as, answer.status, json.loads(await answer.read())):
                problems[method, path] = found
    assert problems == {}
    assert seen >= {200, 400, 404, 405, 409}


async def test_a_hub_answers_as_its_document_says(tmp_path):
    documented, problems = Documented(Listener.HUB), {}
    async with Hub(HubSettings(hub=HubTable(port=0)), tmp_path / "hub") as hub, aiohttp.ClientSession() as http:
        rules = {"rules": [{"operation": "AuthorizeStart", "refuse": "102"}]}
        for method, path, body in (
            ("POST", "/hub/v1/partners", {"operators": [A_CPO]}),
            ("PUT", "/hub/v1/script", rules),
            ("POST", f"/api/oicp/{START}", authorize_start()),
            *(("GET", each.path, None) for each in read_endpoints(Listener.HUB) if "{" not in each.path),
            ("DELETE", "/hub/v1/script", None),
            ("PUT", "/hub/v1/script", {"rules": [{}]}),
        ):
            async with http.request(method, f"{hub.url}{path}", json=body) as answer:
                content = json.loads(await answer.read())
                if found := documented.problems(method, path, answer.status, content):
                    problems[method, path] = found
    assert problems == {}


async def test_the_documents_need_no_token_and_are_sent_once(tmp_path):
    peer, backend = free_ports(2)
    write_node_files(tmp_path, NodeTemplate("Alpha", ("DE*ALF",), (), ("signature",), peer, backend))
    async with Node(load_settings(tmp_path / "node.toml")), aiohttp.ClientSession() as http:
        for port, listener in ((peer, Listener.PEER), (backend, Listener.BACKEND)):
            url = f"http://127.0.0.1:{port}/openapi.json"
            async with http.get(url) as answer:
                assert await answer.json() == openapi_document(listener)
                tag = answer.headers["ETag"]
            async with http.get(url, headers={"If-None-Match": tag}) as answer:
                assert (answer.status, await answer.read()) == (304, b"")
        async with http.get(f"http://127.0.0.1:{backend}/docs/nothing.js") as answer:
            assert answer.status == 404
        # What needs the token according to the document does need it.
        for endpoint in READ_ENDPOINTS:
            if endpoint.access is Access.TOKEN and "{" not in endpoint.path:
                async with http.get(f"http://127.0.0.1:{backend}{endpoint.path}") as answer:
                    assert answer.status == 401, endpoint.path
