"""The change feed: what a peer's copy lacks behind its cursor."""

import pytest

from p2p_oicp.storage.datasets import change_feed
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import push

NEWEST = Statement("SELECT value FROM counters WHERE name = 'change'", {})
COPY = change_feed.ReplicaScope("peer", DatasetKind.EVSE_STATUS, None)


@pytest.fixture
def coordinator(store) -> DatasetCoordinator:
    return DatasetCoordinator(store, lambda: 100.0)


async def newest(store) -> int:
    return (await store.query(NEWEST))[0]["value"]


async def test_a_withdrawn_evse_leaves_a_tombstone_behind_the_cursor(store, coordinator):
    await coordinator.apply(push("fullLoad", A1="Available", A2="Available"))
    cursor = await newest(store)
    await coordinator.apply(push("fullLoad", A1="Available"))
    (change,) = await change_feed.load_changes(store, COPY, "DEABC", cursor, 10)
    assert (change.deleted, change.existed_at_cursor, b"A2" in change.raw) == (True, True, True)


@pytest.mark.parametrize(
    ("actions", "deleted", "had"),
    [
        ([("insert", "B")], False, False),
        ([("insert", "B"), ("delete", "B")], True, False),
        ([("delete", "A"), ("insert", "A")], False, True),
        ([("delete", "A"), ("insert", "A"), ("delete", "A")], True, True),
        ([("update", "A")], False, True),
    ],
    ids=["new", "came and went", "went and came back", "came back and went again", "changed"],
)
async def test_a_change_says_whether_the_record_existed_at_the_cursor(store, coordinator, actions, deleted, had):
    await coordinator.apply(push("fullLoad", A="Available", Z="Available"))
    cursor = await newest(store)
    for number, (action, key) in enumerate(actions):
        await coordinator.apply(push(action, **{key: f"Reserved{number}"}))
    (change,) = await change_feed.load_changes(store, COPY, "DEABC", cursor, 10)
    assert (change.deleted, change.existed_at_cursor) == (deleted, had)
