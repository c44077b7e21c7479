"""Numbers and times as both protocols write them: rounded half up, without trailing zeros, never as a binary float.

Energy to OICP has three decimals (OICP 2.3, Decimal(,3)), everything in OCPI four (types.asciidoc, number).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from p2p_oicp.ocpi.base import format_time, parse_time
from p2p_oicp.oicp.numbers import EXACT_CONTEXT

ENERGY_DECIMALS: Final = 3
OCPI_DECIMALS: Final = 4
ZERO: Final = Decimal(0)
_MICROSECONDS_PER_HOUR = 3_600_000_000


def decimal_of(value: Any) -> Decimal:  # noqa: ANN401 - a number of JSON
    """Return a number of JSON as Decimal; absent is 0."""
    return ZERO if value is None else Decimal(str(value))


def rounded(value: Decimal, decimals: int) -> Decimal:
    """Return a number rounded half up, without trailing zeros."""
    result = value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, EXACT_CONTEXT).normalize(EXACT_CONTEXT)
    # 1E+1 would be written so.
    is_integer = result == result.to_integral_value(context=EXACT_CONTEXT)
    return result.quantize(Decimal(1), context=EXACT_CONTEXT) if is_integer else result


def whole(value: Any) -> int:  # noqa: ANN401 - a number of JSON
    """Return a number of JSON rounded half up to an integer."""
    return int(decimal_of(value).quantize(Decimal(1), ROUND_HALF_UP, EXACT_CONTEXT))


def energy(value: Any) -> Decimal:  # noqa: ANN401 - a number of JSON
    """Return kWh as OICP has them."""
    return rounded(decimal_of(value), ENERGY_DECIMALS)


def number(value: Any) -> Decimal:  # noqa: ANN401 - a number of JSON
    """Return a number as OCPI has it."""
    return rounded(decimal_of(value), OCPI_DECIMALS)


def hours(duration: timedelta) -> Decimal:
    """Return a duration in hours, exactly."""
    return Decimal(duration // timedelta(microseconds=1)) / _MICROSECONDS_PER_HOUR


def duration_of(hours_: Any, longest: timedelta) -> timedelta:  # noqa: ANN401 - a number of JSON
    """Return a number of hours as a duration, to the millisecond, from 0 to ``longest``."""
    limited_hours = max(ZERO, min(decimal_of(hours_), hours(longest)))
    return timedelta(milliseconds=whole(limited_hours * 3_600_000))


def time_of(value: Any) -> datetime:  # noqa: ANN401 - a text of JSON
    """Return a time of either protocol, in UTC; raise ValueError if it is none, which a read object never has."""
    time = parse_time(str(value))
    if time is None:
        raise ValueError(f"{value!r} is no time")
    return time.astimezone(UTC)


def utc(value: Any) -> str:  # noqa: ANN401 - a text of JSON
    """Return a time of either protocol as both write it: UTC with ``Z``, with milliseconds if there are any."""
    return format_time(time_of(value))


def limited(time: datetime, earliest: datetime, latest: datetime) -> datetime:
    """Return a time within limits (RULES C3: charging happens within the session)."""
    return max(earliest, min(time, latest))
