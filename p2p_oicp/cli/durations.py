"""Times as people write them: 30m, 24h, 7d."""

from __future__ import annotations

import re

from p2p_oicp.errors import ConfigurationError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str, option: str) -> float:
    """Return the seconds of ``text``; raise ConfigurationError naming ``option``."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None:
        raise ConfigurationError(f'{option}: "{text}" is no time; expected one such as 30m, 24h or 7d')
    return float(match[1]) * _UNITS[match[2]]
