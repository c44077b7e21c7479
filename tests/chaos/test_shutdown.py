"""Orderly shutdown, and a start on a database that cannot be used."""

import asyncio

import pytest

from p2p_oicp.simulator import NodeFailed
from tests.chaos import ledger, proxy
from tests.support.database import execute
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECURE = "mtls"


@pytest.mark.parametrize("who", ["a", "b"])
async def test_a_node_stopped_under_load_exits_with_0_in_time_and_has_lost_nothing(testbed, who):
    node, stop, before = getattr(testbed, who), asyncio.Event(), set(testbed.csms.records)
    driving = asyncio.create_task(testbed.csms.charge_until(stop))
    await eventually(lambda: testbed.csms.records.keys() - before, timeout=20)
    await node.stop()  # raises if the exit code is not 0, or the end is not in time
    await node.start()
    stop.set()
    await driving
    await testbed.check_ledger()
    assert "Traceback" not in node.log()


async def test_an_authorization_under_way_is_answered_before_its_node_ends(testbed):
    late = proxy.delay(1.0)
    testbed.proxy_to_b.choose = lambda path: late if "/authorize" in path else proxy.PASS
    request = asyncio.create_task(testbed.authorize(testbed.csms.evses[0]))
    await testbed.proxy_to_b.wait_for_fault(late, "/authorize")
    await testbed.a.stop()
    async with asyncio.timeout(30):
        session = await request
    testbed.proxy_to_b.choose = None
    await testbed.a.start()
    assert (await testbed.csms.settle(session, EvseID=testbed.csms.evses[0])).is_positive
    await testbed.check_ledger()


async def test_an_emp_that_hangs_does_not_keep_a_node_from_ending_in_time(testbed):
    testbed.proxy_to_b.choose = lambda path: proxy.HANG if "/authorize" in path or "cdrmgmt" in path else proxy.PASS
    request = asyncio.create_task(testbed.csms.charge(testbed.csms.evses[0]))
    await testbed.proxy_to_b.wait_for_fault(proxy.HANG, "/authorize")
    await testbed.a.stop()  # raises if the end is not in time
    testbed.proxy_to_b.choose = None
    await testbed.a.start()
    async with asyncio.timeout(30):
        await request
    await testbed.check_ledger()


def newer(file):
    execute(file, "UPDATE alembic_version SET version_num = '9999'")


def damaged(file):
    file.write_bytes(b"this was a database once. " * 1000)


@pytest.mark.parametrize(
    ("damage", "output"), [(newer, "newer version"), (damaged, "damaged")], ids=["newer", "damaged"]
)
async def test_a_node_on_a_database_it_cannot_use_says_what_to_do_and_touches_nothing(testbed, damage, output):
    await testbed.b.stop()
    file = ledger.database(testbed.b)
    whole = file.read_bytes()
    damage(file)
    before = file.read_bytes()
    with pytest.raises(NodeFailed, match=rf"exited with 2 while starting[\s\S]*{output}[\s\S]*restore a backup"):
        await testbed.b.start()
    assert file.read_bytes() == before
    assert "Traceback" not in testbed.b.log()
    file.write_bytes(whole)
    await testbed.b.start()
    await testbed.csms.run_sessions(1)
    await testbed.check_ledger()
