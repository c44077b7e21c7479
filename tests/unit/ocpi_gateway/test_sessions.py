"""Sessions and CDRs of an OCPI partner become notifications and charge detail records of the node."""

from __future__ import annotations

import pytest

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.ocpi_gateway.requests import OcpiProblem
from p2p_oicp.storage.ocpi import findings, served
from p2p_oicp.storage.ocpi.objects import ObjectKind, ObjectState
from p2p_oicp.storage.ocpi.served import ServedObject
from tests.support.ocpi_gateway import open_bench, refusal
from tests.support.ocpi_objects import cdr, cdr_token, location, session, token

#: Half a minute before the session and the CDR of the samples begin.
AUTHORIZED_AT = 1_794_301_170.0


@pytest.fixture
async def known(bench):
    """The partner's location is known, and the driver's card was authorized half a minute before the session begins."""
    bench.clock.now = AUTHORIZED_AT
    await bench.request("PUT", "locations", "DE/GEF/LOC1", location())
    await bench.gateway.location_exporter.export()
    return bench


async def authorize(bench, evse_uids=("cp1",)):
    references = {"location_id": "LOC1", "evse_uids": list(evse_uids)}
    result = await bench.request("POST", "tokens", "04A1B2C3/authorize", references)
    return result.data["authorization_reference"]


async def put_session(bench, **changes):
    value = session(**changes)
    return await bench.request("PUT", "sessions", f"DE/GEF/{value['id']}", value)


async def post_cdr(bench, **changes):
    return await bench.request("POST", "cdrs", "", cdr(**changes))


def types_of(bench):
    return [value["Type"] for value in bench.node.sent("ChargingNotification")]


async def state_of(bench, cdr_id="CDR-100"):
    stored = await bench.gateway.cdrs.find(cdr_id)
    return stored.state, stored.reason


async def test_a_session_starts_goes_on_and_ends(known):
    session_id = await authorize(known)
    await put_session(known)
    await put_session(known, kwh=1, last_updated="2026-11-10T09:01:00Z")
    await put_session(known, kwh=9, last_updated="2026-11-10T09:20:00Z")
    await put_session(
        known, kwh=18, status="COMPLETED", end_date_time="2026-11-10T11:00:00Z", last_updated="2026-11-10T11:00:00Z"
    )
    assert types_of(known) == ["Start", "Progress", "End"]
    assert {value["SessionID"] for value in known.node.sent("ChargingNotification")} == {session_id}
    assert {value["EvseID"] for value in known.node.sent("ChargingNotification")} == {"DE*GEF*E0001*1"}


async def test_a_cdr_is_carried_once_however_often_it_comes(known):
    session_id = await authorize(known)
    result = await post_cdr(known)
    assert result.headers["Location"] == "https://node.example/ocpi/2.2.1/emsp/cdrs/CDR-100"
    await post_cdr(known)
    await post_cdr(known, last_updated="2026-11-10T12:00:00Z")
    (record,) = known.node.sent("ChargeDetailRecord")
    assert (record["SessionID"], record["CPOPartnerSessionID"]) == (session_id, "S-100")
    assert await state_of(known) == (ObjectState.CARRIED, "")


async def test_another_cdr_with_the_same_id_is_refused_and_both_are_stored(known, store):
    await authorize(known)
    await post_cdr(known)
    with pytest.raises(OcpiProblem) as refused:
        await post_cdr(known, total_energy=19)
    assert refused.value.status_code == 2001
    (conflict,) = [each for each in await findings.list_latest(store, "csms", 50) if each.code == "conflict"]
    assert b'"total_energy":19' in conflict.body
    assert len(known.node.sent("ChargeDetailRecord")) == 1


