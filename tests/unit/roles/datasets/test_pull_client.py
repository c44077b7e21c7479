"""Pulling a CPO peer that does not push: deltas by a watermark, applied as a whole; invalid records come again."""

import asyncio
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest

from p2p_oicp.client import HttpResponse, read_reply
from p2p_oicp.delivery import ExponentialBackoff
from p2p_oicp.errors import PeerTimeout, StoreError
from p2p_oicp.oicp import OperatorID
from p2p_oicp.peers.models import PullSettings
from p2p_oicp.roles.datasets.pull_client import DatasetPuller
from p2p_oicp.storage.datasets import quarantine, staging
from p2p_oicp.storage.peer_state import Destination
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import STAGED, spool_files
from tests.support.dataset_messages import evse
from tests.unit.roles.datasets.conftest import CPO

LIVING = Statement("SELECT key FROM dataset_records WHERE dataset = 1 AND deleted = 0 ORDER BY key", {})
SERVER_TIME = 1_700_000_000
OK = {"Code": "000"}


def pulled(name: str, **members) -> dict:
    return {**evse(name), "OperatorID": "DE*GEF", "OperatorName": "GEF", **members}


def page(*records, number: int = 0, last: bool | None = True, code: str = "000") -> dict:
    members_of_page = {} if last is None else {"last": last}
    return {"content": list(records), "number": number, "StatusCode": {"Code": code}, **members_of_page}


@dataclass
class ScriptedPeer:
    """A peer client that responds from a list, and records the requests."""

    answers: list
    requests: list = field(default_factory=list)

    async def call(self, peer, operation, party, body, *, deadline, query=None):  # noqa: ARG002 - as a peer client has it
        self.requests.append(json.loads(body) | (query or {}))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        headers = {"Content-Type": "application/json", "Date": formatdate(SERVER_TIME, usegmt=True)}
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return read_reply(HttpResponse(peer.name, 200, headers, raw), operation, now=0.0)


@pytest.fixture
def pull_once(services) -> Callable:
    """Pull once, with these responses; return the requests."""

    async def pull(*answers) -> list[dict]:
        scripted = ScriptedPeer(list(answers))
        await DatasetPuller(services(scripted), CPO, 60.0, ExponentialBackoff(1.0, 10.0, lambda: 0.0)).pull()
        assert scripted.answers == []
        return scripted.requests

    return pull


async def names(store) -> str:
    return "".join(row["key"].removeprefix("DEGEFE") for row in await store.query(LIVING))


async def test_all_pages_are_pulled_and_the_next_pull_is_a_delta_by_the_peers_clock(store, pull_once):
    first = await pull_once(page(pulled("1"), last=False), page(pulled("2"), number=1))
    assert [(request["page"], request["size"], "LastCall" in request) for request in first] == [
        ("0", "2000", False),
        ("1", "2000", False),
    ]
    assert await names(store) == "12"
    changes = page(pulled("3", deltaType="insert"), pulled("1", deltaType="delete"), pulled("2", deltaType="update"))
    (second,) = await pull_once(changes)
    assert second["LastCall"] == "2023-11-14T22:08:20.000+00:00"  # five minutes before SERVER_TIME
    assert await names(store) == "23"


@pytest.mark.parametrize("last", [None, True], ids=["last is missing", "last is true"])
async def test_a_page_without_a_last_member_is_the_last_one(pull_once, last):
    assert len(await pull_once(page(pulled("1"), last=last))) == 1


async def test_an_empty_page_is_the_last_one_whatever_it_says(pull_once):
    assert len(await pull_once(page(pulled("1"), last=False), page(number=1, last=False))) == 2


async def test_a_full_pull_deletes_missing_records_and_a_delta_does_not(store, pull_once):
    await pull_once(PeerTimeout("cpo", "away"))
    await pull_once(page(pulled("1"), pulled("2")))
    await pull_once(page())
    assert await names(store) == "12"
    await pull_once(
        {"Result": False, "StatusCode": {"Code": "210"}}
    )  # a delta that is refused: the next pull is a full one
    await pull_once(page(pulled("2")))
    assert await names(store) == "2"


@pytest.mark.parametrize(
    "trouble",
    [
        PeerTimeout("cpo", "no answer"),
        page(number=1, code="021"),
        b"<html>",
        {"Result": False, "StatusCode": {"Code": "210"}},
    ],
    ids=["silence", "a bad code beside content", "no JSON", "a refusal"],
)
async def test_a_pull_that_fails_changes_nothing_and_starts_again(store, pull_once, trouble):
    await pull_once(page(pulled("1")))
    await pull_once(page(pulled("2", deltaType="insert"), last=False), trouble)
    assert await names(store) == "1"
    (request,) = await pull_once(page())
    refused = not isinstance(trouble, Exception) and isinstance(trouble, dict)
    assert ("LastCall" in request) != refused  # a refused delta is not requested again


