"""A peer that may see a part of our stations never has a byte of the others: pushed, pulled, or by a change."""

from contextlib import asynccontextmanager

import pytest

from p2p_oicp.errors import StoreError
from p2p_oicp.roles import peer_workers
from tests.support import database
from tests.support.dataset_messages import PUSH_DATA, PUSH_PRICES, evse, evse_price, push_data, push_prices
from tests.support.messages import PUSH_STATUS, push_status
from tests.support.nodes import query
from tests.support.waiting import eventually_equals

PARTS = {
    "by EvseID": 'include = { evse_ids = ["DE*GEF*EA"] }',
    "by excluded EvseIDs": 'exclude = { evse_ids = ["DEGEFEB?"] }',
    "by station": 'include = { stations = ["station a"] }',
    "by country": 'include = { countries = ["DEU"] }',
    "by excluded country": 'exclude = { countries = ["FRA"] }',
}
SHOWN, HIDDEN = {"DE*GEF*EA1", "DE*GEF*EA2"}, {"DE*GEF*EB1", "DE*GEF*EB2"}


def restrict(pair, publish: str) -> None:
    pair.write_peer("a", "node b", "b", f'providers = ["DE-GDF"]\n[peer.publish]\n{publish}')


def station(name: str, place: str, **members) -> dict:
    record = evse(name, ChargingStationID=f"station {place}", **members)
    country = "FRA" if place == "b" else "DEU"
    return {**record, "Address": {**record["Address"], "Country": country}}


DATA = [station("A1", "a"), station("A2", "a"), station("B1", "b"), station("B2", "b")]
STATUSES = {"A1": "Available", "A2": "Available", "B1": "Available", "B2": "Available"}


async def publish_all(pair) -> None:
    for path, body in (
        (PUSH_DATA, push_data(*DATA)),
        (PUSH_STATUS, push_status(**STATUSES)),
        (PUSH_PRICES, push_prices(*(evse_price(name, "AC1") for name in STATUSES))),
    ):
        assert (await pair.a.post(path, body)).code == "000"


def copies(pair) -> set[tuple[str, str]]:
    """What node B has of each dataset, tombstones and versions included."""
    rows = database.execute(pair.database("b"), "SELECT dataset, raw FROM dataset_records WHERE deleted = 0")
    names = SHOWN | HIDDEN
    return {(str(dataset), name) for dataset, raw in rows for name in names if name.encode() in raw}


def all_of(names: set[str]) -> set[tuple[str, str]]:
    return {(dataset, name) for dataset in ("1", "2", "4") for name in names}


@asynccontextmanager
async def both(pair):
    async with pair.running("a"), pair.running("b"):
        yield


def bytes_at_b(pair) -> bytes:
    folder = pair.database("b").parent
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


@pytest.mark.parametrize("publish", PARTS.values(), ids=PARTS)
async def test_a_peer_that_may_see_half_never_has_a_byte_of_the_other_half(stopped, publish):
    restrict(stopped, publish)
    async with both(stopped):
        await publish_all(stopped)
        await eventually_equals(lambda: copies(stopped), all_of(SHOWN))
        await stopped.a.post(PUSH_STATUS, push_status("update", A1="Occupied", B1="Occupied"))
        await stopped.a.post(PUSH_DATA, push_data(station("B2", "b", PlugInformation="x"), action="update"))
        await stopped.a.post(PUSH_STATUS, push_status("delete", B1="Occupied"))
        occupied = "SELECT filter_value FROM dataset_records WHERE dataset = 2 AND key LIKE '%A1'"
        await eventually_equals(lambda: database.execute(stopped.database("b"), occupied), [("occupied",)])
    content = bytes_at_b(stopped)
    assert not [name for name in HIDDEN if name.encode() in content]
    assert b"station b" not in content


