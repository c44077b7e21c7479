"""Who guesses PINs is slowed down, and waits for bcrypt in its own turn."""

import asyncio
import json
import threading

import pytest
import structlog

from p2p_oicp.crypto.pins import PinGuard
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import Identification, StatusCodeValue
from tests.support.clocks import ManualClock


def qr(number: int = 1) -> Identification:
    members = {"QRCodeIdentification": {"EvcoID": f"DE-GDF-C{number:08}-X", "PIN": "4711"}}
    return Identification.from_json(json.dumps(members).encode())


class Observed(list):
    def __call__(self, result: str, caller: str) -> None:
        self.append((result, caller))


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def guard(clock, observed) -> PinGuard:
    return PinGuard(clock, observed)


def look_at(guard: PinGuard, identification: Identification, caller: str = "a", *, wrong: bool) -> bool:
    """Return whether the PIN was looked at."""
    try:
        with guard.attempt(identification, caller, f"peer {caller}") as attempt:
            attempt.conclude(is_wrong=wrong)
    except Refusal:
        return False
    return True


def guess_for(guard: PinGuard, clock: ManualClock, seconds: int, identifications) -> int:
    """Guess once a second; return how many PINs were looked at."""
    looked_at = 0
    for second in range(seconds):
        looked_at += look_at(guard, identifications(second), wrong=True)
        clock.now += 1
    return looked_at


def test_after_three_wrong_pins_each_further_one_costs_twice_the_time(guard, clock):
    assert [look_at(guard, qr(), wrong=True) for _ in range(4)] == [True, True, True, False]
    for delay in (10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600):
        clock.now += delay - 1
        assert not look_at(guard, qr(), wrong=True)
        clock.now += 1.1
        assert look_at(guard, qr(), wrong=True), delay


def test_a_day_of_guessing_one_pin_is_a_few_tries(guard, clock):
    assert guess_for(guard, clock, 86_400, lambda _second: qr()) < 40


def test_a_day_of_guessing_at_all_evco_ids_is_a_few_tries_a_minute(guard, clock):
    assert guess_for(guard, clock, 86_400, qr) < 86_400 / 6


def test_a_right_pin_is_refused_too_while_the_evco_id_is_slowed_down_and_accepted_after(guard, clock):
    for _ in range(3):
        look_at(guard, qr(), wrong=True)
    assert not look_at(guard, qr(), wrong=False)
    clock.now += 10.1
    assert look_at(guard, qr(), wrong=False)


def test_other_drivers_and_other_peers_are_not_slowed_down(guard):
    for _ in range(4):
        look_at(guard, qr(), wrong=True)
    assert look_at(guard, qr(2), wrong=False)
    assert look_at(guard, qr(), "b", wrong=False)


@pytest.mark.parametrize("forgiven_by", ["the right one", "a month"])
def test_right_pins_are_not_counted_and_mistypes_are_forgiven(guard, clock, forgiven_by):
    assert all(look_at(guard, qr(), wrong=False) for _ in range(1000))
    for _ in range(20):
        assert look_at(guard, qr(), wrong=True)
        assert look_at(guard, qr(), wrong=True)
        if forgiven_by == "a month":
            clock.now += 30 * 86_400
        else:
            assert look_at(guard, qr(), wrong=False)


def test_a_refusal_has_the_code_of_a_wrong_pin_and_says_when_to_try_again(guard):
    for _ in range(3):
        look_at(guard, qr(), wrong=True)
    with pytest.raises(Refusal, match="too many wrong PINs; try again in 10 s") as caught:
        guard.attempt(qr(), "a")
    assert caught.value.code == StatusCodeValue.QR_CODE_INVALID


def test_a_peer_may_have_many_drivers_who_mistype(guard, clock):
    for number in range(3000):
        assert look_at(guard, qr(number), wrong=number % 50 == 0)
        clock.now += 0.2


def test_guesses_that_come_all_at_once_are_looked_at_as_few(guard):
    attempts = []
    for _ in range(100):
        try:
            attempts.append(guard.attempt(qr(), "a").__enter__())
        except Refusal:
            continue
    assert len(attempts) == 3


def test_guessing_is_reported_once_for_each_delay_and_counted(guard, observed):
    with structlog.testing.capture_logs() as logs:
        for _ in range(50):
            look_at(guard, qr(), wrong=True)
    assert [(entry["event"], entry["peer"], entry["refused_for_seconds"]) for entry in logs] == [
        ("pin.guessing", "peer a", 10.0)
    ]
    assert "C00000001" not in repr(logs)
    assert observed == [("wrong", "peer a")] * 3 + [("refused", "peer a")] * 47


def test_identifications_without_a_pin_are_left_alone(guard):
    card = Identification.from_json(b'{"RFIDMifareFamilyIdentification": {"UID": "1234ABCD"}}')
    assert all(look_at(guard, card, wrong=True) for _ in range(200))


def test_memory_is_bounded(guard):
    for number in range(11_000):
        look_at(guard, qr(number), str(number), wrong=True)
    assert len(guard._counters) <= 10_000


async def test_callers_take_turns_at_bcrypt(guard):
    running, released = [], threading.Event()

    def check(name: str) -> str:
        running.append(name)
        released.wait(10)
        return name

    greedy = [asyncio.ensure_future(guard.run("a", check, f"a{number}")) for number in range(20)]
    honest = asyncio.ensure_future(guard.run("b", check, "b"))
    async with asyncio.timeout(10):
        while len(running) < 2:
            await asyncio.sleep(0)
    assert sorted(running) == ["a0", "b"]
    released.set()
    assert await honest == "b"
    assert await asyncio.gather(*greedy) == [f"a{number}" for number in range(20)]
    assert not guard._turns


async def test_a_caller_with_too_many_waiting_pins_is_refused_and_others_are_not(guard):
    released = threading.Event()
    waiting = [asyncio.ensure_future(guard.run("a", released.wait, 10)) for _ in range(33)]
    await asyncio.sleep(0)
    assert isinstance(waiting[-1].exception(), Refusal)
    other = asyncio.ensure_future(guard.run("b", len, "abc"))
    assert await other == 3
    released.set()
    await asyncio.gather(*waiting[:-1])
