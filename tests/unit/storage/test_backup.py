"""Commands that open the database by themselves: a backup, a query, a change; in any folder."""

import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage import open_for_change, open_readonly, open_store, query_once, tokens
from p2p_oicp.storage.sqlite.backup import back_up

pytestmark = pytest.mark.sqlite


NOW = 1_800_000_000.0

TOKEN = tokens.Token("1234ABCD", "1234ABCD")


@pytest.fixture(params=["a # b", "a?mode=memory", "100%25"])
def store(request, tmp_path):
    """A database in a folder of an unusual name, with one token."""
    file = tmp_path / request.param / "node.sqlite3"
    with open_for_change(file) as tx:
        tokens.upsert_token(tx, TOKEN, 1.0)
    return file


def test_a_database_is_found_in_any_folder(store, tmp_path):
    copy = store.with_name("copy.sqlite3")
    back_up(store, copy, NOW)
    for file in (store, copy):
        assert [row["token"] for row in query_once(file, tokens.ALL_TOKENS)] == ["1234ABCD"]
        with open_readonly(file) as reader:
            assert [row["token"] for row in reader.rows(tokens.ALL_TOKENS)] == ["1234ABCD"]
    assert [path.name for path in tmp_path.iterdir()] == [store.parent.name]


def test_a_backup_of_a_busy_node_ends(database):
    """While it is copied in several steps, each commit between two of them makes SQLite begin again."""
    is_done = threading.Event()
    with open_for_change(database):
        pass
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # as the node has it
        connection.execute("CREATE TABLE ballast (bytes BLOB)")
        connection.executemany("INSERT INTO ballast VALUES (zeroblob(1000000))", [()] * 64)
        connection.commit()

    def commit_all_the_time() -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # thousands in a second, on any disk
            while not is_done.is_set():
                connection.execute("INSERT INTO ballast VALUES (randomblob(100))")

    with ThreadPoolExecutor(2) as threads:
        writer = threads.submit(commit_all_the_time)
        backup = threads.submit(back_up, database, database.with_name("copy.sqlite3"), NOW)
        try:
            assert backup.result(timeout=60) > 64_000_000
        finally:
            is_done.set()
        writer.result(timeout=60)


async def test_a_backup_is_not_mixed_with_the_log_of_the_database_that_it_was_copied_over(database):
    """A node that crashes leaves its log, and people forget to remove it."""
    log, copy = database.with_name(f"{database.name}-wal"), database.with_name("copy.sqlite3")
    async with open_store(database) as store:
        await store.write(lambda tx: tokens.upsert_token(tx, TOKEN, 1.0))
        back_up(database, copy, NOW)
        await store.write(lambda tx: tokens.upsert_token(tx, tokens.Token("5678", "5678"), 1.0))
        left_behind = log.read_bytes()
    assert left_behind
    shutil.copy(copy, database)
    log.write_bytes(left_behind)
    async with open_store(database) as store:
        assert [row["token"] for row in await store.query(tokens.ALL_TOKENS)] == ["1234ABCD"]


def damaged(file) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("DELETE FROM sqlite_master WHERE name = 'dataset_records_by_key'")
        database.commit()


def in_the_middle_of_a_push(file) -> None:
    with closing(sqlite3.connect(file)) as database:
        row = (1, b"", 0, f"{file.name}-import-1", 99)
        database.execute("INSERT INTO imports VALUES (?, ?, ?, ?, ?)", row)
        database.commit()


def with_a_spool_file_that_cannot_be_read(file) -> None:
    in_the_middle_of_a_push(file)
    file.with_name(f"{file.name}-import-1").mkdir()


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (damaged, r"node.sqlite3: is damaged \(Page [0-9]+ is never used\); restore an earlier backup"),
        (in_the_middle_of_a_push, "back up when less is pushed"),
        (with_a_spool_file_that_cannot_be_read, "the backup failed: .*-import-1: cannot be read"),
    ],
)
def test_a_backup_that_fails_says_why_and_leaves_nothing(database, trouble, message):
    with open_for_change(database) as tx:
        tokens.upsert_token(tx, TOKEN, 1.0)
    trouble(database)
    before = sorted(database.parent.iterdir())
    with pytest.raises(StoreUnavailable, match=message):
        back_up(database, database.with_name("copy.sqlite3"), NOW)
    assert sorted(database.parent.iterdir()) == before
