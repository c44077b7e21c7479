"""Objects of OCPI partners: the body as received, and what became of it.

A body is stored before anything is made of it: a CDR that a partner was told of is never lost, whatever happens next.

::

    pending --(carried into OICP)--> carried
       |---(nothing to carry)------> carried
       |---(belongs to nothing yet)> waiting --(its session is known)--> pending
       `---(a person is needed)----> held ----(assigned)--> pending
                                      `------(dropped)---> dropped
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, select, update

from p2p_oicp.storage.schema import ocpi_objects
from p2p_oicp.storage.statements import compiled, upserting
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction


class ObjectKind(StrEnum):
    """A kind of object."""

    LOCATION = "location"
    SESSION = "session"
    CDR = "cdr"
    TARIFF = "tariff"
    TOKEN = "token"  # noqa: S105 - the word for a card


class ObjectState(StrEnum):
    """What became of an object; see the diagram above."""

    PENDING = "pending"
    CARRIED = "carried"
    WAITING = "waiting"
    HELD = "held"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class ObjectID:
    """Which object it is: the keys are in lower case."""

    partner: str
    kind: ObjectKind
    country_code: str
    party_id: str
    object_key: str

    @classmethod
    def of(cls, partner: str, kind: ObjectKind, country_code: str, party_id: str, object_id: str) -> ObjectID:
        """Return the id of an object, from ids in any letter case."""
        return cls(partner, kind, country_code.strip().lower(), party_id.strip().lower(), object_id.strip().lower())


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object; ``session_key`` is the session that it belongs to, if that is known."""

    id: ObjectID
    object_id: str
    body: bytes
    last_updated: float
    received_at: float
    state: ObjectState
    reason: str = ""
    session_key: str = ""

    @property
    def value(self) -> dict[str, Any]:
        """The object as JSON; numbers with a fraction are Decimal."""
        return dict(_decode(self.body))


_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_c = ocpi_objects.c
_KEY = ("partner", "kind", "country_code", "party_id", "object_key")
_COLUMNS = (*_KEY, "object_id", "body", "last_updated", "received_at", "state", "reason", "session_key")
_by_id = [_c[name] == bindparam(f"{name}_") for name in _KEY]
_of_kind = (_c.partner == bindparam("partner_"), _c.kind == bindparam("kind_"))
_GET = compiled(select(ocpi_objects).where(*_by_id))
_BY_KEY = compiled(select(ocpi_objects).where(*_of_kind, _c.object_key == bindparam("object_key_")))
_LIST = compiled(select(ocpi_objects).where(*_of_kind).order_by(_c.received_at))
_IN_STATE = compiled(
    select(ocpi_objects)
    .where(_c.state == bindparam("state_"), *_of_kind)
    .order_by(_c.received_at)
    .limit(bindparam("limit"))
)
#: The CDRs of a partner that wait for a person, the oldest first.
HELD_CDRS = compiled(
    select(ocpi_objects)
    .where(_c.state == ObjectState.HELD.value, _c.kind == ObjectKind.CDR.value, _c.partner == bindparam("partner_"))
    .order_by(_c.received_at)
)
_OF_SESSION = compiled(
    select(ocpi_objects).where(*_of_kind, _c.session_key == bindparam("session_key_")).order_by(_c.received_at)
)
_COUNT = compiled(
    select(_c.partner, _c.kind, _c.state, func.count().label("objects")).group_by(_c.partner, _c.kind, _c.state)
)
_COUNT_IN_STATE = compiled(
    select(_c.partner, func.count().label("objects"), func.min(_c.received_at).label("since"))
    .where(_c.state == bindparam("state_"), _c.kind == bindparam("kind_"))
    .group_by(_c.partner)
)
_UPSERT = upserting(ocpi_objects, *_COLUMNS, key=_KEY)
_SET_STATE = compiled(
    update(ocpi_objects)
    .where(*_by_id, _c.received_at == bindparam("received_at_"))
    .values({name: bindparam(name) for name in ("state", "reason", "session_key")})
)
_RETRY_WAITING = compiled(
    update(ocpi_objects).where(*_of_kind, _c.state == bindparam("waiting")).values(state=bindparam("state"))
)
_DELETE = compiled(delete(ocpi_objects).where(*_by_id))


def _parameters(id_: ObjectID) -> dict[str, str]:
    return {f"{name}_": str(getattr(id_, name)) for name in _KEY}


