"""The classic onboarding sequences, played against any two OICP endpoints.

One endpoint plays the clearing house for a CPO's backend, the other for an EMP's; they may be the backend APIs of two
nodes, or one hub. The player is both backends: it sends what a CSMS and a contract system send, listens where the
endpoints call them back (``backends``), and says of each sequence whether it went as OICP says, or what went wrong.
``publishing``, ``charging`` and ``repeating`` are the sequences; ``stage`` is what they play on.
"""

from __future__ import annotations

from p2p_oicp.simulator.scenarios.harness import Endpoints
from p2p_oicp.simulator.scenarios.runner import ScenarioResult, run_scenarios

__all__ = ["Endpoints", "ScenarioResult", "run_scenarios"]
