"""Products and prices of charging spots: an EMP sees what is meant for it or for all, and nothing else."""

import time

from p2p_oicp.cli.data import evse_history
from p2p_oicp.clock import format_timestamp
from tests.support.dataset_messages import (
    PULL_PRICES,
    PULL_PRODUCTS,
    PUSH_PRICES,
    PUSH_PRODUCTS,
    evse_price,
    product,
    push_prices,
    push_products,
)
from tests.support.messages import A_CPO, EVSE
from tests.support.waiting import eventually_equals


async def products(caller, path: str = PULL_PRODUCTS, **members) -> dict[str, list[str]]:
    answer = await caller.post(path, {"OperatorIDs": [A_CPO], **members})
    assert answer.code == "000"
    blocks = answer.json["PricingProductData"]
    assert answer.json["OperatorPricingProducts"] == blocks
    return {
        block["ProviderID"]: [record["ProductID"] for record in block["PricingProductDataRecords"]] for block in blocks
    }


async def prices(caller, path: str = PULL_PRICES, provider: str = "DE-GDF", **members) -> list[tuple[str, str, str]]:
    answer = await caller.post(path, {"ProviderID": provider, "OperatorIDs": [A_CPO], **members})
    assert answer.code == "000"
    return sorted(
        (record["EvseID"], record["ProviderID"], *record["EvseIDProductList"])
        for block in answer.json["EVSEPricing"]
        for record in block["EVSEPricing"]
    )


async def test_products_are_replicated_and_each_audience_is_a_group_of_its_own(pair):
    await pair.a.post(PUSH_PRODUCTS, push_products(product("AC1"), product("DC")))
    await pair.a.post(PUSH_PRODUCTS, push_products(product("SPECIAL"), provider="DE-GDF"))
    await pair.a.post(PUSH_PRODUCTS, push_products(product("SECRET"), provider="DE-XYZ"))
    await eventually_equals(lambda: products(pair.b), {"*": ["AC1", "DC"], "DE-GDF": ["SPECIAL"]})
    await pair.a.post(PUSH_PRODUCTS, push_products(product("DC")))
    await eventually_equals(lambda: products(pair.b), {"*": ["DC"], "DE-GDF": ["SPECIAL"]})
    assert await products(pair.a_peer) == {"*": ["DC"], "DE-GDF": ["SPECIAL"]}


async def test_a_new_default_price_alone_arrives(pair):
    async def default() -> float:
        answer = await pair.b.post(PULL_PRODUCTS, {"OperatorIDs": [A_CPO]})
        return [block["PricingDefaultPrice"] for block in answer.json["PricingProductData"]]

    await pair.a.post(PUSH_PRODUCTS, push_products(product("AC1")))
    await eventually_equals(default, [1])
    await pair.a.post(PUSH_PRODUCTS, push_products(product("AC1"), default=2.5))
    await eventually_equals(default, [2.5])


async def test_what_a_default_price_was_is_known_at_both_nodes(pair):
    def known(at: str, moment: float) -> list[float]:
        versions = evse_history(pair.database(at), EVSE, format_timestamp(moment))
        return [each.record["PricingDefaultPrice"] for each in versions if each.dataset == "default price"]

    moments = [time.time()]
    for default in (1, 2.5):
        await pair.a.post(PUSH_PRODUCTS, push_products(product("AC1"), default=default))
        for at in ("a", "b"):
            await eventually_equals(lambda at=at: known(at, time.time()), [default])
        moments.append(time.time())
    for at in ("a", "b"):
        assert [known(at, moment) for moment in moments] == [[], [1], [2.5]]


async def test_prices_of_evses_reach_the_provider_that_they_are_for(pair):
    pushed = (
        evse_price("1", "AC1"),
        evse_price("1", "SPECIAL", provider="DE-GDF"),
        evse_price("2", "SECRET", provider="DE-XYZ"),
    )
    await pair.a.post(PUSH_PRICES, push_prices(*pushed))
    expected = [("DE*GEF*E1", "*", "AC1"), ("DE*GEF*E1", "DE-GDF", "SPECIAL")]
    await eventually_equals(lambda: prices(pair.b), expected)
    assert await prices(pair.a_peer) == expected
    await pair.a.post(PUSH_PRICES, push_prices(evse_price("1", "AC1"), action="delete"))
    await eventually_equals(lambda: prices(pair.b), [("DE*GEF*E1", "DE-GDF", "SPECIAL")])
    assert await prices(pair.b, OperatorIDs=["FR*XYZ"]) == []


async def test_a_price_of_a_foreign_evse_is_018(pair):
    answer = await pair.a.post(PUSH_PRICES, push_prices({**evse_price("1", "AC1"), "EvseID": "FR*XYZ*E1"}))
    assert (answer.status, answer.code) == (200, "018")


async def test_last_call_leaves_out_prices_that_did_not_change(pair):
    await pair.a.post(PUSH_PRICES, push_prices(evse_price("1", "AC1")))
    await eventually_equals(lambda: prices(pair.b), [("DE*GEF*E1", "*", "AC1")])
    assert await prices(pair.b, LastCall="2100-01-01T00:00:00Z") == []
    assert await products(pair.b, LastCall="2000-01-01T00:00:00Z") == {}
