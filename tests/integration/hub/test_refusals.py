"""What a hub refuses, with the codes of the clearing house: a partner speaks for its own parties only."""

import pytest

from tests.integration.hub.test_roaming import all_six, push_of
from tests.support.dataset_messages import card_record, product
from tests.support.hubs import CPOS, EMPS, UIDS, running_hub
from tests.support.messages import card, notification

__all__ = ["all_six"]


async def test_an_evse_of_another_cpo_is_018(all_six):
    path, body = push_of(CPOS[0], 1)
    body["OperatorEvseData"]["EvseDataRecord"][0]["EvseID"] = f"{CPOS[1]}*E1"
    assert (await all_six.hub.post(path, body)).code == "018"
    assert (await all_six.hub.start(CPOS[0], card(), EvseID=f"{CPOS[1]}*E1")).code == "018"


async def test_a_contract_of_another_emp_is_019(all_six):
    evco = {"RemoteIdentification": {"EvcoID": f"{EMPS[1]}-C12345678-X"}}
    body = {"ProviderID": EMPS[0], "EvseID": f"{CPOS[0]}*E1", "Identification": evco}
    reply = await all_six.hub.post(f"charging/v21/providers/{EMPS[0]}/authorize-remote/start", body)
    assert reply.code == "019"
    assert all_six.messages(CPOS[0], "authorize-remote/start") == []


async def test_another_id_in_the_body_than_in_the_path_is_017(all_six):
    assert (await all_six.hub.start(CPOS[0], card(), OperatorID=CPOS[1])).code == "017"


async def test_a_session_is_stopped_by_its_own_provider_only(all_six):
    session = (await all_six.hub.start(CPOS[0], card(UIDS[EMPS[0]]))).json["SessionID"]
    codes = []
    for provider in (EMPS[1], EMPS[0]):
        body = {"SessionID": session, "ProviderID": provider, "EvseID": f"{CPOS[0]}*E1"}
        codes.append((await all_six.hub.post(f"charging/v21/providers/{provider}/authorize-remote/stop", body)).code)
    assert codes == ["400", "000"]
    assert len(all_six.messages(CPOS[0], "authorize-remote/stop")) == 1


async def test_a_record_of_another_cpos_session_is_400(all_six):
    uid = UIDS[EMPS[0]]
    body = {"OperatorID": CPOS[0], "Identification": card(uid)}
    started = await all_six.hub.post(f"charging/v21/operators/{CPOS[0]}/authorize/start", body)
    assert (await all_six.hub.settle(CPOS[1], started.json["SessionID"], uid)).code == "400"
    assert (await all_six.hub.settle(CPOS[0], started.json["SessionID"], uid)).code == "000"


@pytest.mark.parametrize("members", [{}, {"OperatorID": CPOS[1]}], ids=["by its EVSE", "by its OperatorID"])
async def test_a_notification_of_another_cpos_session_is_400(all_six, members):
    uid = UIDS[EMPS[0]]
    body = {"OperatorID": CPOS[0], "Identification": card(uid)}
    started = await all_six.hub.post(f"charging/v21/operators/{CPOS[0]}/authorize/start", body)
    sent = {**notification("Start", started.json["SessionID"]), "EvseID": f"{CPOS[1]}*E1"}
    sent.pop("OperatorID", None)
    assert (await all_six.hub.post("notificationmgmt/v11/charging-notifications", sent | members)).code == "400"


async def test_an_implausible_record_is_022_as_at_the_clearing_house(all_six):
    uid = UIDS[EMPS[0]]
    session = (await all_six.hub.start(CPOS[0], card(uid))).json["SessionID"]
    reply = await all_six.hub.settle(CPOS[0], session, uid, SessionEnd="2099-01-01T00:00:00Z")
    assert (reply.code, "future" in reply.json["StatusCode"]["AdditionalInfo"]) == ("022", True)


async def test_an_evse_of_nobody_is_300_and_one_that_its_cpo_has_not_published_603(all_six):
    assert (await all_six.hub.remote_start(EMPS[0], "FR*QQQ*E1")).code == "300"
    await all_six.hub.post(*push_of(CPOS[0], 1))
    assert (await all_six.hub.remote_start(EMPS[0], f"{CPOS[0]}*E2")).code == "603"


async def test_an_id_that_is_none_is_300_and_makes_no_partner(tmp_path):
    async with running_hub(tmp_path) as hub:
        assert (await hub.start("nonsense", card())).code == "300"
        assert (await hub.call("GET", "partners")).json == {"partners": []}


async def test_prices_are_seen_by_the_emp_that_they_are_for(all_six):
    push = {"OperatorID": CPOS[0], "OperatorName": "A", "ProviderID": EMPS[0], "PricingDefaultPrice": 1}
    push |= {"PricingDefaultPriceCurrency": "EUR", "PricingDefaultReferenceUnit": "HOUR"}
    body = {"ActionType": "fullLoad", "PricingProductData": {**push, "PricingProductDataRecords": [product("AC 1")]}}
    path = f"dynamicpricing/v10/operators/{CPOS[0]}/pricing-products"
    assert (await all_six.hub.post(path, body)).code == "000"
    seen = []
    for provider in EMPS[:2]:
        path = f"dynamicpricing/v10/providers/{provider}/pricing-products"
        reply = await all_six.hub.post(path, {"OperatorIDs": [CPOS[0]]})
        seen.append(len(reply.json["PricingProductData"]))
    assert seen == [1, 0]


async def test_pushed_authentication_data_authorizes_offline_without_asking_the_emp(all_six):
    data = {"ProviderID": EMPS[0], "AuthenticationDataRecord": [card_record("CAFE0001")]}
    body = {"ActionType": "fullLoad", "ProviderAuthenticationData": data}
    assert (await all_six.hub.post(f"authdata/v21/providers/{EMPS[0]}/push-request", body)).code == "000"
    started = (await all_six.hub.start(CPOS[0], card("CAFE0001"))).json
    assert (started["AuthorizationStatus"], started["ProviderID"]) == ("Authorized", EMPS[0])
    assert all_six.messages(EMPS[0], "authorize/start") == []
    assert (await all_six.hub.settle(CPOS[0], started["SessionID"], "CAFE0001")).code == "000"
