"""The client certificate of a connection that ended at a reverse proxy (RFC 9440, ``Client-Cert``).

Only a trusted proxy (``[peer_api] trusted_proxies``) is believed: it has done the handshake, so whoever it speaks of
has the key. It verifies nothing else. Whose certificate it is, whether it is pinned or issued by our CA, is decided
here as for any other certificate (`authentication`); and that it is valid now, which else the handshake does.

A proxy must replace the header, or leave it out: one that a client sends would be believed. Two are none.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote

from aiohttp import web

from p2p_oicp.clock import Clock
from p2p_oicp.crypto.signature_base import field_value
from p2p_oicp.crypto.tls import Certificate
from p2p_oicp.peers.models import IpNetwork

CLIENT_CERT_HEADER = "Client-Cert"
_PEM_PREFIX = "-----BEGIN"


class _Parsed(NamedTuple):
    certificate: Certificate
    der: bytes


def forwarded_certificate(request: web.BaseRequest, proxies: Collection[IpNetwork], clock: Clock) -> bytes | None:
    """Return the client's certificate (DER), as a proxy says; None without one that can be read and is valid now.

    Args:
        request: whose connection may be the proxy's.
        proxies: the networks of the trusted proxies.
        clock: the time.
    """
    value, remote = field_value(request.headers, CLIENT_CERT_HEADER), request.remote
    if value is None or remote is None or not any(ip_address(remote) in network for network in proxies):
        return None
    parsed = _parse(value)
    return parsed.der if parsed is not None and parsed.certificate.is_valid(clock.time()) else None


# The few peers that call have the same certificates for months.
@lru_cache(maxsize=256)
def _parse(value: str) -> _Parsed | None:
    """Return the certificate in a header: RFC 9440's byte sequence, or what nginx can write, percent-encoded PEM."""
    try:
        if value.startswith(_PEM_PREFIX):
            certificate = Certificate.from_pem(unquote(value, errors="strict").encode())
        elif value.startswith(":") and value.endswith(":"):
            certificate = Certificate.from_base64(value[1:-1])
        else:
            return None
    except ValueError:
        return None
    return _Parsed(certificate, base64.b64decode(certificate.der_base64))
