"""Backups of both nodes, and their restores; the sessions begin now, after the backup and before the restore."""

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from p2p_oicp.storage.sqlite.backup import back_up
from tests.support.messages import cdr
from tests.support.nodes import query, restore
from tests.support.waiting import eventually


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat(timespec="seconds")


def record(session: str, **members) -> dict:
    """A CDR of a session that began now, with what the demo's meter counts."""
    times = {"SessionStart": 0, "ChargingStart": 1, "ChargingEnd": 2, "SessionEnd": 3}
    return cdr(session, **{name: timestamp(seconds) for name, seconds in times.items()}, **members)


async def back_up_all(pair) -> dict:
    """Back up both nodes' databases, with a first epoch that the peers have told each other.

    Beside each backup is a plain copy of the file, of when the node was stopped then (`copy_of`).
    """
    async with pair.running("a"), pair.running("b"):
        await eventually(
            lambda: all(
                query(pair, name, "SELECT count(*) FROM destinations WHERE store_epoch IS NOT NULL") == [(1,)]
                for name in "ab"
            )
        )
        backups = {}
        for name in "ab":
            backups[name] = pair.folder / f"{name}.backup"
            back_up(pair.database(name), backups[name], time.time())
    for name in "ab":
        shutil.copy(pair.database(name), copy_of(backups[name]))
    return backups


def copy_of(backup: Path) -> Path:
    return backup.with_suffix(".copy")


async def restore_all(pair, backups: dict, how: dict) -> None:
    for name, source in how.items():
        sources = {"old": backups[name], "copy": copy_of(backups[name]), "empty": None}
        restore(pair, name, sources[source])
