"""Checkpoints beside the writer: the log starts anew instead of growing."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from p2p_oicp.storage.sqlite.checkpoints import WalCheckpointer, checkpoint_tail
from p2p_oicp.storage.sqlite.writer import GroupCommitWriter
from p2p_oicp.storage.statements import Statement

pytestmark = pytest.mark.sqlite


INSERT = Statement("INSERT INTO counters (name, value) VALUES (:name, 1)", {})
LONG = "x" * 3000


def pages_in_log(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]


async def write_rows(writer: GroupCommitWriter, numbers: range) -> None:
    for number in numbers:
        await writer.run(lambda tx, name=f"{number} {LONG}": tx.run(INSERT, name=name))


@pytest.mark.usefixtures("store")
async def test_the_log_starts_anew_while_the_writer_goes_on(database):
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        writer = GroupCommitWriter(connection, WalCheckpointer(database, interval=0.0))
        await write_rows(writer, range(400))
        assert pages_in_log(connection) < 400
        await writer.close()


@pytest.mark.usefixtures("store")
async def test_no_committed_row_is_lost_in_a_checkpoint(database):
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as connection:
        writer = GroupCommitWriter(connection, WalCheckpointer(database, interval=0.0))
        await write_rows(writer, range(200))
        await writer.close()
    with closing(sqlite3.connect(database)) as other:
        assert other.execute("SELECT count(*) FROM counters").fetchone() == (200,)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.usefixtures("store")
async def test_a_database_that_cannot_be_copied_does_not_stop_the_writer(database, monkeypatch):
    def refuse(*_args, **_options):
        raise sqlite3.OperationalError("disk I/O error")

    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as connection:
        writer = GroupCommitWriter(connection, WalCheckpointer(database, interval=0.0))
        monkeypatch.setattr(sqlite3, "connect", refuse)
        await write_rows(writer, range(20))
        await writer.close()
        monkeypatch.undo()
        checkpoint_tail(connection)
        assert connection.execute("SELECT count(*) FROM counters").fetchone() == (20,)


async def test_another_programs_lock_is_waited_for_without_holding_up_the_loop(store, database):
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(store.write(lambda tx: tx.run(INSERT, name="a")))
        turns = 0
        while turns < 1000:
            await asyncio.sleep(0)
            turns += 1
        assert not waiting.done()
        other.execute("COMMIT")
        assert await waiting == 1
