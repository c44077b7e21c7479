"""Applying changesets: the four actions of a push, small and large; the change sequence; the order within a source."""

import asyncio
import threading
from dataclasses import replace

import msgspec
import pytest

from p2p_oicp.storage import Lane
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator, PullImport
from p2p_oicp.storage.datasets.models import UNCHANGED, ApplyResult, ReplaceScope
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import STAGED, crash_after, living, many, push

NEWEST = Statement("SELECT value FROM counters WHERE name = 'change'", {})


@pytest.fixture
def coordinator(store) -> DatasetCoordinator:
    return DatasetCoordinator(store, lambda: 100.0)


async def newest(store) -> int:
    return (await store.query(NEWEST))[0]["value"]


@pytest.mark.parametrize("others", [0, 600], ids=["small", "large"])
@pytest.mark.parametrize(
    ("action", "records", "expected"),
    [
        ("fullLoad", {"A3": "Available"}, {"A3": "available"}),
        ("fullLoad", {}, {}),
        ("insert", {"A3": "Available"}, {"A1": "available", "A2": "occupied", "A3": "available"}),
        ("update", {"A1": "Occupied"}, {"A1": "occupied", "A2": "occupied"}),
        ("delete", {"A1": "Available"}, {"A2": "occupied"}),
        ("delete", {"A9": "Available"}, {"A1": "available", "A2": "occupied"}),
    ],
    ids=["fullLoad replaces", "empty fullLoad withdraws all", "insert", "update", "delete", "delete of nothing"],
)
async def test_a_push_does_what_its_action_says(store, coordinator, action, records, expected, others):
    """``others`` are further records of each push, which make it too large for one transaction."""
    before = many(others) if action in {"update", "delete", "fullLoad"} else {}
    await coordinator.apply(push("fullLoad", A1="Available", A2="Occupied", **before))
    more = many(others, "Reserved") if action in {"insert", "update", "delete"} else {}
    assert (await coordinator.apply(push(action, **records, **more))).conflicts == ()
    assert {key: status for key, status in (await living(store)).items() if key.startswith("A")} == expected
    assert (await store.query(STAGED))[0]["n"] == 0


@pytest.mark.parametrize("others", [0, 600], ids=["small", "large"])
@pytest.mark.parametrize(
    ("action", "contradicted"), [("insert", "A1"), ("update", "A9")], ids=["insert of a known", "update of an unknown"]
)
async def test_a_push_that_violates_its_precondition_changes_nothing(store, coordinator, action, contradicted, others):
    known = many(others) if action == "update" else {}
    await coordinator.apply(push("fullLoad", A1="Available", **known))
    before, number = await living(store), await newest(store)
    applied = await coordinator.apply(push(action, A1="Occupied", A9="Occupied", **many(others, "Reserved")))
    assert applied == ApplyResult(0, (contradicted,))
    assert (await living(store), await newest(store)) == (before, number)
    assert (await store.query(STAGED))[0]["n"] == 0


@pytest.mark.parametrize("others", [0, 600], ids=["small", "large"])
async def test_only_real_changes_get_a_number(store, coordinator, others):
    await coordinator.apply(push("fullLoad", A1="Available", A2="Available", **many(others)))
    before = await newest(store)
    assert (await coordinator.apply(push("fullLoad", A1="Available", A2="Available", **many(others)))).changed == 0
    assert await newest(store) == before
    assert (await coordinator.apply(push("fullLoad", A1="Available", A2="Occupied", **many(others)))).changed == 1
    assert await newest(store) == before + 1


async def test_copies_of_peers_are_separate_from_our_own_data(store, coordinator):
    await coordinator.apply(push("fullLoad", A1="Available"))
    await coordinator.apply(push("fullLoad", source="peer", operator="DEXYZ", X1="Available"))
    await coordinator.apply(push("fullLoad", source="peer", operator="DEXYZ"))
    assert await living(store) == {"A1": "available"}


