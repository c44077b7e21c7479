"""An OCPI platform with charging stations roams with an OICP EMP: two real nodes, the platform below one of them."""

from __future__ import annotations

import pytest

from tests.support.dataset_messages import PULL_PRICES, PULL_PRODUCTS
from tests.support.messages import (
    B_EMP,
    END_RESERVATION,
    PULL_STATUS,
    REMOTE_START,
    REMOTE_STOP,
    RESERVE,
    UID,
    remote_start,
)
from tests.support.nodes import query
from tests.support.ocpi_objects import connector, evse, location
from tests.support.ocpi_roaming import CONTRACT, driver_token, moment, recent_cdr, roaming
from tests.support.waiting import eventually

EVSE = "DE*GEF*E0001*1"
PUSH_TOKENS = f"authdata/v21/providers/{B_EMP}/push-request"


@pytest.fixture
async def stopped(tmp_path):
    async with roaming(tmp_path) as pair:
        yield pair


@pytest.fixture
async def pair(stopped):
    async with stopped.running("a"), stopped.running("b"):
        await stopped.register()
        yield stopped


async def statuses(pair) -> dict[str, str]:
    answer = await pair.b.post(PULL_STATUS, {"ProviderID": B_EMP})
    groups = answer.json.get("EvseStatuses", {}).get("OperatorEvseStatus", [])
    return {each["EvseID"]: each["EvseStatus"] for group in groups for each in group["EvseStatusRecord"]}


async def push_token(pair, action="fullLoad", uid=UID):
    record = {"Identification": {"RFIDIdentification": {"UID": uid, "RFID": "mifareFamily", "EvcoID": CONTRACT}}}
    data = {"ProviderID": B_EMP, "AuthenticationDataRecord": [record]}
    answer = await pair.b.post(PUSH_TOKENS, {"ActionType": action, "ProviderAuthenticationData": data})
    assert answer.json["Result"], answer.json


def types_of(contracts) -> list[str]:
    return [str(each.type) for each in contracts.notifications]


async def test_locations_and_their_changes_reach_the_emp(pair):
    (record,) = await pair.evses_of_b()
    assert (record["EvseID"], record["HotlinePhoneNumber"]) == (EVSE, "+4930123456")
    await eventually(lambda: _has(pair, {EVSE: "Available"}))
    changed = {"status": "CHARGING", "last_updated": moment()}
    assert (await pair.platform.send("PATCH", "locations/DE/GEF/LOC1/cp1", changed)).code == 1000
    await eventually(lambda: _has(pair, {EVSE: "Occupied"}))
    several = [evse(), evse(uid="cp2", evse_id="DE*GEF*E0002*1")]
    await pair.platform.send("PUT", "locations/DE/GEF/LOC1", location(evses=several, last_updated=moment(1)))
    await eventually(lambda: _has(pair, {EVSE: "Available", "DE*GEF*E0002*1": "Available"}))
    await pair.platform.send("PUT", "locations/DE/GEF/LOC1", location(last_updated=moment(2)))
    await eventually(lambda: _has_evses(pair, [EVSE]))


async def _has(pair, expected) -> bool:
    return await statuses(pair) == expected


async def _has_evses(pair, expected) -> bool:
    return [record["EvseID"] for record in await pair.evses_of_b()] == expected


async def test_a_card_charges_from_the_question_to_the_cdr(pair):
    answer = await pair.platform.authorize()
    assert (answer.data["allowed"], answer.data["location"]["evse_uids"]) == ("ALLOWED", ["cp1"])
    reference = answer.data["authorization_reference"]
    assert str(pair.contracts.starts[0].evse_id) == EVSE
    await pair.platform.put_session(authorization_reference=reference)
    end = moment()
    await pair.platform.put_session(kwh=0.5, status="COMPLETED", end_date_time=end, last_updated=end)
    assert (await pair.platform.post_cdr()).code == 1000
    await pair.contracts.until(lambda emp: emp.records and len(emp.notifications) == 2)
    assert types_of(pair.contracts) == ["Start", "End"]
    (record,) = pair.contracts.records
    assert (record.session_id.text, record.cpo_partner_session_id, float(record.consumed_energy)) == (
        reference,
        "S-100",
        0.5,
    )