async def test_nothing_is_left_of_a_pull_that_cannot_be_committed(database, store, pull_once, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(staging, "commit_import", refuse)
        await pull_once(page(*(pulled(f"{number:03}") for number in range(150))))
    assert ([row["n"] for row in await store.query(STAGED)], spool_files(database)) == ([0], [])
    await pull_once(page(pulled("1")))
    assert await names(store) == "1"


def refuse(*_, **__) -> None:
    raise StoreError("the disk is full")


async def test_an_invalid_record_costs_no_other_and_is_pulled_again(store, pull_once):
    broken = pulled("2")
    del broken["EvseID"]
    await pull_once(page(pulled("1"), broken, {**pulled("3"), "EvseID": "FR*XYZ*E1"}, 7))
    assert await names(store) == "1"
    rows = await store.query(quarantine.LIST_ALL)
    assert sorted(json.loads(row["findings"])[0]["code"] for row in rows) == [
        "foreign-evse-id",
        "missing",
        "wrong-type",
    ]
    (request,) = await pull_once(page(pulled("1"), pulled("2")))
    assert "LastCall" not in request
    assert await names(store) == "12"


async def test_l14_an_unusable_optional_member_of_a_pulled_record_costs_that_member_and_is_no_change(store, pull_once):
    nearly = pulled(
        "2", MaxCapacity=22.5, Plugs=["Type 2 outlet"], ChargingFacilities=[{"PowerType": "DC", "Power": "22"}]
    )
    for _ in range(2):
        await pull_once(page(pulled("1"), nearly))
    assert await store.query(quarantine.LIST_ALL) == []
    rows = await store.query(Statement("SELECT raw, change FROM dataset_records ORDER BY key", {}))
    assert len({row["change"] for row in rows}) == 2
    stored = json.loads(rows[1]["raw"])
    assert stored == evse("2", ChargingFacilities=[{"PowerType": "DC", "Power": 22}])


async def test_a_record_that_was_invalid_twice_does_not_hold_the_watermark(pull_once):
    broken = pulled("2")
    del broken["EvseID"]
    for _ in range(2):
        (request,) = await pull_once(page(pulled("1"), broken))
        assert "LastCall" not in request
    (request,) = await pull_once(page())
    assert "LastCall" in request


async def test_a_record_on_two_pages_counts_once_in_its_last_state(store, pull_once):
    await pull_once(page(pulled("1"), last=False), page(pulled("1", MaxCapacity=5), number=1))
    rows = await store.query(Statement("SELECT raw FROM dataset_records", {}))
    assert [json.loads(row["raw"]).get("MaxCapacity") for row in rows] == [5]


PULLED_IN_PARTS = dataclasses.replace(
    CPO,
    services=frozenset({"PullEvseData", "PullEvseStatus"}),
    pull=(
        ("EvseData", PullSettings(interval=3600.0, countries=("DEU",), operators=(OperatorID("DE*GEF"),))),
        ("EvseStatus", PullSettings(interval=0.0)),
    ),
)


async def test_a_dataset_may_have_an_interval_and_filters_of_its_own(services):
    scripted = ScriptedPeer([page(pulled("1"))])
    puller = DatasetPuller(services(scripted), PULLED_IN_PARTS, 60.0, ExponentialBackoff(1.0, 10.0, lambda: 0.0))
    assert await puller.pull() == pytest.approx(3600.0, abs=5)
    (request,) = scripted.requests  # and no pull of the statuses
    assert (request["CountryCodes"], request["OperatorIds"]) == (["DEU"], ["DE*GEF"])


async def test_after_a_filtered_pull_another_filter_or_none_pulls_everything(services, pull_once):
    scripted = ScriptedPeer([page(pulled("1"))])
    await DatasetPuller(services(scripted), PULLED_IN_PARTS, 60.0, ExponentialBackoff(1.0, 10.0, lambda: 0.0)).pull()
    (request,) = await pull_once(page(pulled("1"), pulled("2")))
    assert "LastCall" not in request


async def test_a_wake_up_pulls_again_what_has_failed_and_where_a_person_asks_for_it_everything(services):
    """A peer is woken as a whole: also where its outbox, or a view of ours, has something new."""
    scripted = ScriptedPeer([page(pulled("1")), page(pulled("1")), PeerTimeout("cpo", "late"), page(pulled("1"))])
    context = services(scripted)
    puller, ended = DatasetPuller(context, CPO, 60.0, ExponentialBackoff(50.0, 60.0, lambda: 0.0)), asyncio.Event()
    pull = puller.pull

    async def pull_and_say() -> float:
        delay = await pull()
        ended.set()
        return delay

    puller.pull = pull_and_say
    running = asyncio.create_task(puller.run())

    async def requests_after(wake) -> int:
        wake()
        await asyncio.wait_for(ended.wait(), 5)
        ended.clear()
        return len(scripted.requests)

    def retry() -> None:
        context.wakeups.notify_workers([Destination(CPO.id, "pull")])

    def notify() -> None:
        context.wakeups.notify_all(CPO.id)

    steps = [lambda: None, notify, retry, retry, notify, notify]
    assert [await requests_after(step) for step in steps] == [1, 1, 2, 3, 4, 4]
    running.cancel()
