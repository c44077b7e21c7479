"""The company's own systems behind this node: what the node asks them, and in which forms they come.

A CPO's backend (its CSMS) is asked to start and stop charging; an EMP's backend (its contract system) is asked
whether a driver may charge and is told what happened. ``http`` is a backend reached by plain OICP over HTTP,
``protocols`` are the small protocols that a Python program implements to skip HTTP, ``guarded`` holds it to them,
``whitelist`` is the contract system of an EMP that has none (``p2p-oicp tokens``), ``absent`` answers for a CPO
without a CSMS.
"""

from p2p_oicp.backends.client import create_cpo_backend, create_emp_backend
from p2p_oicp.backends.protocols import CpoBackend, EmpBackend, Forwarding, ReservingCpoBackend

__all__ = ["CpoBackend", "EmpBackend", "Forwarding", "ReservingCpoBackend", "create_cpo_backend", "create_emp_backend"]
