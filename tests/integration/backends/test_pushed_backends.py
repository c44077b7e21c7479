"""A backend with `push` hears of the data of all CPO peers, as plain OICP and as method calls."""

import time
from contextlib import asynccontextmanager

import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from tests.support import database
from tests.support.dataset_messages import PUSH_DATA, PUSH_PRICES, PUSH_PRODUCTS, evse
from tests.support.messages import A_CPO, PUSH_STATUS, push_status
from tests.support.nodes import FakeContracts
from tests.support.own_systems import OwnSystem
from tests.support.waiting import eventually

ALL = '["EvseData", "EvseStatus", "PricingProductData", "EVSEPricing"]'


@pytest.fixture
async def system():
    async with OwnSystem() as each:
        yield each


def connect(stopped, system: OwnSystem, push: str = ALL) -> None:
    file = stopped.folder / "b" / "node.toml"
    table = f'[[backends]]\nname = "app"\nrole = "emp"\nurl = "{system.url}"\npush = {push}\n'
    file.write_text(file.read_text() + table)


@asynccontextmanager
async def node_b(stopped):
    async with Node(load_settings(stopped.folder / "b" / "node.toml")) as node:
        yield node


async def test_it_gets_a_snapshot_at_first_and_then_changes_under_the_operators_id(stopped, system):
    connect(stopped, system)
    async with stopped.running("a"):
        await stopped.a.post(PUSH_STATUS, push_status(A="Available", B="Occupied"))
        async with node_b(stopped):
            await eventually(lambda: len(system.statuses()) == 2)
            await stopped.a.post(PUSH_STATUS, push_status("update", A="Reserved"))
            await eventually(lambda: system.statuses()[f"{A_CPO}*EA"] == "Reserved")
    first, second = system.bodies("status-records")
    assert [first["ActionType"], second["ActionType"]] == ["fullLoad", "update"]
    assert second["OperatorEvseStatus"]["OperatorID"] == A_CPO
    assert set(system.paths()) == {f"/api/oicp/evsepush/v21/operators/{A_CPO}/status-records"}


async def test_a_change_at_a_is_at_bs_backend_within_a_second(stopped, system):
    connect(stopped, system)
    async with stopped.running("a"), node_b(stopped):
        await stopped.a.post(PUSH_STATUS, push_status(A="Available"))
        await eventually(system.statuses)
        for status in ("Occupied", "Available", "Reserved"):
            began = time.monotonic()
            await stopped.a.post(PUSH_STATUS, push_status("update", A=status))
            await eventually(lambda: system.statuses()[f"{A_CPO}*EA"] == status)  # noqa: B023 - awaited at once
            assert time.monotonic() - began < 1


async def test_a_backend_that_was_down_gets_the_newest_state_and_nothing_twice(stopped, system):
    connect(stopped, system, '["EvseStatus"]')
    async with stopped.running("a"):
        async with node_b(stopped):
            await stopped.a.post(PUSH_STATUS, push_status(A="Available", B="Available"))
            await eventually(system.statuses)
            system.refuses_with = "021"
            for status in ("Occupied", "Reserved", "OutOfService"):
                await stopped.a.post(PUSH_STATUS, push_status("update", A=status))
            newest = "SELECT filter_value FROM dataset_records WHERE key LIKE '%EA'"
            await eventually(lambda: database.execute(stopped.database("b"), newest) == [("outofservice",)])
        system.refuses_with = ""
        system.reset()
        async with node_b(stopped):
            await eventually(lambda: system.requests)
    (body,) = system.bodies("status-records")
    assert [record["EvseStatus"] for record in body["OperatorEvseStatus"]["EvseStatusRecord"]] == ["OutOfService"]


async def test_evse_data_products_and_prices_arrive_byte_for_byte(stopped, system):
    connect(stopped, system)
    product = {"ProductID": "AC1", "ReferenceUnit": "KILOWATT_HOUR", "ProductPriceCurrency": "EUR"}
    product |= {"PricePerReferenceUnit": 0.5, "MaximumProductChargingPower": 22, "IsValid24hours": True}
    product["ProductAvailabilityTimes"] = []
    offer = {"OperatorID": A_CPO, "ProviderID": "*", "PricingDefaultPrice": 0, "PricingDefaultPriceCurrency": "EUR"}
    offer |= {"PricingDefaultReferenceUnit": "HOUR", "PricingProductDataRecords": [product]}
    prices = [{"EvseID": f"{A_CPO}*E1", "ProviderID": "*", "EvseIDProductList": ["AC1"]}]
    async with stopped.running("a"), node_b(stopped):
        data = {"OperatorID": A_CPO, "OperatorName": "GEF", "EvseDataRecord": [evse("1")]}
        pushes = {
            PUSH_DATA: {"OperatorEvseData": data},
            PUSH_PRODUCTS: {"PricingProductData": offer},
            PUSH_PRICES: {"EVSEPricing": prices},
        }
        for path, body in pushes.items():
            answer = await stopped.a.post(path, {"ActionType": "fullLoad", **body})
            assert answer.code == "000", answer.json
        await eventually(lambda: len(system.requests) == 3)
    (got,) = system.bodies("data-records")
    assert got["OperatorEvseData"]["EvseDataRecord"] == [evse("1")]
    assert system.bodies("pricing-products")[0]["PricingProductData"] == offer
    assert system.bodies("evse-pricing")[0]["EVSEPricing"] == prices


async def test_what_a_removed_peer_has_published_is_withdrawn_and_comes_back_with_it(stopped, system):
    connect(stopped, system, '["EvseStatus"]')
    peers = stopped.folder / "b" / "peers.toml"
    text = peers.read_text()
    async with stopped.running("a"), node_b(stopped) as node:
        await stopped.a.post(PUSH_STATUS, push_status(A="Available"))
        await eventually(system.statuses)
        peers.write_text("")
        await node.reload()
        await eventually(lambda: not system.statuses())
        peers.write_text(text)
        await node.reload()
        await eventually(lambda: system.statuses() == {f"{A_CPO}*EA": "Available"})


async def test_a_python_backend_has_a_method_for_each_dataset_that_it_wants(stopped):
    pushes = []

    class Contracts(FakeContracts):
        async def evse_status_changed(self, push) -> None:
            pushes.append(push)

    stopped.contracts = Contracts()
    async with stopped.running("a"), stopped.running("b"):
        await stopped.a.post(PUSH_STATUS, push_status(A="Available"))
        await eventually(lambda: pushes)
    records = pushes[0].operator_evse_status.evse_status_records
    assert [(record.evse_id.text, record.evse_status) for record in records] == [(f"{A_CPO}*EA", "Available")]


async def test_a_python_backend_that_fails_gets_the_same_push_again(stopped):
    pushes = []

    class Contracts(FakeContracts):
        async def evse_status_changed(self, push) -> None:
            pushes.append(push)
            if len(pushes) == 1:
                raise KeyError("a bug of the backend")

    stopped.contracts = Contracts()
    async with stopped.running("a"), stopped.running("b"):
        await stopped.a.post(PUSH_STATUS, push_status(A="Available"))
        await eventually(lambda: len(pushes) == 2)
        file = stopped.database("b")
        health = "SELECT dataset, failures, last_error_type FROM destinations WHERE peer = 'backend:emp'"
        expected = ("evse status", 0, "PeerProtocolError")
        await eventually(lambda: expected in database.execute(file, health))
    assert pushes[0].to_json() == pushes[1].to_json()
