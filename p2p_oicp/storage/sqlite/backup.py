"""Online backup: a consistent copy of the database in one file, which is restored by copying it back.

A restored database has a new store epoch (`peer_state`): peers send again what they sent after the backup. It has no
replication cursors either, since the peers may have got further meanwhile: it starts with snapshots.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import bindparam, insert

from p2p_oicp.errors import StoreError, StoreUnavailable, reason_of
from p2p_oicp.storage import epochs, peer_state
from p2p_oicp.storage.datasets.staging import ALL_IMPORTS
from p2p_oicp.storage.schema import spool as table
from p2p_oicp.storage.sqlite.connections import absent_file, create_private, sqlite_uri
from p2p_oicp.storage.sqlite.migrate import migrate
from p2p_oicp.storage.sqlite.spool import Spool
from p2p_oicp.storage.sqlite.writer import SqliteTransaction
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.transactions import Transaction

_MAX_ATTEMPTS = 5
_SPOOL_BLOCK_BYTES = 1024 * 1024
_INSERT_SPOOL_BLOCK = compiled(
    insert(table).values({name: bindparam(name) for name in ("import_id", "position", "content")})
)


def back_up(source: Path, target: Path, now: float) -> int:
    """Copy the database ``source``, in use or not, to the new file ``target``; return its size in bytes.

    Raises:
        StoreUnavailable: the backup failed; no file is left.

    """
    if not source.exists():
        raise StoreUnavailable(absent_file(source))
    if target.exists():
        raise StoreUnavailable(f"{target}: exists already, and a backup is not overwritten; choose another name")
    # Order: copy under another name, flush, rename. A file of the final name is always whole.
    partial_file = target.with_name(f"{target.name}.unfinished")
    try:
        _copy_with_retries(source, partial_file, now)
        _fsync(partial_file)
        partial_file.rename(target)
    except StoreUnavailable:
        raise
    except (sqlite3.Error, OSError, StoreError) as error:
        raise StoreUnavailable(f"{target}: the backup failed: {reason_of(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            partial_file.unlink(missing_ok=True)
    return target.stat().st_size


def put_back(copy: Path, database: Path, now: float) -> Path | None:
    """Put a backup in the place of the database, which no node has open; return the name of the former one.

    Raises:
        StoreUnavailable: the copy is damaged or of a newer version; then nothing has changed.
    """
    with closing(sqlite3.connect(sqlite_uri(copy, "ro"), uri=True)) as connection:
        try:
            integrity = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{copy}: is no database: {error}") from error
    if integrity != "ok":
        raise StoreUnavailable(f"{copy}: is damaged ({integrity.splitlines()[-1]}); restore an earlier backup")
    migrate(copy)
    former = database.with_name(f"{database.name}.before-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S.%fZ}")
    is_new = not database.exists()
    if not is_new:
        # Order: what is in the write-ahead log belongs to the former database; beside another one it would damage it.
        os.link(database, former)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                database.with_name(f"{database.name}{suffix}").rename(former.with_name(f"{former.name}{suffix}"))
    copy.replace(database)
    _fsync_folder(database.parent)
    return None if is_new else former


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_with_retries(source: Path, target: Path, now: float) -> None:
    for _ in range(_MAX_ATTEMPTS):
        target.unlink(missing_ok=True)
        create_private(target)
        if _copy(source, target, now):
            return
    raise StoreUnavailable(f"{source}: large pushes ended whenever it was copied; back up when less is pushed")


def _copy(source: Path, target: Path, started_at: float) -> bool:
    """Copy the database; return False if the copy lacks the spool file of an import that ended meanwhile."""
    with (
        closing(sqlite3.connect(sqlite_uri(source, "ro"), uri=True)) as source_connection,
        closing(sqlite3.connect(target, isolation_level=None)) as target_connection,
    ):
        # In one step, which reads one state of the database and holds up no writer: where there are several, each
        # commit of the node between two makes SQLite begin again, so that a backup under load never ends.
        source_connection.backup(target_connection)
        target_connection.row_factory = sqlite3.Row
        target_connection.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        target_connection.execute("BEGIN")
        transaction = SqliteTransaction(target_connection)
        is_complete = _copy_spool(transaction, Spool(source))
        # In the copy, not at the restore: a restore is copying a file, and no program takes part in it.
        epochs.end_epoch(transaction, started_at)
        peer_state.reset_all_cursors(transaction)
        target_connection.execute("COMMIT")
        integrity = target_connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if integrity != "ok":
        raise StoreUnavailable(f"{source}: is damaged ({integrity.splitlines()[-1]}); restore an earlier backup")
    return is_complete


def _copy_spool(tx: Transaction, spool: Spool) -> bool:
    """Put the spool files of imports that are under way into the copy, so that they can be finished from it.

    Return False if one has ended since its row was copied: its file is gone.
    """
    for row in tx.all(ALL_IMPORTS):
        position = 0
        for block in spool.file(row["spool_name"]).blocks(_SPOOL_BLOCK_BYTES):
            tx.run(_INSERT_SPOOL_BLOCK, import_id=row["id"], position=position, content=block)
            position += len(block)
        if position != row["spool_size"]:
            return False
    return True


def _fsync(file: Path) -> None:
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())
