"""The scenes that need no node processes, against a clearing house that is honest, and against some that are not."""

from __future__ import annotations

import io
from decimal import Decimal
from unittest.mock import Mock

import pytest

from p2p_oicp.oicp import Acknowledgement, ChargeDetailRecord, ChargingNotificationProgress, StatusCode, StatusCodeValue
from p2p_oicp.simulator.demo import JsonTimeline, Report
from p2p_oicp.simulator.demo.scenes import (
    charge_with_app,
    charge_with_card,
    push_and_pull_statuses,
    reject_invalid_tokens,
)
from p2p_oicp.simulator.demo.world import DemoContext

ACKNOWLEDGED = Acknowledgement(result=True, status_code=StatusCode.of(StatusCodeValue.SUCCESS))


@pytest.fixture
def world(csms, contracts) -> DemoContext:
    timeline = JsonTimeline(io.StringIO())
    return DemoContext(Mock(), csms, contracts, timeline, Report(), started=0.0, timeout=0.05)


async def play(world, scene) -> list[str]:
    await scene(world)
    assert world.report.checks
    return [check.sentence for check in world.report.failed]


@pytest.mark.parametrize(
    "scene",
    [push_and_pull_statuses, charge_with_card, charge_with_app, reject_invalid_tokens],
    ids=lambda scene: scene.__name__,
)
async def test_every_check_holds_with_an_honest_hub(world, scene):
    assert await play(world, scene) == []


async def tell_the_sender_only(_hub, _operation, _party, _message):
    return ACKNOWLEDGED


async def deliver_twice(hub, operation, party, message):
    await hub.call(operation, party, message)
    return await hub.call(operation, party, message)


async def deliver_other_energy(hub, operation, party, message):
    return await hub.call(operation, party, message.replace(consumed_energy=Decimal("11.361")))


async def deliver_another_product(hub, operation, party, message):
    return await hub.call(operation, party, message.replace(partner_product_id="DC"))


ARRIVED = "the CDR arrived, once, equal in every member"
BILLED = "it bills what the meter counted, exactly"
NOTIFIED = "the notifications Start, Progress, End arrived in order, none twice"

SABOTAGE = {
    "a lost CDR": (ChargeDetailRecord, tell_the_sender_only, [ARRIVED, BILLED]),
    "a CDR delivered twice": (ChargeDetailRecord, deliver_twice, [ARRIVED, BILLED]),
    "one watt-hour too little": (ChargeDetailRecord, deliver_other_energy, [ARRIVED, BILLED]),
    "another product": (ChargeDetailRecord, deliver_another_product, [ARRIVED]),
    "a lost notification": (ChargingNotificationProgress, tell_the_sender_only, [NOTIFIED]),
    "a notification delivered twice": (ChargingNotificationProgress, deliver_twice, [NOTIFIED]),
}


@pytest.mark.parametrize(("kind", "trick", "noticed"), SABOTAGE.values(), ids=SABOTAGE)
async def test_a_dishonest_hub_is_found_out(world, hub, monkeypatch, kind, trick, noticed):
    honest = type(hub).answer

    async def answer(hub, operation, party, message):
        if isinstance(message, kind):
            return await trick(hub, operation, party, message)
        return await honest(hub, operation, party, message)

    monkeypatch.setattr(type(hub), "answer", answer)
    assert await play(world, charge_with_card) == noticed


async def test_a_wrong_status_is_found_out(world, hub, monkeypatch):
    monkeypatch.setattr(hub, "records", lambda evse_ids: type(hub).records(hub, list(evse_ids)[:3]))
    failed = await play(world, push_and_pull_statuses)
    assert "a pull at node B returns exactly the statuses of the charging points" in failed
