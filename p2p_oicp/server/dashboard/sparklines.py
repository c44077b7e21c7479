"""Small curves of the last hour and day, drawn by the node: as a path of an SVG, with what it says in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from p2p_oicp.server.dashboard.admin_calls import Json

WIDTH, HEIGHT = 240, 40
_MARGIN = 2
_HOUR, _DAY = 60, 1440
# As many as there are pixels for.
_MAX_POINTS = 120


@dataclass(frozen=True, slots=True)
class Sparkline:
    """One curve.

    Attributes:
        title: what it shows.
        path: of the SVG; empty where there is nothing to draw.
        newest: its last value, in words.
        highest: its highest value, in words.
    """

    title: str
    path: str
    newest: str
    highest: str


def draw_figures(minutes: Sequence[Json]) -> dict[str, list[Sparkline]]:
    """Return the curves of an hour and of a day, by the name of the time."""
    return {
        name: [
            _draw("Requests a second", minutes[-count:], lambda each: each["requests"] / each["seconds"], _as_number),
            _draw("95 of 100 within", minutes[-count:], lambda each: each["p95"] or 0, _as_milliseconds),
            _draw("Failures a minute", minutes[-count:], lambda each: each["failures"], _as_number),
        ]
        for name, count in (("Last hour", _HOUR), ("Last 24 hours", _DAY))
    }


def _draw(
    title: str, minutes: Sequence[Json], value_of: Callable[[Json], object], text: Callable[[float], str]
) -> Sparkline:
    values = [float(str(value_of(each))) for each in minutes]
    if not values:
        return Sparkline(title, "", "", "")
    points = list(_peaks(values))
    highest = max(points)
    step = (WIDTH - 2 * _MARGIN) / max(1, len(points) - 1)
    height = HEIGHT - 2 * _MARGIN
    places = (
        (_MARGIN + index * step, HEIGHT - _MARGIN - (height * value / highest if highest else 0))
        for index, value in enumerate(points)
    )
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return Sparkline(title, path, text(values[-1]), text(max(values)))


def _peaks(values: Sequence[float]) -> Iterable[float]:
    """Yield at most as many values as can be drawn: of several minutes the highest, so that no peak is lost."""
    width = -(-len(values) // _MAX_POINTS)
    return (max(values[begin : begin + width]) for begin in range(0, len(values), width))


def _as_number(value: float) -> str:
    return f"{value:,.1f}" if value and value < 10 else f"{value:,.0f}"  # noqa: PLR2004 - of small ones a decimal


def _as_milliseconds(value: float) -> str:
    return f"{value * 1000:,.0f} ms"
