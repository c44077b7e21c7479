"""RULES S4: any sequence of deltas ends where one full pull does, and the same delta twice is the same delta once."""

import asyncio
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_oicp.storage import Store, open_store
from p2p_oicp.storage.datasets import evse_search, queries
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.evse_search import EvseFilter
from p2p_oicp.storage.datasets.models import OWN, DatasetKind
from tests.support.changesets import push_of

KEYS = "ABCDEF"

pushes = st.tuples(
    st.sampled_from(["fullLoad", "insert", "update", "delete"]),
    st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3), max_size=4),
)
# Between two pulls of a client, any number of pushes happens.
stories = st.lists(st.lists(pushes, max_size=4), min_size=1, max_size=6)


async def pull(store: Store, since: float | None) -> list[dict]:
    ids = await evse_search.search(store, EvseFilter(source=OWN), since)
    return [
        {**json.loads(b"{" + rest), "deltaType": alike.label.delta_type}
        for alike in await queries.load_runs(store, ids, since)
        for rest in alike.record_tails.split(queries.RECORD_SEPARATOR)
    ]


def take(copy: dict[str, int], found: list[dict]) -> dict[str, int]:
    """Apply a delta as a client does: insert and update put, delete removes."""
    copy = dict(copy)
    for one in found:
        if one["deltaType"] == "delete":
            copy.pop(one["key"], None)
        else:
            copy[one["key"]] = one["value"]
    return copy


async def play(file: Path, story: list[list[tuple[str, dict[str, int]]]]) -> None:
    now = 1000.0
    async with open_store(file, synchronous="NORMAL") as store:
        coordinator = DatasetCoordinator(store, lambda: now)
        copy: dict[str, int] = {}
        moments: list[tuple[float, dict[str, int]]] = []
        last_call = 0.0
        for chapter in story:
            for action, values in chapter:
                now += 1
                await coordinator.apply(push_of(action, values))
            now += 1
            delta = await pull(store, last_call)
            last_call = now
            copy = take(copy, delta)
            assert take(copy, delta) == copy
            moments.append((now, {one["key"]: one["value"] for one in await pull(store, None)}))
            assert copy == moments[-1][1]
            now += 1
        for moment, valid in moments:
            rows = await queries.valid_at(store, DatasetKind.EVSE_DATA, moment)
            assert {row["key"]: json.loads(row["raw"])["value"] for row in rows} == valid


@given(stories)
@settings(max_examples=40)
def test_deltas_lead_where_a_full_pull_does_and_the_history_has_every_moment(story):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "node.sqlite3", story))


def test_an_evse_that_was_deleted_and_inserted_again_is_an_update_or_an_insert_by_what_the_client_has(tmp_path):
    async def story() -> list[list[str]]:
        now = 0.0
        async with open_store(tmp_path / "node.sqlite3") as store:
            coordinator = DatasetCoordinator(store, lambda: now)
            for action in ("insert", "delete", "insert"):
                now += 10.0
                await coordinator.apply(push_of(action, {"A": 1}))
            return [[one["deltaType"] for one in await pull(store, since)] for since in (15.0, 25.0)]

    assert asyncio.run(story()) == [["update"], ["insert"]]
