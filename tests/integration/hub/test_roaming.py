"""Three CPOs and three EMPs roam through one hub: each gets what is its own, and nothing else."""

from itertools import product

import pytest

from tests.support import database
from tests.support.dataset_messages import evse, push_data
from tests.support.hubs import CPOS, EMPS, UIDS, roaming
from tests.support.messages import card
from tests.support.waiting import eventually, eventually_equals

DAYS = {"From": "2020-01-01T00:00:00Z", "To": "2099-01-01T00:00:00Z"}


@pytest.fixture
async def all_six(tmp_path):
    async with roaming(tmp_path) as each:
        yield each


def push_of(operator: str, *numbers: int) -> tuple[str, dict]:
    records = [evse("1", EvseID=f"{operator}*E{number}") for number in numbers]
    return f"evsepush/v23/operators/{operator}/data-records", push_data(*records, operator=operator)


@pytest.mark.parametrize(("operator", "provider"), [*product(CPOS, EMPS)])
async def test_a_driver_of_any_emp_charges_at_any_cpo_and_the_record_reaches_that_emp_alone(
    all_six, operator, provider
):
    uid = UIDS[provider]
    started = (await all_six.hub.start(operator, card(uid))).json
    assert (started["AuthorizationStatus"], started["ProviderID"]) == ("Authorized", provider)
    assert (await all_six.hub.settle(operator, started["SessionID"], uid)).code == "000"
    await eventually(lambda: all_six.messages(provider, "charge-detail-record"))
    others = [party for party in EMPS if party != provider and all_six.messages(party, "charge-detail-record")]
    assert others == []
    for party in EMPS:
        path = f"cdrmgmt/v22/providers/{party}/get-charge-detail-records-request"
        page = (await all_six.hub.post(path, {"ProviderID": party, **DAYS})).json
        assert [each["EvseID"] for each in page["content"]] == ([f"{operator}*E1"] if party == provider else [])


@pytest.mark.parametrize(("operator", "provider"), [*product(CPOS, EMPS)])
async def test_a_remote_start_of_any_emp_reaches_the_cpo_of_the_evse_alone(all_six, operator, provider):
    assert (await all_six.hub.remote_start(provider, f"{operator}*E1")).code == "000"
    reached = [party for party in CPOS if all_six.messages(party, "authorize-remote/start")]
    assert reached == [operator]


async def test_a_card_goes_to_all_emps_and_a_contract_to_its_own(all_six):
    assert (await all_six.hub.start(CPOS[0], card("FFFFFFFF"))).code == "102"
    assert [len(all_six.messages(party, "authorize/start")) for party in EMPS] == [1, 1, 1]
    contract = {"PlugAndChargeIdentification": {"EvcoID": f"{EMPS[1]}-C12345678-X"}}
    assert (await all_six.hub.start(CPOS[0], contract)).json["ProviderID"] == EMPS[1]
    assert [len(all_six.messages(party, "authorize/start")) for party in EMPS] == [1, 2, 1]


async def test_a_hanging_emp_delays_no_driver_of_another(all_six):
    all_six.systems[EMPS[0]].hang_always()
    assert (await all_six.hub.start(CPOS[0], card(UIDS[EMPS[2]]))).json["ProviderID"] == EMPS[2]


async def test_every_emp_pulls_the_evses_of_all_cpos_and_is_pushed_them_if_it_wants(all_six):
    assert (await all_six.hub.tell(providers=[EMPS[0]], push=["EvseData"])).status == 200
    for operator in CPOS:
        assert (await all_six.hub.post(*push_of(operator, 1))).code == "000"
    for provider in EMPS:
        pull = {"ProviderID": provider, "GeoCoordinatesResponseFormat": "Google"}
        page = (await all_six.hub.post(f"evsepull/v23/providers/{provider}/data-records", pull)).json
        assert sorted(each["EvseID"] for each in page["content"]) == [f"{operator}*E1" for operator in CPOS]
    await eventually(lambda: len(all_six.messages(EMPS[0], "data-records")) == len(CPOS))
    assert all_six.messages(EMPS[1], "data-records") == []


async def test_a_record_for_an_emp_that_is_down_is_acknowledged_and_delivered_when_it_is_back(all_six):
    uid, system = UIDS[EMPS[0]], all_six.systems[EMPS[0]]
    session = (await all_six.hub.start(CPOS[0], card(uid))).json["SessionID"]
    url = system.url
    await all_six.hub.tell(providers=[EMPS[0]], url="http://127.0.0.1:9")
    assert (await all_six.hub.settle(CPOS[0], session, uid)).code == "000"
    await all_six.hub.tell(providers=[EMPS[0]], url=url)
    await eventually(lambda: all_six.messages(EMPS[0], "charge-detail-record"), timeout=15)


async def test_a_record_that_an_emp_refuses_is_disputed_with_its_code(all_six, tmp_path):
    uid = UIDS[EMPS[0]]
    session = (await all_six.hub.start(CPOS[0], card(uid))).json["SessionID"]
    all_six.systems[EMPS[0]].refuses_with = "022"
    assert (await all_six.hub.settle(CPOS[0], session, uid)).code == "000"  # the hub has it
    cdrs = "SELECT state, verdict_code FROM cdrs WHERE role = 'cpo'"
    await eventually_equals(lambda: database.execute(tmp_path / "hub.sqlite3", cdrs), [("disputed", "022")])
