"""Pages about the node and its peers: the overview, the peers, and one peer with its channels."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.dashboard.admin_calls import AdminCalls, Json
from p2p_oicp.server.dashboard.lists import chosen_format
from p2p_oicp.server.dashboard.rendering import encode_json
from p2p_oicp.server.dashboard.requests import SECURITY_HEADERS, PageRequest, PageServer
from p2p_oicp.server.dashboard.sparklines import draw_figures
from p2p_oicp.server.dashboard.topology import draw_topology
from p2p_oicp.server.dashboard.totals import DayTotals
from p2p_oicp.storage.outbox import OWN_PREFIXES

_SHOWN_MESSAGES = 20
_SHOWN_SESSIONS = 10


class NodePages:
    """Shows how the node and its peers are.

    Args:
        admin: has what is shown.
        pages: the frame of a page.
        totals: counts for the tiles.
    """

    def __init__(self, admin: AdminCalls, pages: PageServer, totals: DayTotals) -> None:
        self._admin = admin
        self._pages = pages
        self._totals = totals

    async def overview(self, request: PageRequest) -> OperationResponse:
        """Show whether all is well, and if not: what it is, since when, and what is to be done."""
        status, totals = await asyncio.gather(self._admin.get("/status"), self._totals.read())
        if (answer := as_json(request, {**status, "totals": totals.to_json()})) is not None:
            return answer
        figures = await self._admin.get("/figures")
        uncertain = await self._uncertain(totals.uncertain)
        problems = [each for each in status["problems"] if each["cause"] != "insecure"]
        insecure = [each["name"] for each in status["problems"] if each["cause"] == "insecure"]
        return self._pages.page(
            request,
            "overview.html",
            title="Overview",
            status=status,
            problems=problems,
            insecure=insecure,
            lamp=_lamp(problems),
            waiting=waiting_messages([*status["peers"], *status["backends"]]),
            totals=totals,
            uncertain=uncertain,
            figures=draw_figures(figures["minutes"]),
            counts_since=figures["since"],
        )

    async def _uncertain(self, count: int) -> list[Json]:
        """Return some of the uncertain remote starts, of which there are ``count``: no more are looked for."""
        if not count:
            return []
        query = {"state": "uncertain", "limit": str(min(count, _SHOWN_SESSIONS))}
        return list((await self._admin.get("/sessions", query))["sessions"])

    async def peers(self, request: PageRequest) -> OperationResponse:
        """Show all peers, candidates and backends."""
        answer = await self._admin.get("/peers")
        if (response := as_json(request, answer)) is not None:
            return response
        ocpi = (await self._admin.get("/ocpi/partners"))["partners"]
        return self._pages.page(request, "peers.html", title="Peers", ocpi=ocpi, **answer)

    async def topology(self, request: PageRequest) -> OperationResponse:
        """Show this node between its own systems and its peers."""
        answer = await self._admin.get("/peers")
        if (response := as_json(request, answer)) is not None:
            return response
        drawing = draw_topology(answer["peers"], answer["backends"])
        return self._pages.page(request, "topology.html", title="Topology", drawing=drawing, **answer)

    async def peer(self, request: PageRequest) -> OperationResponse:
        """Show one peer or backend with each channel, its keys, its contract, and what waits for it."""
        name = request.parameter("name")
        peer = await self._admin.get("/peers/{name}", name=name)
        if (response := as_json(request, peer)) is not None:
            return response
        waiting, keys = await asyncio.gather(
            self._admin.get("/outbox", {"destination": name, "limit": str(_SHOWN_MESSAGES)}),
            self._admin.get("/keys", {"owner": name}),
        )
        return self._pages.page(
            request,
            "peer.html",
            title=name,
            peer=peer,
            is_backend=name.startswith(OWN_PREFIXES),
            problems=_problems_of(peer["channels"]),
            messages=waiting["messages"],
            keys=keys["keys"],
        )


def as_json(request: PageRequest, content: Mapping[str, Any]) -> OperationResponse | None:
    """Return what a page shows as JSON, where that was asked for."""
    if chosen_format(request) == "html":
        return None
    return OperationResponse(encode_json(content), headers=SECURITY_HEADERS)


def waiting_messages(peers: Iterable[Json]) -> Json:
    """Return how many messages wait, since when the oldest does, and how many are dead."""
    channels = [channel for peer in peers for channel in peer["channels"] if channel["channel"] == "outbox"]
    dead = [trouble for each in channels for trouble in each["troubles"] if trouble["cause"] == "dead letters"]
    since = [each["behind_since"] for each in channels if each["behind_since"]]
    return {
        "messages": sum(each["behind"] for each in channels),
        "since": min(since, default=None),
        "dead": sum(each["count"] for each in dead),
    }


def _lamp(problems: Sequence[Json]) -> str:
    if any(each["severity"] == "error" for each in problems):
        return "bad"
    return "waiting" if problems else "good"


def _problems_of(channels: Iterable[Json]) -> list[Json]:
    """Return the troubles of all channels, those of one cause together."""
    found: dict[str, Json] = {}
    for channel in channels:
        for trouble in channel["troubles"]:
            known = found.setdefault(trouble["cause"], {**trouble, "channels": []})
            known["channels"] = [*known["channels"], channel["channel"]]
    return sorted(found.values(), key=lambda each: str(each["severity"]))
