"""A peer's name is a label: its id, and with it all that belongs to it, stays when it gets another one."""

import pytest
from sqlalchemy import Text

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage import open_store, outbox, outbox_lists
from p2p_oicp.storage import peers as peer_rows
from p2p_oicp.storage.peers import MERGED_COLUMNS, PeerIds
from p2p_oicp.storage.schema import metadata
from p2p_oicp.storage.statements import Statement

DESTINATIONS = Statement("SELECT destination FROM outbox ORDER BY id", {})


async def enqueue(store, destination: str) -> None:
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


async def assign(store, **peers: list[str]) -> PeerIds:
    return await store.write(lambda tx: peer_rows.assign_ids(tx, peers))


async def destinations(store) -> list[str]:
    return [row["destination"] for row in await store.query(DESTINATIONS)]


async def shown_destinations(store) -> list[str]:
    page, parameters = outbox_lists.MESSAGES.page(limit=10, backends="[]")
    rows = await store.query(page.statement, **parameters)
    return [row["destination"] for row in rows]


SAME_ID = {
    "the same name and parties": ({"old": ["DEGDF"]}, "old"),
    "one party more": ({"old": ["DEGDF", "DEXXX"]}, "old"),
    "another name": ({"new": ["DEGDF"]}, "new"),
    "another name, and its old one is another company's": ({"old": ["FRXYZ"], "new": ["DEGDF"]}, "new"),
    "split: the part that keeps the name": ({"new": ["DEABC"], "old": ["DEGDF"]}, "old"),
}


@pytest.mark.parametrize(("peers", "name"), SAME_ID.values(), ids=SAME_ID)
async def test_an_id_stays_the_same_as_long_as_a_party_stays_with_the_peer(store, peers, name):
    before = await assign(store, old=["DEGDF", "DEABC"])
    await enqueue(store, before.ids["old"])
    after = await assign(store, **peers)
    assert after.ids[name] == before.ids["old"]
    assert len(set(after.ids.values())) == len(peers)
    assert after.renamed == ({} if name == "old" else {"old": name})
    assert await shown_destinations(store) == [name]


async def test_two_peers_that_swap_their_names_keep_their_ids(store):
    before = await assign(store, one=["DEGDF"], two=["FRXYZ"])
    after = await assign(store, one=["FRXYZ"], two=["DEGDF"])
    assert after.ids == {"one": before.ids["two"], "two": before.ids["one"]}


async def test_a_company_that_gets_the_name_of_a_former_peer_does_not_get_its_messages(store):
    before = await assign(store, name=["DEGDF"])
    await enqueue(store, before.ids["name"])
    after = await assign(store, name=["FRXYZ"])
    assert after.ids["name"] != before.ids["name"]
    assert after.orphaned_messages == {"name": 1}
    assert await shown_destinations(store) == [f"name (former {before.ids['name']})"]


async def test_messages_of_a_peer_that_is_gone_are_counted_and_wait_for_its_return(store):
    before = await assign(store, old=["DEGDF"])
    await enqueue(store, before.ids["old"])
    assert (await assign(store, other=["FRXYZ"])).orphaned_messages == {"old": 1}
    assert (await assign(store, other=["FRXYZ"], back=["DEGDF"])).ids["back"] == before.ids["old"]


async def test_messages_of_two_peers_that_are_merged_go_to_the_one(store):
    before = await assign(store, one=["DEGDF"], two=["FRXYZ"])
    for peer_id in before.ids.values():
        await enqueue(store, peer_id)
    after = await assign(store, one=["DEGDF", "FRXYZ"])
    assert after == PeerIds({"one": before.ids["one"]}, renamed={"two": "one"})
    assert await destinations(store) == [before.ids["one"]] * 2


async def test_the_id_of_a_merged_peer_is_not_given_to_another(store):
    before = await assign(store, one=["DEGDF"], two=["FRXYZ"])
    await assign(store, one=["DEGDF", "FRXYZ"])
    after = await assign(store, one=["DEGDF", "FRXYZ"], new=["NLABC"])
    assert after.ids["new"] not in before.ids.values()


def test_every_table_with_peers_has_their_ids():
    """No table but ``peers`` needs to know a name, so that a rename is one row."""
    columns = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.c
        if column.name in {"peer", "source", "destination"} and isinstance(column.type, Text)
    }
    assert columns >= {f"{column.table.name}.{column.name}" for column in MERGED_COLUMNS}
    assert not [name for name in columns if name.endswith("_name")]


async def test_two_nodes_cannot_share_a_database(database):
    async with open_store(database):
        with pytest.raises(StoreUnavailable, match="another node uses it"):
            async with open_store(database):
                pass
