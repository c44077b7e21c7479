"""A drawing of this node between its own systems and its peers: boxes and edges.

A drawing as SVG is made of it by the template. There may be a hundred peers: they stand in columns, and each is a link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from p2p_oicp.server.dashboard.admin_calls import Json

_BOX_WIDTH, _BOX_HEIGHT, _ROW_HEIGHT = 190, 44, 62
_MARGIN, _GAP, _ROWS_A_COLUMN = 12, 110, 12
_MAX_TEXT = 24


@dataclass(frozen=True, slots=True)
class Box:
    """One system.

    Attributes:
        name: of the peer or backend.
        label: its name, as far as it fits.
        detail: what stands below it.
        state: good, bad, waiting or plain: the colour of its edge.
        x: of its left side.
        y: of its top.
        badge: how many messages wait for it; empty: none.
    """

    name: str
    label: str
    detail: str
    state: str
    x: int
    y: int
    badge: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """All boxes; ``node_x`` and ``node_y`` are the left side and the top of this node's own."""

    width: int
    height: int
    node_x: int
    node_y: int
    box_width: int
    box_height: int
    backends: list[Box]
    peers: list[Box]


def draw_topology(peers: Sequence[Json], backends: Sequence[Json]) -> Drawing:
    """Return where everything stands, from what ``GET /admin/v1/peers`` answers."""
    rows = max(1, min(len(peers), _ROWS_A_COLUMN), len(backends))
    height = 2 * _MARGIN + rows * _ROW_HEIGHT
    node_x = _MARGIN + (_BOX_WIDTH + _GAP if backends else 0)
    first_x, columns = node_x + _BOX_WIDTH + _GAP, max(1, -(-len(peers) // _ROWS_A_COLUMN))
    return Drawing(
        width=first_x + columns * (_BOX_WIDTH + 2 * _MARGIN),
        height=height,
        node_x=node_x,
        node_y=(height - _BOX_HEIGHT) // 2,
        box_width=_BOX_WIDTH,
        box_height=_BOX_HEIGHT,
        backends=[_box(each, _MARGIN, _y(place, len(backends), height)) for place, each in enumerate(backends)],
        peers=[
            _box(
                each,
                first_x + place // _ROWS_A_COLUMN * (_BOX_WIDTH + 2 * _MARGIN),
                _y(place % _ROWS_A_COLUMN, min(len(peers), _ROWS_A_COLUMN), height),
            )
            for place, each in enumerate(peers)
        ],
    )


def _y(place: int, count: int, height: int) -> int:
    return (height - count * _ROW_HEIGHT) // 2 + place * _ROW_HEIGHT + (_ROW_HEIGHT - _BOX_HEIGHT) // 2


def _box(system: Json, x: int, y: int) -> Box:
    parties = ", ".join([*system.get("operators", ()), *system.get("providers", ())])
    waiting = int(system.get("waiting") or 0)
    name = str(system["name"])
    return Box(name, _cut(name.partition(":")[2] or name), _cut(parties), _state(system), x, y, _badge(waiting))


def _state(system: Json) -> str:
    if system.get("held") or system.get("paused"):
        return "waiting"
    if not system.get("up", True):
        return "bad"
    return "waiting" if system.get("waiting") else "good"


def _badge(waiting: int) -> str:
    return f"{waiting:,} wait" if waiting else ""


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
