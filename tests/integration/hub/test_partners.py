"""Who takes part: partners are learned from who speaks, and told by hub.toml or over HTTP."""

import pytest
from structlog.testing import capture_logs

from p2p_oicp.errors import ConfigurationError
from tests.support.hubs import running_hub
from tests.support.messages import card
from tests.support.own_systems import OwnSystem
from tests.support.waiting import eventually

CPO, EMP, UID = "DE*ABC", "DE-XYZ", "04E8960A"


async def names(hub) -> list[str]:
    return [each["name"] for each in (await hub.call("GET", "partners")).json["partners"]]


async def test_whoever_speaks_becomes_a_partner(tmp_path):
    async with running_hub(tmp_path) as hub:
        assert (await hub.start(CPO, card())).code == "106"
        await hub.post(f"evsepull/v21/providers/{EMP}/status-records", {"ProviderID": EMP})
        assert await names(hub) == [CPO, EMP]


async def test_where_nobody_is_learned_a_stranger_gets_300(tmp_path):
    async with running_hub(tmp_path, hub={"learn": False}, partners=[{"operators": [CPO]}]) as hub:
        assert (await hub.start(CPO, card())).code == "106"
        assert (await hub.start("DE*QQQ", card())).code == "300"
        assert await names(hub) == [CPO]


async def test_a_partner_that_has_spoken_can_tell_its_url_later(tmp_path):
    async with running_hub(tmp_path) as hub, OwnSystem(frozenset({UID})) as contracts:
        await hub.post(f"evsepull/v21/providers/{EMP}/status-records", {"ProviderID": EMP})
        assert (await hub.start(CPO, card(UID))).json["AuthorizationStatus"] == "NotAuthorized"
        assert (await hub.tell(providers=[EMP], url=contracts.url)).json["partner"]["url"] == contracts.url
        assert (await hub.start(CPO, card(UID), CPOPartnerSessionID="2")).json["ProviderID"] == EMP


async def test_a_remote_start_at_a_cpo_without_a_url_is_refused_with_what_to_do(tmp_path):
    async with running_hub(tmp_path, partners=[{"operators": [CPO]}]) as hub:
        reply = await hub.remote_start(EMP, f"{CPO}*E1")
    assert reply.code == "320"
    assert "POST /hub/v1/partners" in reply.json["StatusCode"]["AdditionalInfo"]


async def test_a_partner_may_speak_for_its_sub_operators(tmp_path):
    async with running_hub(tmp_path, partners=[{"operators": [CPO, "DE*SUB"]}]) as hub:
        assert (await hub.start(CPO, card(), EvseID="DE*SUB*E1")).code == "106"


async def test_a_partner_whose_paths_are_none_of_oicp_is_called_at_its_own(tmp_path):
    async with running_hub(tmp_path) as hub, OwnSystem(frozenset({UID})) as contracts:
        paths = {"AuthorizeStart": "startv21?operatorID={id}"}
        await hub.tell(providers=[EMP], url=contracts.url, path="/own", paths=paths)
        assert (await hub.start(CPO, card(UID))).code != "000"  # its system answers at OICP's paths only
    assert contracts.paths() == ["/own/startv21"]


async def test_a_mistake_is_answered_with_what_is_expected(tmp_path):
    async with running_hub(tmp_path) as hub:
        for body, expected in (
            ({}, "no party"),
            ({"operators": ["x"]}, "DE*ABC"),
            ({"operators": [CPO], "uri": "http://x"}, 'did you mean "url"?'),
            ({"operators": [CPO], "paths": {"Start": "x"}}, "no operation of OICP"),
            ({"operators": 5}, "operators"),
            ({"operators": [CPO], "url": "https://x", "token_file": "x"}, "token_file"),
            ({"operators": [CPO], "url": "https://x", "ca": "/nonexistent.pem"}, f'[[partners]] "{CPO}"'),
            (["x"], "expected a table"),
        ):
            reply = await hub.call("POST", "partners", body)
            assert (reply.status, reply.code, expected in reply.json["StatusCode"]["AdditionalInfo"]) == (
                400, "022", True,
            ), reply.json  # fmt: skip
        assert await names(hub) == []


