"""RULES.md, box L18: parties that are added after pairing, and parties that are taken away."""

from functools import partial

import pytest
from structlog.testing import capture_logs

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from tests.support.dataset_messages import PULL_DATA, PUSH_DATA, evse, pull_data, push_data
from tests.support.messages import (
    A_CPO,
    REMOTE_START,
    START,
    authorize_start,
    remote_start,
)
from tests.support.nodes import Pair, configured, query
from tests.support.own_systems import OwnSystem
from tests.support.pairing import Admin
from tests.support.parties import SUB, operators_at, pair_up, push_of, set_operators, set_operators_of_a
from tests.support.signed_nodes import SignedPair
from tests.support.waiting import eventually, eventually_equals


@pytest.fixture(params=[Pair, partial(SignedPair, require=("signature",))], ids=["insecure", "signed"])
async def stopped(request, tmp_path):
    async with configured(request.param, tmp_path) as pair:
        yield pair


async def held(pair, name: str) -> str | None:
    (peer,) = (await Admin(pair, name).ask("GET", "/peers"))["peers"]
    return peer["held"]


async def metrics(pair, name: str) -> str:
    async with pair.http.get(f"http://127.0.0.1:{pair.ports[name + ' backend']}/metrics") as answer:
        return await answer.text()


@pytest.mark.parametrize("order", ["the CPO restarts", "the EMP restarts"])
async def test_l18_a_party_that_is_added_after_pairing_waits_for_the_other_side(stopped, order):
    await pair_up(stopped)
    set_operators(stopped, A_CPO, SUB)
    first, second = ("b", "a") if order == "the CPO restarts" else ("a", "b")
    async with stopped.running(first), stopped.running(second):
        await stopped.a.post(*push_of(SUB, "1", "2"))
        await eventually(partial(held, stopped, "b"))
        await eventually(partial(held, stopped, "a"))
        shown = await held(stopped, "b")
        assert shown == 'DE*SUB is not agreed with node a yet; run: p2p-oicp peers accept "node a"'

        async def at_a() -> bool:
            text = await held(stopped, "a") or ""
            return text.startswith("DE*SUB is not agreed with node b yet") and "2 records wait" in text

        await eventually(at_a)
        assert 'they run: p2p-oicp peers accept "node a"' in await held(stopped, "a")
        assert 'p2p_oicp_held_records{party="DE*SUB",peer="node b"} 2.0' in await metrics(stopped, "a")
        # What is agreed goes on.
        await stopped.a.post(*push_of(A_CPO, "1", "3"))
        assert await operators_at(stopped.b) == [A_CPO]
        b = Admin(stopped, "b")
        assert (await b.ask("POST", "/peers/node a/accept", parties=[A_CPO, SUB]))["accepted"] == "node a"
        await eventually_equals(lambda: operators_at(stopped.b), [A_CPO, SUB])
        await eventually_equals(partial(held, stopped, "a"), None)
        assert await held(stopped, "b") is None
        assert "p2p_oicp_held_records{" not in await metrics(stopped, "a")


async def test_l18_other_parties_than_were_shown_are_not_accepted(stopped):
    await pair_up(stopped)
    set_operators(stopped, A_CPO, SUB)
    async with stopped.running("b"), stopped.running("a"):
        content = await Admin(stopped, "b").ask("POST", "/peers/node a/accept", status=502, parties=[A_CPO])
        assert "names other parties now" in content["StatusCode"]["AdditionalInfo"]


async def test_l18_a_peer_of_the_file_is_changed_there(stopped):
    set_operators(stopped, A_CPO, SUB)
    async with stopped.running("b") as b, stopped.running("a"):
        await stopped.a.post(*push_of(SUB, "1"))
        await eventually(partial(held, stopped, "b"))
        assert await held(stopped, "b") == "DE*SUB is not agreed with node a yet; add it to the peers file"
        set_operators_of_a(stopped, A_CPO, SUB)
        await b.reload()
        await eventually_equals(lambda: operators_at(stopped.b), [SUB])
        await eventually_equals(partial(held, stopped, "a"), None)


async def test_l18_a_party_of_ours_that_is_taken_away_is_withdrawn(stopped):
    set_operators(stopped, A_CPO, SUB)
    set_operators_of_a(stopped, A_CPO, SUB)
    async with stopped.running("a"), stopped.running("b"):
        await stopped.a.post(*push_of(SUB, "1", "2"))
        await stopped.a.post(*push_of(A_CPO, "1"))
        await eventually_equals(lambda: operators_at(stopped.b), [A_CPO, SUB])
        start = {**authorize_start(), "OperatorID": SUB, "EvseID": f"{SUB}*E1"}
        session = (await stopped.a.post(START.replace(A_CPO, SUB), start)).json["SessionID"]
    set_operators(stopped, A_CPO)
    with capture_logs() as logs:
        async with stopped.running("a"):
            assert [session] in [entry.get("open_sessions") for entry in logs]
    async with stopped.running("a"), stopped.running("b"):
        live = "SELECT count(*) FROM dataset_records WHERE deleted = 0"
        await eventually_equals(lambda: query(stopped, "b", live), [(1,)])
        assert await operators_at(stopped.b) == [A_CPO]
        assert (await stopped.b.post(REMOTE_START, remote_start(f"{SUB}*E1"))).code == "300"
        assert (await stopped.a.post(START.replace(A_CPO, SUB), start)).code == "017"


