"""Locations of an OCPI partner become EVSE data and status of the node."""

from __future__ import annotations

import re

import pytest

from p2p_oicp.ocpi_gateway.node_calls import NodeUnavailable
from p2p_oicp.ocpi_gateway.requests import OcpiProblem
from p2p_oicp.oicp import EvseID
from p2p_oicp.storage.ocpi import evses, findings
from tests.support.ocpi_gateway import open_bench, refusal
from tests.support.ocpi_objects import connector, evse, location

LATER, MUCH_LATER = "2026-11-02T08:00:00Z", "2026-11-03T08:00:00Z"


async def put(bench, value=None):
    return await bench.request("PUT", "locations", f"DE/GEF/{(value or location())['id']}", value or location())


async def exported(bench):
    """Export what is pending, and return what the node was sent: operation, action and EvseIDs (or statuses)."""
    bench.node.messages.clear()
    await bench.gateway.location_exporter.export()
    return [
        (name, value["ActionType"], [record.get("EvseStatus") or record["EvseID"] for record in records_of(value)])
        for name, value in bench.node.messages
    ]


def records_of(value):
    data = value.get("OperatorEvseData", {}).get("EvseDataRecord")
    return value["OperatorEvseStatus"]["EvseStatusRecord"] if data is None else data


async def test_a_new_location_is_inserted_with_the_status_of_its_evses(bench):
    await put(bench)
    assert await exported(bench) == [
        ("PushEvseData", "insert", ["DE*GEF*E0001*1"]),
        ("PushEvseStatus", "update", ["Available"]),
    ]
    assert await exported(bench) == []


async def test_the_same_location_again_changes_nothing(bench):
    await put(bench)
    await exported(bench)
    await put(bench)
    assert await exported(bench) == []


async def test_a_changed_status_is_pushed_alone(bench):
    await put(bench)
    await exported(bench)
    body = {"status": "CHARGING", "last_updated": LATER}
    await bench.request("PATCH", "locations", "de/gef/loc1/CP1", body)
    assert await exported(bench) == [("PushEvseStatus", "update", ["Occupied"])]


async def test_a_patch_of_a_location_leaves_what_it_does_not_name(bench):
    await put(bench)
    await exported(bench)
    await bench.request("PATCH", "locations", "DE/GEF/LOC1", {"name": "Depot Süd", "last_updated": LATER})
    assert await exported(bench) == [("PushEvseData", "update", ["DE*GEF*E0001*1"])]
    stored = (await bench.request("GET", "locations", "DE/GEF/loc1")).data
    assert (stored["name"], stored["city"], stored["id"]) == ("Depot Süd", "Hamburg", "LOC1")


async def test_evses_that_vanish_or_are_removed_are_deleted(bench):
    several = [evse(), evse(uid="cp2", evse_id="DE*GEF*E0002*1"), evse(uid="cp3", evse_id="DE*GEF*E0003*1")]
    await put(bench, location(evses=several))
    await exported(bench)
    await put(bench, location(evses=[several[0], evse(uid="cp3", status="REMOVED")], last_updated=LATER))
    assert await exported(bench) == [
        ("PushEvseData", "delete", ["DE*GEF*E0002*1", "DE*GEF*E0003*1"]),
        ("PushEvseStatus", "delete", ["Available", "Available"]),
    ]


async def test_a_connector_is_replaced_in_its_place(bench):
    await put(bench)
    await exported(bench)
    changed = connector(max_electric_power=11000, last_updated=LATER)
    await bench.request("PUT", "locations", "DE/GEF/LOC1/cp1/1", changed)
    assert await exported(bench) == [("PushEvseData", "update", ["DE*GEF*E0001*1"])]
    assert (await bench.request("GET", "locations", "DE/GEF/LOC1/cp1/1")).data == changed


async def test_an_older_form_is_acknowledged_and_not_applied(bench):
    await put(bench, location(name="new", last_updated=LATER))
    await put(bench, location(name="old"))
    await bench.request("PATCH", "locations", "DE/GEF/LOC1", {"name": "older", "last_updated": "2026-10-01T00:00:00Z"})
    assert (await bench.request("GET", "locations", "DE/GEF/LOC1")).data["name"] == "new"


