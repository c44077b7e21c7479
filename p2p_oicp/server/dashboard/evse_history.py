"""What became of an EVSE: a strip of its statuses in the order of time, and what changed from version to version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from p2p_oicp.server.dashboard.admin_calls import Json
from p2p_oicp.server.dashboard.rendering import encode_json

_WIDTH = 1000
_MAX_CHANGES = 60
_MAX_TEXT = 120


@dataclass(frozen=True, slots=True)
class Span:
    """A status and how long it lasted: ``x`` and ``width`` of `Strip.width`, times in seconds since the epoch."""

    status: str
    since: float
    until: float
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Strip:
    """The statuses of an EVSE from one source.

    Attributes:
        source: own, or a peer.
        since: where the strip begins.
        spans: the oldest first.
        shares: how much of the time each status had, in percent, the longest first.
        is_cut: whether there were more than are shown.
        width: of the drawing.
    """

    source: str
    since: float
    spans: Sequence[Span]
    shares: Sequence[tuple[str, float]]
    is_cut: bool
    width: int = _WIDTH


@dataclass(frozen=True, slots=True)
class Change:
    """One member that differs: its JSON pointer, and its values as text; None: it is not there."""

    pointer: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class VersionChange:
    """What was changed at a time; ``note`` says so where there is nothing to compare."""

    at: str
    source: str
    changes: Sequence[Change]
    note: str = ""
    left_out: int = 0


def draw_strips(evses: Sequence[Json], earlier: Sequence[Json], now: float, limit: int) -> list[Strip]:
    """Return a strip for each source.

    Args:
        evses: as ``GET /admin/v1/evses/{EvseID}`` has them: with the present statuses.
        earlier: as its details have them, the newest first, at most ``limit``.
        now: where the strips end, in seconds since the epoch.
        limit: of the earlier statuses.
    """
    periods: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for each in reversed(earlier):
        periods[each["source"]].append((each["status"] or "withdrawn", _at(each["since"]), _at(each["until"])))
    for each in evses:
        if each["status"]:
            periods[each["source"]].append((each["status"], _at(each["status_changed_at"]), now))
    return [_strip(source, found, is_cut=len(earlier) >= limit) for source, found in periods.items()]


def _strip(source: str, periods: Sequence[tuple[str, float, float]], *, is_cut: bool) -> Strip:
    begin, end = periods[0][1], max(periods[-1][2], periods[0][1] + 1)
    scale = _WIDTH / (end - begin)
    spans = [
        Span(status, since, until, (since - begin) * scale, max(1.0, (until - since) * scale))
        for status, since, until in periods
    ]
    lasted: dict[str, float] = defaultdict(float)
    for each in spans:
        lasted[each.status] += each.until - each.since
    total = sum(lasted.values()) or 1.0
    shares = sorted(((status, 100 * seconds / total) for status, seconds in lasted.items()), key=lambda each: -each[1])
    return Strip(source, begin, spans, shares, is_cut)


def compare_versions(evses: Sequence[Json], earlier: Sequence[Json]) -> list[VersionChange]:
    """Return what was changed when, the newest first; ``earlier`` are the versions of the details, the newest first."""
    found = []
    for evse in evses:
        after, at = evse["record"], evse["changed_at"]
        for version in (each for each in earlier if each["source"] == evse["source"]):
            found.append(_change(at, evse["source"], version["record"], after))
            after, at = version["record"], version["since"]
        found.append(VersionChange(at, evse["source"], (), "The oldest version that is stored."))
    return sorted(found, key=lambda each: each.at, reverse=True)


def _change(at: str, source: str, before: object, after: object) -> VersionChange:
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return VersionChange(at, source, (), "It was withdrawn." if after is None else "It was sent again.")
    changes = [*differences(before, after)]
    note = "" if changes else "Nothing but the order or the notation of members."
    return VersionChange(at, source, changes[:_MAX_CHANGES], note, max(0, len(changes) - _MAX_CHANGES))


def differences(before: object, after: object, pointer: str = "") -> Iterator[Change]:
    """Yield what differs between two JSON values: single members of objects, lists of the same length by place."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            token = str(name).replace("~", "~0").replace("/", "~1")
            yield from differences(before.get(name, _ABSENT), after.get(name, _ABSENT), f"{pointer}/{token}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{pointer}/{place}")
    elif before != after:
        yield Change(pointer or "/", _text(before), _text(after))


class _Absent:
    """In the place of a member that is not there."""


_ABSENT = _Absent()


def _text(value: Any) -> str | None:  # noqa: ANN401 - JSON values
    if value is _ABSENT:
        return None
    text = value if isinstance(value, str) else encode_json(value).decode()
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def _at(time: str | None) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0
