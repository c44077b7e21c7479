"""Search of EVSE data: the records that a pull asks for, and what the store knows of one EVSE.

The result of a search is a list of record ids; each page of a pull is then the bytes of some of these ids
(`queries.load_runs`). So the pages of one pull are consistent while records change, page N costs what page 0 costs,
and only the first page searches.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Text, bindparam, func, or_, select

from p2p_oicp.concurrency import offload
from p2p_oicp.oicp.geo import cells_around
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.dialects import Dialect
from p2p_oicp.storage.schema import dataset_groups
from p2p_oicp.storage.statements import compiled, list_parameter, optional, written
from p2p_oicp.storage.store import Store

# PostgreSQL's types of what may be NULL, which does not filter.
_TYPES = {
    **dict.fromkeys(
        ("source", "excluded_sources", "countries", "operators", "modes", "accessibility", "calibration"), "TEXT"
    ),
    **dict.fromkeys(("renewable", "compatible", "open_24_hours"), "BIGINT"),
}


def _source_filter(d: Dialect) -> str:
    return f"""
    AND (:source IS NULL OR f.source = :source)
    AND (:excluded_sources IS NULL OR f.source NOT IN ({d.listed("excluded_sources")}))
"""


def _all_filters(d: Dialect) -> str:
    has_mode = d.contains("f.authentication_modes", "modes.value")
    return f"""{_source_filter(d)}
    AND (:countries IS NULL OR f.country IN ({d.listed("countries")}))
    AND (:operators IS NULL OR f.operator_key IN ({d.listed("operators")})
         OR f.group_key IN ({d.listed("operators")}))
    AND (:modes IS NULL OR EXISTS (SELECT 1 FROM {d.elements("modes")} WHERE {has_mode}))
    AND (:accessibility IS NULL OR f.accessibility IN ({d.listed("accessibility")}))
    AND (:calibration IS NULL OR f.calibration_law_data IN ({d.listed("calibration")}))
    AND (:renewable IS NULL OR f.renewable_energy = :renewable)
    AND (:compatible IS NULL OR f.hubject_compatible = :compatible)
    AND (:open_24_hours IS NULL OR f.open_24_hours = :open_24_hours)
