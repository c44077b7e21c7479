"""Incoming HTTP: two listeners, two meanings of the same paths.

The *peer API* is public: a request comes from another party's node, and the role that serves the operation answers.
The *backend API* is for our own backend: the role that sends the operation acts for it, as the clearing house would.
Both have one catch-all route below ``/api/oicp/``; the table of operations finds the operation (one dictionary
look-up, where thirty routes would be thirty regular expressions).
"""

from p2p_oicp.web.admin import Admin
from p2p_oicp.web.admin_outbox import OutboxAdmin
from p2p_oicp.web.admin_peers import AdminPeers
from p2p_oicp.web.apps import Listener, backend_app, peer_app
from p2p_oicp.web.gate import Gate, OwnGate, PeerGate
from p2p_oicp.web.greetings import Greetings
from p2p_oicp.web.inprocess import Loopback, OwnCalls
from p2p_oicp.web.limits import Capacity, Crowd, Doorkeeper
from p2p_oicp.web.listening import listen
from p2p_oicp.web.metrics import Metrics
from p2p_oicp.web.pairings import PeerPairings
from p2p_oicp.web.reports import SessionEnquiries
from p2p_oicp.web.service import Api, Side

__all__ = [
    "Admin",
    "AdminPeers",
    "Api",
    "Capacity",
    "Crowd",
    "Doorkeeper",
    "Gate",
    "Greetings",
    "Listener",
    "Loopback",
    "Metrics",
    "OutboxAdmin",
    "OwnCalls",
    "OwnGate",
    "PeerGate",
    "PeerPairings",
    "SessionEnquiries",
    "Side",
    "backend_app",
    "listen",
    "peer_app",
]
