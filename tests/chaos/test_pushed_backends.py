"""A contract system that hears of statuses by push has the right state after its node is killed in a storm of them."""

import asyncio
import json
import random
import sys
import time

import aiohttp
import pytest

from p2p_oicp.simulator.cluster import Cluster
from p2p_oicp.simulator.node_files import NodeSpec
from tests.support.clients import TestClient
from tests.support.messages import A_CPO, B_EMP, PUSH_STATUS, push_status
from tests.support.own_systems import OwnSystem
from tests.support.waiting import eventually

STATUSES = ("Available", "Occupied", "Reserved", "OutOfService")
EVSES = [f"S{number:03}" for number in range(200)]


@pytest.fixture
async def system():
    async with OwnSystem() as each:
        yield each


async def test_after_kill_9_of_its_node_in_a_storm_of_statuses_a_backend_has_the_right_state_within_5_s(
    tmp_path, system
):
    backends = [{"name": "app", "role": "emp", "url": system.url, "push": ["EvseStatus"]}]
    specs = (NodeSpec("node a", operators=(A_CPO,)), NodeSpec("node b", providers=(B_EMP,)))
    cluster = Cluster(tmp_path, specs)
    b, choose = cluster["node b"], random.Random(7)
    b.command = ("env", f"P2P_OICP_BACKENDS={json.dumps(backends)}", sys.executable, *b.command[1:])
    expected = dict.fromkeys(EVSES, "Available")
    async with cluster, aiohttp.ClientSession() as http:
        csms = TestClient(http, cluster["node a"].backend_url)
        await csms.post(PUSH_STATUS, push_status(**expected))
        await eventually(lambda: len(system.statuses()) == len(EVSES))
        for step in range(400):
            name, status = choose.choice(EVSES), choose.choice(STATUSES)
            expected[name] = status
            assert (await csms.post(PUSH_STATUS, push_status("update", **{name: status}))).code == "000"
            if step in {100, 250}:
                await b.kill()
                restart = asyncio.create_task(b.start())
        await restart
        began = time.monotonic()
        final = {f"{A_CPO}*E{name}": status for name, status in expected.items()}
        await eventually(lambda: system.statuses() == final, timeout=15)
        assert time.monotonic() - began < 5
