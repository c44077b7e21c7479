"""The rules that hold between members of a message, or between its records."""

from __future__ import annotations

from p2p_oicp.oicp.rules.context import UNRESTRICTED_SCOPE, DuplicateCheck, RuleContext, SenderScope
from p2p_oicp.oicp.rules.engine import check

__all__ = ["UNRESTRICTED_SCOPE", "DuplicateCheck", "RuleContext", "SenderScope", "check"]
