"""A peer's name is a label: what belongs to it follows when it is given another one."""

import pytest
from sqlalchemy import Text

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage import open_store, outbox
from p2p_oicp.storage import peers as peer_rows
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.models import (
    Changeset,
    DatasetKind,
    DatasetRecord,
    EvseIndexRow,
    RecordGroup,
    TokenIndexRow,
)
from p2p_oicp.storage.peers import PEER_NAME_COLUMNS, RenameResult
from p2p_oicp.storage.schema import metadata
from p2p_oicp.storage.statements import Statement

DESTINATIONS = Statement("SELECT destination FROM outbox ORDER BY id", {})
# Columns of these names that do not hold a peer's name.
OTHERS = {"counters.name", "peer_parties.name", "paired_peers.name", "paired_peers.source"}


async def owe(store, destination: str) -> None:
    await store.write(
        lambda tx: outbox.enqueue(
            tx,
            destination=destination,
            operation="Op",
            sender_id=None,
            role="cpo",
            session_key="s",
            body=b"{}",
            now=1.0,
        )
    )


async def follow(store, **peers: list[str]) -> RenameResult:
    return await store.write(lambda tx: peer_rows.rename_peers(tx, peers))


async def destinations(store) -> list[str]:
    return [row["destination"] for row in await store.query(DESTINATIONS)]


async def test_letters_follow_a_peer_to_its_new_name(store):
    await follow(store, old=["DEGDF"])
    await owe(store, "old")
    assert (await follow(store, new=["DEGDF"])).renamed == {"old": "new"}
    assert await destinations(store) == ["new"]


async def test_letters_of_a_peer_that_is_gone_are_counted_and_kept(store):
    await follow(store, old=["DEGDF"])
    await owe(store, "old")
    assert (await follow(store, other=["FRXYZ"])).orphaned_messages == {"old": 1}
    assert await destinations(store) == ["old"]


async def test_a_peer_that_keeps_its_name_keeps_everything(store):
    await follow(store, old=["DEGDF"])
    await owe(store, "old")
    assert await follow(store, old=["DEGDF", "DEXXX"]) == RenameResult({}, {})
    assert await destinations(store) == ["old"]


def brought(kind: DatasetKind, source: str, *keys: str) -> Changeset:
    facts = {
        DatasetKind.EVSE_DATA: EvseIndexRow(
            "", "DEABC", "DEABC", "DEU", None, None, None, "", "", "", None, None, None
        ),
        DatasetKind.AUTHENTICATION: TokenIndexRow("AABBCCDD", None, None),
    }
    records = [DatasetRecord(key, "DEABC", b"{}", "", facts[kind]) for key in keys]
    return Changeset(dataset=kind, source=source, groups=[RecordGroup("DEABC", "DE*ABC", b"{}")], records=records)


SEARCHED = {
    DatasetKind.EVSE_DATA: Statement("SELECT record_id FROM evse_index", {}),
    DatasetKind.AUTHENTICATION: Statement("SELECT record_id FROM identifications", {}),
}


@pytest.mark.parametrize("kind", SEARCHED)
async def test_what_a_peer_has_brought_under_both_names_is_found_once(store, kind):
    keeper = DatasetCoordinator(store, lambda: 100.0)
    await follow(store, old=["DEABC"])
    await keeper.apply(brought(kind, "old", "both", "one"))
    await keeper.apply(brought(kind, "new", "both"))
    await follow(store, new=["DEABC"])
    assert len(await store.query(SEARCHED[kind])) == 2


def test_every_column_that_names_a_peer_is_known():
    named = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.c
        if column.name in {"peer", "source", "destination", "name"} and isinstance(column.type, Text)
    }
    assert named - OTHERS == {f"{holder.table.name}.{holder.name}" for holder in PEER_NAME_COLUMNS}


async def test_two_nodes_cannot_share_a_database(database):
    async with open_store(database):
        with pytest.raises(StoreUnavailable, match="another node uses it"):
            async with open_store(database):
                pass
