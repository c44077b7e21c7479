"""Backends that behave like real ones, and clusters of real nodes on this machine, for demonstrations and tests.

:class:`Csms` is a charge point operator's backend, :class:`ContractSystem` a mobility provider's. Both speak plain OICP
over HTTP with their own node's backend API, as they would with a clearing house, and know nothing else of nodes. Each
keeps its own books, so that what arrived can be compared with what was sent; a :class:`Journal` tells who said what to
whom. :class:`Cluster` runs the nodes between them as processes.
"""

from __future__ import annotations

from p2p_oicp.simulator.cluster import Cluster, NodeFailed, NodeProcess
from p2p_oicp.simulator.csms import ChargingPoint, ChargingSession, Csms
from p2p_oicp.simulator.emp import Contract, ContractSystem
from p2p_oicp.simulator.exchange_log import ExchangeLog, LoggedExchange, SimulatedClock
from p2p_oicp.simulator.node_files import NodeSpec

__all__ = [
    "ChargingPoint",
    "ChargingSession",
    "Cluster",
    "Contract",
    "ContractSystem",
    "Csms",
    "ExchangeLog",
    "LoggedExchange",
    "NodeFailed",
    "NodeProcess",
    "NodeSpec",
    "SimulatedClock",
]