async def test_l18_a_party_of_a_peer_that_is_taken_away_counts_no_more_until_it_comes_back(stopped):
    set_operators(stopped, A_CPO, SUB)
    set_operators_of_a(stopped, A_CPO, SUB)
    async with stopped.running("a"), stopped.running("b") as b:
        data = push_data({**evse("1"), "EvseID": f"{SUB}*E1"}, operator=SUB)
        await stopped.a.post(PUSH_DATA.replace(A_CPO, SUB), data)
        await stopped.a.post(*push_of(SUB, "1"))
        await stopped.a.post(*push_of(A_CPO, "1"))
        await eventually_equals(lambda: operators_at(stopped.b), [A_CPO, SUB])
        start = {**authorize_start(), "OperatorID": SUB, "EvseID": f"{SUB}*E1"}
        session = (await stopped.a.post(START.replace(A_CPO, SUB), start)).json["SessionID"]

        async def evses() -> list[str]:
            return [each["EvseID"] for each in (await stopped.b.post(PULL_DATA, pull_data())).json["content"]]

        await eventually_equals(evses, [f"{SUB}*E1"])
        set_operators_of_a(stopped, A_CPO)
        with capture_logs() as logs:
            await b.reload()
            await eventually(lambda: [session] in [entry.get("open_sessions") for entry in logs])
        await eventually_equals(lambda: operators_at(stopped.b), [A_CPO])
        await eventually_equals(evses, [])
        set_operators_of_a(stopped, A_CPO, SUB)
        await b.reload()
        await eventually_equals(lambda: operators_at(stopped.b), [A_CPO, SUB])
        await eventually_equals(evses, [f"{SUB}*E1"])
        # And it is as current as the peer's own.
        await stopped.a.post(*push_of(SUB, "1", "2"))
        statuses = "SELECT count(*) FROM dataset_records WHERE group_key = 'DESUB' AND dataset = 2"
        await eventually_equals(lambda: query(stopped, "b", statuses), [(2,)])


async def test_l18_open_sessions_of_a_party_that_is_accepted_away_are_shown(stopped):
    set_operators(stopped, A_CPO, SUB)
    await pair_up(stopped)
    async with stopped.running("a"), stopped.running("b"):
        start = {**authorize_start(), "OperatorID": SUB, "EvseID": f"{SUB}*E1"}
        session = (await stopped.a.post(START.replace(A_CPO, SUB), start)).json["SessionID"]
    set_operators(stopped, A_CPO)
    async with stopped.running("a"), stopped.running("b"):
        answer = await Admin(stopped, "b").ask("POST", "/peers/node a/accept", parties=[A_CPO])
        assert answer["open_sessions"] == [session]
        assert (await Admin(stopped, "b").ask("DELETE", "/peers/node a"))["open_sessions"] == []


@pytest.mark.parametrize("name", ["a", "b"])
async def test_l18_removing_a_peer_shows_its_open_sessions(stopped, name):
    await pair_up(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        other = "node b" if name == "a" else "node a"
        assert (await Admin(stopped, name).ask("DELETE", f"/peers/{other}"))["open_sessions"] == [session]


@pytest.mark.parametrize("stopped", [Pair], ids=["insecure"], indirect=True)
async def test_l18_our_backend_loses_what_it_was_pushed_of_a_party_that_is_taken_away(stopped):
    set_operators(stopped, A_CPO, SUB)
    set_operators_of_a(stopped, A_CPO, SUB)
    async with OwnSystem() as system:
        file = stopped.folder / "b" / "node.toml"
        table = f'[[backends]]\nname = "app"\nrole = "emp"\nurl = "{system.url}"\npush = ["EvseStatus"]\n'
        file.write_text(file.read_text() + table)

        def pushed() -> list[tuple[str, int]]:
            bodies = [
                each for each in system.bodies("status-records") if each["OperatorEvseStatus"]["OperatorID"] == SUB
            ]
            return [(each["ActionType"], len(each["OperatorEvseStatus"]["EvseStatusRecord"])) for each in bodies]

        async with stopped.running("a"), Node(load_settings(file)) as b:
            await stopped.a.post(*push_of(SUB, "1", "2"))
            await eventually_equals(pushed, [("fullLoad", 2)])
            set_operators_of_a(stopped, A_CPO)
            await b.reload()
            await eventually(lambda: len(pushed()) == 2)
            assert pushed()[1] in {("fullLoad", 0), ("delete", 2)}
            set_operators_of_a(stopped, A_CPO, SUB)
            await b.reload()
            await eventually(lambda: len(pushed()) == 3)
            assert pushed()[2] == ("fullLoad", 2)
