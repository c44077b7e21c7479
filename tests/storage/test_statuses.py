"""EVSE statuses: the four actions of a push, and the change sequence."""

import pytest

from p2p_oicp.storage import statuses
from p2p_oicp.storage.statuses import Applied, Push, StatusRecord


def push(action: str, source: str = "", operator: str = "DEABC", **records: str) -> Push:
    made = tuple(
        StatusRecord(key, status, f'{{"EvseID":"{key}","EvseStatus":"{status}"}}'.encode())
        for key, status in records.items()
    )
    return Push(source, operator, operator, None, action, made)


async def apply(store, given: Push) -> Applied:
    return await store.write(lambda tx: statuses.apply(tx, given, 100.0))


async def living(store) -> dict[str, str]:
    return {row["evse_key"]: row["status"] for row in await store.read(statuses.ALL)}


async def newest(store) -> int:
    return (await store.read(statuses.NEWEST_CHANGE))[0]["newest"]


@pytest.mark.parametrize(
    ("action", "records", "expected"),
    [
        ("fullLoad", {"E3": "Available"}, {"E3": "Available"}),
        ("fullLoad", {}, {}),
        ("insert", {"E3": "Available"}, {"E1": "Available", "E2": "Occupied", "E3": "Available"}),
        ("update", {"E1": "Occupied"}, {"E1": "Occupied", "E2": "Occupied"}),
        ("delete", {"E1": "Available"}, {"E2": "Occupied"}),
        ("delete", {"E9": "Available"}, {"E1": "Available", "E2": "Occupied"}),
    ],
    ids=["fullLoad replaces", "empty fullLoad withdraws all", "insert", "update", "delete", "delete of nothing"],
)
async def test_a_push_does_what_its_action_says(store, action, records, expected):
    await apply(store, push("fullLoad", E1="Available", E2="Occupied"))
    assert (await apply(store, push(action, **records))).contradictions == ()
    assert await living(store) == expected


@pytest.mark.parametrize(
    ("action", "contradicted"), [("insert", "E1"), ("update", "E9")], ids=["insert of a known", "update of an unknown"]
)
async def test_a_push_that_contradicts_the_store_changes_nothing(store, action, contradicted):
    await apply(store, push("fullLoad", E1="Available"))
    applied = await apply(store, push(action, E1="Occupied", E9="Occupied"))
    assert applied == Applied(0, (contradicted,))
    assert await living(store) == {"E1": "Available"}


async def test_only_real_changes_get_a_number(store):
    await apply(store, push("fullLoad", E1="Available", E2="Available"))
    before = await newest(store)
    assert (await apply(store, push("fullLoad", E1="Available", E2="Available"))).changed == 0
    assert await newest(store) == before
    assert (await apply(store, push("fullLoad", E1="Available", E2="Occupied"))).changed == 1
    assert await newest(store) == before + 1


async def test_a_withdrawn_evse_leaves_a_tombstone_behind_the_cursor(store):
    await apply(store, push("fullLoad", E1="Available", E2="Available"))
    cursor = await newest(store)
    await apply(store, push("fullLoad", E1="Available"))
    rows = await store.read(statuses.CHANGED, after=cursor, most=10)
    assert [(row["evse_key"], row["deleted"]) for row in rows] == [("E2", 1)]


async def test_an_evse_that_comes_back_is_inserted_again(store):
    await apply(store, push("fullLoad", E1="Available"))
    await apply(store, push("delete", E1="Available"))
    assert (await apply(store, push("insert", E1="Occupied"))).contradictions == ()
    assert await living(store) == {"E1": "Occupied"}


async def test_copies_of_peers_are_kept_apart_from_our_own_state(store):
    await apply(store, push("fullLoad", E1="Available"))
    await apply(store, push("fullLoad", source="peer", operator="DEXYZ", X1="Available"))
    await apply(store, push("fullLoad", source="peer", operator="DEXYZ"))
    assert await living(store) == {"E1": "Available"}
