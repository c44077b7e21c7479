"""EVSE data: pushed to node A by its backend, pulled from node B by its own, with everything a pull may ask for."""

import asyncio

import pytest

from p2p_oicp.storage.datasets import quarantine
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.retention import purge_datasets
from tests.support.dataset_messages import PULL_DATA, PUSH_DATA, evse, google, pull_data, push_data
from tests.support.waiting import eventually_equals


async def page(caller, query: str = "", **members) -> dict:
    answer = await caller.post(PULL_DATA + query, pull_data(**members))
    assert (answer.status, answer.code) == (200, "000"), answer.json
    return answer.json


async def pulled(caller, **members) -> dict[str, dict]:
    return {record["EvseID"]: record for record in (await page(caller, "?size=2000", **members))["content"]}


async def names(caller, **members) -> list[str]:
    return sorted(name.removeprefix("DE*GEF*E") for name in await pulled(caller, **members))


async def test_what_a_backend_pushes_the_other_backend_pulls_with_operator_and_time(pair):
    assert (await pair.a.post(PUSH_DATA, push_data(evse("1", CustomData={"bay": 7})))).json["Result"] is True
    await eventually_equals(lambda: names(pair.b), ["1"])
    (record,) = (await pulled(pair.b)).values()
    added = {name: record.pop(name) for name in ("OperatorID", "OperatorName", "lastUpdate")}
    assert (added["OperatorID"], added["OperatorName"]) == ("DE*GEF", "GEF")
    assert record == evse("1", CustomData={"bay": 7})


@pytest.mark.parametrize(
    ("action", "records", "expected"),
    [
        ("insert", ["3"], ["1", "2", "3"]),
        ("update", ["1"], ["1", "2"]),
        ("delete", ["1"], ["2"]),
        ("fullLoad", [], []),
        ("fullLoad", ["9"], ["9"]),
    ],
)
async def test_every_action_arrives(pair, action, records, expected):
    await pair.a.post(PUSH_DATA, push_data(evse("1"), evse("2")))
    await eventually_equals(lambda: names(pair.b), ["1", "2"])
    change = push_data(*(evse(name, MaxCapacity=22) for name in records), action=action)
    assert (await pair.a.post(PUSH_DATA, change)).json["Result"] is True
    await eventually_equals(lambda: names(pair.b), expected)


NEAR, FAR = google(50.93, 11.58), google(48.14, 11.57)
FILTERED = {
    "PLAIN": evse("PLAIN"),
    "AUSTRIA": evse("AUSTRIA", Address=evse("x")["Address"] | {"Country": "AUT"}),
    "MUNICH": evse("MUNICH", GeoCoordinates=FAR),
    "DIRECT": evse("DIRECT", AuthenticationModes=["Direct Payment"]),
    "TEST": evse("TEST", Accessibility="Test Station"),
    "EXTERNAL": evse("EXTERNAL", CalibrationLawDataAvailability="External"),
    "COAL": evse("COAL", RenewableEnergy=False),
    "CLOSED": evse("CLOSED", IsHubjectCompatible=False),
    "HOURS": evse(
        "HOURS", IsOpen24Hours=False, OpeningTimes=[{"Period": [{"begin": "08:00", "end": "18:00"}], "on": "Everyday"}]
    ),
}


