"""Where EVSEs are, over HTTP: ``GET /admin/v1/evse-map``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import orjson
from aiohttp import web

from p2p_oicp.oicp import EvseID, OperatorID, StatusCodeValue
from p2p_oicp.oicp.enums import EvseStatus
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import map_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage import Store, evse_lists
from p2p_oicp.storage.datasets.evse_map import MapArea, MapContent, read_map

_WORLD = MapArea(-180.0, -90.0, 180.0, 90.0)
_MAX_BY_KEY = 20
_MAX_LATITUDE, _HALF_TURN, _TURN = 90.0, 180.0, 360.0


class EvseMapApi:
    """Answers what a map shows."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [map_endpoints.EVSE_MAP.route(pipeline, self._show)]

    async def _show(self, context: RequestContext) -> OperationResponse:
        content = await self._read(context.http.query)
        return OperationResponse(
            orjson.dumps(
                {
                    "total": content.total,
                    "status_counts": content.status_counts,
                    "clusters": list(content.clusters),
                    "evses": [evse_lists.evse_point_to_json(row) for row in content.evses],
                }
            )
        )

    async def _read(self, query: Mapping[str, str]) -> MapContent:
        if begin := query.get("evse", ""):
            key = EvseID(begin).key
            rows = await self._store.query(evse_lists.EVSE_POINTS_BY_KEY, evse_=key, limit=_MAX_BY_KEY)
            return MapContent(len(rows), status_counts=True, evses=rows)
        operator, status = query.get("operator", ""), query.get("status", "")
        if status and status not in set(EvseStatus):
            raise _bad_query("status", f"expected {', '.join(EvseStatus)}")
        area = parse_area(query["box"]) if "box" in query else _WORLD
        return await read_map(self._store, area, OperatorID(operator).key if operator else "", status.lower())


def parse_area(text: str) -> MapArea:
    """Return a box of ``west,south,east,north``; a map may have been turned around the earth. Raises HttpError 400."""
    try:
        west, south, east, north = (float(each) for each in text.split(","))
    except ValueError as error:
        raise _bad_query("box", "expected west,south,east,north in degrees") from error
    if not all(map(math.isfinite, (west, south, east, north))) or west > east or south > north:
        raise _bad_query("box", "expected west,south,east,north in degrees, with west ≤ east and south ≤ north")
    south, north = max(south, -_MAX_LATITUDE), min(north, _MAX_LATITUDE)
    if east - west >= _TURN:
        return MapArea(-_HALF_TURN, south, _HALF_TURN, north)
    return MapArea(_wrap(west), south, _wrap(east), north)


def _wrap(longitude: float) -> float:
    """Return a longitude between -180 and 180 degrees."""
    if -_HALF_TURN <= longitude <= _HALF_TURN:
        return longitude
    return (longitude + _HALF_TURN) % _TURN - _HALF_TURN


def _bad_query(name: str, expected: str) -> HttpError:
    return HttpError(400, StatusCodeValue.DATA_ERROR, f"{name}: {expected}")
