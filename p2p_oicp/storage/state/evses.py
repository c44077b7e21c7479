"""Searching EVSE data: which records a pull means, and what is known of one charging spot.

A pull's answer is a list of record ids, made once for a crawl; a page is the bytes of some of these ids. So the pages
of a crawl stay what they were while records change, page N costs what page 0 costs, and only the first page searches.
"""

from __future__ import annotations

import asyncio
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
# One text of all ids: a million rows of Python would cost more than the search.
_IDS = "SELECT group_concat(record_id) AS ids FROM (SELECT f.record_id {} {} ORDER BY f.record_id)"
_near = (
    "FROM json_each(:cells) AS c CROSS JOIN evse_facts AS f "
    "WHERE f.cell BETWEEN json_extract(c.value, '$[0]') AND json_extract(c.value, '$[1]') AND f.deleted = 0 "
    "AND great_circle_km(f.latitude, f.longitude, :latitude, :longitude) <= :radius"
)
_VALID = Statement(_IDS.format("FROM evse_facts AS f WHERE f.deleted = 0", _FILTERS), {})
# A delta costs by its rows, not by the table: left alone, SQLite would walk through all ids, which are in order.
_SINCE = Statement(
    _IDS.format("FROM evse_facts AS f INDEXED BY evse_facts_by_time WHERE f.changed_at >= :since", _FILTERS), {}
)
_NEAR = Statement(_IDS.format(_near, _FILTERS), {})
_KEYS_NEAR = Statement(f"SELECT DISTINCT f.evse_key {_near} AND (:source IS NULL OR f.source = :source)", {})

_r, _g, _f, _v = state_records.c, state_groups.c, evse_facts.c, state_versions.c
# What a pull says of a record, in front of the record's own members (OICP 2.3, PullEvseDataRecordType).
_TOLD = """
SELECT r.raw, '{' || CASE WHEN :since IS NULL THEN '' ELSE '"deltaType":"' || CASE
    WHEN r.deleted THEN 'delete'
    WHEN EXISTS (SELECT 1 FROM state_versions AS v WHERE v.kind = r.kind AND v.key = r.key AND v.source = r.source
                 AND v.deleted = 0 AND v.since <= :since AND v.until > :since) THEN 'update'
    ELSE 'insert' END || '",' END
  || '"lastUpdate":"' || strftime('%Y-%m-%dT%H:%M:%f', r.changed_at, 'unixepoch') || '+00:00"'
  || ',"OperatorID":' || json_quote(g.party)
  || CASE WHEN json_extract(CAST(g.head AS TEXT), '$.OperatorName') IS NULL THEN ''
     ELSE ',"OperatorName":' || json_quote(json_extract(CAST(g.head AS TEXT), '$.OperatorName')) END
  || ',' AS told
FROM state_records AS r
JOIN state_groups AS g ON g.kind = r.kind AND g.source = r.source AND g.group_key = r.group_key
WHERE r.id IN (SELECT value FROM json_each(:ids)) AND (:since IS NOT NULL OR r.deleted = 0)
ORDER BY r.id
"""
_JOINED = Statement(
    "SELECT count(*) AS records, CAST(group_concat(told || substr(CAST(raw AS TEXT), 2), ',') AS BLOB) AS body, "  # noqa: S608 - our own text
    "coalesce(max(instr(raw, :one) > 0 OR instr(raw, :other) > 0), 0) AS in_another_notation "
    f"FROM ({_TOLD})",
    {},
)
_APART = Statement(_TOLD, {})
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
        (row,) = await store.scan(_NEAR, **filters.parameters(), **circle.parameters())
    elif since is not None:
        (row,) = await store.scan(_SINCE, **filters.parameters(), since=since)
    else:
        (row,) = await store.scan(_VALID, **filters.parameters())
    return await asyncio.to_thread(_numbers, row["ids"] or "")


def _numbers(text: str) -> array[int]:
    return array("q", map(int, text.split(",") if text else ()))


async def keys_near(store: Store, circle: Circle, source: str | None) -> list[str]:
    """Return the keys of the EVSEs in a circle."""
    rows = await store.scan(_KEYS_NEAR, **circle.parameters(), source=source)
    return [row["evse_key"] for row in rows]


@dataclass(frozen=True, slots=True)
class Page:
    """Records of a page, joined by commas; ``is_uniform``: no place is in one of the notations asked about."""

    body: bytes
    records: int
    is_uniform: bool


async def page(store: Store, ids: Sequence[int], since: float | None, unwanted: tuple[str, str]) -> Page:
    """Return the records of these ids as a pull shows them: with operator, time and, in a delta, deltaType.

    One that was withdrawn meanwhile is left out, in a delta it is a ``delete``. ``unwanted`` are names of notations.
    """
    one, other = (f'"{name}"' for name in unwanted)
    (row,) = await store.scan(_JOINED, ids=_json(ids), since=since, one=one, other=other)
    return Page(row["body"] or b"", row["records"], not row["in_another_notation"])


async def apart(store: Store, ids: Sequence[int], since: float | None) -> list[tuple[bytes, bytes]]:
    """Return the same records one by one: what a pull says of each, and its own bytes from the second one on."""
    rows = await store.scan(_APART, ids=_json(ids), since=since)
    return [(row["told"].encode(), row["raw"]) for row in rows]


def _json(ids: Sequence[int]) -> str:
    return orjson.dumps(list(ids)).decode()


async def known(store: Store, evse_key: str, operator_key: str) -> Known:
    """Return what is known of an EVSE, in whatever source."""
    rows = store.look_up(_KNOWN, evse_=evse_key)
    has_data = bool(rows) or bool(store.look_up(_HAS_ANY, operator_=operator_key))
    return Known(has_data, bool(rows), all(row["compatible"] != 0 for row in rows))


async def calibration(store: Store, evse_key: str) -> str | None:
    """Return an EVSE's CalibrationLawDataAvailability, None where it is not known."""
    rows = store.look_up(_CALIBRATION, evse_=evse_key)
    return str(rows[0]["calibration"]) or None if rows else None
