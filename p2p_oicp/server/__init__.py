"""Incoming HTTP: two listeners, two meanings of the same paths.

Overview
    The *peer API* is public: a request comes from another company's node, and the role of its recipient serves it. The
    *backend API* is for our own backend: the role of the sender acts for it, as the clearing house would. Beside OICP,
    nodes talk below ``/p2p/v1`` (``node_api``), and people and the command line below ``/admin/v1`` (``admin``).

In the order of a request
    1. ``listener``: `ConnectionLimiter` accepts the connection, or evicts an older one.
    2. ``app``: `RequestRouter` sends OICP straight to the pipeline, everything else through aiohttp's router.
    3. ``pipeline``: a `RequestContext` holds the immutable head (``inbound.InboundRequest``). On the
       backend listener, ``app.BackendAccess`` refuses web pages, and requests without the token where one is needed.
    4. ``authentication``: certificate and signature over the head give a `Principal`, before the body is read.
    5. ``inbound``: the body, where ``limits`` has room for it; then its digest, and the nonce counts as used.
    6. ``limits``: `AdmissionController` gives a slot in the lane of the operation.
    7. ``dispatcher``: `OperationDispatcher` parses the message, checks its sender, and calls the role.
    8. ``pipeline``: the response is compressed, signed and recorded.

Invariants
    A request that is refused has cost no more than the steps before. The role never sees an unauthenticated sender
    where credentials are required, nor a message that is not valid. Only a whole, verified body uses up its nonce. A
    role that decides in a transaction may sign and record its response in the same one.

Failures
    Whatever is raised becomes a response with a StatusCode (``problems``): `HttpError` for HTTP's own statuses,
    `Refusal` for OICP's codes, `InvalidMessage` for HTTP 400 with each member; anything else is a bug: 500, and the
    log has its stack.

Where to read next
    `OicpRequestContext` in ``pipeline.py``: the steps of admission in their order.
"""

from p2p_oicp.server.admin import CdrAdminApi, OutboxAdminApi, PeerAdminApi
from p2p_oicp.server.app import BackendAccess, RequestRouter, backend_routes
from p2p_oicp.server.authentication import Authenticator, BackendAuthenticator, PeerAuthenticator
from p2p_oicp.server.dispatcher import ListenerKind, OperationDispatcher
from p2p_oicp.server.event_admin import EventAdminApi
from p2p_oicp.server.exchange_admin import ExchangeAdminApi
from p2p_oicp.server.in_process import InProcessPeerClient, LocalBackendClient
from p2p_oicp.server.limits import AdmissionController, AdmissionLimits, PeerLimiter
from p2p_oicp.server.listener import start_listener
from p2p_oicp.server.metrics import Metrics
from p2p_oicp.server.node_api import HelloHandler, PairingHandler, ProbeHandler, SessionExportHandler, node_routes
from p2p_oicp.server.peer_settings import PeerSettingsApi
from p2p_oicp.server.pipeline import RequestPipeline
from p2p_oicp.server.status_api import StatusAdminApi

__all__ = [
    "AdmissionController",
    "AdmissionLimits",
    "Authenticator",
    "BackendAccess",
    "BackendAuthenticator",
    "CdrAdminApi",
    "EventAdminApi",
    "ExchangeAdminApi",
    "HelloHandler",
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
    "PeerSettingsApi",
    "ProbeHandler",
    "RequestPipeline",
    "RequestRouter",
    "SessionExportHandler",
    "StatusAdminApi",
    "backend_routes",
    "node_routes",
    "start_listener",
]
