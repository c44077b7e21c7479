"""The dashboard: an EVSE with its prices, its statuses, what was changed, and how good its data is."""

import json
import re
from html import unescape

from tests.support.dashboards import browser
from tests.support.dataset_messages import (
    PUSH_DATA,
    PUSH_PRICES,
    PUSH_PRODUCTS,
    evse,
    evse_price,
    google,
    product,
    push_data,
    push_prices,
    push_products,
)
from tests.support.messages import A_CPO, PUSH_STATUS, push_status
from tests.support.nodes import pair, stopped

__all__ = ["pair", "stopped"]

EVSE = f"/ui/evses/{A_CPO}*E1"


def at(pair, name: str = "a"):
    return browser(f"http://127.0.0.1:{pair.ports[f'{name} backend']}")


async def test_an_evse_has_the_prices_of_each_provider_and_what_its_operator_takes_otherwise(pair):
    await pair.a.post(PUSH_DATA, push_data(evse("1")))
    await pair.a.post(PUSH_PRODUCTS, push_products(product("AC 1", 0.55), default=2))
    await pair.a.post(PUSH_PRODUCTS, push_products(product("AC 1", 0.45), provider="DE-GDF", default=1))
    await pair.a.post(
        PUSH_PRICES, push_prices(evse_price("1", "AC 1", "none such"), evse_price("1", "AC 1", provider="DE-GDF"))
    )
    async with at(pair) as person:
        page = re.sub(r"<[^>]+>", " ", unescape(await person.open(EVSE)))
        for words in ("0.55 EUR per kWh", "0.45 EUR per kWh", "2 EUR per hour", "up to 22 kW", "no such product"):
            assert words in page


async def test_an_evse_shows_its_earlier_statuses_and_how_far_back_they_go(pair):
    await pair.a.post(PUSH_DATA, push_data(evse("1")))
    for status in ("Available", "Occupied", "OutOfService"):
        await pair.a.post(PUSH_STATUS, push_status("fullLoad", **{"1": status}))
    async with at(pair) as person:
        page = await person.open(EVSE)
        assert re.findall(r'class="span (\w+)"', page) == ["good", "waiting", "bad"]
        assert "stored for 30 days" in page
        shown = json.loads(await person.open(f"{EVSE}?format=json"))
        assert [each["status"] for each in shown["statuses"]] == ["Occupied", "Available"]


async def test_an_evse_shows_what_was_changed_from_version_to_version(pair):
    await pair.a.post(PUSH_DATA, push_data(evse("1")))
    await pair.a.post(PUSH_DATA, push_data(evse("1", HotlinePhoneNumber="+4936411234568"), action="update"))
    async with at(pair) as person:
        page = await person.open(EVSE)
        assert "<code>/HotlinePhoneNumber</code>" in page
        assert "<del>+4936411234567</del>" in page
        assert "<ins>+4936411234568</ins>" in page


async def test_an_evse_says_what_its_data_lacks_and_the_page_of_operators_says_how_often(pair):
    await pair.a.post(PUSH_DATA, push_data(evse("1"), evse("2", GeoCoordinates=google(-33.93, 18.58))))
    await pair.a.post(PUSH_STATUS, push_status("fullLoad", **{"1": "Available", "2": "Available"}))
    async with at(pair) as person:
        assert "are not in DEU" not in await person.open(EVSE)
        assert "are not in DEU" in await person.open(f"/ui/evses/{A_CPO}*E2")
        page = await person.open("/ui/quality")
        assert "2 looked at of 2 EVSEs" in page
        assert "50 %" in page
        assert f">{A_CPO}*E2</a>" in page
        shown = json.loads(await person.open(f"/ui/quality?operator={A_CPO}&format=json"))
        assert [each["operator"] for each in shown["operators"]] == [A_CPO]
        assert "no EVSEs here" in await person.open("/ui/quality?operator=DE*XXX")
