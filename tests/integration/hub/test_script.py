"""A partner under test gets what the script says."""

import asyncio
import time

import aiohttp
import pytest
from structlog.testing import capture_logs

from p2p_oicp.config.hub import HubSettings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.hub import Hub
from tests.support.hubs import running_hub
from tests.support.messages import card
from tests.support.own_systems import OwnSystem
from tests.support.waiting import eventually_equals

CPO, EMP, UID = "DE*ABC", "DE-XYZ", "04E8960A"


@pytest.fixture
async def hub(tmp_path):
    async with running_hub(tmp_path) as each:
        yield each


async def uses(hub) -> list[int]:
    return [rule["used"] for rule in (await hub.call("GET", "script")).json["rules"]]


async def test_a_card_is_authorized_and_the_session_is_a_real_one(hub):
    await hub.script({"uid": UID, "authorize": EMP})
    started = (await hub.start(CPO, card(UID))).json
    assert (started["AuthorizationStatus"], started["ProviderID"]) == ("Authorized", EMP)
    stop = {"OperatorID": CPO, "SessionID": started["SessionID"], "Identification": card(UID)}
    stopped = await hub.post(f"charging/v21/operators/{CPO}/authorize/stop", stop)
    assert stopped.json["AuthorizationStatus"] == "Authorized"
    assert (await hub.settle(CPO, started["SessionID"], UID)).code == "000"
    days = {"ProviderID": EMP, "From": "2020-01-01T00:00:00Z", "To": "2099-01-01T00:00:00Z"}

    async def pulled() -> list[str]:
        page = await hub.post(f"cdrmgmt/v22/providers/{EMP}/get-charge-detail-records-request", days)
        return [each["SessionID"] for each in page.json["content"]]

    await eventually_equals(pulled, [started["SessionID"]])


async def test_neither_the_provider_of_a_rule_nor_any_other_gets_the_request(hub):
    async with OwnSystem(frozenset({UID})) as own, OwnSystem(frozenset({UID})) as other:
        await hub.tell(providers=[EMP], url=own.url)
        await hub.tell(providers=["DE-QQQ"], url=other.url)
        await hub.script({"uid": UID, "authorize": EMP})
        assert (await hub.start(CPO, card(UID))).json["ProviderID"] == EMP
    assert own.requests == other.requests == []


async def test_any_other_uid_gets_what_it_would_get_without_a_script(hub):
    await hub.script({"uid": UID, "authorize": EMP})
    assert (await hub.start(CPO, card("FFFFFFFF"))).code == "106"


async def test_a_request_is_refused_with_a_code_so_many_times(hub):
    await hub.script({"operation": "AuthorizeStart", "refuse": "210", "info": "no offer", "times": 2})
    replies = [await hub.start(CPO, card(), CPOPartnerSessionID=str(number)) for number in range(3)]
    assert [reply.code for reply in replies] == ["210", "210", "106"]
    assert replies[0].json["StatusCode"]["AdditionalInfo"] == "no offer"
    assert (await hub.call("GET", "script")).json["rules"][0]["used"] == 2


async def test_017_is_http_401_as_everywhere(hub):
    await hub.script({"refuse": "017"})
    reply = await hub.start(CPO, card())
    assert (reply.status, reply.code) == (401, "017")


async def test_an_answer_comes_later(hub):
    await hub.script({"wait": 0.3})
    began = time.monotonic()
    assert (await hub.start(CPO, card())).code == "106"
    assert time.monotonic() - began >= 0.3


async def test_a_request_is_answered_with_an_http_status(hub):
    await hub.script({"http_status": 503})
    assert (await hub.start(CPO, card())).status == 503


async def test_a_connection_is_dropped(hub):
    await hub.script({"drop": True, "times": 1})
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await hub.start(CPO, card())
    (exchange,) = await hub.exchanges("operation=AuthorizeStart")
    assert (exchange["error"], "http_status" in exchange) == ("the script has dropped the connection", False)
    assert (await hub.start(CPO, card())).code == "106"


