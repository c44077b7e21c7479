"""Backups of both nodes, and their restores; the sessions begin now, after the backup and before the restore."""

import time
from datetime import UTC, datetime

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
    """Back up both nodes' databases, with a first epoch that the peers have told each other."""
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
    return backups


async def restore_all(pair, backups: dict, how: dict) -> None:
    for name, source in how.items():
        restore(pair, name, backups[name] if source == "old" else None)