async def test_a_record_that_falls_out_of_the_filter_is_withdrawn_with_its_status_and_prices(stopped):
    restrict(stopped, PARTS["by station"])
    async with both(stopped):
        await publish_all(stopped)
        await eventually_equals(lambda: copies(stopped), all_of(SHOWN))
        await stopped.a.post(PUSH_DATA, push_data(station("A2", "b"), station("B1", "a"), action="update"))
        await eventually_equals(lambda: copies(stopped), all_of({"DE*GEF*EA1", "DE*GEF*EB1"}))
    assert b"station b" not in bytes_at_b(stopped)


async def test_another_filter_withdraws_what_it_does_not_show_and_none_publishes_everything(stopped):
    async with both(stopped):
        await publish_all(stopped)
        await eventually_equals(lambda: copies(stopped), all_of(SHOWN | HIDDEN))
    restrict(stopped, PARTS["by EvseID"])
    async with both(stopped):
        await eventually_equals(lambda: copies(stopped), all_of(SHOWN))
    restrict(stopped, 'include = { operators = ["FR*XYZ"] }')
    async with both(stopped):
        await eventually_equals(lambda: copies(stopped), set())
    stopped.write_peer("a", "node b", "b", 'providers = ["DE-GDF"]')
    async with both(stopped):
        await eventually_equals(lambda: copies(stopped), all_of(SHOWN | HIDDEN))


PULLS = {
    "evsepull/v23/providers/DE-GDF/data-records": {"ProviderID": "DE-GDF", "GeoCoordinatesResponseFormat": "Google"},
    "evsepull/v21/providers/DE-GDF/status-records": {"ProviderID": "DE-GDF"},
    "dynamicpricing/v10/providers/DE-GDF/evse-pricing": {"ProviderID": "DE-GDF", "OperatorIDs": ["DE*GEF"]},
}


@pytest.mark.parametrize("publish", PARTS.values(), ids=PARTS)
async def test_a_pull_gets_the_same_part(stopped, publish):
    restrict(stopped, publish)
    async with stopped.running("a"):
        await publish_all(stopped)
        for path, body in PULLS.items():
            text = str((await stopped.a_peer.post(path, body)).json)
            assert {name for name in SHOWN | HIDDEN if name in text} == SHOWN
        by_id = {"ProviderID": "DE-GDF", "EvseID": sorted(SHOWN | HIDDEN)}
        answer = await stopped.a_peer.post("evsepull/v21/providers/DE-GDF/status-records-by-id", by_id)
        records = answer.json["EVSEStatusRecords"]["EvseStatusRecord"]
        assert {each["EvseID"] for each in records if each["EvseStatus"] == "EvseNotFound"} == HIDDEN


DATA_COUNT = "SELECT count(*) FROM dataset_records WHERE dataset = 1"


async def test_prices_of_which_a_peer_may_see_none_are_not_named_to_it_after_a_restart_either(stopped):
    restrict(stopped, 'include = { evse_ids = ["DE*GEF*EZ"] }')
    for _ in range(2):
        async with both(stopped):
            await publish_all(stopped)
            await stopped.a.post(PUSH_DATA, push_data(station("Z1", "a"), action="insert"))
            await eventually_equals(lambda: database.execute(stopped.database("b"), DATA_COUNT), [(1,)])
    content = bytes_at_b(stopped)
    assert not [name for name in SHOWN | HIDDEN if name.encode() in content]


async def test_a_database_that_cannot_be_written_when_a_peer_is_started_delays_it_only(stopped, monkeypatch):
    """A peer whose filter has changed gets no worker before that is written down."""
    mark, failures = peer_workers._mark_refiltered, [StoreError("the disk is full")] * 2

    async def failing(peer, services):
        if failures:
            raise failures.pop()
        await mark(peer, services)

    monkeypatch.setattr(peer_workers, "_mark_refiltered", failing)
    async with stopped.running("a"), stopped.running("b"):
        await stopped.a.post(PUSH_STATUS, push_status(E1="Available"))
        count = "SELECT count(*) FROM dataset_records WHERE dataset = 2 AND deleted = 0"
        await eventually_equals(lambda: query(stopped, "b", count), [(1,)])
    assert failures == []
