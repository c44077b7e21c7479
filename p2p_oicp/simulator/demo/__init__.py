"""A complete roaming day between two nodes, for people to watch and for machines to check: ``./scripts/demo``.

``world.py`` puts the day together: node A (CPO ``DE*GEF``) and node B (EMP ``DE-GDF``) as processes, a CSMS behind A, a
contract system behind B. ``scenes.py`` is what happens, and what must be true after it; ``timeline.py`` shows it;
``report.py`` holds what was checked. The checks compare the books of the two backends, never the nodes' word.
"""

from __future__ import annotations

from p2p_oicp.simulator.demo.scenes import run_demo
from p2p_oicp.simulator.demo.world import Check, JsonTimeline, Report, RichTimeline, Timeline

__all__ = ["Check", "JsonTimeline", "Report", "RichTimeline", "Timeline", "run_demo"]