async def test_two_partners_do_not_become_one(tmp_path):
    async with running_hub(tmp_path, partners=[{"operators": [CPO]}, {"operators": ["DE*QQQ"]}]) as hub:
        reply = await hub.tell(operators=[CPO, "DE*QQQ"])
    assert "several partners" in reply.json["StatusCode"]["AdditionalInfo"]


async def test_a_folder_has_partners_and_what_waits_for_them(tmp_path):
    async with running_hub(tmp_path, keeps=True) as hub, OwnSystem(frozenset({UID})) as contracts:
        await hub.tell(providers=[EMP], url=contracts.url)
        session = (await hub.start(CPO, card(UID))).json["SessionID"]
    async with running_hub(tmp_path, keeps=True) as hub, OwnSystem() as contracts:
        assert await names(hub) == [EMP, CPO]
        assert (await hub.settle(CPO, session, UID)).code == "000"
        await hub.tell(providers=[EMP], url=contracts.url)
        await eventually(lambda: contracts.bodies("charge-detail-record"), timeout=15)


async def test_two_partners_have_two_names(tmp_path):
    async with running_hub(tmp_path) as hub:
        await hub.tell(name="A", operators=[CPO])
        reply = await hub.tell(name="A", providers=[EMP])
        assert (reply.status, "two partners" in reply.json["StatusCode"]["AdditionalInfo"]) == (400, True)
        assert (await hub.call("GET", "partners")).json["partners"][0]["operators"] == [CPO]


async def test_the_token_of_a_partner_is_sent_after_another_start_too(tmp_path):
    async with OwnSystem(frozenset({UID})) as contracts:
        async with running_hub(tmp_path, keeps=True) as hub:
            await hub.tell(providers=[EMP], url=contracts.url, token="a secret of tests")
        assert (tmp_path / "partners.json").stat().st_mode & 0o077 == 0
        async with running_hub(tmp_path, keeps=True) as hub:
            await hub.start(CPO, card(UID))
    assert contracts.requests[-1].headers["Authorization"] == "Bearer a secret of tests"


async def test_a_partner_that_hub_toml_has_no_more_does_not_come_back(tmp_path):
    async with running_hub(tmp_path, keeps=True, partners=[{"operators": [CPO]}]) as hub:
        await hub.tell(providers=[EMP])
    async with running_hub(tmp_path, keeps=True) as hub:
        assert await names(hub) == [EMP]


async def test_a_file_of_partners_that_cannot_be_read_is_named_with_what_to_do(tmp_path):
    (tmp_path / "partners.json").write_text("[{")
    with pytest.raises(ConfigurationError, match=r"partners\.json: .* delete the file"):
        async with running_hub(tmp_path, keeps=True):
            pass


async def test_a_token_is_demanded_where_there_is_one(tmp_path):
    async with running_hub(tmp_path, hub={"token": "a secret of tests"}) as hub:
        assert (await hub.start(CPO, card())).status == 401
        assert (await hub.call("GET", "partners")).status == 401
        headers = {"Authorization": "Bearer a secret of tests"}
        path, body = f"charging/v21/operators/{CPO}/authorize/start", {"OperatorID": CPO, "Identification": card()}
        assert (await hub.post(path, body, headers=headers)).code == "106"


async def test_a_hub_that_others_reach_says_so_and_is_reached_by_any_name(tmp_path):
    with capture_logs() as logs:
        async with running_hub(tmp_path, hub={"host": "0.0.0.0"}) as hub:
            hub.base = hub.base.replace("0.0.0.0", "127.0.0.1")
            path, body = f"charging/v21/operators/{CPO}/authorize/start", {"OperatorID": CPO, "Identification": card()}
            assert (await hub.post(path, body, headers={"Host": "hub:8330"})).status == 200
    assert "hub.open_to_all" in [each["event"] for each in logs]