async def test_a_card_that_the_emp_refuses_is_refused(pair):
    answer = await pair.platform.authorize("FFFFFFFF")
    assert (answer.status, answer.code) == (404, 2004)


async def test_a_session_without_a_reference_is_recognised_by_card_evse_and_time(pair):
    reference = await pair.platform.open_session()
    await pair.platform.put_session(id="unnamed")
    await pair.platform.post_cdr(session_id="unnamed")
    await pair.contracts.until(lambda emp: emp.records)
    assert pair.contracts.records[0].session_id.text == reference


async def test_a_driver_starts_and_stops_by_his_app(pair):
    started = await pair.b.post(REMOTE_START, remote_start(EVSE, EMPPartnerSessionID="app-1"))
    assert started.json["Result"], started.json
    session_id = started.json["SessionID"]
    command, body = pair.platform.commands[0]
    assert (command, body["authorization_reference"], body["token"]["contract_id"]) == (
        "START_SESSION",
        session_id,
        CONTRACT,
    )
    token = driver_token(uid=CONTRACT, type="APP_USER")
    await pair.platform.put_session(authorization_reference=session_id, cdr_token=token, auth_method="COMMAND")
    stop = {"SessionID": session_id, "ProviderID": B_EMP, "EvseID": EVSE}
    assert (await pair.b.post(REMOTE_STOP, stop)).json["Result"]
    assert pair.platform.commands[1][1]["session_id"] == "S-100"
    await pair.platform.post_cdr(cdr_token=token, auth_method="COMMAND")
    await pair.contracts.until(lambda emp: emp.records)
    assert pair.contracts.records[0].emp_partner_session_id == "app-1"


@pytest.mark.parametrize(
    ("response", "result", "code"),
    [("REJECTED", None, "106"), ("ACCEPTED", "EVSE_OCCUPIED", "602"), ("ACCEPTED", "FAILED", "501")],
    ids=["refused at once", "refused by the station", "failed"],
)
async def test_a_start_that_fails_has_its_code_at_the_emp(pair, response, result, code):
    pair.platform.response, pair.platform.result = response, result
    answer = await pair.b.post(REMOTE_START, remote_start(EVSE))
    assert (answer.json["Result"], answer.json["StatusCode"]["Code"]) == (False, code)


async def test_a_reservation_is_made_and_ended(pair):
    reserved = await pair.b.post(RESERVE, remote_start(EVSE, Duration=20))
    assert reserved.json["Result"], reserved.json
    stop = {"SessionID": reserved.json["SessionID"], "ProviderID": B_EMP, "EvseID": EVSE}
    assert (await pair.b.post(END_RESERVATION, stop)).json["Result"]
    assert [command for command, _ in pair.platform.commands] == ["RESERVE_NOW", "CANCEL_RESERVATION"]


async def test_pushed_tokens_charge_offline_and_the_emp_gets_the_cdr(pair):
    await push_token(pair)
    await eventually(lambda: UID in pair.platform.tokens)
    assert pair.platform.tokens[UID]["valid"]
    await pair.platform.put_session(auth_method="WHITELIST")
    await pair.platform.post_cdr(auth_method="WHITELIST")
    await pair.contracts.until(lambda emp: emp.records)
    assert pair.contracts.starts == []
    await push_token(pair, "delete")
    await eventually(lambda: not pair.platform.tokens[UID]["valid"])
    listed = await pair.platform.send("GET", "tokens")
    assert ([each["valid"] for each in listed.data], listed.headers["X-Total-Count"]) == ([False], "1")


async def test_tariffs_are_prices_at_the_emp(pair):
    priced = evse(connectors=[connector(tariff_ids=["T1"])])
    await pair.platform.send("PUT", "locations/DE/GEF/LOC1", location(evses=[priced], last_updated=moment()))
    tariff = {
        "country_code": "DE",
        "party_id": "GEF",
        "id": "T1",
        "currency": "EUR",
        "elements": [{"price_components": [{"type": "ENERGY", "price": 0.45, "step_size": 1}]}],
        "last_updated": moment(),
    }
    assert (await pair.platform.send("PUT", "tariffs/DE/GEF/T1", tariff)).code == 1000
    await eventually(lambda: _has_price(pair))
    answer = await pair.b.post(PULL_PRODUCTS, {"OperatorIDs": ["DE*GEF"]})
    (product,) = answer.json["PricingProductData"][0]["PricingProductDataRecords"]
    assert (product["ProductID"], product["PricePerReferenceUnit"]) == ("T1", 0.45)


