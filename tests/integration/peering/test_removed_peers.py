"""Records of a removed peer are hidden until it returns; a renamed peer is the same peer."""

from sqlalchemy import Text

from p2p_oicp.storage.schema import metadata
from tests.support import dataset_messages as state
from tests.support.messages import (
    CDR,
    NOTIFY,
    PULL_STATUS,
    PUSH_STATUS,
    START,
    authorize_start,
    cdr,
    notification,
    push_status,
)
from tests.support.nodes import query, start_session
from tests.support.pulls import pulled, until_pulled
from tests.support.waiting import eventually


async def evses(caller) -> list[str]:
    answer = await caller.post(state.PULL_DATA, state.pull_data())
    return [record["EvseID"] for record in answer.json["content"]]


async def by_id(caller) -> str:
    answer = await caller.post(PULL_STATUS, {"ProviderID": "DE-GDF", "EvseID": ["DE*GEF*EA"]})
    return answer.json["EVSEStatusRecords"]["EvseStatusRecord"][0]["EvseStatus"]


async def test_records_of_a_removed_peer_are_hidden_and_count_again_when_it_returns(stopped):
    async with stopped.running("a"), stopped.running("b") as b:
        await stopped.a.post(state.PUSH_DATA, state.push_data(state.evse("A")))
        await stopped.a.post(PUSH_STATUS, push_status(A="Available"))
        await until_pulled(stopped.b, {"DE*GEF*EA": "Available"})
        await eventually(lambda: evses(stopped.b))
        peers = stopped.folder / "b" / "peers.toml"
        entry = peers.read_text()
        everything = await evses(stopped.b), await by_id(stopped.b)
        assert everything == (["DE*GEF*EA"], "Available")
        peers.write_text("")
        await b.reload()
        assert (await evses(stopped.b), await by_id(stopped.b)) == ([], "EvseNotFound")
        assert await pulled(stopped.b) == {}
        peers.write_text(entry)
        await b.reload()
        assert (await evses(stopped.b), await by_id(stopped.b)) == everything
        assert await pulled(stopped.b) == {"DE*GEF*EA": "Available"}


async def test_a_peer_renamed_at_run_time_gets_its_waiting_messages_and_keeps_its_sessions(stopped):
    async with stopped.running("a") as a:
        async with stopped.running("b"):
            session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        await stopped.a.post(NOTIFY, notification("Start", session))
        peers = stopped.folder / "a" / "peers.toml"
        peers.write_text(peers.read_text().replace("node b", "Beta"))
        await a.reload()
        async with stopped.running("b"):
            await stopped.contracts.until(lambda book: book.notifications)
            assert (await stopped.a.post(CDR, cdr(session))).json["Result"] is True
            await stopped.contracts.until(lambda book: book.records)
            await stopped.at_rest("a")


# For people, and in the peers' own entries.
NAMES = {"peers.name", "paired_peers.name"}


async def test_rows_have_the_ids_of_peers_and_not_their_names(pair):
    session = await start_session(pair)
    await pair.a.post(state.PUSH_DATA, state.push_data(state.evse("A")))
    await pair.a.post(PUSH_STATUS, push_status(A="Available"))
    await until_pulled(pair.b, {"DE*GEF*EA": "Available"})
    await pair.a.post(CDR, cdr(session))
    await pair.contracts.until(lambda book: book.records)
    await pair.at_rest("a")
    columns = [
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.c
        if isinstance(column.type, Text)
    ]
    for node in ("a", "b"):
        assert [
            name
            for table, column in columns
            if (name := f"{table}.{column}") not in NAMES
            and query(pair, node, f"SELECT 1 FROM {table} WHERE {column} LIKE '%node _%'")
        ] == []
        assert query(pair, node, "SELECT DISTINCT peer FROM sessions UNION SELECT peer FROM cdrs") == [("peer:1",)]
