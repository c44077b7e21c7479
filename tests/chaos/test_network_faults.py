"""What lies between two nodes misbehaves, one fault at a time: afterwards the books balance."""

import asyncio

import pytest

from tests.chaos import proxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECURE = "signed"


def letters_and_state(fault: proxy.Fault, times: int):
    """Treat so many requests of the delivery with ``fault``; authorizations pass, or there were nothing to lose."""
    left = [times]

    def choose(path: str) -> proxy.Fault:
        if "/authorize" in path or not left[0]:
            return proxy.PASS
        left[0] -= 1
        return fault

    return choose


async def test_without_faults_every_record_arrives_and_is_told_once(on):
    repeated = on.balance.repeated
    await on.csms.drive(10)
    balance = await on.balances()
    assert (balance.records, balance.repeated) == (len(on.csms.records), repeated)


@pytest.mark.parametrize("fault", proxy.FAULTS.values(), ids=proxy.FAULTS)
async def test_a_fault_on_the_line_costs_nothing(on, fault):
    on.to_b.choose = letters_and_state(fault, 6)
    await asyncio.gather(on.csms.drive(4, at_once=4), *(each.change() for each in on.told))
    await on.balances()
    assert sum(name == fault.name for name, _ in on.to_b.taken) == 6


async def test_a_record_whose_answer_is_lost_is_known_to_the_peer_and_told_to_its_backend_once(on):
    before = await on.balances()
    on.to_b.choose = lambda path: proxy.DROP_ANSWER if "cdrmgmt" in path else proxy.PASS
    session = await on.csms.charge(on.csms.evses[0])
    await eventually(lambda: session in on.contracts.records, timeout=20)
    on.to_b.choose = None
    assert (await on.balances()).repeated == before.repeated


async def test_a_peer_that_hangs_costs_one_deadline_and_no_record(on):
    on.to_b.choose = letters_and_state(proxy.HANG, 1000)
    await on.csms.drive(3, at_once=3)
    await on.to_b.until_taken(proxy.HANG)
    await on.to_b.refuse()  # what hangs, hangs until somebody gives up: here the line breaks
    on.to_b.choose = None
    await on.to_b.open()
    await on.balances()


async def test_an_authorization_that_hangs_is_refused_within_its_deadline(on):
    on.to_b.choose = lambda path: proxy.HANG if "/authorize" in path else proxy.PASS
    async with asyncio.timeout(15):  # the deadline is 5 s; without one, it would hang for ever
        assert await on.csms.charge(on.csms.evses[0]) is None


async def test_a_peer_that_cannot_be_reached_gets_everything_when_it_can(on):
    async def cut_off() -> None:
        await on.to_b.refuse()
        for evse in ("DE*GEF*E0001", "DE*GEF*E0002"):
            await on.csms.set_status(evse, "OutOfService")

    await on.csms.charge(on.csms.evses[0])
    await cut_off()
    assert await on.csms.charge(on.csms.evses[1]) is None
    await on.to_b.open()
    await on.balances()


@pytest.mark.parametrize("trouble", ["fail", "drop"])
async def test_a_backend_that_fails_or_breaks_off_is_told_again_until_it_answers(on, trouble):
    left = [4]

    def once_in_a_while(_: str) -> str:
        left[0] -= 1
        return trouble if left[0] >= 0 else ""

    on.contracts.trouble = once_in_a_while
    await on.csms.drive(2, at_once=2)
    await on.balances()
