"""The onboarding sequences: against two of our nodes, and against endpoints that get something wrong."""

import asyncio
import json
import re
import sys
from contextlib import asynccontextmanager

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.simulator import Cluster, NodeSpec
from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.simulator.scenarios import SCENARIOS, Endpoints, run_scenarios
from tests.support.database import execute
from tests.support.dataset_messages import (
    PULL_DATA,
    PULL_PRICES,
    PULL_PRODUCTS,
    PUSH_DATA,
    PUSH_PRICES,
    PUSH_PRODUCTS,
    evse,
    evse_price,
    product,
    pull_data,
    push_data,
    push_prices,
    push_products,
)
from tests.support.messages import PULL_STATUS, PUSH_STATUS, push_status
from tests.support.waiting import eventually, eventually_equals

OPERATOR, PROVIDER = "DE*GEF", "DE-GDF"


async def command(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "p2p_oicp", "scenarios", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.fixture(scope="module")
def ports():
    return free_ports(2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(tmp_path_factory, ports):
    """Two nodes whose backends this test is, with deadlines that are over soon."""
    specs = [
        NodeSpec("node a", operators=(OPERATOR,), cpo_url=f"http://127.0.0.1:{ports[0]}"),
        NodeSpec("node b", providers=(PROVIDER,), emp_url=f"http://127.0.0.1:{ports[1]}"),
    ]
    async with Cluster(tmp_path_factory.mktemp("nodes"), specs) as cluster:
        node = cluster["node a"]
        await node.stop()
        file = node.directory / "node.toml"
        file.write_text(f"{file.read_text()}\n[deadlines]\nremote_backend = 0.5\n")
        await node.start()
        yield cluster


def options(nodes, ports, *more: str) -> list[str]:
    return [
        "--cpo", nodes["node a"].backend_url, "--emp", nodes["node b"].backend_url, "--operator", OPERATOR,
        "--provider", PROVIDER, "--cpo-port", str(ports[0]), "--emp-port", str(ports[1]), "--late", "0.8", *more,
    ]  # fmt: skip


async def post(url: str, path: str, message: dict) -> dict:
    async with aiohttp.ClientSession() as http, http.post(f"{url}/api/oicp/{path}", json=message) as answer:
        return await answer.json()


def events(node) -> list[str]:
    file = node.directory / "data" / "node.sqlite3"
    return [event for (event,) in execute(file, "SELECT event FROM session_events")]


async def published(nodes) -> dict:
    """Return what the EMP's node has of the CPO's, by dataset."""
    url = nodes["node b"].backend_url
    return {
        "evses": (await post(url, PULL_DATA, pull_data()))["content"],
        "statuses": (await post(url, PULL_STATUS, {"ProviderID": PROVIDER}))["EvseStatuses"],
        "products": (await post(url, PULL_PRODUCTS, {"OperatorIDs": [OPERATOR]}))["PricingProductData"],
        "prices": (await post(url, PULL_PRICES, {"OperatorIDs": [OPERATOR], "ProviderID": PROVIDER}))["EVSEPricing"],
    }


@pytest.mark.asyncio(loop_scope="module")
async def test_every_sequence_passes_between_two_nodes_and_leaves_nothing_published(nodes, ports):
    code, output = await command(*options(nodes, ports))
    assert output.splitlines()[-1] == f"{len(SCENARIOS)} of {len(SCENARIOS)} passed", output
    assert code == 0
    for node in ("node a", "node b"):
        doubtful = [event for event in events(nodes[node]) if "doubtful" in event]
        assert len(doubtful) == 1, doubtful
        assert "SessionEnd" in doubtful[0]  # the CDR that is against the clock
    empty = {"evses": [], "statuses": {"OperatorEvseStatus": []}, "products": [], "prices": []}
    await eventually_equals(lambda: published(nodes), empty)


@pytest.mark.asyncio(loop_scope="module")
async def test_data_that_is_there_already_stays_and_what_would_replace_it_is_not_played(nodes, ports):
    url = nodes["node a"].backend_url
    pushes = {
        PUSH_DATA: push_data(evse("REAL1"), evse("REAL2"), action="insert"),
        PUSH_STATUS: push_status("insert", REAL1="Occupied"),
        PUSH_PRODUCTS: push_products(product("real"), action="insert", provider=PROVIDER, default=3),
        PUSH_PRICES: push_prices(evse_price("REAL1", "real"), action="insert"),
    }
    for path, message in pushes.items():
        assert (await post(url, path, message))["Result"] is True
    await eventually(lambda: _has_everything(nodes))
    before = await published(nodes)
    code, output = await command(*options(nodes, ports))
    assert code == 0
    (skipped,) = [line for line in output.splitlines() if line.startswith("SKIP")]
    assert skipped.startswith("SKIP  fullLoad replaces")
    assert f"{OPERATOR} has 2 EVSE(s) that are not of this test, such as {OPERATOR}*EREAL1" in skipped
    assert output.splitlines()[-1] == f"{len(SCENARIOS) - 1} of {len(SCENARIOS)} passed, 1 skipped"
    await eventually_equals(lambda: published(nodes), before)


async def _has_everything(nodes) -> bool:
    data = await published(nodes)
    return len(data["evses"]) == 2 and all((data["statuses"]["OperatorEvseStatus"], data["products"], data["prices"]))


def without(name: str, **members):
    """Return a change of answers: other members, at the top or in the StatusCode."""

    def change(answer: dict) -> dict:
        answer.get("StatusCode", {}).pop(name, None)
        for record in answer.get("content", []):
            record.pop(name, None)
        return {**{key: value for key, value in answer.items() if key != name}, **members}

    return change


DEVIATIONS = [
    pytest.param(
        "CDR against the clock",
        "charge-detail-record",
        without("AdditionalInfo"),
        "ChargeDetailRecord, POST /api/oicp/cdrmgmt/v22/operators/DE*GEF/charge-detail-record at the CPO's endpoint: "
        "expected code 022, or Result true with an AdditionalInfo that says why, for a session that ends in two hours; "
        "came HTTP 200, Result true, code 000",
        id="no finding of a CDR in the future",
    ),
    pytest.param(
        "CDRs in pages",
        "get-charge-detail-records",
        without("last", last=False),
        "GetChargeDetailRecords, POST /api/oicp/cdrmgmt/v22/providers/DE-GDF/get-charge-detail-records-request?page=1"
        "&size=2 at the EMP's endpoint: expected last true on page 1; came last False",
        id="a page that is never the last",
    ),
    pytest.param(
        "delta with deletion",
        "evsepull",
        without("deltaType"),
        "with deltaType delete; came None",
        id="a deletion that is not said",
    ),
    pytest.param(
        "reservation",
        "reservation-start",
        without("SessionID"),
        "AuthorizeRemoteReservationStart, POST /api/oicp/reservation/v11/providers/DE-GDF/reservation-start-request at "
        "the EMP's endpoint: expected a SessionID; came HTTP 200, Result true, code 000",
        id="a reservation whose session is not named",
    ),
    pytest.param(
        "offline authorization",
        "authdata",
        without("StatusCode"),
        "PushAuthenticationData, POST /api/oicp/authdata/v21/providers/DE-GDF/push-request at the EMP's endpoint: "
        "expected a message of OICP 2.3; came HTTP 200, Result true, no StatusCode: /StatusCode",
        id="an acknowledgement that says no more than yes",
    ),
]


@asynccontextmanager
async def changing(url: str, fragment: str, change):
    """A foreign endpoint: what stands behind ``url``, with other answers at the paths with a fragment."""

    async def serve(request: web.Request) -> web.Response:
        async with http.post(f"{url}{request.raw_path}", json=await request.json()) as answer:
            members = await answer.json()
        return web.json_response(change(members) if fragment in request.path else members)

    app = web.Application()
    app.router.add_post("/{path:.*}", serve)
    async with aiohttp.ClientSession() as http, TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("name", "fragment", "change", "reason"), DEVIATIONS)
async def test_a_failure_names_operation_and_path_and_how_the_answer_differs_from_what_was_expected(
    nodes, ports, name, fragment, change, reason
):
    async with (
        changing(nodes["node a"].backend_url, fragment, change) as cpo,
        changing(nodes["node b"].backend_url, fragment, change) as emp,
    ):
        ends = Endpoints(cpo, emp, OperatorID(OPERATOR), ProviderID(PROVIDER), *ports, timeout=5.0)
        (outcome,) = [outcome async for outcome in run_scenarios(ends, names=[name])]
    assert reason in outcome.reason
    assert (
        outcome.reason.index(", POST /api/oicp/")
        < outcome.reason.index(": expected ")
        < outcome.reason.index("; came ")
    )


@pytest.fixture
async def accepting_endpoint():
    """An endpoint that acknowledges everything and does nothing."""

    async def serve(_request: web.Request) -> web.Response:
        return web.json_response(
            {"Result": True, "AuthorizationStatus": "Authorized", "StatusCode": {"Code": "000"}, "content": []}
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_endpoint_that_accepts_everything_passes_nothing_and_has_its_reasons(accepting_endpoint):
    ends = Endpoints(
        accepting_endpoint, accepting_endpoint, OperatorID(OPERATOR), ProviderID(PROVIDER), *free_ports(2), timeout=0.05
    )
    outcomes = {outcome.name: outcome.reason async for outcome in run_scenarios(ends)}
    assert list(outcomes) == list(SCENARIOS)
    assert all(outcomes.values()), outcomes
    for reason in outcomes.values():
        assert re.match(r"\w+, POST /api/oicp/\S+ at the .+: expected .+; came .+", reason)
    assert "in Jena; came none of these EVSEs within 0.05 s" in outcomes["publish and discover"]
    assert "expected a SessionID; came HTTP 200, Result true" in outcomes["authorize, charge, settle"]
    assert "expected NotAuthorized for a locked contract, code 200" in outcomes["refused contract with its code"]


async def test_an_endpoint_that_is_not_there_is_a_reason_as_well():
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    ends = Endpoints(nowhere, nowhere, OperatorID(OPERATOR), ProviderID(PROVIDER), *free_ports(2))
    outcomes = [outcome async for outcome in run_scenarios(ends, names=["remote start", "publish and discover"])]
    assert [outcome.name for outcome in outcomes] == ["publish and discover", "remote start"]
    assert all("no connection" in outcome.reason for outcome in outcomes)


async def test_the_command_reports_in_json_and_by_its_exit_code(accepting_endpoint):
    ports = [str(port) for port in free_ports(2)]
    code, output = await command(
        "--cpo", accepting_endpoint, "--emp", accepting_endpoint, "--operator", OPERATOR, "--provider", PROVIDER,
        "--cpo-port", ports[0], "--emp-port", ports[1], "--timeout", "0.1", "--only", "remote start", "--json",
    )  # fmt: skip
    assert code == 1
    assert [outcome["name"] for outcome in json.loads(output)] == ["remote start"]


MISTAKES = {
    "a sequence that is none": (["--only", "remote stat"], 'did you mean "remote start"'),
    "an operator that is none": (["--operator", "DE"], "OperatorID"),
}


@pytest.mark.parametrize(("wrong", "words"), MISTAKES.values(), ids=MISTAKES)
async def test_a_wrong_option_is_one_line(wrong, words):
    base = [
        "--cpo",
        "http://127.0.0.1:1",
        "--emp",
        "http://127.0.0.1:1",
        "--operator",
        OPERATOR,
        "--provider",
        PROVIDER,
    ]
    code, output = await command(*base, *wrong)
    assert (code, words in output, output.count("\n")) == (2, True, 1)


async def test_a_taken_port_is_reported_before_anything_is_played(accepting_endpoint):
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    base = [
        "--cpo",
        accepting_endpoint,
        "--emp",
        accepting_endpoint,
        "--operator",
        OPERATOR,
        "--provider",
        PROVIDER,
    ]
    async with server:
        code, output = await command(*base, "--cpo-port", str(port))
    assert (code, f"port {port} cannot be listened on" in output) == (2, True)
