"""The rules that hold between members of a message, or between its records."""

from __future__ import annotations

from p2p_oicp.oicp.rules.engine import check
from p2p_oicp.oicp.rules.here import EVERYONE, Here, Scope
from p2p_oicp.oicp.rules.once import Once

__all__ = ["EVERYONE", "Here", "Once", "Scope", "check"]
