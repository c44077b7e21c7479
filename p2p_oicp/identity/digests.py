"""``Content-Digest`` (RFC 9530): what ties a body to the headers that are signed."""

from __future__ import annotations

import base64
import hashlib
import hmac

from p2p_oicp.errors import NotProven
from p2p_oicp.identity.structured import byte_sequences

_ALGORITHMS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


def content_digest(body: bytes) -> str:
    """Return the field's value for the bytes on the wire."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def check_digest(field: str, body: bytes) -> None:
    """Raise NotProven unless every digest of a known algorithm, and at least one, is that of ``body``."""
    known = 0
    for name, digest in byte_sequences(field, "Content-Digest").items():
        algorithm = _ALGORITHMS.get(name)
        if algorithm is None:
            continue
        known += 1
        if not hmac.compare_digest(algorithm(body).digest(), digest):
            raise NotProven("the body is not the one that was signed (Content-Digest)")
    if not known:
        raise NotProven("Content-Digest has neither sha-256 nor sha-512")
