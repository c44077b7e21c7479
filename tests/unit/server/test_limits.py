"""Admission: lanes that do not stand in each other's way, shares of an address, room for bodies."""

import asyncio

import pytest

from p2p_oicp.server.limits import AdmissionController, AdmissionLimits, AdmissionTicket
from p2p_oicp.server.problems import HttpError
from tests.support.messages import CDR, GET_CDRS, NOTIFY, PUSH_STATUS, REMOTE_START, RESERVE, START

OTHER_PARTY = START.replace("GEF", "ABC")
HERE, THERE = "192.0.2.1", "192.0.2.2"
MEBIBYTE = 1024 * 1024


class HeldRequests:
    """An admission controller, and requests that are being answered until the test ends."""

    def __init__(self) -> None:
        self.refused = 0
        self._admission = AdmissionController(MEBIBYTE, self._count, AdmissionLimits(requests=8, pushes=1, waiting=3))
        self._end = asyncio.Event()
        self._tasks: list[asyncio.Task] = []

    def _count(self) -> None:
        self.refused += 1

    async def ask(self, path: str, address: str = HERE, length: int | None = 100, grown: int = 0) -> int:
        """Return the status of the refusal, 0 where the request came in, or waits for its turn.

        ``grown`` is what came of a body of unknown ``length``.
        """
        task = asyncio.create_task(self._answered(path, address, length, grown))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not task.done():
            self._tasks.append(task)
            return 0
        problem = task.exception()
        assert isinstance(problem, HttpError)
        assert problem.headers == {"Retry-After": "1"}
        return problem.http_status

    async def _answered(self, path: str, address: str, length: int | None, grown: int) -> None:
        ticket = AdmissionTicket(address)
        try:
            self._admission.begin_body(ticket)
            self._admission.reserve_bytes(ticket, length)
            for size in range(0, grown + 1, 1024):
                self._admission.reserve_bytes(ticket, size)
            self._admission.end_body(ticket)
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


async def fill(requests: HeldRequests, path: str, *callers: str, length: int | None = 100) -> list[int]:
    return [await requests.ask(path, address, length) for address in callers for _ in range(8)]


async def test_a_client_over_its_share_gets_429_while_others_are_admitted(requests):
    assert await fill(requests, START, HERE) == [0] * 6 + [429] * 2
    assert await requests.ask(OTHER_PARTY, HERE) == 429  # the party is only claimed: the share is the address'
    assert await requests.ask(START, THERE) == 0
    assert requests.refused == 3


async def test_where_all_places_are_taken_the_answer_is_503(requests):
    await fill(requests, START, HERE, THERE)
    assert await requests.ask(OTHER_PARTY, "192.0.2.3") == 503


@pytest.mark.parametrize("full", [START, CDR, PUSH_STATUS], ids=["drivers", "messages", "state"])
async def test_a_full_lane_leaves_room_in_the_others(requests, full):
    await fill(requests, full, HERE, THERE)
    open_lanes = {
        START: (CDR, NOTIFY, PUSH_STATUS, GET_CDRS),
        CDR: (START, REMOTE_START, RESERVE, PUSH_STATUS, GET_CDRS),
        PUSH_STATUS: (START, REMOTE_START, RESERVE, CDR, NOTIFY),
    }[full]
    assert [await requests.ask(path) for path in open_lanes] == [0] * len(open_lanes)


async def test_large_bodies_have_a_common_bound_and_usual_ones_come_in_all_the_same(requests):
    sent = [await requests.ask(CDR, address, MEBIBYTE) for address in (HERE, THERE, "192.0.2.3")]
    assert sent == [0, 0, 503]
    assert await requests.ask(CDR, "192.0.2.3") == 0


async def test_a_body_of_unknown_length_takes_the_room_that_it_needs_and_gives_all_of_it_back(requests):
    assert await fill(requests, CDR, HERE, length=None) == [0] * 6 + [429] * 2
    assert await requests.ask(START, HERE, None, MEBIBYTE) == 0
    assert [await requests.ask(START, address, MEBIBYTE // 2) for address in (HERE, THERE)] == [0, 0]
    assert await requests.ask(START, THERE, None, 65 * 1024) == 503
    assert await requests.ask(START, THERE, None, 64 * 1024) == 0
    await requests.answer()
    assert [await requests.ask(START, HERE, MEBIBYTE) for _ in range(3)] == [0, 0, 503]


async def test_a_place_is_free_again_after_the_answer(requests):
    await fill(requests, START, HERE, THERE)
    await requests.answer()
    assert await fill(requests, START, HERE) == [0] * 6 + [429] * 2
