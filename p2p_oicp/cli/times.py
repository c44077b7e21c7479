"""Times as people write them on the command line."""

from __future__ import annotations

from datetime import UTC, date, datetime

from p2p_oicp.errors import ConfigurationError


def seconds_of(text: str, option: str) -> float:
    """Return seconds since the epoch of a date, or of a time with its offset; raise `ConfigurationError`."""
    try:
        if len(text) == len("2026-03-01"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp()
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigurationError(f'{option} {text}: expected "2026-03-01" or "2026-03-01T02:00:00+01:00"')
    return time.timestamp()
