"""Faults of the network, one at a time: afterwards ledgers and databases agree."""

import asyncio

import pytest

from tests.chaos import proxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECURE = "signed"


def disturb_deliveries(fault: proxy.Fault, times: int):
    """Apply ``fault`` to so many deliveries; authorizations pass, or there would be no messages to lose."""
    left = [times]

    def choose(path: str) -> proxy.Fault:
        if "/authorize" in path or not left[0]:
            return proxy.PASS
        left[0] -= 1
        return fault

    return choose


async def test_without_faults_every_cdr_is_delivered_once(testbed):
    repeated = testbed.balance.repeated
    await testbed.csms.run_sessions(10)
    balance = await testbed.check_ledger()
    assert (balance.records, balance.repeated) == (len(testbed.csms.records), repeated)


@pytest.mark.parametrize("fault", proxy.FAULTS.values(), ids=proxy.FAULTS)
async def test_a_network_fault_loses_nothing(testbed, fault):
    testbed.proxy_to_b.choose = disturb_deliveries(fault, 6)
    await asyncio.gather(testbed.csms.run_sessions(4, concurrency=4), *(each.change() for each in testbed.datasets))
    await testbed.check_ledger()
    assert sum(name == fault.name for name, _ in testbed.proxy_to_b.applied) == 6


async def test_a_cdr_whose_response_is_lost_is_delivered_to_the_backend_once(testbed):
    before = await testbed.check_ledger()
    testbed.proxy_to_b.choose = lambda path: proxy.DROP_ANSWER if "cdrmgmt" in path else proxy.PASS
    session = await testbed.csms.charge(testbed.csms.evses[0])
    await eventually(lambda: session in testbed.contracts.records, timeout=20)
    testbed.proxy_to_b.choose = None
    assert (await testbed.check_ledger()).repeated == before.repeated


async def test_a_peer_that_hangs_costs_one_deadline_and_no_cdr(testbed):
    testbed.proxy_to_b.choose = disturb_deliveries(proxy.HANG, 1000)
    await testbed.csms.run_sessions(3, concurrency=3)
    await testbed.proxy_to_b.wait_for_fault(proxy.HANG)
    await testbed.proxy_to_b.close()  # a request that hangs ends when its connection breaks
    testbed.proxy_to_b.choose = None
    await testbed.proxy_to_b.open()
    await testbed.check_ledger()


async def test_an_authorization_that_hangs_is_refused_within_its_deadline(testbed):
    testbed.proxy_to_b.choose = lambda path: proxy.HANG if "/authorize" in path else proxy.PASS
    async with asyncio.timeout(15):  # the deadline is 5 s
        assert await testbed.csms.charge(testbed.csms.evses[0]) is None


async def test_an_unreachable_peer_gets_everything_when_it_is_reachable_again(testbed):
    async def cut_off() -> None:
        await testbed.proxy_to_b.close()
        for evse in ("DE*GEF*E0001", "DE*GEF*E0002"):
            await testbed.csms.set_status(evse, "OutOfService")

    await testbed.csms.charge(testbed.csms.evses[0])
    await cut_off()
    assert await testbed.csms.charge(testbed.csms.evses[1]) is None
    await testbed.proxy_to_b.open()
    await testbed.check_ledger()


@pytest.mark.parametrize("fault_for", ["fail", "drop"])
async def test_a_backend_that_fails_or_disconnects_gets_each_message_again_until_it_responds(testbed, fault_for):
    left = [4]

    def once_in_a_while(_: str) -> str:
        left[0] -= 1
        return fault_for if left[0] >= 0 else ""

    testbed.contracts.fault_for = once_in_a_while
    await testbed.csms.run_sessions(2, concurrency=2)
    await testbed.check_ledger()