async def test_a_patch_of_an_unknown_location_is_refused_and_the_location_fetched(bench):
    bench.partner.answers["GET", "locations"] = location()
    async with bench.gateway.context.background:
        with pytest.raises(OcpiProblem) as refused:
            await bench.request("PATCH", "locations", "DE/GEF/LOC1", {"name": "x", "last_updated": LATER})
        assert refused.value.http_status == 404
        for task in list(bench.gateway.context.background._tasks):
            await task
    assert bench.partner.calls[0].target == ("locations", "SENDER", "loc1")
    assert (await exported(bench))[0] == ("PushEvseData", "insert", ["DE*GEF*E0001*1"])


async def test_a_conflict_at_the_node_leads_to_a_whole_push(bench):
    await put(bench)
    bench.node.answers["PushEvseData"] = lambda message: refusal("009") if message.action_type == "insert" else None
    assert (await exported(bench))[1:] == [
        ("PushEvseData", "fullLoad", ["DE*GEF*E0001*1"]),
        ("PushEvseStatus", "fullLoad", ["Available"]),
    ]


async def test_an_evse_is_known_here_before_the_node_has_it(bench, store):
    await put(bench)
    bench.node.answers["PushEvseData"] = refusal("021")
    with pytest.raises(NodeUnavailable):
        await exported(bench)
    assert (await evses.find_now(store, "csms", EvseID("DE*GEF*E0001*1").key)).uid == "cp1"
    del bench.node.answers["PushEvseData"]
    assert (await exported(bench))[0] == ("PushEvseData", "insert", ["DE*GEF*E0001*1"])


async def test_what_the_node_cannot_take_now_is_pushed_later(bench):
    await put(bench)
    bench.node.answers["PushEvseData"] = refusal("021")
    with pytest.raises(NodeUnavailable):
        await exported(bench)
    del bench.node.answers["PushEvseData"]
    assert len(await exported(bench)) == 2


async def test_one_evse_that_oicp_cannot_have_costs_no_other(bench, store):
    odd = evse(uid="cp2", evse_id="DE*GEF*E0002*1", connectors=[connector(standard="CHAOJI")])
    await put(bench, location(evses=[evse(), odd, evse(uid="cp3", evse_id="DE*XYZ*E3")]))
    assert (await exported(bench))[0] == ("PushEvseData", "insert", ["DE*GEF*E0001*1"])
    found = {each.code for each in await findings.list_latest(store, "csms", 50)}
    assert {"no_oicp_plug", "foreign_operator"} <= found


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("FR/XYZ/LOC1", location(country_code="FR", party_id="XYZ"), "FR*XYZ is none of your parties"),
        ("DE/GEF/LOC2", location(), "/id: the path has 'LOC2', the body 'LOC1'"),
    ],
    ids=["a foreign party", "another object"],
)
async def test_an_object_of_somebody_else_is_refused_and_not_stored(bench, path, body, text):
    with pytest.raises(OcpiProblem, match=re.escape(text)) as refused:
        await bench.request("PUT", "locations", path, body)
    assert (refused.value.status_code, refused.value.message) == (2001, text)
    assert await exported(bench) == []


async def test_a_patch_of_a_citrineos_is_a_hint_to_fetch(store, clock):
    bench = open_bench(store, clock, profile="citrineos")
    await put(bench)
    await exported(bench)
    bench.partner.answers["GET", "locations"] = evse(status="CHARGING", last_updated=MUCH_LATER)
    async with bench.gateway.context.background:
        await bench.request("PATCH", "locations", "DE/GEF/LOC1/cp1", {"last_updated": LATER})
        for task in list(bench.gateway.context.background._tasks):
            await task
    assert bench.partner.calls[0].target == ("locations", "SENDER", "LOC1", "cp1")
    assert await exported(bench) == [("PushEvseStatus", "update", ["Occupied"])]
