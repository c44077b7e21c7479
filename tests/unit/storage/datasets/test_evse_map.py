"""What a map shows: squares of many EVSEs, single ones where there are few, never more than a screen can have."""

from dataclasses import replace

import pytest
from msgspec import structs

from p2p_oicp.oicp.geo import cell_of
from p2p_oicp.storage.datasets import evse_map
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.evse_map import MapArea, read_map
from p2p_oicp.storage.datasets.models import DatasetRecord
from tests.support.changesets import HEAD, evse_record, push, push_of

WORLD = MapArea(-180.0, -90.0, 180.0, 90.0)
EUROPE = MapArea(-12.0, 35.0, 32.0, 62.0)
# Over the date line.
FIJI = MapArea(176.0, -20.0, -178.0, -15.0)


def at(key: str, latitude: float, longitude: float, operator: str = "DEABC"):
    record = evse_record(key, 1)
    facts = structs.replace(
        record.index_row, latitude=latitude, longitude=longitude, geo_cell=cell_of(latitude, longitude),
        operator_key=operator,
    )  # fmt: skip
    return DatasetRecord(record.key, record.group_key, record.raw, "", facts)


async def stored(store, *records) -> None:
    coordinator = DatasetCoordinator(store, lambda: 100.0)
    await coordinator.apply(replace(push_of("fullLoad", {}), records=list(records), groups=(HEAD,)))


def keys(content) -> list[str]:
    return [row["key"] for row in content.evses]


AREAS = {
    "the world": (WORLD, "", "", ["A", "B", "C", "D"]),
    "a continent": (EUROPE, "", "", ["A", "B"]),
    "a street": (MapArea(13.39, 52.49, 13.41, 52.51), "", "", ["A"]),
    "the street beside it, in the same cell": (MapArea(13.35, 52.49, 13.39, 52.51), "", "", []),
    "an area over the date line": (FIJI, "", "", ["C", "D"]),
    "one operator": (WORLD, "DEXYZ", "", ["B"]),
    "a status": (WORLD, "", "available", ["A"]),
    "a status of an operator": (WORLD, "DEXYZ", "available", []),
    "beyond the pole": (MapArea(-180.0, 95.0, 180.0, 90.0), "", "", []),
}


@pytest.mark.parametrize(("area", "operator", "status", "expected"), AREAS.values(), ids=AREAS)
async def test_few_evses_are_shown_one_by_one(store, area, operator, status, expected):
    await stored(
        store, at("A", 52.5, 13.4), at("B", 48.1, 11.5, "DEXYZ"), at("C", -17.7, 178.0), at("D", -17.0, -179.5),
        evse_record("NOWHERE", 1),
    )  # fmt: skip
    await DatasetCoordinator(store, lambda: 100.0).apply(push("fullLoad", A="Available", B="Occupied"))
    content = await read_map(store, area, operator, status)
    assert (keys(content), content.total, content.status_counts) == (expected, len(expected), True)


def spread(count: int):
    return [at(f"E{n:05}", 47 + n % 70 / 10, 6 + n // 70 / 10) for n in range(count)]


async def test_many_evses_are_shown_as_squares_that_count_each_once(store):
    await stored(store, *spread(1400))
    content = await read_map(store, EUROPE, "", "")
    assert content.evses == ()
    assert sum(each.evses for each in content.clusters) == content.total == 1400
    assert len(content.clusters) <= 2 * evse_map._SQUARES
    assert all(47 <= each.latitude <= 54.1 and 6 <= each.longitude <= 8.1 for each in content.clusters)


async def test_more_evses_than_can_be_read_are_counted_by_cells_and_a_status_does_not_count(store, monkeypatch):
    monkeypatch.setattr(evse_map, "_MAX_READ", 1000)
    await stored(store, *spread(1400))
    content = await read_map(store, EUROPE, "", "available")
    assert (content.total, content.status_counts) == (1400, False)
    assert sum(each.evses for each in content.clusters) == 1400
    assert all(47 <= each.latitude <= 54.1 and 6 <= each.longitude <= 8.1 for each in content.clusters)
    assert (await read_map(store, EUROPE, "", "")).status_counts
    assert (await read_map(store, MapArea(6.0, 47.0, 6.05, 47.15), "", "available")).status_counts


async def test_evses_that_stand_in_one_garage_are_shown_one_by_one_as_far_as_there_is_room(store):
    await stored(store, *(at(f"E{n:05}", 52.5, 13.4) for n in range(1200)))
    assert [each.evses for each in (await read_map(store, EUROPE, "", "")).clusters] == [1200]
    content = await read_map(store, MapArea(13.399, 52.499, 13.401, 52.501), "", "")
    assert (len(content.evses), content.total) == (1000, 1200)


async def test_what_is_withdrawn_is_not_on_the_map(store):
    await stored(store, at("A", 52.5, 13.4))
    await stored(store, at("B", 52.5, 13.4))
    assert keys(await read_map(store, WORLD, "", "")) == ["B"]


def test_squares_stay_where_they_are_when_the_map_is_moved_a_little():
    steps = {replace(EUROPE, west=EUROPE.west + n / 10, east=EUROPE.east + n / 10).step for n in range(20)}
    assert len(steps) == 1
