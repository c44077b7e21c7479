"""Which form a company's own system has: a Python object, a URL, or nothing."""

from __future__ import annotations

from p2p_oicp.backends.absent import NoCpoBackend
from p2p_oicp.backends.guarded import GuardedEmpBackend, guarded_cpo
from p2p_oicp.backends.http import HttpCpoBackend, HttpEmpBackend
from p2p_oicp.backends.protocols import CpoBackend, EmpBackend
from p2p_oicp.backends.whitelist import Whitelist
from p2p_oicp.storage import Store
from p2p_oicp.transport import OicpClient

# The hub gives a backend 60 s (CONFORMANCE section 5); each operation's own deadline is at most that.
_DEADLINE_SECONDS = 60.0
_CPO, _EMP = "the CPO's backend", "the EMP's backend"


def choose_cpo(given: CpoBackend | None, url: str | None, client: OicpClient) -> CpoBackend:
    """Return the CSMS behind this node: given in Python, reached over HTTP, or none."""
    if given is not None:
        return guarded_cpo(_CPO, given)
    return HttpCpoBackend(_CPO, url, client, deadline=_DEADLINE_SECONDS) if url else NoCpoBackend()


def choose_emp(given: EmpBackend | None, url: str | None, client: OicpClient, store: Store) -> EmpBackend:
    """Return the contract system behind this node: given in Python, reached over HTTP, or the built-in whitelist."""
    if given is not None:
        return GuardedEmpBackend(_EMP, given)
    return HttpEmpBackend(_EMP, url, client, deadline=_DEADLINE_SECONDS) if url else Whitelist(store)
