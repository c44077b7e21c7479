"""What aiohttp raises, typed once: which of our errors a failed exchange is."""

from __future__ import annotations

import os
import socket

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from p2p_oicp.errors import PeerBroken, PeerError, PeerSilent, PeerUnreachable

# OSError: name resolution and sockets below aiohttp's own wrapping. ValueError: a URL that no request can be made of.
FOREIGN = (aiohttp.ClientError, aiohttp.WSMessageTypeError, HttpProcessingError, TimeoutError, OSError, ValueError)
# What can only fail before anything is sent: an address, a connection. It tells so where there is no body to ask.
BEFORE_SENDING = (aiohttp.ClientConnectorError, ValueError)


def typed(peer: str, exc: Exception, *, sent: bool) -> PeerError:
    """Return our error for ``exc``, one of FOREIGN; ``sent`` tells whether the request began to go out.

    (1) Nothing was sent: unreachable, whatever the reason. (2) An answer came that is not HTTP: broken.
    (3) All else after sending, a broken connection or a passed deadline: silent.
    """
    if not sent:
        return PeerUnreachable(peer, _reason(exc, late="no connection within the deadline"))  # (1)
    if isinstance(exc, (aiohttp.ClientResponseError, HttpProcessingError, aiohttp.WSMessageTypeError)):
        return PeerBroken(peer, f"answered something that is not HTTP: {_text(exc)}")  # (2)
    return PeerSilent(peer, _reason(exc, late="no answer within the deadline"))  # (3)


def _reason(exc: Exception, *, late: str) -> str:
    if isinstance(exc, TimeoutError):
        return late
    if isinstance(exc, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return f"not a usable http or https URL: {_text(exc)}"
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "closed the connection without an answer"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not accepted: {exc.certificate_error}"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"no connection to {exc.host}:{exc.port}: {_system_text(exc.os_error)}"
    return _text(exc)


def _system_text(exc: OSError) -> str:
    # asyncio puts the address where the system's words for the error were.
    if exc.errno is None or isinstance(exc, socket.gaierror):
        return exc.strerror or _text(exc)
    return os.strerror(exc.errno)


def _text(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
