"""What was said is there for assertions: unmasked, filtered, waited for, and deleted."""

import asyncio

import pytest

from tests.support.hubs import running_hub
from tests.support.messages import card
from tests.support.own_systems import OwnSystem

CPO, EMP, UID = "DE*ABC", "DE-XYZ", "04E8960A"


@pytest.fixture
async def spoken(tmp_path):
    """A hub through which one driver was authorized, and another one refused."""
    async with running_hub(tmp_path) as hub, OwnSystem(frozenset({UID})) as contracts:
        await hub.tell(providers=[EMP], url=contracts.url)
        hub.session = (await hub.start(CPO, card(UID))).json["SessionID"]
        await hub.start(CPO, card("FFFFFFFF"))
        yield hub


async def test_both_legs_of_a_request_are_there_with_their_bodies(spoken):
    outgoing, incoming = await spoken.exchanges(f"session={spoken.session.upper()}")
    assert [(each["direction"], each["backend"], each["code"]) for each in (outgoing, incoming)] == [
        ("out", EMP, "000"),
        ("in", CPO, "000"),
    ]
    assert incoming["request"]["json"]["Identification"] == card(UID)
    assert incoming["response"]["json"]["ProviderID"] == EMP


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 4),
        ("uid=04e8960a", 2),
        ("uid=04E8", 0),
        ("code=102", 2),
        ("partner=DE-XYZ", 2),
        ("partner=DE*ABC&direction=in", 2),
        ("partner=deabc&direction=in", 2),
        ("direction=out", 2),
        ("operation=ChargeDetailRecord", 0),
        ("evse_id=DEABCE1", 4),
        ("after=1", 3),
        ("limit=1", 1),
    ],
)
async def test_exchanges_are_filtered(spoken, query, count):
    assert len(await spoken.exchanges(query)) == count


async def test_whoever_goes_on_after_the_newest_misses_none(spoken):
    numbers, newest = [], 0
    while shown := (page := (await spoken.call("GET", f"exchanges?limit=1&after={newest}")).json)["exchanges"]:
        numbers += [each["number"] for each in shown]
        newest = page["newest"]
    assert (numbers, newest) == ([1, 2, 3, 4], 4)
    assert (await spoken.call("GET", "exchanges?limit=0&after=2")).json["newest"] == 2


async def test_an_exchange_that_is_still_to_come_is_waited_for(spoken):
    waiting = asyncio.create_task(spoken.exchanges("operation=ChargeDetailRecord&direction=in&wait=10"))
    await spoken.settle(CPO, spoken.session, UID)
    assert [each["session_id"] for each in await waiting] == [spoken.session]


async def test_what_does_not_come_is_waited_for_only_so_long(spoken):
    assert await spoken.exchanges("operation=AuthorizeStop&wait=1") == []


async def test_exchanges_are_deleted_and_the_numbers_go_on(spoken):
    await spoken.call("DELETE", "exchanges")
    assert await spoken.exchanges() == []
    await spoken.start(CPO, card("FFFFFFFF"), CPOPartnerSessionID="next")
    assert [each["number"] for each in await spoken.exchanges()] == [5, 6]


@pytest.mark.parametrize("query", ["peer=x", "operation=Start", "after=x", "wait=-1"])
async def test_a_filter_that_there_is_not_is_400(spoken, query):
    assert (await spoken.call("GET", f"exchanges?{query}")).status == 400
