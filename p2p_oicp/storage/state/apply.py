"""Changing state within one transaction: every real change gets a number, and leaves the earlier version behind.

What is put again unchanged costs a comparison of digests. What is withdrawn stays as a tombstone, so that peers and
delta pulls learn of it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import orjson
from sqlalchemy import bindparam, delete, func, insert, select, update

from p2p_oicp.storage.state.model import SAME, Group, Kind, Record
from p2p_oicp.storage.state.tables import evse_facts, identifications, state_groups, state_records, state_versions
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.writer import Transaction

_t, _g, _v = state_records.c, state_groups.c, state_versions.c
_RECORD = tuple(column.name for column in _t if column.name != "deleted")
_MOVED = ("group_key", "facet", "digest", "raw", "created_change", "change", "changed_at")
_TAKE_NUMBERS = Statement(
    "INSERT INTO counters (name, value) VALUES (:name, :many) ON CONFLICT (name) DO UPDATE SET value = value + :many "
    "RETURNING value",
    {},
)
_listed = select(func.json_each(bindparam("keys")).table_valued("value").c.value)
_of_source = (_t.kind == bindparam("kind_"), _t.source == bindparam("source_"))
_IDENTITY = (_t.id, _t.key, _t.group_key, _t.digest, _t.created_change, _t.deleted)
_PRESENT = compiled(select(*_IDENTITY).where(*_of_source, _t.key.in_(_listed)))
_INSERT = compiled(insert(state_records).values({name: bindparam(name) for name in _RECORD}))
_this = _t.id == bindparam("id_")
_MOVE = compiled(update(state_records).where(_this).values(deleted=0, **{name: bindparam(name) for name in _MOVED}))
_WITHDRAW = compiled(
    update(state_records).where(_this).values(deleted=1, change=bindparam("change"), changed_at=bindparam("changed_at"))
)
_KEEP_VERSION = compiled(
    insert(state_versions).from_select(
        ["kind", "key", "source", "group_key", "change", "since", "until", "deleted", "raw"],
        select(
            _t.kind, _t.key, _t.source, _t.group_key, _t.change, _t.changed_at, bindparam("until"), _t.deleted, _t.raw
        ).where(_this),
    )
)
_this_group = (
    _g.kind == bindparam("kind_"),
    _g.source == bindparam("source_"),
    _g.group_key == bindparam("group_"),
)
_MARK_NEWEST = compiled(
    update(state_groups).where(*_this_group).values(newest=bindparam("newest"), updated_at=bindparam("updated_at"))
)
_HEAD = compiled(select(_g.party, _g.head, _g.audience, _g.newest).where(*_this_group))
_PUT_GROUP = Statement(
    "INSERT INTO state_groups (kind, source, group_key, party, audience, head, head_change, newest, updated_at) "
    "VALUES (:kind, :source, :group_key, :party, :audience, :head, :change, :change, :now) "
    "ON CONFLICT (kind, source, group_key) DO UPDATE SET party = excluded.party, audience = excluded.audience, "
    "head = excluded.head, head_change = excluded.head_change, newest = excluded.newest, "
    "updated_at = excluded.updated_at",
    {},
)
_PUT_FACTS: Mapping[Kind, Statement] = MappingProxyType(
    {
        kind: compiled(
            insert(table)
            .values({column.name: bindparam(column.name) for column in table.c if column.name != "deleted"})
            .prefix_with("OR REPLACE")
        )
        for kind, table in ((Kind.EVSE_DATA, evse_facts), (Kind.AUTHENTICATION, identifications))
    }
)
_WITHDRAW_FACTS: Mapping[Kind, Statement] = MappingProxyType(
    {
        Kind.EVSE_DATA: compiled(
            update(evse_facts)
            .where(evse_facts.c.record_id == bindparam("id_"))
            .values(deleted=1, changed_at=bindparam("changed_at"))
        ),
        Kind.AUTHENTICATION: compiled(delete(identifications).where(identifications.c.record_id == bindparam("id_"))),
    }
)


def take_numbers(tx: Transaction, name: str, many: int) -> range:
    """Take the next ``many`` numbers of a sequence of the node (``change``, ``record``)."""
    row = tx.one(_TAKE_NUMBERS, name=name, many=many)
    last = int(row["value"]) if row else 0
    return range(last - many + 1, last + 1)


def digest_of(raw: bytes) -> bytes:
    """Return what tells two records apart."""
    return hashlib.blake2b(raw, digest_size=16).digest()


def present(tx: Transaction, kind: Kind, source: str, keys: Iterable[str]) -> dict[str, sqlite3.Row]:
    """Return the rows of these keys, tombstones included."""
    rows = tx.all(_PRESENT, kind_=kind, source_=source, keys=orjson.dumps(list(keys)).decode())
    return {row["key"]: row for row in rows}


def put(tx: Transaction, kind: Kind, source: str, records: Sequence[Record], now: float) -> int:
    """Add what is new and change what differs; return how many that were. The groups must be there already."""
    records = list({record.key: record for record in records if record.raw != SAME}.values())  # the last one counts
    if not records:
        return 0
    known = present(tx, kind, source, (record.key for record in records))
    new: list[tuple[Record, bytes]] = []
    moved: list[tuple[Record, bytes, sqlite3.Row]] = []
    for record in records:
        digest, row = digest_of(record.raw), known.get(record.key)
        if row is None:
            new.append((record, digest))
        elif row["deleted"] or row["digest"] != digest or row["group_key"] != record.group_key:
            moved.append((record, digest, row))
    if not new and not moved:
        return 0
    ids = [*take_numbers(tx, "record", len(new))] if new else []
    changes = take_numbers(tx, "change", len(new) + len(moved))
    _add(tx, kind, source, new, ids, changes, now)
    _move(tx, moved, changes[len(new) :], now)
    stored = [record for record, _ in new] + [record for record, _, _ in moved]
    _put_facts(tx, kind, source, stored, ids + [row["id"] for _, _, row in moved], now)
    _mark_newest(tx, kind, source, zip((record.group_key for record in stored), changes, strict=True), now)
    return len(stored)


def _add(
    tx: Transaction,
    kind: Kind,
    source: str,
    new: Sequence[tuple[Record, bytes]],
    ids: Sequence[int],
    changes: Sequence[int],
    now: float,
) -> None:
    tx.run_many(
        _INSERT,
        (
            {
                "id": record_id,
                "kind": kind,
                "key": record.key,
                "source": source,
                "group_key": record.group_key,
                "facet": record.facet,
                "digest": digest,
                "created_change": change,
                "change": change,
                "changed_at": now,
                "raw": record.raw,
            }
            for (record, digest), record_id, change in zip(new, ids, changes, strict=False)
        ),
    )


def _move(
    tx: Transaction, moved: Sequence[tuple[Record, bytes, sqlite3.Row]], changes: Sequence[int], now: float
) -> None:
    tx.run_many(_KEEP_VERSION, ({"id_": row["id"], "until": now} for _, _, row in moved))
    tx.run_many(
        _MOVE,
        (
            {
                "id_": row["id"],
                "group_key": record.group_key,
                "facet": record.facet,
                "digest": digest,
                "created_change": change if row["deleted"] else row["created_change"],
                "change": change,
                "changed_at": now,
                "raw": record.raw,
            }
            for (record, digest, row), change in zip(moved, changes, strict=True)
        ),
    )


def _put_facts(
    tx: Transaction, kind: Kind, source: str, stored: Sequence[Record], ids: Sequence[int], now: float
) -> None:
    statement = _PUT_FACTS.get(kind)
    if statement is None:
        return
    common: dict[str, object] = {"source": source, "changed_at": now} if kind is Kind.EVSE_DATA else {}
    tx.run_many(
        statement,
        (
            {"record_id": record_id, **common, **(record.facts or {})}
            for record, record_id in zip(stored, ids, strict=True)
        ),
    )


def withdraw(tx: Transaction, kind: Kind, source: str, rows: Sequence[sqlite3.Row], now: float) -> int:
    """Turn rows (with ``id``, ``group_key``) into tombstones; return how many."""
    if not rows:
        return 0
    changes = take_numbers(tx, "change", len(rows))
    tx.run_many(_KEEP_VERSION, ({"id_": row["id"], "until": now} for row in rows))
    tx.run_many(
        _WITHDRAW,
        ({"id_": row["id"], "change": change, "changed_at": now} for row, change in zip(rows, changes, strict=True)),
    )
    if kind in _WITHDRAW_FACTS:
        tx.run_many(_WITHDRAW_FACTS[kind], ({"id_": row["id"], "changed_at": now} for row in rows))
    _mark_newest(tx, kind, source, zip((row["group_key"] for row in rows), changes, strict=True), now)
    return len(rows)


def withdraw_keys(tx: Transaction, kind: Kind, source: str, keys: Iterable[str], now: float) -> int:
    """Turn the living ones of these keys into tombstones; the others are gone already."""
    living = [row for row in present(tx, kind, source, keys).values() if not row["deleted"]]
    return withdraw(tx, kind, source, living, now)


def _mark_newest(tx: Transaction, kind: Kind, source: str, changed: Iterable[tuple[str, int]], now: float) -> None:
    newest = dict(changed)  # change numbers rise, so the last one of a group stays
    tx.run_many(
        _MARK_NEWEST,
        (
            {"kind_": kind, "source_": source, "group_": key, "newest": change, "updated_at": now}
            for key, change in newest.items()
        ),
    )


def put_groups(tx: Transaction, kind: Kind, source: str, groups: Iterable[Group], now: float) -> int:
    """Make sure that the groups are there, with these heads; return how many are new or have another head."""
    changed = 0
    for group in groups:
        row = tx.one(_HEAD, kind_=kind, source_=source, group_=group.key)
        if row is not None and (row["party"], row["head"], row["audience"]) == (
            group.party,
            group.head,
            group.audience,
        ):
            continue
        changed += 1
        (change,) = take_numbers(tx, "change", 1)
        tx.run(
            _PUT_GROUP,
            kind=kind,
            source=source,
            group_key=group.key,
            party=group.party,
            audience=group.audience,
            head=group.head,
            change=change,
            now=now,
        )
    return changed
