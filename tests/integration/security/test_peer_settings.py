"""What a paired peer may see, and how it is pulled, is set by commands, at once and for good."""

import asyncio
import json

import pytest

from tests.support import database
from tests.support.command_line import p2p_oicp
from tests.support.dataset_messages import PUSH_DATA, evse, push_data
from tests.support.messages import PUSH_STATUS, push_status
from tests.support.nodes import query
from tests.support.pairing import Admin, paired
from tests.support.waiting import eventually_equals

__all__ = ["p2p_oicp"]


@pytest.fixture
async def published(stopped):
    """Both nodes run, are paired, and A has published two EVSEs."""
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    async with stopped.running("a"), stopped.running("b"):
        await paired(Admin(stopped, "a"), Admin(stopped, "b"))
        await stopped.a.post(PUSH_DATA, push_data(evse("A1"), evse("B1")))
        await stopped.a.post(PUSH_STATUS, push_status(A1="Available", B1="Available"))
        await eventually_equals(lambda: seen(stopped), {"DEGEFEA1", "DEGEFEB1"})
        yield stopped


def seen(pair) -> set[str]:
    rows = database.execute(pair.database("b"), "SELECT key FROM dataset_records WHERE deleted = 0 AND dataset = 2")
    return {key for (key,) in rows}


@pytest.fixture
def peers(stopped, p2p_oicp):
    async def command(*arguments, at: str = "a"):
        config = stopped.folder / at / "node.toml"
        return await asyncio.to_thread(p2p_oicp, "peers", *arguments, "--config", config)

    return command


async def test_what_falls_out_of_a_new_filter_is_withdrawn_at_once_and_comes_back_without_it(published, peers):
    answer = await peers("publish", "node b", "--include", "evse=DE*GEF*EA", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["publish"] == {"include": {"evse_ids": ["DE*GEF*EA"]}, "exclude": {}}
    await eventually_equals(lambda: seen(published), {"DEGEFEA1"})
    assert "evse ids DE*GEF*EA" in (await peers("publish", "node b")).out
    assert (await peers("publish", "node b", "--clear")).code == 0
    await eventually_equals(lambda: seen(published), {"DEGEFEA1", "DEGEFEB1"})


async def test_settings_stay_after_a_restart_and_another_pairing(stopped, peers):
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    async with stopped.running("a"), stopped.running("b"):
        await paired(Admin(stopped, "a"), Admin(stopped, "b"))
        await peers("publish", "node b", "--exclude", "country=DEU")
        await paired(Admin(stopped, "a"), Admin(stopped, "b"))
    async with stopped.running("a"):
        shown = json.loads((await peers("publish", "node b", "--json")).out)
    assert shown["publish"] == {"include": {}, "exclude": {"countries": ["DEU"]}}


async def test_a_paired_peer_is_pulled_as_a_command_says(published, peers):
    await peers("pull", "node a", "EvseStatus", "--interval", "1", at="b")
    await peers("pull", "node a", "EvseData", "--interval", "1h", "--operator", "DE*GEF", at="b")
    shown = json.loads((await peers("pull", "node a", "--json", at="b")).out)
    assert shown["pull"]["EvseData"] == {"interval": 3600, "countries": [], "operators": ["DE*GEF"]}
    pulled = "SELECT dataset FROM destinations WHERE dataset LIKE 'pull%' AND last_success_at > 0 ORDER BY 1"
    await eventually_equals(lambda: query(published, "b", pulled), [("pull evse data",), ("pull evse status",)])
    await peers("pull", "node a", "EvseData", "--clear", at="b")
    out = (await peers("pull", "node a", at="b")).out
    assert "every 1 s" in out
    assert "EvseData" not in out
    await peers("pull", "node a", "--clear", at="b")
    assert "not pulled" in (await peers("pull", "node a", at="b")).out


MISTAKES = {
    "an unknown kind": (("publish", "node b", "--include", "town=Berlin"), "expected one of evse=…"),
    "no country": (("publish", "node b", "--include", "country=Germany"), "ISO 3166 alpha-3"),
    "an unknown dataset": (("pull", "node b", "EvseDate", "--interval", "5m"), "EvseDat"),
    "a filter that OICP has not": (("pull", "node b", "EvseStatus", "--country", "DEU"), "OICP has no such filter"),
    "an unknown peer": (("publish", "node c", "--clear"), "is no peer here"),
    "both": (("publish", "node b", "--clear", "--include", "evse=DE"), "--clear goes without"),
}


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
async def test_a_mistake_is_explained_and_changes_nothing(peers, arguments, words):
    answer = await peers(*arguments)
    assert answer.code == 2
    assert words in answer.err
    assert json.loads((await peers("publish", "node b", "--json")).out)["publish"] is None


async def test_a_peer_of_the_peers_file_is_changed_there(stopped, peers):
    async with stopped.running("a"):
        answer = await peers("publish", "node b", "--clear")
    assert answer.code == 2
    assert "change or remove it there" in answer.err
