"""The command, in a process of its own: it serves, plays the scenarios, and ends in order."""

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager

import aiohttp

from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.simulator.scenarios import SCENARIOS, Endpoints, run_scenarios
from tests.support.command_line import p2p_oicp
from tests.support.hubs import HubClient
from tests.support.messages import card

__all__ = ["p2p_oicp"]

CPO, EMP = "DE*GEF", "DE-GDF"


@asynccontextmanager
async def hub_process(*arguments: str):
    """A hub in a process, and a client for it; the exit code has to be 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "p2p_oicp", "hub", "--port", "0", "--json", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    ready = json.loads(await process.stdout.readline())
    async with aiohttp.ClientSession() as http:
        yield HubClient(http, ready["url"]), process
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert "Traceback" not in errors.decode()


async def test_all_scenarios_pass_against_a_hub_that_learns_its_partners(tmp_path):
    cpo_port, emp_port = free_ports(2)
    config = tmp_path / "hub.toml"
    config.write_text("[deadlines]\nremote_backend = 0.5\n")
    async with hub_process("--config", str(config)) as (hub, _):
        await hub.tell(operators=[CPO], url=f"http://127.0.0.1:{cpo_port}")
        await hub.tell(providers=[EMP], url=f"http://127.0.0.1:{emp_port}")
        ends = Endpoints(hub.base, hub.base, OperatorID(CPO), ProviderID(EMP), cpo_port, emp_port, late=0.8)
        results = [result async for result in run_scenarios(ends)]
    assert [result.name for result in results] == [*SCENARIOS]
    assert [f"{each.name}: {each.reason or each.skipped}" for each in results if each.reason or each.skipped] == []


async def test_sighup_has_the_script_read_again(tmp_path):
    script = tmp_path / "script.toml"
    script.write_text('[[rules]]\nrefuse = "021"\n')
    async with hub_process("--script", str(script)) as (hub, process):
        assert (await hub.start(CPO, card())).code == "021"
        script.write_text('[[rules]]\nrefuse = "102"\n')
        process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(10):
            while (await hub.call("GET", "script")).json["rules"][0]["refuse"] != "102":
                await asyncio.sleep(0.05)


def test_a_file_that_cannot_be_used_is_one_line_and_exit_code_2(p2p_oicp, tmp_path):
    config = tmp_path / "hub.toml"
    for text, reason in (("[hub]\nport = 70000\n", "expected a number of at most 65535"), (None, "no such file")):
        if text is None:
            config.unlink()
        else:
            config.write_text(text)
        result = p2p_oicp("hub", "--config", config)
        assert (result.code, result.err.count("\n")) == (2, 1)
        assert reason in result.err