async def test_a_session_that_is_known_by_its_cdr_only_comes_first(known):
    session_id = await authorize(known)
    await put_session(known, id="S-7", cdr_token=cdr_token(uid="FFFFFFFF", contract_id="other"))
    assert known.node.sent("ChargingNotification") == []
    await post_cdr(known, session_id="S-7", authorization_reference=session_id)
    assert [name for name, _ in known.node.messages if name.startswith("Charg")] == [
        "ChargingNotificationStart",
        "ChargeDetailRecord",
    ]


HOLDS = {
    "nobody knows the session": (
        {"session_id": "?", "cdr_token": cdr_token(uid="AAAAAAAA", contract_id="?")},
        "uncorrelated",
    ),
    "a credit": ({"credit": True, "credit_reference_id": "CDR-1"}, "credit_cdr"),
    "no EvseID": ({"cdr_location": cdr()["cdr_location"] | {"evse_id": "?"}}, "evse_id"),
}


@pytest.mark.parametrize(("changes", "reason"), HOLDS.values(), ids=HOLDS)
async def test_a_cdr_that_cannot_be_carried_is_acknowledged_and_held(known, changes, reason):
    await authorize(known)
    result = await post_cdr(known, **changes)
    assert result.status_code == 1000
    assert await state_of(known) == (ObjectState.HELD, reason)
    assert known.held == [("CDR-100", reason)]
    assert known.node.sent("ChargeDetailRecord") == []


async def test_of_two_sessions_none_is_guessed(known):
    await authorize(known)
    await authorize(known)
    await post_cdr(known)
    assert await state_of(known) == (ObjectState.HELD, "ambiguous")


async def test_a_held_cdr_is_carried_when_a_person_assigns_it(known):
    first, second = await authorize(known), await authorize(known)
    await post_cdr(known)
    stored = await known.gateway.cdrs.assign("cdr-100", second.upper())
    assert stored.state is ObjectState.CARRIED
    assert [value["SessionID"] for value in known.node.sent("ChargeDetailRecord")] == [second]
    assert first != second


async def test_a_held_cdr_is_dropped_and_stays_so(known):
    await post_cdr(known)
    assert (await known.gateway.cdrs.drop("CDR-100")).state is ObjectState.DROPPED
    await post_cdr(known)
    assert await state_of(known) == (ObjectState.DROPPED, "uncorrelated")
    with pytest.raises(ConfigurationError, match="is dropped, not held"):
        await known.gateway.cdrs.assign("CDR-100", "x")


async def test_a_cdr_cannot_be_assigned_to_a_session_that_nobody_knows(known):
    await post_cdr(known)
    with pytest.raises(ConfigurationError, match="is no session of this node"):
        await known.gateway.cdrs.assign("CDR-100", "0199c1c2-7b1f-7c3a-9d52-4f1f0a6a8c11")
    assert await state_of(known) == (ObjectState.HELD, "uncorrelated")


async def test_a_cdr_that_the_node_refuses_is_held_with_its_reason(known):
    await authorize(known)
    known.node.answers["ChargeDetailRecord"] = refusal("400")
    await post_cdr(known)
    state, reason = await state_of(known)
    assert (state, reason.startswith("refused: 400")) == (ObjectState.HELD, True)


async def test_a_cdr_that_the_node_cannot_take_now_is_carried_later(known):
    await authorize(known)
    known.node.answers["ChargeDetailRecord"] = refusal("021")
    assert (await post_cdr(known)).status_code == 1000
    assert await state_of(known) == (ObjectState.PENDING, "")
    del known.node.answers["ChargeDetailRecord"]
    await known.gateway.jobs._carry_pending()
    assert await state_of(known) == (ObjectState.CARRIED, "")


async def test_a_second_cdr_of_a_session_is_not_carried_as_that_of_another(known):
    await authorize(known)
    await post_cdr(known)
    await post_cdr(known, id="CDR-101", session_id="S-101")
    assert await state_of(known, "CDR-101") == (ObjectState.HELD, "uncorrelated")