async def test_l13_a_misspelt_last_call_is_no_silent_full_pull(pair):
    await pair.a.post(PUSH_DATA, push_data(evse("1")))
    await eventually_equals(lambda: names(pair.b), ["1"])
    page = (await pair.b.post(PULL_DATA, pull_data(lastCall="2026-11-29T07:00:00Z"))).json
    assert (page["StatusCode"]["Code"], page["numberOfElements"]) == ("000", 1)
    assert "there is 'lastCall', which is not read: did you mean 'LastCall'?" in page["StatusCode"]["AdditionalInfo"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"CountryCodes": ["AUT", "CHE"]}, {"AUSTRIA"}),
        ({"OperatorIds": ["DEGEF"]}, set(FILTERED)),
        ({"OperatorIds": ["FR*XYZ"]}, set()),
        ({"AuthenticationModes": ["Direct Payment", "PnC"]}, {"DIRECT"}),
        ({"AuthenticationModes": ["REMOTE"]}, set(FILTERED) - {"DIRECT"}),
        ({"Accessibility": ["Test Station"]}, {"TEST"}),
        ({"CalibrationLawDataAvailability": ["External"]}, {"EXTERNAL"}),
        ({"RenewableEnergy": False}, {"COAL"}),
        ({"IsHubjectCompatible": False}, {"CLOSED"}),
        ({"IsOpen24Hours": False}, {"HOURS"}),
        ({"SearchCenter": {"GeoCoordinates": NEAR, "Radius": 10}}, set(FILTERED) - {"MUNICH"}),
        ({"SearchCenter": {"GeoCoordinates": FAR, "Radius": 0}}, {"MUNICH"}),
        ({"SearchCenter": {"GeoCoordinates": NEAR, "Radius": 400}}, set(FILTERED)),
        ({"SearchCenter": {"GeoCoordinates": FAR, "Radius": 1}, "RenewableEnergy": False}, set()),
        ({"CountryCodes": [], "OperatorIds": []}, set(FILTERED)),
    ],
)
async def test_a_pull_can_be_filtered(stopped, filters, expected):
    async with stopped.running("a"):
        await stopped.a.post(PUSH_DATA, push_data(*FILTERED.values()))
        assert set(await names(stopped.a_peer, **filters)) == expected


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        ("Google", {"Google": {"Coordinates": "50.931000 11.583500"}}),
        ("DecimalDegree", {"DecimalDegree": {"Longitude": "11.583500", "Latitude": "50.931000"}}),
        (
            "DegreeMinuteSeconds",
            {"DegreeMinuteSeconds": {"Longitude": "11°35'0.6000''", "Latitude": "50°55'51.6000''"}},
        ),
    ],
)
async def test_coordinates_are_in_the_requested_notation(stopped, notation, expected):
    place = {"DecimalDegree": {"Longitude": "11.5835", "Latitude": "50.931"}}
    async with stopped.running("a"):
        await stopped.a.post(PUSH_DATA, push_data(evse("1", GeoCoordinates=place, GeoChargingPointEntrance=place)))
        (record,) = (await pulled(stopped.a_peer, notation=notation)).values()
    requested = place if notation == "DecimalDegree" else expected
    assert (record["GeoCoordinates"], record["GeoChargingPointEntrance"]) == (requested, requested)


