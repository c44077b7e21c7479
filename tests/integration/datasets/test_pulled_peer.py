"""A CPO peer that does not push: the EMP's node pulls all kinds of its state."""

import asyncio
import json

from tests.support.dataset_messages import (
    PULL_DATA,
    PULL_PRICES,
    PULL_PRODUCTS,
    PUSH_DATA,
    PUSH_PRICES,
    PUSH_PRODUCTS,
    evse,
    evse_price,
    product,
    pull_data,
    push_data,
    push_prices,
    push_products,
)
from tests.support.messages import A_CPO, PULL_STATUS, PUSH_STATUS, push_status

PULLS = (
    (PULL_DATA, pull_data()),
    (PULL_STATUS, {"ProviderID": "DE-GDF"}),
    (PULL_PRODUCTS, {"OperatorIDs": [A_CPO]}),
    (PULL_PRICES, {"ProviderID": "DE-GDF", "OperatorIDs": [A_CPO]}),
)

SERVICES = ["PullEvseData", "PullEvseStatus", "PullPricingProductData", "PullEVSEPricing"]


async def state(caller) -> list:
    """Return the answers to all pulls, without the times at which each node stored it."""
    answers = [(await caller.post(path, body)).json for path, body in PULLS]
    for record in answers[0]["content"]:
        del record["lastUpdate"]
    return answers


async def until_equal(pair) -> list:
    async with asyncio.timeout(15):
        while (found := await state(pair.b)) != (expected := await state(pair.a_peer)):
            await asyncio.sleep(0.05)
    return found if found == expected else []


async def test_everything_is_pulled_and_so_is_every_change(stopped):
    peers = stopped.folder / "b" / "peers.toml"
    peers.write_text(peers.read_text() + "pull_interval = 0.2\n")
    peers = stopped.folder / "a" / "peers.toml"
    peers.write_text(peers.read_text() + f"services = {json.dumps(SERVICES)}\n")
    async with stopped.running("a"), stopped.running("b"):
        await stopped.a.post(PUSH_DATA, push_data(evse("1"), evse("2")))
        await stopped.a.post(PUSH_STATUS, push_status(**{"1": "Available", "2": "Occupied"}))
        await stopped.a.post(PUSH_PRODUCTS, push_products(product("AC1"), product("DC")))
        await stopped.a.post(PUSH_PRICES, push_prices(evse_price("1", "AC1"), evse_price("2", "DC")))
        first = await until_equal(stopped)
        assert len(first[0]["content"]) == 2
        await stopped.a.post(PUSH_DATA, push_data(evse("1"), action="delete"))
        await stopped.a.post(PUSH_DATA, push_data(evse("3"), action="insert"))
        await stopped.a.post(PUSH_STATUS, push_status(**{"2": "Available"}))
        await stopped.a.post(PUSH_PRODUCTS, push_products(product("DC", 0.7)))
        second = await until_equal(stopped)
        assert [record["EvseID"] for record in second[0]["content"]] == ["DE*GEF*E2", "DE*GEF*E3"]
