"""EVSEs of a map: counts on a grid for a large area, single EVSEs for a small one; the answer is bounded in any case.

**Cells.** The index has a cell of a tenth of a degree for each EVSE (`oicp.geo.cell_of`). An area with many EVSEs is
counted by these cells alone, from an index, without reading the records. An area with few is counted by their
coordinates, and only there a filter by status is possible: it looks up the status of each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from p2p_oicp.oicp.geo import cells_in_box
from p2p_oicp.storage import evse_lists
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.dialects import Dialect
from p2p_oicp.storage.statements import list_parameter, written
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Row

_CELL_DEGREES = 0.1
_SMALLEST_STEP = _CELL_DEGREES / 2**12
# So many squares fill a screen, and so many single EVSEs can be told apart on it.
_SQUARES = 500
_MAX_SINGLE = 500
# Of an area that cannot be enlarged any more, such as a garage: so many are shown of those that are in it.
_SMALL_AREA_DEGREES, _MAX_OF_SMALL_AREA = 0.01, 1000
# Above this, looking up coordinates and status would take longer than a second.
_MAX_READ = 30_000

_TYPES = {
    **dict.fromkeys(("south", "north", "west", "east", "step"), "FLOAT8"),
    **dict.fromkeys(("operator", "status"), "TEXT"),
    "cells_a_square": "BIGINT",
}
_OF_STATUSES = {"dataset": int(DatasetKind.EVSE_STATUS)}


def _in_cells(d: Dialect) -> str:
    return (
        f"FROM {d.ranges('cells')} CROSS JOIN evse_index AS f {d.indexed_by('evse_index_by_geo_cell')} "
        f"WHERE {d.within('f.geo_cell', 'cells')} AND f.deleted = 0 "
        "AND (:operator = '' OR f.operator_key = :operator)"
    )


def _in_box(d: Dialect) -> str:
    return (
        f"{_in_cells(d)} AND f.latitude BETWEEN :south AND :north "
        "AND CASE WHEN :west <= :east THEN f.longitude BETWEEN :west AND :east "
        "ELSE f.longitude >= :west OR f.longitude <= :east END "
        "AND (:status = '' OR EXISTS (SELECT 1 FROM dataset_records AS s WHERE s.dataset = :dataset "
        "AND s.key = f.evse_key AND s.source = f.source AND s.deleted = 0 AND s.filter_value = :status))"
    )


# Counted by cell first, in the order of the index: sorting a million rows into squares would take twice as long.
_COUNT_CELLS = written(
    lambda d: (
        "SELECT sum(evses) AS evses, sum(evses * (cell / 10000)) AS rows, sum(evses * (cell % 10000)) AS columns FROM ("
        f"SELECT f.geo_cell AS cell, count(*) AS evses {_in_cells(d)} GROUP BY f.geo_cell"
        ") AS counted GROUP BY cell / 10000 / :cells_a_square, cell % 10000 / :cells_a_square"
    ),
    _TYPES,
)
_COUNT_SQUARES = written(
    lambda d: (
        f"SELECT count(*) AS evses, avg(f.latitude) AS latitude, avg(f.longitude) AS longitude {_in_box(d)} GROUP BY "
        f"{d.truncated('(f.latitude + 90) / :step')}, {d.truncated('(f.longitude + 180) / :step')}"
    ),
    _TYPES,
    _OF_STATUSES,
)
_SELECT_IDS = written(
    lambda d: f"SELECT f.record_id {_in_box(d)} ORDER BY f.record_id LIMIT :limit", _TYPES, _OF_STATUSES
)


@dataclass(frozen=True, slots=True)
class MapArea:
    """A box in degrees; where ``west > east``, it is over the date line."""

    west: float
    south: float
    east: float
    north: float

    @property
    def height(self) -> float:
        """In degrees."""
        return self.north - self.south

    @property
    def width(self) -> float:
        """In degrees."""
        return self.east - self.west if self.west <= self.east else self.east - self.west + 360

    @property
    def step(self) -> float:
        """The side of a square in degrees: a cell, halved or doubled, so that squares stay when the map is moved."""
        side = math.sqrt(max(self.height * self.width, 1e-12) / _SQUARES)
        return max(_SMALLEST_STEP, _CELL_DEGREES * 2.0 ** math.ceil(math.log2(side / _CELL_DEGREES)))


@dataclass(frozen=True, slots=True)
class Cluster:
    """EVSEs that are near each other, and their middle in degrees."""

    evses: int
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class MapContent:
    """What a map shows of an area: clusters or single EVSEs.

    Attributes:
        total: how many EVSEs there are; with ``status_counts`` only those with the status.
        status_counts: False where there are too many to look up their status.
        clusters: none where single EVSEs are shown.
        evses: rows of `evse_lists.EVSE_POINTS`.
    """

    total: int
    status_counts: bool
    clusters: Sequence[Cluster] = ()
    evses: Sequence[Row] = ()


async def read_map(store: Store, area: MapArea, operator_key: str, status: str) -> MapContent:
    """Return what a map shows.

    Args:
        store: has the EVSEs.
        area: what is seen.
        operator_key: only those of this operator; empty: all.
        status: only those with this status, in lower case; empty: all.

    Raises:
        StoreError: the database cannot be read.
    """
    cells = orjson.dumps(cells_in_box(area.west, area.south, area.east, area.north)).decode()
    parameters = {"cells": cells, "operator": operator_key}
    coarse = await store.query_bulk(_COUNT_CELLS, **parameters, cells_a_square=max(1, round(area.step / _CELL_DEGREES)))
    total = sum(row["evses"] for row in coarse)
    if total > _MAX_READ:
        return MapContent(total, status_counts=not status, clusters=[_cluster_of_cells(row) for row in coarse])
    box = {"west": area.west, "south": area.south, "east": area.east, "north": area.north, "status": status}
    squares = await store.query_bulk(_COUNT_SQUARES, **parameters, **box, step=area.step)
    total = sum(row["evses"] for row in squares)
    if total > _MAX_SINGLE and area.height > _SMALL_AREA_DEGREES:
        clusters = [Cluster(row["evses"], row["latitude"], row["longitude"]) for row in squares]
        return MapContent(total, status_counts=True, clusters=clusters)
    ids = await store.query_bulk(_SELECT_IDS, **parameters, **box, limit=_MAX_OF_SMALL_AREA)
    listed_ids = list_parameter(row["record_id"] for row in ids)
    return MapContent(total, status_counts=True, evses=await store.query_bulk(evse_lists.EVSE_POINTS, ids=listed_ids))


def _cluster_of_cells(row: Row) -> Cluster:
    """Return the cluster of a square of cells: its middle is that of the cells, weighted by their EVSEs."""
    evses = row["evses"]
    latitude, longitude = row["rows"] / evses, row["columns"] / evses
    return Cluster(evses, (latitude + 0.5) * _CELL_DEGREES - 90, (longitude + 0.5) * _CELL_DEGREES - 180)
