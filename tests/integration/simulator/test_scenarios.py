"""The onboarding sequences: against two of our nodes, and against endpoints that get something wrong."""

import asyncio
import json
import sys

import pytest
from aiohttp import web

from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.simulator import Cluster, NodeSpec
from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.simulator.scenarios import SCENARIOS, Endpoints, run_scenarios

OPERATOR, PROVIDER = "DE*GEF", "DE-GDF"


async def command(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "p2p_oicp", "scenarios", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_every_sequence_passes_between_two_nodes(tmp_path):
    cpo_port, emp_port = free_ports(2)
    specs = [
        NodeSpec("node a", operators=(OPERATOR,), cpo_url=f"http://127.0.0.1:{cpo_port}"),
        NodeSpec("node b", providers=(PROVIDER,), emp_url=f"http://127.0.0.1:{emp_port}"),
    ]
    async with Cluster(tmp_path, specs) as nodes:
        code, output = await command(
            "--cpo", nodes["node a"].backend_url, "--emp", nodes["node b"].backend_url, "--operator", OPERATOR,
            "--provider", PROVIDER, "--cpo-port", str(cpo_port), "--emp-port", str(emp_port),
        )  # fmt: skip
    assert output.splitlines()[-1] == f"{len(SCENARIOS)} of {len(SCENARIOS)} passed", output
    assert code == 0


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
    assert outcomes["publish and discover"].startswith("the EMP finds no EVSE, expected DE*GEF*E")
    assert outcomes["authorize, charge, settle"].startswith("the answer has no SessionID")
    assert outcomes["refused contract with its code"].startswith(
        "AuthorizeStart with a locked contract was answered yes"
    )


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


async def test_a_taken_port_is_reported_before_anything_is_played():
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
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
    async with server:
        code, output = await command(*base, "--cpo-port", str(port))
    assert (code, f"port {port} cannot be listened on" in output) == (2, True)
