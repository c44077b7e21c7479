"""Rules: constraints between members of a message, or between its records; those on one member are field types.

``registry`` maps models to their rules, ``message_rules`` and ``record_rules`` define them, ``engine.check`` runs them
on a message and its nested objects, and ``context`` is what a rule gets: the position, the sender's scope, and the
methods to report findings.
"""

from __future__ import annotations

from p2p_oicp.oicp.rules.context import UNRESTRICTED_SCOPE, DuplicateCheck, RuleContext, SenderScope
from p2p_oicp.oicp.rules.engine import check

__all__ = ["UNRESTRICTED_SCOPE", "DuplicateCheck", "RuleContext", "SenderScope", "check"]
