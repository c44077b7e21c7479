"""What [peer.publish] shows: rows of a filter, what it is about, and whether it is published."""

import pytest

from p2p_oicp.peers.publishing import EvseFacts, PublishFilter, PublishRule, parse_filter

EVSE = EvseFacts("DEABCE123", "DEABC", "S1", "DEU")

RULES = {
    "nothing": (PublishRule(), True),
    "the beginning of its EvseID": (PublishRule(evse_ids=("DE*ABC*E1",)), True),
    "lower case": (PublishRule(evse_ids=("deabce12",)), True),
    "any character": (PublishRule(evse_ids=("DE*ABC*E?2",)), True),
    "a text inside of it": (PublishRule(evse_ids=("ABC*E1",)), False),
    "a character that means something elsewhere": (PublishRule(evse_ids=("DE.ABC",)), False),
    "its operator": (PublishRule(operators=("DEABC",)), True),
    "its station": (PublishRule(stations=("S0", "S1")), True),
    "another country": (PublishRule(countries=("FRA",)), False),
    "its operator and another country": (PublishRule(operators=("DEABC",), countries=("FRA",)), False),
    "products, which say nothing of EVSEs": (PublishRule(products=("AC",)), True),
}


@pytest.mark.parametrize(("rule", "is_shown"), RULES.values(), ids=RULES)
def test_an_evse_is_included_if_all_lists_about_it_have_a_match(rule, is_shown):
    assert PublishFilter(include=rule).shows_evse(EVSE) is is_shown


def test_an_evse_is_excluded_if_one_list_has_a_match():
    exclude = PublishRule(stations=("S1",), countries=("FRA",))
    assert not PublishFilter(exclude=exclude).shows_evse(EVSE)
    assert PublishFilter(exclude=exclude).shows_evse(EvseFacts("DEABCE9", "DEABC", "S9", "DEU"))


def test_without_evse_data_no_station_and_no_country_is_included():
    assert not PublishFilter(include=PublishRule(countries=("DEU",))).shows_evse(EvseFacts("DEABCE1", "DEABC"))


def test_products_are_matched_by_operator_and_product():
    publish = PublishFilter(PublishRule(operators=("DEABC",), evse_ids=("DE*X",)), PublishRule(products=("DC",)))
    assert [publish.shows_product("DEABC", product) for product in ("AC", "DC")] == [True, False]
    assert not publish.shows_product("DEABD", "AC")


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES.values()], ids=RULES)
def test_a_filter_is_read_from_the_text_that_it_writes(rule):
    publish = PublishFilter(exclude=rule)
    assert parse_filter(publish.to_text()) == publish
    assert parse_filter("") is None