@pytest.mark.parametrize(
    ("query", "number", "size", "count", "first", "last"),
    [
        ("", 0, 20, 20, True, False),
        ("?page=2", 2, 20, 5, False, True),
        ("?page=0&size=45", 0, 45, 45, True, True),
        ("?page=7&size=10", 7, 10, 0, False, True),
        ("?size=999999", 0, 2000, 45, True, True),
        ("?size=0", 0, 1, 1, True, False),
    ],
)
async def test_a_page_has_all_its_members(stopped, query, number, size, count, first, last):
    async with stopped.running("a"):
        await stopped.a.post(PUSH_DATA, push_data(*(evse(f"{n:03}") for n in range(45))))
        got = await page(stopped.a_peer, query)
    assert (got["number"], got["size"], got["numberOfElements"]) == (number, size, count)
    assert (got["first"], got["last"], len(got["content"])) == (first, last, count)
    assert (got["totalElements"], got["totalPages"]) == (45, -(-45 // size))


async def test_an_empty_result_is_one_last_page(pair):
    got = await page(pair.b)
    assert (got["content"], got["totalElements"], got["last"], got["first"]) == ([], 0, True, True)


async def test_a_page_that_is_no_number_is_refused(pair):
    assert (await pair.b.post(PULL_DATA + "?page=one", pull_data())).code == "022"


async def test_pages_are_consistent_while_records_change(stopped):
    async with stopped.running("a"):
        await stopped.a.post(PUSH_DATA, push_data(*(evse(f"{n:03}") for n in range(50))))
        first = await page(stopped.a_peer, "?page=0&size=20")
        gone, new = evse("005"), evse("000A")
        await stopped.a.post(PUSH_DATA, push_data(gone, action="delete"))
        await stopped.a.post(PUSH_DATA, push_data(new, action="insert"))
        rest = [await page(stopped.a_peer, f"?page={number}&size=20") for number in (1, 2)]
    crawled = [record["EvseID"] for got in (first, *rest) for record in got["content"]]
    assert sorted(crawled) == [evse(f"{n:03}")["EvseID"] for n in range(50)]
    assert [got["last"] for got in (first, *rest)] == [False, False, True]


async def test_a_delta_has_what_was_inserted_updated_and_deleted_since(stopped):
    async with stopped.running("a"):
        await stopped.a.post(PUSH_DATA, push_data(evse("1"), evse("2"), evse("3"), evse("4")))
        since = max(record["lastUpdate"] for record in (await pulled(stopped.a_peer)).values())
        await asyncio.sleep(0.01)
        await stopped.a.post(PUSH_DATA, push_data(evse("5"), action="insert"))
        await stopped.a.post(PUSH_DATA, push_data(evse("2", MaxCapacity=11), action="update"))
        await stopped.a.post(PUSH_DATA, push_data(evse("3"), action="delete"))
        after = (await pulled(stopped.a_peer))["DE*GEF*E1"]["lastUpdate"]
        delta = await pulled(stopped.a_peer, LastCall=since.replace("+00:00", "Z"))
    changed = {name: record["deltaType"] for name, record in delta.items() if record["lastUpdate"] > after}
    assert changed == {"DE*GEF*E5": "insert", "DE*GEF*E2": "update", "DE*GEF*E3": "delete"}


async def test_what_a_full_load_deletes_is_a_delete_in_the_delta(stopped):
    async with stopped.running("a"):
        await stopped.a.post(PUSH_DATA, push_data(evse("1"), evse("2")))
        await asyncio.sleep(0.01)
        await stopped.a.post(PUSH_DATA, push_data(evse("1")))
        delta = await pulled(stopped.a_peer, LastCall="2020-01-01T00:00:00Z")
    assert {name: record["deltaType"] for name, record in delta.items()} == {
        "DE*GEF*E1": "insert",
        "DE*GEF*E2": "delete",
    }


async def test_a_delta_from_before_the_last_purge_is_refused(stopped):
    async with stopped.running("a") as node:
        await stopped.a.post(PUSH_DATA, push_data(evse("1"), evse("2")))
        await stopped.a.post(PUSH_DATA, push_data(evse("1")))
        await purge_datasets(node.store, {DatasetKind.EVSE_DATA: 4e9}, 0.0)
        answer = await stopped.a_peer.post(PULL_DATA, pull_data(LastCall="2020-01-01T00:00:00Z"))
        assert (answer.code, "without LastCall" in answer.json["StatusCode"]["AdditionalInfo"]) == ("022", True)
        assert await names(stopped.a_peer, LastCall="2100-01-01T00:00:00Z") == []
        assert await names(stopped.a_peer) == ["1"]


@pytest.mark.parametrize("other", [{"CountryCodes": ["DEU"]}, {"OperatorIds": ["DE*GEF"]}])
async def test_last_call_excludes_filters_that_would_make_a_delta_wrong(pair, other):
    answer = await pair.b.post(PULL_DATA, pull_data(LastCall="2026-01-01T00:00:00Z", **other))
    assert answer.status == 400 or answer.code == "022"


@pytest.mark.parametrize(
    ("push", "code"),
    [
        (push_data(evse("1"), {**evse("2"), "EvseID": "FR*XYZ*E1"}), "018"),
        (push_data(evse("1"), evse("1")), "018"),
        (push_data(evse("9"), action="update"), "009"),
        (push_data(evse("0"), action="insert"), "009"),
    ],
    ids=["of another operator", "twice", "update of an unknown", "insert of a known"],
)
async def test_an_inconsistent_push_is_refused_and_stores_nothing(pair, push, code):
    await pair.a.post(PUSH_DATA, push_data(evse("0")))
    answer = await pair.a.post(PUSH_DATA, push)
    assert (answer.status, answer.json["Result"], answer.code) == (200, False, code)
    assert await names(pair.a_peer) == ["0"]


async def test_one_invalid_record_of_a_backend_refuses_the_whole_push(pair):
    broken = evse("2")
    del broken["Address"]
    answer = await pair.a.post(PUSH_DATA, push_data(evse("1"), broken))
    assert answer.status == 400
    assert "address" in answer.json["validationErrors"][0]["fieldReference"]
    assert await names(pair.a_peer) == []


async def test_one_invalid_record_of_a_peer_is_quarantined_and_the_others_are_applied(stopped):
    broken = evse("2")
    del broken["Address"]
    async with stopped.running("b") as node:
        answer = await stopped.b_peer.post(PUSH_DATA, push_data(evse("1"), broken, evse("3")))
        assert answer.json["Result"] is True
        assert "1 records were quarantined" in answer.json["StatusCode"]["AdditionalInfo"]
        assert await names(stopped.b) == ["1", "3"]
        (row,) = await node.store.query(quarantine.LIST_ALL)
    assert (row["source"], row["operation"], row["occurrences"]) == ("node a", "PushEvseData", 1)
    assert b"Address" in row["findings"]
