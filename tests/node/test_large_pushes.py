"""Large pushes: all or nothing over a crash, and nobody waits behind one."""

import asyncio

import pytest

from p2p_oicp.errors import StoreError
from p2p_oicp.storage.state import large

from .messages import PULL_STATUS, PUSH_STATUS, START, authorize_start, push_status


async def statuses(caller) -> dict[str, str]:
    answer = (await caller.post(PULL_STATUS, {"ProviderID": "DE-GDF"})).json
    groups = answer["EvseStatuses"]["OperatorEvseStatus"]
    return {record["EvseID"]: record["EvseStatus"] for group in groups for record in group["EvseStatusRecord"]}


def spots(count: int, status: str) -> dict[str, str]:
    return {f"{number:05}": status for number in range(count)}


def fail_at(monkeypatch, step: str, calls: int) -> None:
    """Let a step of applying a large push fail when it has succeeded so many times."""
    work, left = getattr(large, step, None) or getattr(large.plans, step), calls

    def fail(*args, **kwargs):
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreError("power failed")
        return work(*args, **kwargs)

    monkeypatch.setattr(large if hasattr(large, step) else large.plans, step, fail)


@pytest.mark.parametrize(
    ("step", "calls", "expected"),
    [
        ("decide", 0, {"Available": 500}),
        ("put", 0, {"Occupied": 900}),
        ("put", 2, {"Occupied": 900}),
        ("remember", 0, {"Occupied": 900}),
    ],
    ids=["before the decision", "after it", "in the middle", "at the end"],
)
async def test_a_node_that_crashes_in_a_large_push_has_all_or_nothing(stopped, monkeypatch, step, calls, expected):
    async with stopped.running("a"):
        await stopped.a.post(PUSH_STATUS, push_status(**spots(500, "Available")))
        with monkeypatch.context() as patch:
            fail_at(patch, step, calls)
            answer = await stopped.a.post(PUSH_STATUS, push_status(**spots(900, "Occupied")))
            assert answer.status == 503
    async with stopped.running("a"):
        found = list((await statuses(stopped.a_peer)).values())
        assert {status: found.count(status) for status in set(found)} == expected


async def test_an_authorization_does_not_wait_behind_a_large_push(pair):
    pushing = asyncio.create_task(pair.a.post(PUSH_STATUS, push_status(**spots(14_000, "Available"))))
    await asyncio.sleep(0)
    answered = 0
    while not pushing.done():
        assert (await pair.a.post(START, authorize_start(CPOPartnerSessionID=str(answered)))).code == "000"
        answered += not pushing.done()
    assert (await pushing).json["Result"] is True
    assert answered >= 3
