"""The map of the dashboard: what its script asks for, what it says without one, and the tiles of a file."""

import json

import pytest

from tests.integration.operating.test_dashboard import browser
from tests.support.dataset_messages import PUSH_DATA, evse, google, push_data
from tests.support.messages import A_CPO, PUSH_STATUS, push_status
from tests.support.nodes import pair, stopped
from tests.support.pairing import Admin
from tests.unit.server.test_tiles import archive

__all__ = ["pair", "stopped"]

JENA, ROSTOCK = google(50.93, 11.58), google(54.09, 12.1)


async def pushed(pair) -> None:
    records = [evse("1", GeoCoordinates=JENA), evse("2", GeoCoordinates=ROSTOCK)]
    assert (await pair.a.post(PUSH_DATA, push_data(*records))).json["Result"]
    statuses = push_status("fullLoad", **{"1": "Available", "2": "OutOfService"})
    assert (await pair.a.post(PUSH_STATUS, statuses)).json["Result"]


QUERIES = {
    "": ["1", "2"],
    "box=11,50,12,51": ["1"],
    "box=371,50,372,51": ["1"],
    "box=-180,-90,180,90&status=OutOfService": ["2"],
    f"operator={A_CPO}": ["1", "2"],
    "operator=DE*XYZ": [],
    f"evse={A_CPO}*E2": ["2"],
    "evse=DE*XYZ*E1": [],
}


@pytest.mark.parametrize(("query", "expected"), QUERIES.items())
async def test_the_map_has_what_is_in_an_area(pair, query, expected):
    await pushed(pair)
    found = await Admin(pair, "a").ask("GET", f"/evse-map?{query}")
    assert [each["evse_id"] for each in found["evses"]] == [f"{A_CPO}*E{name}" for name in expected]
    async with browser(f"http://127.0.0.1:{pair.ports['a backend']}") as anyone:
        assert json.loads(await anyone.open(f"/ui/map/data?{query}")) == found


async def test_an_evse_of_the_map_has_its_place_status_station_and_source(pair):
    await pushed(pair)
    (found,) = (await Admin(pair, "a").ask("GET", "/evse-map?box=11,50,12,51"))["evses"]
    assert found == {
        "evse_id": f"{A_CPO}*E1", "latitude": 50.93, "longitude": 11.58, "status": "Available",
        "station": "Station 1", "city": "Jena", "source": "own",
    }  # fmt: skip


@pytest.mark.parametrize(
    "query", ["box=1,2,3", "box=a,b,c,d", "box=nan,0,1,1", "box=5,0,1,1", "box=0,5,1,1", "status=Broken"]
)
async def test_what_is_no_area_is_refused_with_what_is_expected(pair, query):
    answer = await Admin(pair, "a").ask("GET", f"/evse-map?{query}", 400)
    assert "expected" in answer["StatusCode"]["AdditionalInfo"]


async def test_without_javascript_the_map_is_a_list_by_the_same_filters(pair):
    await pushed(pair)
    async with browser(f"http://127.0.0.1:{pair.ports['a backend']}") as anyone:
        page = await anyone.open(f"/ui/map?evse={A_CPO}*E2")
        assert "needs JavaScript" in page
        assert f"{A_CPO}*E2</a>" in page
        assert f"{A_CPO}*E1</a>" not in page
        assert "Nothing matches" in await anyone.open("/ui/map?operator=DE*XYZ")


async def test_tiles_of_a_file_are_shown_below_the_evses(stopped, tmp_path):
    (tmp_path / "tiles.pmtiles").write_bytes(archive())
    stopped.extra_config = f'[dashboard]\nmap_tiles = "{tmp_path / "tiles.pmtiles"}"\n'
    stopped.write()
    async with stopped.running("a"), browser(f"http://127.0.0.1:{stopped.ports['a backend']}") as anyone:
        page = await anyone.open("/ui/map")
        assert 'data-tiles="/ui/map/tiles/{z}/{x}/{y}"' in page
        assert "<a href='x'>" not in page
        assert await anyone.open("/ui/map/tiles/1/0/1") == "ocean"
        assert anyone.answer.headers["Content-Type"].startswith("image/png")
        for absent in ("1/1/1", "9/1/1", "x/0/0", "-1/0/0"):
            await anyone.open(f"/ui/map/tiles/{absent}", 404)


async def test_a_node_without_tiles_has_none(pair):
    async with browser(f"http://127.0.0.1:{pair.ports['a backend']}") as anyone:
        assert "data-tiles" not in await anyone.open("/ui/map")
        await anyone.open("/ui/map/tiles/0/0/0", 404)