async def test_a_request_hangs_until_its_client_gives_up(hub):
    await hub.script({"hang": True})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await hub.start(CPO, card())
    (exchange,) = await hub.exchanges("operation=AuthorizeStart&wait=5")
    assert exchange["seconds"] >= 0.2


async def test_a_hub_that_ends_waits_for_no_request_that_hangs(tmp_path):
    async with running_hub(tmp_path) as hub:
        await hub.script({"hang": True})
        hanging = asyncio.create_task(hub.start(CPO, card()))
        await eventually_equals(lambda: uses(hub), [1])
        began = time.monotonic()
    with pytest.raises(aiohttp.ClientError):
        await hanging
    assert time.monotonic() - began < 4


async def test_a_remote_start_is_accepted_in_the_name_of_its_cpo(hub):
    await hub.tell(operators=[CPO])
    await hub.script({"evse_id": f"{CPO}*E1", "accept": True})
    started = await hub.remote_start(EMP, f"{CPO}*E1")
    assert started.code == "000"
    assert (await hub.remote_start(EMP, f"{CPO}*E2")).code == "320"
    contract = {"RemoteIdentification": {"EvcoID": f"{EMP}-C12345678-X"}}
    settled = await hub.settle(CPO, started.json["SessionID"], UID, Identification=contract)
    assert settled.code == "000"


async def test_a_push_and_a_notification_are_matched_by_their_sender(hub):
    await hub.script({"party": "deabc", "refuse": "021"})
    statuses = {"OperatorID": CPO, "EvseStatusRecord": [{"EvseID": f"{CPO}*E1", "EvseStatus": "Available"}]}
    path = f"evsepush/v21/operators/{CPO}/status-records"
    assert (await hub.post(path, {"ActionType": "fullLoad", "OperatorEvseStatus": statuses})).code == "021"
    note = {"Type": "Error", "OperatorID": CPO, "EvseID": f"{CPO}*E1", "SessionID": "x", "ErrorType": "CriticalError"}
    assert (await hub.post("notificationmgmt/v11/charging-notifications", note)).code == "021"
    assert (await hub.start("DE*QQQ", card())).code == "106"


async def test_the_script_is_emptied(hub):
    await hub.script({"refuse": "021"})
    assert (await hub.call("DELETE", "script")).json == {"rules": []}
    assert (await hub.start(CPO, card())).code == "106"


async def test_a_mistake_in_a_script_changes_nothing(hub):
    await hub.script({"refuse": "021"})
    for rule, expected in (
        ({}, "does nothing"),
        ({"refuse": "021", "hang": True}, "expected one of refuse"),
        ({"operation": "Start", "hang": True}, "no operation"),
        ({"reject": "021"}, "unknown key"),
    ):
        reply = await hub.script(rule)
        assert (reply.status, expected in reply.json["StatusCode"]["AdditionalInfo"]) == (400, True), reply.json
    assert (await hub.start(CPO, card())).code == "021"


async def test_the_file_is_read_again_on_demand_and_one_with_a_mistake_is_not_taken(tmp_path):
    script = tmp_path / "script.toml"
    script.write_text('[[rules]]\nrefuse = "021"\n')
    async with Hub(HubSettings.model_validate({"hub": {"port": 0}}), tmp_path / "data", script=script) as hub:
        script.write_text('[[rules]]\nrefuse = "102"\nuid = "04E8960A"\n')
        await hub.reload()
        assert hub.rules()[0]["refuse"] == "102"
        script.write_text("[[rules]]\nrefuse = 7\n")
        with capture_logs() as logs:
            await hub.reload()
    assert [each["reason"] for each in logs if each["event"] == "script.reload_failed"] == [
        f"{script}:2: [[rules]] refuse: expected text in quotes, not a number"
    ]
    with pytest.raises(ConfigurationError, match=r"script.toml:2: \[\[rules\]\] refuse"):
        Hub(HubSettings(), tmp_path / "data", script=script)
