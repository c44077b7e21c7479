"""An online, consistent copy of the database that can be copied back.

A store that is restored is a new one to its peers (``birth``): what they gave it after the backup they give it again,
and it knows nothing of how far their copies of its own state are, so that it begins with fullLoads.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import bindparam, insert

from p2p_oicp.errors import StoreError, StoreUnusable
from p2p_oicp.storage import birth, cursors
from p2p_oicp.storage.journal import Journal
from p2p_oicp.storage.migrate import uri_of
from p2p_oicp.storage.state.plans import ALL, DECIDED, push_of
from p2p_oicp.storage.state.tables import journal as table
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.writer import Transaction

_PAGES_A_STEP = 2000
_MOST_TRIES = 5
_KEEP = compiled(insert(table).values(id=bindparam("id"), request=bindparam("request")))


def back_up(source: Path, target: Path) -> int:
    """Copy the database ``source``, in use or not, to the new file ``target``; return its size in bytes.

    Raises StoreUnusable, and leaves nothing beside it then.
    """
    if not source.exists():
        raise StoreUnusable(f"{source}: there is no database yet; start the node once with `p2p-oicp run`")
    if target.exists():
        raise StoreUnusable(f"{target}: exists already, and a backup is not overwritten; choose another name")
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        _copy_whole(source, unfinished)
        unfinished.chmod(0o600)
        _flush(unfinished)
        unfinished.rename(target)
    except StoreUnusable:
        raise
    except (sqlite3.Error, OSError, StoreError) as error:
        raise StoreUnusable(f"{target}: the backup failed: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return target.stat().st_size


def _copy_whole(source: Path, target: Path) -> None:
    for _ in range(_MOST_TRIES):
        target.unlink(missing_ok=True)
        if _copy(source, target):
            return
    raise StoreUnusable(f"{source}: large pushes ended whenever it was copied; back up when less is pushed")


def _copy(source: Path, target: Path) -> bool:
    """Copy the database; False where the copy lacks what a push needs that ended meanwhile."""
    with (
        closing(sqlite3.connect(uri_of(source, "ro"), uri=True)) as database,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        database.backup(copy, pages=_PAGES_A_STEP)
        copy.row_factory = sqlite3.Row
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        copy.execute("BEGIN")
        transaction = Transaction(copy)
        is_whole = _take_journal_along(transaction, Journal(source))
        birth.forget(transaction)
        cursors.forget_everybody(transaction)
        copy.execute("COMMIT")
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreUnusable(f"{source}: is damaged ({found.splitlines()[-1]}); restore an earlier backup")
    return is_whole


def _take_journal_along(tx: Transaction, journal: Journal) -> bool:
    """Keep the requests of pushes that are half applied in the copy, so that it can make them good.

    False where a push ended after it was copied half applied: its request is gone.
    """
    for row in tx.all(ALL):
        _, party = push_of(row)
        if party is None or row["state"] != DECIDED:
            continue
        request = journal.read(row["id"])
        if request is None:
            return False
        tx.run(_KEEP, id=row["id"], request=request)
    return True


def _flush(file: Path) -> None:
    with file.open("rb+") as written:
        os.fsync(written.fileno())
