"""Times of the week: OCPI's opening hours and restrictions of tariffs, OICP's OpeningTimes and availability times.

A ``Week`` has the periods of each day, Monday first, in minutes. A period over midnight belongs to two days of opening
hours; a tariff's belongs to one day, since its day and its time have to hold at once (mod_tariffs, TariffRestrictions).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from p2p_oicp.ocpi_mapping.losses import Losses
from p2p_oicp.oicp.enums import Day

#: A period of a day: minutes since midnight, the end excluded.
Span = tuple[int, int]
Week = tuple[tuple[Span, ...], ...]

DAY_MINUTES: Final = 1440
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
_WEEKDAYS = range(7)
FULL_WEEK: Final[Week] = tuple(((0, DAY_MINUTES),) for _ in _WEEKDAYS)
#: OICP's names of days, each with its days of the week; a group is used if all of its days are alike.
DAYS: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        Day.EVERYDAY: tuple(_WEEKDAYS),
        Day.WORKDAYS: (0, 1, 2, 3, 4),
        Day.WEEKEND: (5, 6),
        Day.MONDAY: (0,),
        Day.TUESDAY: (1,),
        Day.WEDNESDAY: (2,),
        Day.THURSDAY: (3,),
        Day.FRIDAY: (4,),
        Day.SATURDAY: (5,),
        Day.SUNDAY: (6,),
    }
)


def read_clock(text: object) -> int | None:
    """Return a time of day in minutes; None: it is none."""
    match = _CLOCK.fullmatch(str(text).strip())
    minutes = int(match[1]) * 60 + int(match[2]) if match else DAY_MINUTES + 1
    return minutes if minutes <= DAY_MINUTES else None


def write_clock(minutes: int) -> str:
    """Return minutes as OICP writes a time of day; midnight at the end of a day is ``24:00``."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def week_of(spans: Iterable[tuple[int, Span]]) -> Week:
    """Return the week of some periods, each with its day (0 is Monday); the periods of a day are sorted."""
    days: list[set[Span]] = [set() for _ in _WEEKDAYS]
    for day, span in spans:
        days[day].add(span)
    return tuple(tuple(sorted(day)) for day in days)


def split_over_midnight(day: int, begin: int, end: int) -> list[tuple[int, Span]]:
    """Return a period of opening hours; one that ends the next day is two, and an end of 00:00 is that of the day."""
    if end == 0:
        return [(day, (begin, DAY_MINUTES))]
    if begin < end:
        return [(day, (begin, end))]
    return [(day, (begin, DAY_MINUTES)), ((day + 1) % 7, (0, end))]


def daily_spans(begin: int, end: int) -> list[Span]:
    """Return the periods of a day at which a tariff's element counts: a night is two of them."""
    end = end or DAY_MINUTES
    return [(begin, end)] if begin < end else [span for span in ((0, end), (begin, DAY_MINUTES)) if span[0] < span[1]]


def subtract(week: Week, taken: Week) -> Week:
    """Return what is left of a week."""
    return tuple(
        tuple(sorted(_subtract_all(day, other))) for day, other in zip(_merged(week), _merged(taken), strict=True)
    )


def union(week: Week, other: Week) -> Week:
    """Return the times of both weeks."""
    return _merged(tuple((*day, *more) for day, more in zip(week, other, strict=True)))


def _merged(week: Week) -> Week:
    return tuple(tuple(_merge(sorted(day))) for day in week)


def _merge(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for begin, end in spans:
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _subtract_all(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    left = list(spans)
    for begin, end in taken:
        parts = [part for span in left for part in ((span[0], min(span[1], begin)), (max(span[0], end), span[1]))]
        left = [(first, last) for first, last in parts if first < last]
    return left


def to_days(week: Week, periods_name: str) -> list[dict[str, Any]]:
    """Return a week as OICP writes it: equal days as Everyday, Workdays or Weekend, then the others one by one."""
    result: list[dict[str, Any]] = []
    done: set[int] = set()
    for name, days in DAYS.items():
        spans = week[days[0]]
        if spans and done.isdisjoint(days) and all(week[day] == spans for day in days):
            periods = [{"begin": write_clock(begin), "end": write_clock(end)} for begin, end in spans]
            result.append({"on": str(name), periods_name: periods})
            done.update(days)
    return result


def read_days(
    times: Any,  # noqa: ANN401 - a member of OICP
    pointer: str,
    losses: Losses,
) -> list[tuple[tuple[int, ...], Span]]:
    """Return the periods of OICP's OpeningTimes or availability times, each with its days, in their order."""
    result: list[tuple[tuple[int, ...], Span]] = []
    for position, time in enumerate(times or []):
        place = f"{pointer}/{position}"
        days = DAYS.get(str(time.get("on") or time.get("On")))
        periods = time.get("Period") or time.get("Periods") or []
        # One document shows a single period without brackets (CONFORMANCE D08).
        for period in [periods] if isinstance(periods, dict) else periods:
            begin, end = read_clock(period.get("begin")), read_clock(period.get("end"))
            if days is None or begin is None or end is None:
                losses.add_value(place, time.get("on"), "has no days or times that can be read")
            else:
                result.append((days, (begin, end)))
    return result


#: Members of OCPI's opening hours that OICP has no place for.
_LOST_HOURS = ("exceptional_openings", "exceptional_closings")
_LAST_MINUTE = "23:59"


def to_opening_times(opening_times: dict[str, Any], pointer: str, losses: Losses) -> dict[str, Any]:
    """Return IsOpen24Hours and OpeningTimes of a location's opening hours; without regular ones it is always open."""
    losses.add_members(opening_times, pointer, _LOST_HOURS)
    regular = opening_times.get("regular_hours") or []
    if opening_times.get("twentyfourseven") or not regular:
        return {"IsOpen24Hours": True}
    spans: list[tuple[int, Span]] = []
    for position, period in enumerate(regular):
        begin, end = read_clock(period["period_begin"]), read_clock(period["period_end"])
        if begin is None or end is None or period["weekday"] - 1 not in _WEEKDAYS:
            losses.add_value(f"{pointer}/regular_hours/{position}", period["period_begin"], "is no such time")
        else:
            spans += split_over_midnight(period["weekday"] - 1, begin, end)
    return {"IsOpen24Hours": False, "OpeningTimes": to_days(week_of(spans), "Period")}


def from_opening_times(record: dict[str, Any], pointer: str, losses: Losses) -> dict[str, Any] | None:
    """Return the opening hours of an OICP record; 24:00 is 23:59 in OCPI; None: they are not known."""
    if record.get("IsOpen24Hours"):
        return {"twentyfourseven": True}
    periods = read_days(record.get("OpeningTimes"), f"{pointer}/OpeningTimes", losses)
    if not periods:
        return None
    hours = [
        {
            "weekday": day + 1,
            "period_begin": write_clock(begin),
            "period_end": _LAST_MINUTE if end == DAY_MINUTES else write_clock(end),
        }
        for days, (begin, end) in periods
        for day in days
    ]
    return {"twentyfourseven": False, "regular_hours": hours}