@pytest.mark.parametrize("others", [0, 300], ids=["small", "large"])
async def test_of_a_record_that_changes_twice_during_a_pull_the_last_state_counts(store, coordinator, others):
    await coordinator.apply(push("fullLoad", A1="Available", A2="Available"))
    pulled = push("insert", A1="Occupied", A3="Occupied", **many(others))
    intake = PullImport(coordinator, pulled.dataset, pulled.source, ReplaceScope.NOTHING)
    for key in ("A1", "A2", "A3"):
        await intake.add_deletion(key)
    for record in pulled.records:
        await intake.add_record(record)
    await intake.add_deletion("A3")
    await intake.apply(pulled.groups)
    assert await living(store) == {"A1": "occupied", **many(others, "available")}


async def test_a_push_that_changes_little_of_much_is_one_job(store, coordinator, monkeypatch):
    await coordinator.apply(push("fullLoad", **many(900)))
    another = push("fullLoad", **(many(899) | {"E00007": "Occupied"}))
    records = [one if one.key == "E00007" else msgspec.structs.replace(one, raw=UNCHANGED) for one in another.records]
    crash_after(store, monkeypatch, 1)
    await coordinator.apply(replace(another, records=records))
    expected = many(899, "available") | {"E00007": "occupied"}
    assert await living(store) == expected


async def test_a_single_change_gets_through_while_a_large_push_of_another_peer_goes_on(store, coordinator):
    large = asyncio.create_task(coordinator.apply(push("fullLoad", source="peer", operator="DEXYZ", **many(3000))))
    await asyncio.sleep(0)
    await coordinator.apply(push("fullLoad", A1="Available"))
    assert not large.done()
    await large
    assert len(await living(store, "peer")) == 3000


async def test_pushes_of_one_source_are_applied_one_after_the_other(store, coordinator):
    pushes = [push("fullLoad", **many(600, status)) for status in ("Available", "Occupied", "Reserved")]
    await asyncio.gather(*(coordinator.apply(one) for one in pushes))
    assert await living(store) == many(600, "reserved")


@pytest.mark.sqlite  # as below
async def test_changes_of_single_records_share_a_commit_and_what_replaces_them_sees_them(store, coordinator):
    may_go_on = threading.Event()
    holding_up = asyncio.create_task(store.write(lambda _: may_go_on.wait(10), Lane.BULK))
    changes = [push("insert", **{f"A{number}": "Available"}) for number in range(3)]
    changes += [push("insert", A1="Available"), push("fullLoad", A2="Occupied")]
    applying = []
    for change in changes:
        applying.append(asyncio.create_task(coordinator.apply(change)))
        await asyncio.sleep(0)
    await store.query_bulk(STAGED)
    queued, replacing = applying[:-1], applying[-1]
    # The writer is held up: none of them is committed, and still each has let the next one queue its write.
    assert [task.done() for task in applying] == [False] * 5
    may_go_on.set()
    await holding_up
    assert [(await task).changed for task in queued] == [2, 1, 1, 0]
    assert (await queued[-1]).conflicts == ("A1",)
    assert (await replacing).changed == 3
    assert await living(store) == {"A2": "occupied"}


@pytest.mark.sqlite  # whose long jobs have a thread: this one waits there
async def test_a_full_load_replaces_records_whose_caller_was_cancelled(store):
    coordinator, may_go_on = DatasetCoordinator(store, lambda: 100.0), threading.Event()
    holding_up = asyncio.create_task(store.write(lambda _: may_go_on.wait(10), Lane.BULK))
    given_up = asyncio.create_task(coordinator.apply(push("insert", **many(50))))
    await asyncio.sleep(0)
    given_up.cancel()
    replacing = asyncio.create_task(coordinator.apply(push("fullLoad", A1="Available")))
    await asyncio.sleep(0)
    await store.query_bulk(STAGED)  # what `replacing` looks for by now, it has found
    may_go_on.set()
    await asyncio.gather(holding_up, replacing)
    await store.write(lambda _: None, Lane.BULK)  # nothing waits any more
    assert given_up.cancelled()
    assert await living(store) == {"A1": "available"}
