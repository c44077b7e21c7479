"""Ending a node in order, and starting one on what it cannot use."""

import asyncio

import pytest

from p2p_oicp.simulator import NodeFailed
from tests.chaos import ledger, proxy
from tests.support.database import execute
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECURE = "mtls"


@pytest.mark.parametrize("who", ["a", "b"])
async def test_a_node_told_to_stop_under_load_ends_with_0_in_time_and_has_lost_nothing(on, who):
    node, enough, settled = getattr(on, who), asyncio.Event(), set(on.csms.records)
    driving = asyncio.create_task(on.csms.keep_busy(enough))
    await eventually(lambda: on.csms.records.keys() - settled, timeout=20)
    await node.stop()  # raises where the exit code is not 0, or the end is not in time
    await node.start()
    enough.set()
    await driving
    await on.balances()
    assert "Traceback" not in node.log()


async def test_an_authorization_under_way_is_answered_before_its_node_ends(on):
    late = proxy.delay(1.0)
    on.to_b.choose = lambda path: late if "/authorize" in path else proxy.PASS
    asked = asyncio.create_task(on.authorize(on.csms.evses[0]))
    await on.to_b.until_taken(late, "/authorize")
    await on.a.stop()
    async with asyncio.timeout(30):
        session = await asked
    on.to_b.choose = None
    await on.a.start()
    assert (await on.csms.settle(session, EvseID=on.csms.evses[0])).is_yes
    await on.balances()


async def test_an_emp_that_hangs_does_not_keep_a_node_from_ending_in_time(on):
    on.to_b.choose = lambda path: proxy.HANG if "/authorize" in path or "cdrmgmt" in path else proxy.PASS
    asked = asyncio.create_task(on.csms.charge(on.csms.evses[0]))
    await on.to_b.until_taken(proxy.HANG, "/authorize")
    await on.a.stop()  # raises where the end is not in time
    on.to_b.choose = None
    await on.a.start()
    async with asyncio.timeout(30):
        await asked
    await on.balances()


def newer(file):
    execute(file, "UPDATE alembic_version SET version_num = '9999'")


def damaged(file):
    file.write_bytes(b"this was a database once. " * 1000)


@pytest.mark.parametrize(("spoil", "said"), [(newer, "newer version"), (damaged, "damaged")], ids=["newer", "damaged"])
async def test_a_node_on_a_database_it_cannot_use_says_what_to_do_and_touches_nothing(on, spoil, said):
    await on.b.stop()
    file = ledger.database(on.b)
    whole = file.read_bytes()
    spoil(file)
    before = file.read_bytes()
    with pytest.raises(NodeFailed, match=rf"exited with 2 while starting[\s\S]*{said}[\s\S]*restore a backup"):
        await on.b.start()
    assert file.read_bytes() == before
    assert "Traceback" not in on.b.log()
    file.write_bytes(whole)
    await on.b.start()
    await on.csms.drive(1)
    await on.balances()