"""


def _in_area(d: Dialect) -> str:
    # CROSS JOIN fixes the order of the loops: over the few ranges of cells, and for each of them through the index.
    return (
        f"FROM {d.ranges('cells')} CROSS JOIN evse_index AS f "
        f"WHERE {d.within('f.geo_cell', 'cells')} AND f.deleted = 0 "
        "AND great_circle_km(f.latitude, f.longitude, :latitude, :longitude) <= :radius"
    )


def _select_ids(d: Dialect, rows: str) -> str:
    # All ids as one text: a million rows as Python objects would cost more than the search.
    ids = d.joined_texts("record_id", ",")
    return f"SELECT {ids} AS ids FROM (SELECT f.record_id {rows} {_all_filters(d)} ORDER BY f.record_id) AS found"


def _select_compatible(d: Dialect, condition: str) -> str:
    return f"SELECT f.hubject_compatible FROM evse_index AS f WHERE f.deleted = 0 AND {condition} {_source_filter(d)}"


_SEARCH_VALID = written(lambda d: _select_ids(d, "FROM evse_index AS f WHERE f.deleted = 0"), _TYPES)
# INDEXED BY: a delta has to cost by its own rows. Left alone, SQLite walks through the whole table, since that yields
# the ids in order.
_SEARCH_CHANGED = written(
    lambda d: _select_ids(d, f"FROM evse_index AS f {d.indexed_by('evse_index_by_time')} WHERE f.changed_at >= :since"),
    _TYPES,
)
_SEARCH_IN_AREA = written(lambda d: _select_ids(d, _in_area(d)), _TYPES)
_SELECT_KEYS_IN_AREA = written(lambda d: f"SELECT DISTINCT f.evse_key {_in_area(d)} {_source_filter(d)}", _TYPES)

_groups = dataset_groups.c
_SELECT_EVSE = written(
    lambda d: _select_compatible(
        d, "f.record_id IN (SELECT id FROM dataset_records WHERE dataset = :dataset AND key = :evse)"
    ),
    _TYPES,
)
_SELECT_ANY_OF_OPERATOR = written(lambda d: _select_compatible(d, "f.operator_key = :operator") + "LIMIT 1", _TYPES)
# Of several sources the sum as well: a number of one may be lower than the newest of another, and committed later.
_SELECT_VERSION = compiled(
    select(
        func.coalesce(func.max(_groups.last_change), 0).label("newest"),
        func.coalesce(func.sum(_groups.last_change), 0).label("total"),
    ).where(
        _groups.dataset == int(DatasetKind.EVSE_DATA),
        or_(optional("source_", Text).is_(None), _groups.source == bindparam("source_")),
    )
)


@dataclass(frozen=True, slots=True)
class EvseFilter:
    """The filters of a pull; None does not filter.

    ``source`` limits the search to one source, ``excluded_sources`` leaves some out. ``modes`` are texts of
    `roles.datasets.types.encode_multivalue`.
    """

    source: str | None = None
    excluded_sources: Sequence[str] | None = None
    countries: Sequence[str] | None = None
    operators: Sequence[str] | None = None
    modes: Sequence[str] | None = None
    accessibility: Sequence[str] | None = None
    calibration: Sequence[str] | None = None
    renewable: bool | None = None
    compatible: bool | None = None
    open_24_hours: bool | None = None

    def parameters(self) -> dict[str, object]:
        """Return the parameters of the statements."""
        return {
            name: list_parameter(value) if isinstance(value, (list, tuple)) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class SearchArea:
    """A circle: a point in degrees, and a radius in km."""

    latitude: float
    longitude: float
    radius: float

    def parameters(self) -> dict[str, object]:
        """Return the parameters of the statements."""
        cells = cells_around(self.latitude, self.longitude, self.radius)
        return {
            "cells": list_parameter(cells),
            "latitude": self.latitude,
            "longitude": self.longitude,
            "radius": self.radius,
        }


@dataclass(frozen=True, slots=True)
class EvseKnowledge:
    """What the store knows of an EVSE; ``operator_has_data``: its operator has sent any EVSE data (RULES B1)."""

    operator_has_data: bool
    is_known: bool
    is_compatible: bool


async def search(
    store: Store, filters: EvseFilter, since: float | None = None, area: SearchArea | None = None
) -> array[int]:
    """Return the ids of the records that a pull asks for, in order. Raises StoreError.

    Args:
        store: the store to search in.
        filters: what the records have to match.
        since: only records that changed since (seconds since the epoch), deleted ones included.
        area: only live records in this circle; takes precedence over ``since``.

    """
    if area is not None:
        (row,) = await store.query_bulk(_SEARCH_IN_AREA, **filters.parameters(), **area.parameters())
    elif since is not None:
        (row,) = await store.query_bulk(_SEARCH_CHANGED, **filters.parameters(), since=since)
    else:
        (row,) = await store.query_bulk(_SEARCH_VALID, **filters.parameters())
    return await offload(_parse_ids, row["ids"] or "")


def _parse_ids(text: str) -> array[int]:
    return array("q", map(int, text.split(",") if text else ()))


async def find_keys_in_area(
    store: Store, area: SearchArea, source: str | None, excluded_sources: Sequence[str] | None = None
) -> list[str]:
    """Return the keys of the EVSEs in a circle, of one source or of all (None). Raises StoreError."""
    rows = await store.query_bulk(
        _SELECT_KEYS_IN_AREA, **area.parameters(), source=source, excluded_sources=list_parameter(excluded_sources)
    )
    return [row["evse_key"] for row in rows]


async def data_version(store: Store, source: str | None) -> tuple[int, int]:
    """Return what is another with each change of EVSE data, of one source or of all (None). Raises StoreError."""
    row = (await store.query_inline(_SELECT_VERSION, source_=source))[0]
    return int(row["newest"]), int(row["total"])


async def evse_knowledge(
    store: Store, evse_key: str, operator_key: str, excluded_sources: Sequence[str] | None = None
) -> EvseKnowledge:
    """Return what is known of an EVSE from all sources that are not excluded. Raises StoreError."""
    source_parameters = {"source": None, "excluded_sources": list_parameter(excluded_sources)}
    rows = await store.query_inline(_SELECT_EVSE, dataset=DatasetKind.EVSE_DATA, evse=evse_key, **source_parameters)
    has_data = bool(rows) or bool(
        await store.query_inline(_SELECT_ANY_OF_OPERATOR, operator=operator_key, **source_parameters)
    )
    # NULL, a member that is missing in pulled data of OICP 2.1 and 2.2, does not refuse anything.
    return EvseKnowledge(has_data, bool(rows), all(row["hubject_compatible"] != 0 for row in rows))
