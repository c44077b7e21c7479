"""Outgoing HTTP: every call to a peer, a hub or our own backend.

Overview
    `HttpTransport` sends one HTTP request and reads one bounded response; it knows nothing of keys. On top of it,
    `OicpClient` calls our own backends, and `AuthenticatedPeerClient` calls other nodes: it signs requests, verifies
    responses, and refreshes a peer's keys when they seem to have changed.

In the order of a request
    `AuthenticatedPeerClient.call` → `crypto.RequestSigner.sign` → `HttpTransport.send` → `authenticate_response`
    → `read_reply`, which completes what others leave out (``oicp.answers``). The reply carries the exchange to be
    recorded as evidence (``crypto.exchange``), which the caller inserts in the transaction of what it decides
    (``peering.evidence_recorder``).

Invariants
    Every call has a deadline and every response a maximum size. A request with a body is sent a second time only if
    the first was certainly not processed (`AuthenticatedPeerClient`, "Resend policy"). A response that a peer should
    have signed and has not counts as none. Nothing but `PeerError` and its subclasses leaves this package.

Failures
    aiohttp's exceptions are mapped once (`transport.map_exception`), HTTP statuses once (`replies.raise_for_status`).
    `PeerError.may_have_arrived` is what a caller needs in order to decide whether to try again.

Where to read next
    ``peer_client.py``, then ``replies.py``; ``delivery`` for what is tried again, and when.
"""

from __future__ import annotations

from p2p_oicp.client.bodies import BodyError, BodyProblem, BoundedDecompressor
from p2p_oicp.client.oicp_client import Endpoint, OicpClient
from p2p_oicp.client.peer_client import RECIPIENT_HEADER, AuthenticatedPeerClient, PeerClient
from p2p_oicp.client.replies import (
    IDENTITY_CONFIRMED_HEADER,
    NOT_PROCESSED_HEADER,
    HttpResponse,
    OicpReply,
    raise_for_refused_push,
    read_reply,
    whole_answer,
)
from p2p_oicp.client.transport import HttpTransport, OutboundRequest, check_connection

__all__ = [
    "IDENTITY_CONFIRMED_HEADER",
    "NOT_PROCESSED_HEADER",
    "RECIPIENT_HEADER",
    "AuthenticatedPeerClient",
    "BodyError",
    "BodyProblem",
    "BoundedDecompressor",
    "Endpoint",
    "HttpResponse",
    "HttpTransport",
    "OicpClient",
    "OicpReply",
    "OutboundRequest",
    "PeerClient",
    "check_connection",
    "raise_for_refused_push",
    "read_reply",
    "whole_answer",
]
