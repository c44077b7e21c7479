"""A push that is small enough for one job: checked and applied in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sqlalchemy import bindparam, select, update

from p2p_oicp.storage.state.apply import present, put, put_groups, withdraw, withdraw_keys
from p2p_oicp.storage.state.model import Applied, Must, Push
from p2p_oicp.storage.state.tables import state_groups
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.writer import Transaction

#: Records that one job may change: two milliseconds, for which an authorization may have to wait.
MOST_AT_ONCE = 100
# Other implementations send the same request up to 12 times within 3 minutes (box H4).
REPEAT_WINDOW_SECONDS = 300.0

_g = state_groups.c
_this_group = (
    _g.kind == bindparam("kind_"),
    _g.source == bindparam("source_"),
    _g.group_key == bindparam("group_"),
)
_LAST_PUSH = compiled(select(_g.last_push, _g.updated_at).where(*_this_group))
_SET_LAST_PUSH = compiled(
    update(state_groups).where(*_this_group).values(last_push=bindparam("last_push"), updated_at=bindparam("now_"))
)


def apply_at_once(tx: Transaction, push: Push, leaving: Sequence[sqlite3.Row], now: float) -> Applied:
    """Apply a push that changes few records, all or nothing; ``leaving`` is what it does not name and withdraws."""
    if is_repetition(tx, push, now):
        return Applied()
    if push.must is not None:
        wrong = contradictions(push, present(tx, push.kind, push.source, (record.key for record in push.records)))
        if wrong:
            return Applied(contradictions=wrong)
    changed = put_groups(tx, push.kind, push.source, push.groups, now)
    changed += put(tx, push.kind, push.source, push.records, now)
    changed += withdraw_keys(tx, push.kind, push.source, push.gone, now)
    changed += withdraw(tx, push.kind, push.source, leaving, now)
    remember(tx, push, now)
    return Applied(changed)


def contradictions(push: Push, known: dict[str, sqlite3.Row]) -> tuple[str, ...]:
    """Return the keys that exist and must not, or must and do not."""
    living = {key for key, row in known.items() if not row["deleted"]}
    pushed = {record.key for record in push.records}
    if push.must is Must.BE_NEW:
        return tuple(sorted(pushed & living))
    if push.must is Must.BE_KNOWN:
        return tuple(sorted(pushed - living))
    return ()


def is_repetition(tx: Transaction, push: Push, now: float) -> bool:
    """Say whether the same request was the last one applied, moments ago: its answer was lost."""
    if push.digest is None or not push.groups:
        return False
    row = tx.one(_LAST_PUSH, kind_=push.kind, source_=push.source, group_=push.groups[0].key)
    return row is not None and row["last_push"] == push.digest and 0 <= now - row["updated_at"] < REPEAT_WINDOW_SECONDS


def remember(tx: Transaction, push: Push, now: float) -> None:
    """Note which request was the last one applied."""
    for group in push.groups if push.digest is not None else ():
        tx.run(
            _SET_LAST_PUSH,
            kind_=push.kind,
            source_=push.source,
            group_=group.key,
            last_push=push.digest,
            now_=now,
        )
