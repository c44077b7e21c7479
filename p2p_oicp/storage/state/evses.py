"""Searching EVSE data: which records a pull means, and what is known of one charging spot.

A pull's answer is a list of record ids, made once for a crawl; a page is the bytes of some of these ids. So the pages
of a crawl stay what they were while records change, page N costs what page 0 costs, and only the first page searches.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson
from sqlalchemy import bindparam, func, or_, select

from p2p_oicp.storage.state.model import Kind
from p2p_oicp.storage.state.places import cells_around
from p2p_oicp.storage.state.tables import evse_facts, state_groups, state_records, state_versions
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store

_FILTERS = """
    AND (:source IS NULL OR f.source = :source)
    AND (:countries IS NULL OR f.country IN (SELECT value FROM json_each(:countries)))
    AND (:operators IS NULL OR f.operator_key IN (SELECT value FROM json_each(:operators))
         OR f.group_key IN (SELECT value FROM json_each(:operators)))
    AND (:modes IS NULL OR EXISTS (SELECT 1 FROM json_each(:modes) AS m WHERE instr(f.authentication_modes, m.value)))
    AND (:accessibility IS NULL OR f.accessibility IN (SELECT value FROM json_each(:accessibility)))
    AND (:calibration IS NULL OR f.calibration IN (SELECT value FROM json_each(:calibration)))
    AND (:renewable IS NULL OR f.renewable = :renewable)
    AND (:compatible IS NULL OR f.compatible = :compatible)
    AND (:always_open IS NULL OR f.always_open = :always_open)
