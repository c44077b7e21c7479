"""What could not be carried between OCPI and OICP, each once for an object; and how far lists have been pulled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select

from p2p_oicp.storage.ocpi.objects import ObjectKind
from p2p_oicp.storage.schema import ocpi_cursors, ocpi_findings
from p2p_oicp.storage.statements import compiled, inserting_named, upserting
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """One finding; ``body`` is another form of the object, which was refused."""

    kind: ObjectKind
    object_id: str
    code: str
    pointer: str
    message: str
    at: float
    body: bytes | None = None


_c = ocpi_findings.c
_of_object = (
    _c.partner == bindparam("partner_"),
    _c.kind == bindparam("kind_"),
    _c.object_key == bindparam("object_key_"),
)
_INSERT = inserting_named(
    ocpi_findings,
    *("partner", "kind", "object_key", "object_id", "code", "pointer", "message", "at", "body"),
    instead="OR IGNORE",
)
#: The findings of a partner, the newest first.
LIST = compiled(
    select(ocpi_findings).where(_c.partner == bindparam("partner_")).order_by(_c.id.desc()).limit(bindparam("limit"))
)
_OF_OBJECT = compiled(select(ocpi_findings).where(*_of_object).order_by(_c.id))
_DELETE = compiled(delete(ocpi_findings).where(*_of_object, _c.body.is_(None)))
_by_kind = (ocpi_cursors.c.partner == bindparam("partner_"), ocpi_cursors.c.kind == bindparam("kind_"))
_GET_CURSOR = compiled(select(ocpi_cursors).where(*_by_kind))
_SET_CURSOR = upserting(ocpi_cursors, "partner", "kind", "last_updated", "pulled_at", key=("partner", "kind"))


def read_finding(row: Any) -> StoredFinding:  # noqa: ANN401 - a row
    """Return a row of ``LIST``."""
    body = row["body"]
    return StoredFinding(
        ObjectKind(row["kind"]),
        row["object_id"],
        row["code"],
        row["pointer"],
        row["message"],
        row["at"],
        None if body is None else bytes(body),
    )


async def list_latest(store: Store, partner: str, limit: int) -> Sequence[StoredFinding]:
    """Return the latest findings of a partner, the newest first."""
    return [read_finding(row) for row in await store.query(LIST, partner_=partner, limit=limit)]


async def list_of_object(store: Store, partner: str, kind: ObjectKind, object_id: str) -> Sequence[StoredFinding]:
    """Return what was found in an object."""
    key = object_id.strip().lower()
    rows = await store.query(_OF_OBJECT, partner_=partner, kind_=kind, object_key_=key)
    return [read_finding(row) for row in rows]


def replace_all(
    tx: Transaction, partner: str, kind: ObjectKind, object_id: str, found: Iterable[StoredFinding]
) -> None:
    """Set the findings of an object; other forms of it that were refused stay."""
    tx.run(_DELETE, partner_=partner, kind_=kind, object_key_=object_id.strip().lower())
    for finding in found:
        add(tx, partner, finding)


def add(tx: Transaction, partner: str, finding: StoredFinding) -> bool:
    """Add a finding; return False if it is there already."""
    row_count = tx.run(
        _INSERT,
        partner=partner,
        kind=finding.kind,
        object_key=finding.object_id.strip().lower(),
        object_id=finding.object_id,
        code=finding.code,
        pointer=finding.pointer,
        message=finding.message,
        at=finding.at,
        body=finding.body,
    )
    return row_count > 0


@dataclass(frozen=True, slots=True)
class PullCursor:
    """Up to which ``last_updated`` (None: nothing came) a kind was pulled, and when."""

    last_updated: float | None
    pulled_at: float


async def cursor_now(store: Store, partner: str, kind: ObjectKind) -> PullCursor | None:
    """Return how far a kind has been pulled; None: never."""
    rows = await store.query_inline(_GET_CURSOR, partner_=partner, kind_=kind)
    return next((PullCursor(row["last_updated"], row["pulled_at"]) for row in rows), None)


def set_cursor(tx: Transaction, partner: str, kind: ObjectKind, cursor: PullCursor) -> None:
    """Record how far a kind has been pulled."""
    tx.run(_SET_CURSOR, partner=partner, kind=kind, last_updated=cursor.last_updated, pulled_at=cursor.pulled_at)
