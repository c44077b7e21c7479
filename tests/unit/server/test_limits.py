"""Admission: lanes that do not stand in each other's way, shares of a client, room for bodies."""

import asyncio

import pytest

from p2p_oicp.server.limits import AdmissionController, AdmissionLimits, AdmissionTicket, address_block
from p2p_oicp.server.problems import HttpError
from tests.support.messages import CDR, GET_CDRS, NOTIFY, PUSH_STATUS, REMOTE_START, REMOTE_STOP, RESERVE, START

OTHER_PARTY = START.replace("GEF", "ABC")
HERE, THERE = "192.0.2.1", "192.0.2.2"
MEBIBYTE = 1024 * 1024


class HeldRequests:
    """An admission controller, and requests that are being answered until the test ends."""

    def __init__(self) -> None:
        self._admission = AdmissionController(MEBIBYTE, AdmissionLimits(requests=8, pushes=1, waiting=3))
        self._end = asyncio.Event()
        self._tasks: list[asyncio.Task] = []

    async def ask(self, path: str, client: str = HERE, size: int = 100, *, is_proved: bool = True) -> int:
        """Return the status of the refusal, 0 where the request came in, or waits for its turn; ``size`` in bytes."""
        task = asyncio.create_task(self._answered(path, AdmissionTicket(client, is_proved), size))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not task.done():
            self._tasks.append(task)
            return 0
        problem = task.exception()
        assert isinstance(problem, HttpError)
        assert problem.headers == {"Retry-After": "1", "P2P-Not-Processed": "1"}
        return problem.http_status

    async def _answered(self, path: str, ticket: AdmissionTicket, size: int) -> None:
        try:
            for received in range(0, size + 1, 1024):
                self._admission.reserve_bytes(ticket, received)
            await self._admission.enter_lane(ticket, path)
            await self._end.wait()
        finally:
            self._admission.release(ticket)

    async def answer(self) -> None:
        """Answer what is being answered."""
        self._end.set()
        await asyncio.gather(*self._tasks)
        self._end.clear()
        self._tasks.clear()


@pytest.fixture
async def requests():
    """An admission controller with few slots."""
    made = HeldRequests()
    yield made
    await made.answer()


async def fill(requests: HeldRequests, path: str, *clients: str) -> list[int]:
    return [await requests.ask(path, client) for client in clients for _ in range(8)]


async def test_a_client_over_its_share_gets_429_while_others_are_admitted(requests):
    assert await fill(requests, START, HERE) == [0] * 6 + [429] * 2
    assert await requests.ask(OTHER_PARTY, HERE) == 429  # the party is only claimed: the share is the address'
    assert await requests.ask(START, THERE) == 0


async def test_where_all_places_are_taken_the_answer_is_503(requests):
    await fill(requests, START, HERE, THERE)
    assert await requests.ask(OTHER_PARTY, "192.0.2.3") == 503


@pytest.mark.parametrize("full", [START, CDR, PUSH_STATUS], ids=["drivers", "messages", "state"])
async def test_a_full_lane_leaves_room_in_the_others(requests, full):
    await fill(requests, full, HERE, THERE)
    open_lanes = {
        START: (REMOTE_START, RESERVE, CDR, NOTIFY, PUSH_STATUS, GET_CDRS),
        CDR: (START, REMOTE_START, RESERVE, PUSH_STATUS, GET_CDRS),
        PUSH_STATUS: (START, REMOTE_START, RESERVE, CDR, NOTIFY),
    }[full]
    assert [await requests.ask(path) for path in open_lanes] == [0] * len(open_lanes)


async def test_stations_that_are_slow_keep_no_authorization_waiting(requests):
    for client in (HERE, THERE):
        answers = [await requests.ask(path, client) for path in (REMOTE_START, RESERVE) for _ in range(33)]
        assert answers == [0] * 64 + [429] * 2  # one client has at most half of the 128 slots
    assert await requests.ask(REMOTE_STOP, "192.0.2.3") == 503
    assert await requests.ask(START, HERE) == 0


async def test_large_bodies_have_a_common_bound_and_usual_ones_come_in_all_the_same(requests):
    sent = [await requests.ask(CDR, client, MEBIBYTE) for client in (HERE, THERE, "192.0.2.3")]
    assert sent == [0, 0, 503]
    assert await requests.ask(CDR, "192.0.2.3", 64 * 1024) == 0


async def test_half_of_the_room_is_for_proved_clients_only(requests):
    unproved = [await requests.ask(CDR, HERE, MEBIBYTE // 2, is_proved=False) for _ in range(3)]
    assert unproved == [0, 0, 503]
    assert await requests.ask(CDR, HERE, MEBIBYTE) == 0
    await requests.answer()
    assert await requests.ask(CDR, HERE, MEBIBYTE, is_proved=False) == 0


async def test_a_body_takes_the_room_that_it_has_grown_to_and_gives_all_of_it_back(requests):
    assert await requests.ask(START, HERE, MEBIBYTE) == 0
    assert [await requests.ask(START, client, MEBIBYTE // 2) for client in (HERE, THERE)] == [0, 0]
    assert await requests.ask(START, THERE, 66 * 1024) == 503
    await requests.answer()
    assert [await requests.ask(START, HERE, MEBIBYTE) for _ in range(3)] == [0, 0, 503]


ADDRESSES = {
    "IPv4": ("192.0.2.1", "192.0.2.1"),
    "IPv4 as IPv6": ("::ffff:192.0.2.1", "192.0.2.1"),
    "IPv6": ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    "IPv6 of a link": ("fe80::1%eth0", "fe80::/64"),
    "none": ("", ""),
}


@pytest.mark.parametrize(("address", "block"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_ipv6_host_counts_as_one_client_with_all_its_addresses(address, block):
    assert address_block(address) == block


async def test_a_place_is_free_again_after_the_answer(requests):
    await fill(requests, START, HERE, THERE)
    await requests.answer()
    assert await fill(requests, START, HERE) == [0] * 6 + [429] * 2