"""
_VALID = Statement(f"SELECT f.record_id FROM evse_facts AS f WHERE f.deleted = 0 {_FILTERS} ORDER BY f.record_id", {})  # noqa: S608 - our own text
_SINCE = Statement(f"SELECT f.record_id FROM evse_facts AS f WHERE f.changed_at >= :since {_FILTERS} ORDER BY 1", {})  # noqa: S608 - our own text
_near = (
    "FROM json_each(:cells) AS c CROSS JOIN evse_facts AS f "
    "WHERE f.cell BETWEEN json_extract(c.value, '$[0]') AND json_extract(c.value, '$[1]') AND f.deleted = 0 "
    "AND great_circle_km(f.latitude, f.longitude, :latitude, :longitude) <= :radius"
)
_NEAR = Statement(f"SELECT f.record_id {_near} {_FILTERS} ORDER BY 1", {})
_KEYS_NEAR = Statement(f"SELECT DISTINCT f.evse_key {_near} AND (:source IS NULL OR f.source = :source)", {})

_r, _g, _f, _v = state_records.c, state_groups.c, evse_facts.c, state_versions.c
_of_ids = _r.id.in_(select(func.json_each(bindparam("ids")).table_valued("value").c.value))
_with_group = state_records.join(
    state_groups, (_g.kind == _r.kind) & (_g.source == _r.source) & (_g.group_key == _r.group_key)
)
_lived_then = (
    select(_v.id)
    .where(
        _v.kind == _r.kind,
        _v.key == _r.key,
        _v.source == _r.source,
        _v.deleted == 0,
        _v.since <= bindparam("since"),
        _v.until > bindparam("since"),
    )
    .exists()
)
_PAGE = compiled(
    select(_r.id, _r.raw, _r.changed_at, _g.party, _g.head)
    .select_from(_with_group)
    .where(_of_ids, _r.deleted == 0)
    .order_by(_r.id)
)
_DELTA_PAGE = compiled(
    select(_r.id, _r.raw, _r.changed_at, _r.deleted, _lived_then.label("had"), _g.party, _g.head)
    .select_from(_with_group)
    .where(_of_ids)
    .order_by(_r.id)
)
_KNOWN = compiled(
    select(_f.compatible, _f.source).where(
        _f.record_id.in_(
            select(_r.id).where(_r.kind == int(Kind.EVSE_DATA), _r.key == bindparam("evse_"), _r.deleted == 0)
        )
    )
)
_HAS_ANY = compiled(select(_f.record_id).where(_f.deleted == 0, _f.operator_key == bindparam("operator_")).limit(1))
_CALIBRATION = compiled(
    select(_f.calibration).where(
        _f.record_id.in_(select(_r.id).where(_r.kind == int(Kind.EVSE_DATA), _r.key == bindparam("evse_")))
    )
)
NEWEST = compiled(
    select(func.coalesce(func.max(_g.newest), 0).label("newest")).where(
        _g.kind == int(Kind.EVSE_DATA), or_(bindparam("source_").is_(None), _g.source == bindparam("source_"))
    )
)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a pull asks for; None does not filter. ``modes`` are texts as ``facts.listed`` writes them."""

    source: str | None = None
    countries: Sequence[str] | None = None
    operators: Sequence[str] | None = None
    modes: Sequence[str] | None = None
    accessibility: Sequence[str] | None = None
    calibration: Sequence[str] | None = None
    renewable: bool | None = None
    compatible: bool | None = None
    always_open: bool | None = None

    def parameters(self) -> dict[str, object]:
        """Return the parameters of the statements."""
        return {
            name: orjson.dumps(list(value)).decode() if isinstance(value, (list, tuple)) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Circle:
    """A place and what lies within ``radius`` km of it."""

    latitude: float
    longitude: float
    radius: float

    def parameters(self) -> dict[str, object]:
        """Return the parameters of the statements."""
        cells = cells_around(self.latitude, self.longitude, self.radius)
        return {
            "cells": orjson.dumps(cells).decode(),
            "latitude": self.latitude,
            "longitude": self.longitude,
            "radius": self.radius,
        }


@dataclass(frozen=True, slots=True)
class Known:
    """What our store knows of an EVSE: whether its operator has sent any data (B1), and whether it is compatible."""

    operator_has_data: bool
    is_known: bool
    is_compatible: bool


async def search(
    store: Store, filters: Filters, since: float | None = None, circle: Circle | None = None
) -> array[int]:
    """Return the ids of the records that a pull means; ``since`` includes what was withdrawn after it."""
    if circle is not None:
        rows = await store.scan(_NEAR, **filters.parameters(), **circle.parameters())
    elif since is not None:
        rows = await store.scan(_SINCE, **filters.parameters(), since=since)
    else:
        rows = await store.scan(_VALID, **filters.parameters())
    return array("q", (row[0] for row in rows))


async def keys_near(store: Store, circle: Circle, source: str | None) -> list[str]:
    """Return the keys of the EVSEs in a circle."""
    rows = await store.scan(_KEYS_NEAR, **circle.parameters(), source=source)
    return [row["evse_key"] for row in rows]


@dataclass(frozen=True, slots=True)
class Found:
    """One record of a page; ``delta`` is OICP's deltaType where a delta was asked for."""

    raw: bytes
    changed_at: float
    party: str
    head: bytes
    delta: str | None = None


async def page(store: Store, ids: Sequence[int], since: float | None = None) -> list[Found]:
    """Return the records of these ids; one that was withdrawn meanwhile is left out, in a delta it is a ``delete``."""
    wanted = orjson.dumps(list(ids)).decode()
    if since is None:
        rows = await store.scan(_PAGE, ids=wanted)
        return [Found(row["raw"], row["changed_at"], row["party"], row["head"]) for row in rows]
    rows = await store.scan(_DELTA_PAGE, ids=wanted, since=since)
    return [
        Found(row["raw"], row["changed_at"], row["party"], row["head"], _delta(row["deleted"], row["had"]))
        for row in rows
    ]


def _delta(deleted: int, had: int) -> str:
    if deleted:
        return "delete"
    return "update" if had else "insert"


async def known(store: Store, evse_key: str, operator_key: str) -> Known:
    """Return what is known of an EVSE, in whatever source."""
    rows = await store.read(_KNOWN, evse_=evse_key)
    has_data = bool(rows) or bool(await store.read(_HAS_ANY, operator_=operator_key))
    return Known(has_data, bool(rows), all(row["compatible"] != 0 for row in rows))


async def calibration(store: Store, evse_key: str) -> str | None:
    """Return an EVSE's CalibrationLawDataAvailability, None where it is not known."""
    rows = await store.read(_CALIBRATION, evse_=evse_key)
    return str(rows[0]["calibration"]) or None if rows else None
