"""Incoming HTTP: two listeners, two meanings of the same paths.

The *peer API* is public: a request comes from another party's node, and the role that serves the operation answers.
The *backend API* is for our own backend: the role that sends the operation acts for it, as the clearing house would.
Both have one catch-all route below ``/api/oicp/``; the table of operations finds the operation (one dictionary
look-up, where thirty routes would be thirty regular expressions).
"""

from p2p_oicp.server.admin import CdrAdminApi, OutboxAdminApi, PeerAdminApi
from p2p_oicp.server.app import RequestRouter, backend_routes
from p2p_oicp.server.authentication import Authenticator, BackendAuthenticator, PeerAuthenticator
from p2p_oicp.server.dispatcher import ListenerKind, OperationDispatcher
from p2p_oicp.server.in_process import InProcessPeerClient, LocalBackendClient
from p2p_oicp.server.limits import AdmissionController, AdmissionLimits, PeerLimiter
from p2p_oicp.server.listener import start_listener
from p2p_oicp.server.metrics import Metrics
from p2p_oicp.server.node_api import HelloClient, PairingHandler, SessionStatusHandler, node_routes
from p2p_oicp.server.pipeline import RequestPipeline

__all__ = [
    "AdmissionController",
    "AdmissionLimits",
    "Authenticator",
    "BackendAuthenticator",
    "CdrAdminApi",
    "HelloClient",
    "InProcessPeerClient",
    "ListenerKind",
    "LocalBackendClient",
    "Metrics",
    "OperationDispatcher",
    "OutboxAdminApi",
    "PairingHandler",
    "PeerAdminApi",
    "PeerAuthenticator",
    "PeerLimiter",
    "RequestPipeline",
    "RequestRouter",
    "SessionStatusHandler",
    "backend_routes",
    "node_routes",
    "start_listener",
]
