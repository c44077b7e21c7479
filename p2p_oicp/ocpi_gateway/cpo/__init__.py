"""Face A: an OCPI system with charging stations, which roams as an operator of this node (GATEWAY 9).

Overview
    `CpoPartners` has all such partners, `CpoGateway` is the backend of one. The partner's requests come through
    ``handle``, the node's through ``call`` and ``push``; both end in one of the parts below.

Main modules
    - ``intake``: storing what the partner sends. ``correlation``: which session of OICP an object belongs to.
    - ``locations``, ``location_export``: EVSE data and status. ``prices``: tariffs.
    - ``tokens``, ``authorization``: who may charge. ``commands``: remote operations.
    - ``sessions``, ``cdrs``: what was charged.
    - ``pulls``, ``jobs``: what pushes have missed, and what is due at a time.

Invariants
    - What a partner was told is stored is in the database, *pending* until the node has it. Each step may be repeated.
    - No session is guessed. A CDR is carried once, or held for a person.

Failures
    A partner that cannot be called costs its own state only. What the node cannot take now is sent again.
"""

from p2p_oicp.ocpi_gateway.cpo.backend import CpoGateway
from p2p_oicp.ocpi_gateway.cpo.partners import CpoPartners

__all__ = ["CpoGateway", "CpoPartners"]
