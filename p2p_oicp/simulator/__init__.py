"""Simulated backends, and clusters of real nodes on this machine, for demonstrations and tests.

Overview
    `Csms` is a charge point operator's backend, `ContractSystem` a mobility provider's. Both speak plain OICP over HTTP
    with their own node's backend API, as they would with a clearing house, and do not depend on the node's code.

Main classes
    `BackendConnection` carries a backend's requests and the node's requests to it; an `ExchangeLog` has each exchange.
    `Cluster` writes the nodes' files (`node_files`) and runs each node as a process (`NodeProcess`).

Invariants
    Each backend records what it sent and received, so that a check compares the two backends and never trusts a node.
    Simulated time (`SimulatedClock`) moves by itself only in CDRs and notifications; every timeout is in real time.

Where to read next
    `demo` plays a roaming day between two nodes; `scenarios` plays onboarding sequences against any two endpoints.
"""

from __future__ import annotations

from p2p_oicp.simulator.cluster import Cluster, NodeFailed, NodeProcess
from p2p_oicp.simulator.csms import ChargingPoint, ChargingSession, Csms, SimulatedClock
from p2p_oicp.simulator.emp import Contract, ContractSystem
from p2p_oicp.simulator.exchange_log import ExchangeLog, LoggedExchange
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
