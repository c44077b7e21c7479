"""How far a copy lags behind, as people see it."""

import pytest

from p2p_oicp.storage.datasets import replica_lag
from p2p_oicp.storage.datasets.change_feed import ReplicaScope, lagging_groups
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.datasets.replica_lag import ReplicaLag, read_lag
from tests.support.changesets import push
from tests.support.replicas import newest_change, only, set_cursor

COPY = ReplicaScope("peer", DatasetKind.EVSE_STATUS, None)


@pytest.fixture
def coordinator(store) -> DatasetCoordinator:
    return DatasetCoordinator(store, lambda: 100.0)


async def test_a_copy_that_lags_behind_says_by_how_many_of_how_many_records(store, coordinator):
    await coordinator.apply(push("fullLoad", A1="Available", A2="Available", A3="Available"))
    assert (await read_lag(store, COPY)).is_without_copy
    await store.write(lambda tx: set_cursor(tx, COPY, "DEABC", 0))
    cursor = await newest_change(store)
    await store.write(lambda tx: set_cursor(tx, COPY, "DEABC", cursor))
    assert await read_lag(store, COPY) == ReplicaLag()
    await coordinator.apply(push("update", A2="Reserved"))
    lag = await read_lag(store, COPY)
    assert (lag.changes, lag.total, lag.since, lag.is_without_copy) == (1, 3, 100.0, False)


@pytest.mark.parametrize(
    ("bound", "changes", "total"), [(2, 2, None), (4, 3, None), (6, 3, 5)], ids=["cut", "total cut", "whole"]
)
async def test_counting_ends_at_a_bound_for_all_groups_of_a_copy(
    store, coordinator, monkeypatch, bound, changes, total
):
    await coordinator.apply(push("fullLoad", A1="Available", A2="Available", A3="Available"))
    await coordinator.apply(push("fullLoad", "peer:1", A1="Available", A2="Available"))
    scope = ReplicaScope("backend:app", DatasetKind.EVSE_STATUS, None, only())
    first, second = await lagging_groups(store, scope)
    await store.write(lambda tx: set_cursor(tx, scope, first.cursor_key, first.last_change - 1))
    monkeypatch.setattr(replica_lag, "_MAX_COUNTED_CHANGES", bound)
    lag = await read_lag(store, scope)
    assert (lag.changes, lag.total) == (changes, total)
    assert second.cursor_key == "peer:1/DEABC"
