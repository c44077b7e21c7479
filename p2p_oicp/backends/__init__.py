"""The company's own systems behind this node: what the node asks them, and in which forms they come.

A CPO's backend (its CSMS) is asked to start and stop charging; an EMP's backend (its contract system) is asked
whether a driver may charge and is told what happened. ``http`` is a backend reached by plain OICP over HTTP,
``protocols`` are the two small protocols that a Python program implements to skip HTTP, ``guarded`` holds it to
them, ``absent`` answers for a role without any backend.
"""

from p2p_oicp.backends.absent import NoCpoBackend, NoEmpBackend
from p2p_oicp.backends.guarded import GuardedCpoBackend, GuardedEmpBackend
from p2p_oicp.backends.http import HttpCpoBackend, HttpEmpBackend
from p2p_oicp.backends.protocols import CpoBackend, EmpBackend

__all__ = [
    "CpoBackend",
    "EmpBackend",
    "GuardedCpoBackend",
    "GuardedEmpBackend",
    "HttpCpoBackend",
    "HttpEmpBackend",
    "NoCpoBackend",
    "NoEmpBackend",
]