async def test_a_driver_who_was_accepted_offline_gets_a_session_when_his_cdr_comes(known):
    card = token()
    pushed = ServedObject("csms", ObjectKind.TOKEN, "DE", "DCB", "RFID 04A1B2C3", "DEDCB", b"{}", 1.0)
    await known.gateway.context.write(lambda tx: served.put(tx, pushed))
    await put_session(known, auth_method="WHITELIST", cdr_token=cdr_token(uid=card["uid"]))
    await post_cdr(known, auth_method="WHITELIST")
    (question,) = known.node.sent("AuthorizeStart")
    assert question["EvseID"] == "DE*GEF*E0001*1"
    assert [value["SessionID"] for value in known.node.sent("ChargeDetailRecord")] == [question["SessionID"]]
    assert types_of(known) == ["Start"]


async def test_an_offline_start_that_no_provider_accepts_is_held(known):
    pushed = ServedObject("csms", ObjectKind.TOKEN, "DE", "DCB", "RFID 04A1B2C3", "DEDCB", b"{}", 1.0)
    await known.gateway.context.write(lambda tx: served.put(tx, pushed))
    known.node.answers["AuthorizeStart"] = {"AuthorizationStatus": "NotAuthorized", "StatusCode": {"Code": "102"}}
    await post_cdr(known, auth_method="WHITELIST")
    state, reason = await state_of(known)
    assert (state, reason) == (ObjectState.HELD, "not_authorized: 102")


async def test_an_offline_start_whose_provider_is_away_waits(known):
    pushed = ServedObject("csms", ObjectKind.TOKEN, "DE", "DCB", "RFID 04A1B2C3", "DEDCB", b"{}", 1.0)
    await known.gateway.context.write(lambda tx: served.put(tx, pushed))
    known.node.answers["AuthorizeStart"] = {"AuthorizationStatus": "NotAuthorized", "StatusCode": {"Code": "310"}}
    await post_cdr(known, auth_method="WHITELIST")
    assert await state_of(known) == (ObjectState.PENDING, "")
    del known.node.answers["AuthorizeStart"]
    await known.gateway.jobs._carry_pending()
    assert await state_of(known) == (ObjectState.CARRIED, "")
    assert len({question["SessionID"] for question in known.node.sent("AuthorizeStart")}) == 1


async def test_what_a_citrineos_sends_of_others_drivers_is_ignored(store, clock):
    bench = open_bench(store, clock, profile="citrineos")
    await post_cdr(bench, cdr_token=cdr_token(party_id="ABC"))
    await put_session(bench, cdr_token=cdr_token(party_id="ABC"))
    assert await state_of(bench) == (ObjectState.CARRIED, "foreign_token")
    assert bench.held == bench.node.messages == []


async def test_an_invalid_session_is_an_error(known):
    await authorize(known)
    await put_session(known)
    await put_session(known, status="INVALID", last_updated="2026-11-10T09:05:00Z")
    assert types_of(known) == ["Start", "Error"]


async def test_a_notification_that_the_node_refuses_is_a_finding_and_the_cdr_goes_on(known, store):
    await authorize(known)
    known.node.answers["ChargingNotification"] = refusal("400")
    await put_session(known)
    await post_cdr(known)
    assert await state_of(known) == (ObjectState.CARRIED, "")
    assert "refused-start" in {each.code for each in await findings.list_latest(store, "csms", 50)}


async def test_a_restarted_gateway_goes_on_with_what_is_stored(known, store, clock):
    await authorize(known)
    known.node.answers["Charg"] = refusal("021")
    await put_session(known)
    await post_cdr(known)
    fresh = open_bench(store, clock)
    await fresh.gateway.jobs._carry_pending()
    assert [name for name, _ in fresh.node.messages] == ["ChargingNotificationStart", "ChargeDetailRecord"]
    assert (await fresh.gateway.cdrs.find("CDR-100")).state is ObjectState.CARRIED
