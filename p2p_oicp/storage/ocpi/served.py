"""Objects that we serve to an OCPI partner as their sender: in the order of creation, and which it has not got yet.

A page of a list does not move while objects are added. An object that changes stays in its place. What the partner has
not acknowledged is outstanding: its newest form is sent, whatever came between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Float, and_, bindparam, func, or_, select, update

from p2p_oicp.storage.ocpi.objects import ObjectKind
from p2p_oicp.storage.schema import ocpi_served
from p2p_oicp.storage.statements import compiled, optional, upserting
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction


@dataclass(frozen=True, slots=True)
class ServedObject:
    """One object; ``group_key`` is whose it is, ``expires_at`` when it ends by itself (seconds since the epoch)."""

    partner: str
    kind: ObjectKind
    country_code: str
    party_id: str
    object_id: str
    group_key: str
    body: bytes
    last_updated: float
    expires_at: float | None = None
    is_outstanding: bool = True
    number: int = 0


@dataclass(frozen=True, slots=True)
class ServedFilter:
    """What a partner asks for: changed from ``since`` on and before ``until``; None: at any time."""

    partner: str
    kind: ObjectKind
    since: float | None = None
    until: float | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of the statements."""
        return {"partner_": self.partner, "kind_": self.kind, "since_": self.since, "until_": self.until}


_c = ocpi_served.c
_KEY = ("partner", "kind", "country_code", "party_id", "object_key")
_of_kind = (_c.partner == bindparam("partner_"), _c.kind == bindparam("kind_"))
_in_time = and_(
    or_(optional("since_", Float).is_(None), _c.last_updated >= bindparam("since_")),
    or_(optional("until_", Float).is_(None), _c.last_updated < bindparam("until_")),
)
_PAGE = compiled(
    select(ocpi_served)
    .where(*_of_kind, _in_time)
    .order_by(_c.number)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_COUNT = compiled(select(func.count().label("objects")).where(*_of_kind, _in_time))
_BY_KEY = compiled(select(ocpi_served).where(*_of_kind, _c.object_key == bindparam("object_key_")).order_by(_c.number))
_OF_GROUP = compiled(select(ocpi_served).where(*_of_kind, _c.group_key == bindparam("group_key_")))
# A literal 1, so that the partial index is used.
_OUTSTANDING = compiled(
    select(ocpi_served)
    .where(_c.partner == bindparam("partner_"), _c.is_outstanding == 1)
    .order_by(_c.number)
    .limit(bindparam("limit"))
)
_EXPIRED = compiled(select(ocpi_served).where(*_of_kind, _c.expires_at <= bindparam("now")))
_UPSERT = upserting(
    ocpi_served,
    *_KEY,
    *("object_id", "group_key", "body", "last_updated", "expires_at", "is_outstanding"),
    key=_KEY,
)
_ACKNOWLEDGE = compiled(
    update(ocpi_served)
    .where(_c.number == bindparam("number_"), _c.last_updated == bindparam("last_updated_"))
    .values(is_outstanding=0)
)
_SEND_AGAIN = compiled(update(ocpi_served).where(*_of_kind).values(is_outstanding=1))


def _served(row: Any) -> ServedObject:  # noqa: ANN401 - a row
    return ServedObject(
        partner=row["partner"],
        kind=ObjectKind(row["kind"]),
        country_code=row["country_code"],
        party_id=row["party_id"],
        object_id=row["object_id"],
        group_key=row["group_key"],
        body=bytes(row["body"]),
        last_updated=row["last_updated"],
        expires_at=row["expires_at"],
        is_outstanding=bool(row["is_outstanding"]),
        number=row["number"],
    )


async def page(store: Store, selection: ServedFilter, offset: int, limit: int) -> tuple[list[ServedObject], int]:
    """Return the objects of a page, and how many match without regard to pages."""
    (count,) = await store.query(_COUNT, **selection.parameters)
    rows = await store.query(_PAGE, **selection.parameters, offset=offset, limit=limit)
    return [_served(row) for row in rows], count["objects"]


async def find_now(store: Store, partner: str, kind: ObjectKind, object_id: str) -> list[ServedObject]:
    """Return the objects with an id, which are of different parties."""
    key = object_id.strip().lower()
    return [_served(row) for row in await store.query_inline(_BY_KEY, partner_=partner, kind_=kind, object_key_=key)]


def find(tx: Transaction, partner: str, kind: ObjectKind, object_id: str) -> list[ServedObject]:
    """Return the same within a transaction."""
    key = object_id.strip().lower()
    return [_served(row) for row in tx.all(_BY_KEY, partner_=partner, kind_=kind, object_key_=key)]


def of_group(tx: Transaction, partner: str, kind: ObjectKind, group_key: str) -> list[ServedObject]:
    """Return all objects of a party."""
    return [_served(row) for row in tx.all(_OF_GROUP, partner_=partner, kind_=kind, group_key_=group_key)]


async def outstanding(store: Store, partner: str, limit: int) -> Sequence[ServedObject]:
    """Return objects that the partner has not acknowledged in their newest form."""
    return [_served(row) for row in await store.query(_OUTSTANDING, partner_=partner, limit=limit)]


def expired(tx: Transaction, partner: str, kind: ObjectKind, now: float) -> list[ServedObject]:
    """Return the objects that have ended by themselves, and are still served as they were."""
    return [_served(row) for row in tx.all(_EXPIRED, partner_=partner, kind_=kind, now=now)]


def put(tx: Transaction, served: ServedObject) -> None:
    """Insert an object behind all others, or replace it in its place."""
    tx.run(
        _UPSERT,
        partner=served.partner,
        kind=served.kind,
        country_code=served.country_code,
        party_id=served.party_id,
        object_key=served.object_id.strip().lower(),
        object_id=served.object_id,
        group_key=served.group_key,
        body=served.body,
        last_updated=served.last_updated,
        expires_at=served.expires_at,
        is_outstanding=int(served.is_outstanding),
    )


def acknowledge(tx: Transaction, served: ServedObject) -> None:
    """Record that the partner has an object in this form; a newer one stays outstanding."""
    tx.run(_ACKNOWLEDGE, number_=served.number, last_updated_=served.last_updated)


def send_again(tx: Transaction, partner: str, kind: ObjectKind) -> int:
    """Let all objects of a kind be sent again; return how many."""
    return tx.run(_SEND_AGAIN, partner_=partner, kind_=kind)
