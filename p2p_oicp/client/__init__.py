"""Outgoing HTTP: every call to a peer, a hub or our own backend goes through :class:`OicpClient`.

The story: ``exchange.py`` says what a request and its answer consist of; ``client.py`` writes one request and reads one
bounded answer (the only module that knows aiohttp's session);
``failures.py`` turns what aiohttp raises into our errors, once; ``bodies.py`` bounds and decompresses what comes in;
``answers.py`` decides, without I/O, what status, headers and bytes mean: a :class:`Reply` or a PeerError.
A message is sent twice here only with fresh keys, after it was refused for the old ones: whether to try again otherwise
is decided by ``delivery`` and ``roles``, from the error's type.
"""

from __future__ import annotations

from p2p_oicp.client.replies import HttpResponse as WireAnswer
from p2p_oicp.client.replies import OicpReply, as_utf8, read_reply
from p2p_oicp.client.transport import IDENTITY_CONFIRMED_HEADER, RECIPIENT_HEADER, Endpoint, HttpTransport

__all__ = [
    "IDENTITY_CONFIRMED_HEADER",
    "RECIPIENT_HEADER",
    "Endpoint",
    "HttpTransport",
    "OicpReply",
    "WireAnswer",
    "as_utf8",
    "read_reply",
]
