"""Searching EVSE data: which records a pull means, and what is known of one charging spot.

A pull's answer is a list of record ids, made once for a crawl; a page (``pages``) is the bytes of some of these ids.
So the pages of a crawl stay what they were while records change, page N costs what page 0 costs, and only the first
page searches.
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
from p2p_oicp.storage.state.tables import state_groups
from p2p_oicp.storage.statements import Statement, compiled
from p2p_oicp.storage.store import Store

_OF_SOURCE = """
    AND (:source IS NULL OR f.source = :source)
    AND (:gone IS NULL OR f.source NOT IN (SELECT value FROM json_each(:gone)))
"""
_OTHER_FILTERS = """
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
_FILTERS = f"{_OF_SOURCE}{_OTHER_FILTERS}"
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
_ABOUT = "SELECT f.compatible FROM evse_facts AS f WHERE f.deleted = 0 AND {} {}"
_KEYS_NEAR = Statement(f"SELECT DISTINCT f.evse_key {_near} {_OF_SOURCE}", {})

_g = state_groups.c
_KNOWN = Statement(
    _ABOUT.format("f.record_id IN (SELECT id FROM state_records WHERE kind = :kind AND key = :evse)", _OF_SOURCE), {}
)
_HAS_ANY = Statement(_ABOUT.format("f.operator_key = :operator", _OF_SOURCE + "LIMIT 1"), {})
_NEWEST = compiled(
    select(func.coalesce(func.max(_g.newest), 0).label("newest")).where(
        _g.kind == int(Kind.EVSE_DATA), or_(bindparam("source_").is_(None), _g.source == bindparam("source_"))
    )
)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a pull asks for; None does not filter. ``modes`` are texts as ``facts.listed`` writes them.

    ``gone`` are sources that do not count.
    """

    source: str | None = None
    gone: Sequence[str] | None = None
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


async def keys_near(store: Store, circle: Circle, source: str | None, gone: Sequence[str] | None = None) -> list[str]:
    """Return the keys of the EVSEs in a circle, but for those whose source is ``gone``."""
    rows = await store.scan(_KEYS_NEAR, **circle.parameters(), source=source, gone=_listed(gone))
    return [row["evse_key"] for row in rows]


def newest(store: Store, source: str | None) -> int:
    """Return the number of the newest change of EVSE data, of a source or of all."""
    return int(store.look_up(_NEWEST, source_=source)[0]["newest"])


def known(store: Store, evse_key: str, operator_key: str, gone: Sequence[str] | None = None) -> Known:
    """Return what is known of an EVSE, in whatever source that is not ``gone``."""
    sources = {"source": None, "gone": _listed(gone)}
    rows = store.look_up(_KNOWN, kind=Kind.EVSE_DATA, evse=evse_key, **sources)
    has_data = bool(rows) or bool(store.look_up(_HAS_ANY, operator=operator_key, **sources))
    return Known(has_data, bool(rows), all(row["compatible"] != 0 for row in rows))


def _listed(gone: Sequence[str] | None) -> str | None:
    return None if gone is None else orjson.dumps(gone).decode()
