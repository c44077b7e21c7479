"""The EVSEs of OCPI partners: which EvseID each has, and what of it was pushed to the node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select

from p2p_oicp.storage.schema import ocpi_evses
from p2p_oicp.storage.statements import compiled, upserting
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction


class StoredConnector(msgspec.Struct, frozen=True, array_like=True):
    """A connector: its id, and the ids of its tariffs."""

    id: str
    tariff_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredEvse:
    """One EVSE; ids as the partner writes them, ``evse_key`` the key of its EvseID.

    ``record`` is the record that the node has (JSON), and ``status`` the status.
    """

    partner: str
    location_id: str
    uid: str
    evse_key: str
    evse_id: str
    connectors: tuple[StoredConnector, ...]
    capabilities: tuple[str, ...]
    record: bytes
    status: str

    @property
    def location_key(self) -> str:
        """The key of its location."""
        return self.location_id.strip().lower()

    @property
    def uid_key(self) -> str:
        """The key of its uid."""
        return self.uid.strip().lower()


_c = ocpi_evses.c
_connectors = msgspec.json.Decoder(tuple[StoredConnector, ...]).decode
_texts = msgspec.json.Decoder(tuple[str, ...]).decode
_KEY = ("partner", "location_key", "uid_key")
_of_partner = _c.partner == bindparam("partner_")
_of_location = (_of_partner, _c.location_key == bindparam("location_key_"))
_ALL = compiled(select(ocpi_evses).where(_of_partner).order_by(_c.evse_id))
_OF_LOCATION = compiled(select(ocpi_evses).where(*_of_location))
_BY_EVSE = compiled(
    select(ocpi_evses).where(_of_partner, _c.evse_key == bindparam("evse_key_")).order_by(_c.location_key)
)
_UPSERT = upserting(
    ocpi_evses,
    *_KEY,
    *("location_id", "uid", "evse_key", "evse_id", "connectors", "capabilities", "record", "status"),
    key=_KEY,
)
_DELETE = compiled(delete(ocpi_evses).where(*_of_location, _c.uid_key == bindparam("uid_key_")))


def _evse(row: Any) -> StoredEvse:  # noqa: ANN401 - a row
    return StoredEvse(
        partner=row["partner"],
        location_id=row["location_id"],
        uid=row["uid"],
        evse_key=row["evse_key"],
        evse_id=row["evse_id"],
        connectors=_connectors(row["connectors"]),
        capabilities=_texts(row["capabilities"]),
        record=bytes(row["record"]),
        status=row["status"],
    )


async def list_all(store: Store, partner: str) -> Sequence[StoredEvse]:
    """Return all EVSEs of a partner."""
    return [_evse(row) for row in await store.query_bulk(_ALL, partner_=partner)]


async def of_location_now(store: Store, partner: str, location_id: str) -> Sequence[StoredEvse]:
    """Return the EVSEs of a location, as of the last commit."""
    key = location_id.strip().lower()
    return [_evse(row) for row in await store.query_inline(_OF_LOCATION, partner_=partner, location_key_=key)]


def of_location(tx: Transaction, partner: str, location_id: str) -> Sequence[StoredEvse]:
    """Return the EVSEs of a location within a transaction."""
    key = location_id.strip().lower()
    return [_evse(row) for row in tx.all(_OF_LOCATION, partner_=partner, location_key_=key)]


async def find_now(store: Store, partner: str, evse_key: str) -> StoredEvse | None:
    """Return the EVSE that has an EvseID, as of the last commit."""
    rows = await store.query_inline(_BY_EVSE, partner_=partner, evse_key_=evse_key)
    return next((_evse(row) for row in rows), None)


def put_many(tx: Transaction, evses: Iterable[StoredEvse]) -> None:
    """Insert EVSEs, or replace them."""
    for evse in evses:
        tx.run(
            _UPSERT,
            partner=evse.partner,
            location_key=evse.location_key,
            uid_key=evse.uid_key,
            location_id=evse.location_id,
            uid=evse.uid,
            evse_key=evse.evse_key,
            evse_id=evse.evse_id,
            connectors=msgspec.json.encode(evse.connectors).decode(),
            capabilities=msgspec.json.encode(evse.capabilities).decode(),
            record=evse.record,
            status=evse.status,
        )


def remove_many(tx: Transaction, evses: Iterable[StoredEvse]) -> None:
    """Delete EVSEs."""
    for evse in evses:
        tx.run(_DELETE, partner_=evse.partner, location_key_=evse.location_key, uid_key_=evse.uid_key)
