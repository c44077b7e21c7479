"""The map: its page, what a script asks for as it is moved, and the tiles below, where a file of the operator has some.

Without JavaScript, the page lists EVSEs by the same filters. Nothing is asked of other hosts: the outline of countries
is a file of the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.oicp.enums import EvseStatus
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.dashboard.admin_calls import AdminCalls
from p2p_oicp.server.dashboard.rendering import encode_json
from p2p_oicp.server.dashboard.requests import SECURITY_HEADERS, PageRequest, PageServer
from p2p_oicp.server.dashboard.tiles import TileArchive
from p2p_oicp.server.problems import HttpError

_LISTED = 50
_FILTERS = ("operator", "status", "evse")
_PARAMETERS = ("box", *_FILTERS)
# A tile changes with the file alone, which is read when the node starts.
_CACHED: Mapping[str, str] = MappingProxyType({**SECURITY_HEADERS, "Cache-Control": "private, max-age=3600"})


class MapPages:
    """Serves the map.

    Args:
        admin: knows where EVSEs are.
        pages: the frame of a page.
        tiles: what is shown below them; None: the outline of countries alone.
    """

    def __init__(self, admin: AdminCalls, pages: PageServer, tiles: TileArchive | None) -> None:
        self._admin = admin
        self._pages = pages
        self._tiles = tiles

    async def show(self, request: PageRequest) -> OperationResponse:
        """Show the page, with the first EVSEs of the filters as a list."""
        filters = _chosen(request, _FILTERS)
        selected = {name: value for name, value in filters.items() if name != "status"}
        listed = await self._admin.get("/evses", {**selected, "limit": str(_LISTED)})
        return self._pages.page(
            request,
            "map.html",
            title="Map",
            filters=filters,
            statuses=[each.value for each in EvseStatus],
            listed=listed["evses"],
            has_more=listed["cursor"] is not None,
            tiles=self._tiles.about if self._tiles is not None else None,
        )

    async def data(self, request: PageRequest) -> OperationResponse:
        """Return what an area has, as JSON."""
        content = await self._admin.get("/evse-map", _chosen(request, _PARAMETERS))
        return OperationResponse(encode_json(content), headers=SECURITY_HEADERS)

    async def tile(self, request: PageRequest) -> OperationResponse:
        """Return one tile."""
        try:
            zoom, column, row = (int(request.parameter(name)) for name in ("zoom", "column", "row"))
        except ValueError as error:
            raise HttpError(404, StatusCodeValue.DATA_ERROR, "there is no such tile") from error
        tile = await self._tiles.read(zoom, column, row) if self._tiles is not None else None
        if self._tiles is None or tile is None:
            raise HttpError(404, StatusCodeValue.DATA_ERROR, "there is no such tile")
        return OperationResponse(tile, content_type=self._tiles.about.media_type, headers=_CACHED)


def _chosen(request: PageRequest, names: tuple[str, ...]) -> dict[str, str]:
    return {name: request.query[name].strip() for name in names if request.query.get(name, "").strip()}
