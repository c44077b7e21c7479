"""EVSE statuses: our own, and copies of our peers'.

Every real change gets a new number from the node's change sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import bindparam, func, insert, select, update

from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.tables import evse_statuses, operators
from p2p_oicp.storage.writer import Transaction

OWN = ""


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """One EVSE's status: canonical EvseID, canonical operator, status text, and the record's bytes as they came."""

    evse_key: str
    status: str
    record: bytes


_t = evse_statuses.c
_of_operator = (_t.source == bindparam("source_"), _t.operator_key == bindparam("operator_"))
_TAKE_NUMBER = Statement(
    "INSERT INTO counters (name, value) VALUES ('change', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 "
    "RETURNING value",
    {},
)
_PRESENT = compiled(select(_t.evse_key, _t.record, _t.deleted, _t.operator_key).where(*_of_operator))
_INSERT = compiled(
    insert(evse_statuses)
    .values({name: bindparam(name) for name in _t.keys()})  # noqa: SIM118 - a column collection, not a dict
    .prefix_with("OR REPLACE")
)
_UPDATE = compiled(
    update(evse_statuses)
    .where(_t.source == bindparam("source_"), _t.evse_key == bindparam("evse_"))
    .values({name: bindparam(name) for name in ("status", "record", "change", "updated_at")})
)
_DELETE = compiled(
    update(evse_statuses)
    .where(_t.source == bindparam("source_"), _t.evse_key == bindparam("evse_"))
    .values(deleted=1, change=bindparam("change"), updated_at=bindparam("updated_at"))
)
_NAME_OPERATOR = Statement(
    "INSERT INTO operators (source, operator_key, operator_id, operator_name) "
    "VALUES (:source, :operator_key, :operator_id, :operator_name) ON CONFLICT (source, operator_key) DO UPDATE SET "
    "operator_id = excluded.operator_id, operator_name = coalesce(excluded.operator_name, operator_name)",
    {},
)
_PAGE = (_t.operator_key, operators.c.operator_id, operators.c.operator_name, _t.status, _t.evse_key, _t.record)
_named = evse_statuses.join(
    operators, (operators.c.source == _t.source) & (operators.c.operator_key == _t.operator_key)
)
_current = select(*_PAGE).select_from(_named).where(_t.deleted == 0)
_in_order = (_t.source, _t.operator_key, _t.evse_key)

ALL = compiled(_current.order_by(*_in_order))
OF_SOURCE = compiled(_current.where(_t.source == bindparam("source_")).order_by(*_in_order))
CHANGED = compiled(
    select(*_PAGE, _t.change, _t.created_change, _t.deleted)
    .select_from(_named)
    .where(_t.source == OWN, _t.change > bindparam("after"))
    .order_by(_t.change)
    .limit(bindparam("most"))
)
NEWEST_CHANGE = compiled(select(func.max(_t.change).label("newest")).where(_t.source == OWN))
OWN_OPERATORS = compiled(
    select(operators.c.operator_key, operators.c.operator_id, operators.c.operator_name)
    .where(operators.c.source == OWN)
    .order_by(operators.c.operator_key)
)


def next_change(tx: Transaction) -> int:
    """Take the next number of the node's change sequence."""
    row = tx.one(_TAKE_NUMBER)
    return int(row["value"]) if row else 0


@dataclass(frozen=True, slots=True)
class Push:
    """What a push asks for: ``action`` is OICP's ActionType."""

    source: str
    operator_key: str
    operator_id: str
    operator_name: str | None
    action: str
    records: tuple[StatusRecord, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a push did: changed rows, and the EvseIDs that forbid it (then nothing was changed)."""

    changed: int = 0
    contradictions: tuple[str, ...] = ()


def apply(tx: Transaction, push: Push, now: float) -> Applied:
    """Apply a push, all or nothing: insert only what is new, update and delete only what is there (OICP 2.3, 009)."""
    present = {row["evse_key"]: row for row in tx.all(_PRESENT, source_=push.source, operator_=push.operator_key)}
    living = {key for key, row in present.items() if not row["deleted"]}
    pushed = {record.evse_key for record in push.records}
    wrong = _contradictions(push.action, pushed, living)
    if wrong:
        return Applied(contradictions=tuple(sorted(wrong)))
    tx.run(
        _NAME_OPERATOR,
        source=push.source,
        operator_key=push.operator_key,
        operator_id=push.operator_id,
        operator_name=push.operator_name,
    )
    if push.action == "delete":
        return Applied(_withdraw(tx, push.source, pushed & living, now))
    new = [record for record in push.records if record.evse_key not in living]
    moved = [r for r in push.records if r.evse_key in living and present[r.evse_key]["record"] != r.record]
    changed = _add(tx, push, new, now) + _move(tx, push.source, moved, now)
    if push.action == "fullLoad":
        changed += _withdraw(tx, push.source, living - pushed, now)
    return Applied(changed)


def _contradictions(action: str, pushed: set[str], living: set[str]) -> set[str]:
    if action == "insert":
        return pushed & living
    if action == "update":
        return pushed - living
    return set()


def _add(tx: Transaction, push: Push, records: Iterable[StatusRecord], now: float) -> int:
    rows = []
    for record in records:
        change = next_change(tx)
        rows.append(
            {
                "source": push.source,
                "evse_key": record.evse_key,
                "operator_key": push.operator_key,
                "status": record.status,
                "record": record.record,
                "created_change": change,
                "change": change,
                "deleted": 0,
                "updated_at": now,
            }
        )
    tx.run_many(_INSERT, rows)
    return len(rows)


def _move(tx: Transaction, source: str, records: Iterable[StatusRecord], now: float) -> int:
    rows = [
        {
            "source_": source,
            "evse_": record.evse_key,
            "status": record.status,
            "record": record.record,
            "change": next_change(tx),
            "updated_at": now,
        }
        for record in records
    ]
    tx.run_many(_UPDATE, rows)
    return len(rows)


def _withdraw(tx: Transaction, source: str, keys: set[str], now: float) -> int:
    """Leave tombstones, so that peers and delta pulls learn of it."""
    for key in sorted(keys):
        tx.run(_DELETE, source_=source, evse_=key, change=next_change(tx), updated_at=now)
    return len(keys)