async def _has_price(pair) -> bool:
    answer = await pair.b.post(PULL_PRICES, {"OperatorIDs": ["DE*GEF"], "ProviderID": B_EMP})
    groups = answer.json.get("OperatorEVSEPricing", [])
    return any(each["EvseIDProductList"] == ["T1"] for group in groups for each in group["EVSEPricing"])


async def test_a_held_cdr_is_shown_and_carried_by_a_person(pair):
    reference = await pair.platform.open_session()
    odd = driver_token(uid="0BADCAFE", contract_id="unknown")
    assert (await pair.platform.post_cdr(session_id="nobody", cdr_token=odd)).code == 1000
    (held,) = await pair.held()
    assert (held["id"], held["reason"], held["evse_id"]) == ("CDR-100", "uncorrelated", EVSE)
    status = await pair.admin("GET", "status")
    assert [each["cause"] for each in status["problems"] if each["name"] == "ocpi:csms"] == ["CDRs held"]
    metrics = await pair.http.get(f"http://127.0.0.1:{pair.ports['a backend']}/metrics")
    assert 'p2p_oicp_ocpi_held_cdrs{partner="csms"} 1.0' in await metrics.text()
    await pair.admin("POST", "ocpi/partners/csms/held/CDR-100/assignment", {"session_id": reference})
    await pair.contracts.until(lambda emp: emp.records)
    assert await pair.held() == []


async def test_a_person_sees_what_became_of_an_object_and_no_driver_in_it(pair):
    await pair.platform.open_session()
    await pair.platform.post_cdr()
    (shown,) = (await pair.admin("GET", "ocpi/partners/csms/objects/cdr/cdr-100"))["objects"]
    assert (shown["state"], shown["object"]["cdr_token"]["uid"]) == ("carried", "***")
    assert UID not in str(await pair.admin("GET", "ocpi/partners/csms/losses"))


async def test_a_list_finds_the_cdr_that_a_push_has_lost(pair):
    await pair.platform.open_session()
    pair.platform.objects["cdrs"] = [recent_cdr()]
    pulled = await pair.admin("POST", "ocpi/partners/csms/pull", {"module": "cdrs"})
    assert pulled["pulled"] == [{"module": "cdrs", "objects": 1, "refused": 0, "removed": 0}]
    await pair.contracts.until(lambda emp: emp.records)


@pytest.mark.parametrize("action", ["pull", "push"])
async def test_a_platform_that_is_not_registered_cannot_be_called(stopped, action):
    async with stopped.running("a"):
        url = f"http://127.0.0.1:{stopped.ports['a backend']}/admin/v1/ocpi/partners/csms/{action}"
        async with stopped.http.post(url, json={}) as answer:
            assert (answer.status, "not registered" in await answer.text()) == (409, True)


async def test_the_emp_being_away_costs_no_cdr(stopped):
    async with stopped.running("a"):
        async with stopped.running("b"):
            await stopped.register()
            await stopped.platform.open_session()
        assert (await stopped.platform.post_cdr()).code == 1000
        async with stopped.running("b"):
            await stopped.contracts.until(lambda emp: emp.records)
            await stopped.at_rest("a")
    assert len(stopped.contracts.records) == 1
    assert query(stopped, "a", "SELECT state FROM ocpi_objects WHERE kind = 'cdr'") == [("carried",)]


async def test_a_node_that_restarts_goes_on_with_its_partner(stopped):
    async with stopped.running("b"):
        async with stopped.running("a"):
            await stopped.register()
            reference = await stopped.platform.open_session()
        async with stopped.running("a"):
            assert (await stopped.platform.post_cdr()).code == 1000
            await stopped.contracts.until(lambda emp: emp.records)
    assert stopped.contracts.records[0].session_id.text == reference
