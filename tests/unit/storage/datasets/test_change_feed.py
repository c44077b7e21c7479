"""The change feed: what a peer's copy lacks behind its cursor."""

from types import SimpleNamespace

import pytest

from p2p_oicp.storage import peer_state
from p2p_oicp.storage.datasets import change_feed
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.models import OWN, DatasetKind
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import push
from tests.support.replicas import newest_change, only, set_cursor

COPY = change_feed.ReplicaScope("peer", DatasetKind.EVSE_STATUS, None)
OWN_GROUP = SimpleNamespace(source=OWN, group_key="DEABC")


@pytest.fixture
def coordinator(store) -> DatasetCoordinator:
    return DatasetCoordinator(store, lambda: 100.0)


async def test_a_withdrawn_evse_leaves_a_tombstone_behind_the_cursor(store, coordinator):
    await coordinator.apply(push("fullLoad", A1="Available", A2="Available"))
    cursor = await newest_change(store)
    await coordinator.apply(push("fullLoad", A1="Available"))
    (change,) = await change_feed.load_changes(store, COPY, OWN_GROUP, cursor, 10)
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
    cursor = await newest_change(store)
    for number, (action, key) in enumerate(actions):
        await coordinator.apply(push(action, **{key: f"Reserved{number}"}))
    (change,) = await change_feed.load_changes(store, COPY, OWN_GROUP, cursor, 10)
    assert (change.deleted, change.existed_at_cursor) == (deleted, had)


async def test_a_backend_of_ours_has_a_copy_of_everybodys_groups(store, coordinator):
    for source in (OWN, "peer:1", "peer:2"):
        await coordinator.apply(push("fullLoad", source, A="Available"))
    scope = change_feed.ReplicaScope("backend:app", DatasetKind.EVSE_STATUS, None, only("peer:2"))
    groups = await change_feed.lagging_groups(store, scope)
    assert [(group.source, group.cursor_key) for group in groups] == [("", "DEABC"), ("peer:1", "peer:1/DEABC")]
    for group in groups:
        await store.write(lambda tx, g=group: set_cursor(tx, scope, g.cursor_key, g.last_change))
    assert await change_feed.lagging_groups(store, scope) == []


async def test_what_a_former_peer_has_published_is_withdrawn_from_a_backend_and_once_only(store, coordinator):
    await coordinator.apply(push("fullLoad", "peer:1", A="Available"))
    scope = change_feed.ReplicaScope("backend:app", DatasetKind.EVSE_STATUS, None, only("peer:1"))
    for key in ("peer:1/DEABC", "peer:2/DEABC", "peer:2/DEABD"):
        await store.write(lambda tx, key=key: set_cursor(tx, scope, key, 1))
    (group,) = await change_feed.lagging_groups(store, scope)
    assert (group.is_withdrawn, group.source) == (True, "peer:1")
    await store.write(lambda tx: peer_state.delete_group_cursors(tx, scope.peer, scope.dataset, "DEABC"))
    assert await change_feed.lagging_groups(store, scope) == []
    assert [row["group_key"] for row in await store.query(CURSORS)] == ["peer:2/DEABD"]


CURSORS = Statement("SELECT group_key FROM cursors", {})