def read_object_row(row: Any) -> StoredObject:  # noqa: ANN401 - a row
    """Return a row of ``HELD_CDRS``, or of any other query here."""
    id_ = ObjectID(row["partner"], ObjectKind(row["kind"]), row["country_code"], row["party_id"], row["object_key"])
    return StoredObject(
        id_,
        row["object_id"],
        bytes(row["body"]),
        row["last_updated"],
        row["received_at"],
        ObjectState(row["state"]),
        row["reason"],
        row["session_key"],
    )


async def get_now(store: Store, id_: ObjectID) -> StoredObject | None:
    """Return an object as of the last commit."""
    return next((read_object_row(row) for row in await store.query_inline(_GET, **_parameters(id_))), None)


def get(tx: Transaction, id_: ObjectID) -> StoredObject | None:
    """Return an object within a transaction."""
    row = tx.one(_GET, **_parameters(id_))
    return None if row is None else read_object_row(row)


async def find_now(store: Store, partner: str, kind: ObjectKind, object_id: str) -> list[StoredObject]:
    """Return the objects that have an id, which are of different parties."""
    key = object_id.strip().lower()
    rows = await store.query_inline(_BY_KEY, partner_=partner, kind_=kind, object_key_=key)
    return [read_object_row(row) for row in rows]


async def list_all(store: Store, partner: str, kind: ObjectKind) -> list[StoredObject]:
    """Return all objects of a kind, in the order in which they were received."""
    return [read_object_row(row) for row in await store.query_bulk(_LIST, partner_=partner, kind_=kind)]


async def list_in_state(
    store: Store, partner: str, kind: ObjectKind, state: ObjectState, limit: int = 1000
) -> list[StoredObject]:
    """Return objects in a state, the oldest first."""
    rows = await store.query(_IN_STATE, partner_=partner, kind_=kind, state_=state, limit=limit)
    return [read_object_row(row) for row in rows]


def of_session(tx: Transaction, partner: str, kind: ObjectKind, session_key: str) -> list[StoredObject]:
    """Return the objects that belong to a session of OICP."""
    return [read_object_row(row) for row in tx.all(_OF_SESSION, partner_=partner, kind_=kind, session_key_=session_key)]


async def counts(store: Store) -> Mapping[tuple[str, str, str], int]:
    """Return how many objects there are, by partner, kind and state."""
    rows = await store.query(_COUNT)
    return {(row["partner"], row["kind"], row["state"]): row["objects"] for row in rows}


@dataclass(frozen=True, slots=True)
class HeldCount:
    """How many CDRs of a partner wait for a person, and since when the oldest does (seconds since the epoch)."""

    partner: str
    count: int
    since: float


async def held_cdrs(store: Store) -> Sequence[HeldCount]:
    """Return the partners of which CDRs wait for a person."""
    rows = await store.query(_COUNT_IN_STATE, state_=ObjectState.HELD, kind_=ObjectKind.CDR)
    return [HeldCount(row["partner"], row["objects"], row["since"]) for row in rows]


def put(tx: Transaction, stored: StoredObject) -> None:
    """Insert an object, or replace it."""
    id_ = {name: str(getattr(stored.id, name)) for name in _KEY}
    others = {name: getattr(stored, name) for name in _COLUMNS if name not in _KEY}
    tx.run(_UPSERT, **id_, **others)


def set_state(
    tx: Transaction, stored: StoredObject, state: ObjectState, reason: str = "", session_key: str | None = None
) -> bool:
    """Record what became of an object; return False, and change nothing, if a newer form came meanwhile."""
    key = stored.session_key if session_key is None else session_key
    row_count = tx.run(
        _SET_STATE,
        **_parameters(stored.id),
        received_at_=stored.received_at,
        state=state,
        reason=reason,
        session_key=key,
    )
    return row_count > 0


def retry_waiting(tx: Transaction, partner: str, kind: ObjectKind) -> int:
    """Let what belonged to nothing be tried again; return how much that is."""
    return tx.run(_RETRY_WAITING, partner_=partner, kind_=kind, waiting=ObjectState.WAITING, state=ObjectState.PENDING)


def remove(tx: Transaction, id_: ObjectID) -> bool:
    """Delete an object; return whether there was one."""
    return tx.run(_DELETE, **_parameters(id_)) > 0
