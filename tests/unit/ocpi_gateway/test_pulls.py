"""Lists of a partner are read, and its tariffs become products."""

from __future__ import annotations

import pytest

from p2p_oicp.errors import ConfigurationError, PeerTimeout
from p2p_oicp.storage.ocpi import findings
from p2p_oicp.storage.ocpi.objects import ObjectKind
from tests.support.ocpi_objects import cdr, connector, evse, location, session

LATER = "2026-11-02T08:00:00Z"


def tariff(tariff_id="T1", price="0.45", **changes):
    components = [{"type": "ENERGY", "price": float(price), "step_size": 1}]
    return {
        "country_code": "DE",
        "party_id": "GEF",
        "id": tariff_id,
        "currency": "EUR",
        "elements": [{"price_components": components}],
        "last_updated": "2026-11-01T08:00:00Z",
    } | changes


def priced(*tariff_ids, **changes):
    return location(evses=[evse(connectors=[connector(tariff_ids=list(tariff_ids))])], **changes)


async def pull(bench, module):
    outcome = await bench.gateway.puller.pull(module)
    return outcome.objects, outcome.refused, outcome.removed


async def export(bench):
    bench.node.messages.clear()
    await bench.gateway.location_exporter.export()
    await bench.gateway.prices.export()


async def test_locations_that_are_gone_from_the_list_are_deleted(bench):
    other = location(id="LOC2", evses=[evse(uid="cp2", evse_id="DE*GEF*E0002*1")])
    bench.partner.lists["locations"] = [location(), other]
    assert await pull(bench, "locations") == (2, 0, 0)
    await export(bench)
    bench.partner.lists["locations"] = [other]
    assert await pull(bench, "locations") == (1, 0, 1)
    await export(bench)
    assert [(value["ActionType"]) for value in bench.node.sent("PushEvseData")] == ["delete"]
    bench.partner.lists["locations"] = [location(), other]
    assert await pull(bench, "locations") == (2, 0, 0)
    await export(bench)
    assert [(value["ActionType"]) for value in bench.node.sent("PushEvseData")] == ["insert"]


async def test_an_object_that_cannot_be_read_costs_no_other_and_nothing_is_removed(bench, store):
    bench.partner.lists["locations"] = [location(), location(id="LOC2")]
    await pull(bench, "locations")
    bench.partner.lists["locations"] = [location(), {"id": "LOC2"}]
    assert await pull(bench, "locations") == (2, 1, 0)
    assert "unreadable" in {each.code for each in await findings.list_latest(store, "csms", 50)}


async def test_sessions_and_cdrs_are_read_from_the_last_one_on_an_hour_earlier(bench, store):
    bench.clock.now = 1_794_400_000.0
    bench.partner.lists |= {"sessions": [session()], "cdrs": [cdr()]}
    for module in ("sessions", "cdrs"):
        await pull(bench, module)
    assert [call.query["date_from"] for call in bench.partner.calls] == ["2026-11-11T11:26:40Z"] * 2
    cursor = await findings.cursor_now(store, "csms", ObjectKind.CDR)
    assert cursor.pulled_at == bench.clock.now
    await pull(bench, "cdrs")
    assert bench.partner.calls[-1].query["date_from"] == "2026-11-10T10:00:30Z"


async def test_a_cdr_that_a_push_has_lost_is_found(bench):
    bench.partner.lists["cdrs"] = [cdr()]
    await pull(bench, "cdrs")
    assert bench.held == [("CDR-100", "uncorrelated")]
    await pull(bench, "cdrs")
    assert len(bench.held) == 1


async def test_a_list_that_cannot_be_read_to_its_end_moves_nothing(bench, store):
    bench.partner.lists["cdrs"] = PeerTimeout("ocpi:csms", "no answer")
    with pytest.raises(PeerTimeout):
        await pull(bench, "cdrs")
    assert await findings.cursor_now(store, "csms", ObjectKind.CDR) is None


async def test_what_has_no_list_is_named(bench):
    with pytest.raises(ConfigurationError, match="cannot be pulled"):
        await pull(bench, "tokens")


async def test_tariffs_become_products_of_the_evses_that_have_them(bench):
    bench.partner.lists |= {"locations": [priced("T1")], "tariffs": [tariff(), tariff("T2")]}
    await bench.gateway.puller.pull_all()
    await export(bench)
    (products,) = bench.node.sent("PushPricingProductData")
    data = products["PricingProductData"]
    assert (products["ActionType"], data["ProviderID"], data["OperatorID"]) == ("fullLoad", "*", "DE*GEF")
    assert [each["ProductID"] for each in data["PricingProductDataRecords"]] == ["T1", "T2"]
    (prices,) = bench.node.sent("PushEVSEPricing")
    assert prices["EVSEPricing"] == [{"EvseID": "DE*GEF*E0001*1", "ProviderID": "*", "EvseIDProductList": ["T1"]}]


async def test_a_deleted_tariff_is_no_product_any_more(bench):
    for value in (tariff(), tariff("T2")):
        await bench.request("PUT", "tariffs", f"DE/GEF/{value['id']}", value)
    await bench.request("DELETE", "tariffs", "DE/GEF/t1")
    await export(bench)
    (products,) = bench.node.sent("PushPricingProductData")
    assert [each["ProductID"] for each in products["PricingProductData"]["PricingProductDataRecords"]] == ["T2"]


async def test_a_tariff_that_would_be_a_wrong_price_is_left_out_and_reported(bench, store):
    components = [{"type": kind, "price": 1, "step_size": 1} for kind in ("ENERGY", "TIME")]
    await bench.request("PUT", "tariffs", "DE/GEF/T1", tariff(elements=[{"price_components": components}]))
    await export(bench)
    assert "energy_and_time" in {each.code for each in await findings.list_latest(store, "csms", 50)}


async def test_a_tariff_of_the_future_is_pushed_when_it_begins(bench):
    bench.clock.now = 1_794_000_000.0
    await bench.request("PUT", "tariffs", "DE/GEF/T1", tariff(start_date_time="2026-12-01T00:00:00Z"))
    change = await bench.gateway.prices.next_change()
    assert change.isoformat() == "2026-12-01T00:00:00+00:00"
    bench.clock.now = change.timestamp()
    await export(bench)
    (products,) = bench.node.sent("PushPricingProductData")
    assert len(products["PricingProductData"]["PricingProductDataRecords"]) == 1
    assert await bench.gateway.prices.next_change() is None
