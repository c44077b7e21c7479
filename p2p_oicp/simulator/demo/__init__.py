"""``p2p-oicp demo``: a complete roaming day between two nodes, for people to watch and for machines to check.

`world` sets it up: node A (CPO ``DE*GEF``) and node B (EMP ``DE-GDF``) as processes, a CSMS behind A, a contract system
behind B; it also has the timelines (output) and the report (results of checks). `scenes` has the actions, each followed
by its checks. Invariant: a check compares what the two backends have recorded, never what a node reports of itself.
"""

from __future__ import annotations

from p2p_oicp.simulator.demo.scenes import run_demo
from p2p_oicp.simulator.demo.world import Check, JsonTimeline, Report, RichTimeline, Timeline

__all__ = ["Check", "JsonTimeline", "Report", "RichTimeline", "Timeline", "run_demo"]
