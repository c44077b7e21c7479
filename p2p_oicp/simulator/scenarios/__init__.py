"""The classic onboarding sequences, played against any two OICP endpoints.

One endpoint plays the clearing house for a CPO's backend, the other for an EMP's; they may be the backend APIs of two
nodes, or one hub. `run_scenarios` is both backends: it sends the requests of a CSMS and of a contract system
(`messages`), serves the requests of the endpoints (`backends`), and reports of each sequence whether the endpoints
behaved as OICP demands, or the first deviation. `cases` has the sequences, `harness` the context that they run in.
"""

from __future__ import annotations

from p2p_oicp.simulator.scenarios.harness import Endpoints
from p2p_oicp.simulator.scenarios.runner import ScenarioResult, run_scenarios

__all__ = ["Endpoints", "ScenarioResult", "run_scenarios"]
