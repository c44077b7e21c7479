"""A sequence diagram of one session as SVG: who has said what to whom, in the order of time.

Drawn from the recorded exchanges (`[exchanges]`), or, where there are none, from the events of the session. Pure: it
returns what a template draws, as numbers and texts, which the template escapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_COLUMN_WIDTH, _MARGIN = 220, 110
_TOP, _ROW_HEIGHT = 70, 46
_OK = 200
_SUCCESS = "000"


@dataclass(frozen=True, slots=True)
class Arrow:
    """One exchange, or one event (then both ends are the node).

    Attributes:
        y: where it is.
        x1: where it begins.
        x2: where it ends.
        label: the operation.
        detail: the answer, and how long it took.
        state: good, bad or plain.
        at: when, in seconds since the epoch or as ISO 8601.
        number: of the exchange, which has a page; 0: an event.
        process_id: of the exchange.
    """

    y: int
    x1: int
    x2: int
    label: str
    detail: str
    state: str
    at: object
    number: int
    process_id: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One participant."""

    x: int
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """What the template draws, in pixels."""

    width: int
    height: int
    lanes: Sequence[Lane]
    arrows: Sequence[Arrow]


def draw_session(node: str, sessions: Sequence[Json], exchanges: Sequence[Json]) -> Diagram:
    """Return the diagram of a session.

    Args:
        node: the name of this node.
        sessions: as ``GET /admin/v1/sessions/{SessionID}`` has them: one for each role of this node.
        exchanges: as ``GET /admin/v1/exchanges?session=`` has them.
    """
    roles = {str(each["role"]) for each in sessions}
    backends = sorted({str(each["backend"]) for each in exchanges if each.get("backend")})
    peers = sorted({str(each["peer"]) for each in exchanges if each.get("peer")})
    peers = peers or sorted({str(each["peer"]) for each in sessions if each.get("peer")})
    ours = [(name, "our system") for name in backends]
    partners = [(name, "peer") for name in peers]
    # As in the story: the CPO's side at the left, the EMP's at the right.
    order = [*partners, (node, "this node"), *ours] if roles == {"emp"} else [*ours, (node, "this node"), *partners]
    lanes = [Lane(_MARGIN + index * _COLUMN_WIDTH, name, kind) for index, (name, kind) in enumerate(order)]
    places = {(lane.kind == "our system", lane.name): lane.x for lane in lanes}
    here = places[False, node]
    arrows = [_of_exchange(index, each, places, here) for index, each in enumerate(_ordered(exchanges))]
    if not arrows:
        events = (event for session in sessions for event in session["events"])
        arrows = [_of_event(index, event, here) for index, event in enumerate(events)]
    width = _MARGIN * 2 + (len(lanes) - 1) * _COLUMN_WIDTH
    return Diagram(max(width, 420), _TOP + len(arrows) * _ROW_HEIGHT + 20, lanes, arrows)


def _ordered(exchanges: Iterable[Json]) -> list[Json]:
    return sorted(exchanges, key=lambda each: float(each["at"]))


def _of_exchange(index: int, exchange: Json, places: dict[tuple[bool, str], int], here: int) -> Arrow:
    is_backend = bool(exchange.get("backend"))
    other = places.get((is_backend, str(exchange.get("backend") or exchange.get("peer") or "")), here)
    begin, end = (other, here) if exchange["direction"] == "in" else (here, other)
    code, status = exchange.get("code") or "", exchange.get("http_status")
    answer = exchange.get("error") or (code or f"HTTP {status}")
    is_good = status == _OK and code in {"", _SUCCESS}
    return Arrow(
        y=_TOP + index * _ROW_HEIGHT,
        x1=begin,
        x2=end,
        label=str(exchange.get("operation") or exchange["path"]),
        detail=f"{answer} · {float(exchange['seconds']) * 1000:.0f} ms",
        state="good" if is_good else "bad",
        at=float(exchange["at"]),
        number=int(exchange["number"]),
        process_id=str(exchange.get("process_id") or ""),
    )


def _of_event(index: int, event: Json, here: int) -> Arrow:
    y = _TOP + index * _ROW_HEIGHT
    return Arrow(y, here, here, str(event["event"]), "", "plain", event["at"], 0, "")
