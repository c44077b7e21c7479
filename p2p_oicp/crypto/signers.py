"""Our own identity in use: signs what we send, checks what we are answered, signs what we answer.

Identity without proof: for loopback, demonstrations and nodes that run with ``require = []``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit

from p2p_oicp.clock import Clock
from p2p_oicp.crypto.http_signatures import (
    SignedResponseParts,
    VerifiedSignature,
    sign_request,
    sign_response,
    verify_response,
)
from p2p_oicp.crypto.keyring import KeyRing, KnownKey
from p2p_oicp.crypto.keys import PrivateKey, PublicKey
from p2p_oicp.crypto.keystore import OwnKeys
from p2p_oicp.errors import VerificationError

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_DEFAULT_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=256)
def authority_of(origin: str) -> str:
    """Return the ``@authority`` of ``scheme://host[:port]`` (RFC 9421, 2.2.3): lower case, no default port."""
    parts = urlsplit(origin)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = parts.port
    return host if port is None or port == _DEFAULT_PORTS.get(parts.scheme) else f"{host}:{port}"


def split_target(url: str) -> tuple[str, str, str]:
    """Return authority, path and query of an absolute URL, as they are signed."""
    authority_start = url.index("//") + 2
    slash = url.find("/", authority_start)
    origin, target = (url, "/") if slash < 0 else (url[:slash], url[slash:])
    path, _, query = target.partition("?")
    return authority_of(origin), path, query


class OneTimeSigner:
    """Signs with one key, and accepts answers of one other key (``RequestSigner``)."""

    def __init__(self, key: PrivateKey, responder_key: PublicKey, clock: Clock) -> None:
        self._key = key
        self._key_ring = KeyRing([KnownKey(responder_key, "")])
        self._clock = clock

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the seam's shape
        """Return the headers of a signed request."""
        authority, path, query = split_target(url)
        return sign_request(
            self._key, method=method, authority=authority, path=path, query=query, body=body,
            now=self._clock.time(), nonce=secrets.token_urlsafe(16),
        )  # fmt: skip

    def verify_response(
        self,
        *,
        to: str | None,  # noqa: ARG002 - the protocol's shape
        request_headers: Mapping[str, str],
        response: SignedResponseParts,
    ) -> None:
        """Raise NotProven unless the other key signed this answer to this request."""
        verify_response(response, request_headers, self._key_ring.find, self._clock.time())


class MessageSigner:
    """Signs requests and checks answers, for the peers of whom ``needs_signature`` is true (``RequestSigner``)."""

    def __init__(
        self,
        keys: OwnKeys,
        key_ring: KeyRing,
        clock: Clock,
        *,
        needs_signature: Callable[[str], bool],
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self.keys = keys
        self._key_ring = key_ring
        self._clock = clock
        self._needs_signature = needs_signature
        self._nonce = nonce

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """Return the headers of a signed request, none where the peer needs none."""
        if to is None or not self._needs_signature(to):
            return _NO_HEADERS
        authority, path, query = split_target(url)
        now = self._clock.time()
        return sign_request(
            self.keys.signing_key(now), method=method, authority=authority, path=path, query=query, body=body,
            now=now, nonce=self._nonce(),
        )  # fmt: skip

    def verify_response(
        self, *, to: str | None, request_headers: Mapping[str, str], response: SignedResponseParts
    ) -> None:
        """Raise UnknownKey or NotProven unless ``to`` gave this answer to the request with the headers ``sent``."""
        if to is None or not self._needs_signature(to):
            return
        signature = verify_response(response, request_headers, self._key_ring.find, self._clock.time())
        owner = self._key_ring.owner(signature.key)
        if owner != to:
            raise VerificationError(f"the answer is signed by {owner}")

    def sign_response(self, status: int, body: bytes, request_signature: VerifiedSignature) -> Mapping[str, str]:
        """Return the headers of a signed answer."""
        now = self._clock.time()
        return sign_response(
            self.keys.signing_key(now), status=status, body=body, request_signature=request_signature, now=now
        )


class NoOpSigner:
    """PROVES NOTHING: requests go out unsigned, and anyone who can reach the receiver can send the same."""

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the seam's shape
        """Return no headers."""
        return _NO_HEADERS

    def verify_response(
        self, *, to: str | None, request_headers: Mapping[str, str], response: SignedResponseParts
    ) -> None:
        """Believe every answer."""


class BearerToken:
    """Proves knowledge of one shared token (the backend API's); it protects NEITHER the message nor against replay."""

    def __init__(self, token: str) -> None:
        self._headers = MappingProxyType({"Authorization": f"Bearer {token}"})

    def __repr__(self) -> str:
        return "BearerToken(token=hidden)"

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the seam's shape
        """Return the ``Authorization`` header (RFC 6750)."""
        return self._headers

    def verify_response(
        self, *, to: str | None, request_headers: Mapping[str, str], response: SignedResponseParts
    ) -> None:
        """Believe every answer."""
