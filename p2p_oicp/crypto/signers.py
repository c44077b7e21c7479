"""Signers: the headers that authenticate a request, and the verification of its response.

All of them implement ``http_signatures.RequestSigner``:

- ``MessageSigner``: with the keys of this node, for peers that require signatures; it also signs responses.
- ``OneTimeSigner``: with the key that an invitation proves, before the two nodes are peers.
- ``BearerToken`` and ``OwnBackendSigner``: for our own backends.
- ``NoOpSigner``: no authentication; for loopback, demonstrations and ``require = []``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit

from p2p_oicp.clock import Clock
from p2p_oicp.crypto.http_signatures import JSON_UTF8, VerifiedSignature, sign_request, sign_response, verify_response
from p2p_oicp.crypto.keyring import KeyRing, KnownKey
from p2p_oicp.crypto.keys import PrivateKey, PublicKey
from p2p_oicp.crypto.keystore import OwnKeys
from p2p_oicp.crypto.signature_base import SignedResponseParts
from p2p_oicp.errors import VerificationError

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_DEFAULT_PORTS = {"http": 80, "https": 443}


# Cached: a node calls few origins, with each request.
@lru_cache(maxsize=256)
def authority_of(origin: str) -> str:
    """Return the ``@authority`` of ``scheme://host[:port]`` (RFC 9421 §2.2.3): lower case, without a default port."""
    parts = urlsplit(origin)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = parts.port
    return host if port is None or port == _DEFAULT_PORTS.get(parts.scheme) else f"{host}:{port}"


def split_target(url: str) -> tuple[str, str, str]:
    """Return authority, path and query of an absolute URL in the form in which they are signed."""
    # By hand: the path must stay percent-encoded exactly as it is sent.
    authority_start = url.index("//") + 2
    slash = url.find("/", authority_start)
    origin, target = (url, "/") if slash < 0 else (url[:slash], url[slash:])
    path, _, query = target.partition("?")
    return authority_of(origin), path, query


class OneTimeSigner:
    """Signs requests with one key and accepts responses of one other key.

    Args:
        key: The private key, derived from an invitation.
        responder_key: The public key of the node that responds.
        clock: For creation times.
    """

    def __init__(self, key: PrivateKey, responder_key: PublicKey, clock: Clock) -> None:
        self._key = key
        self._key_ring = KeyRing([KnownKey(responder_key, "")])
        self._clock = clock

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's shape
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
        verify_response(response, request_headers, self._key_ring.find, self._clock.time())


class MessageSigner:
    """Signs requests and verifies responses with the keys of this node and of its peers.

    Args:
        keys: Our own keys; replaced after a rotation.
        key_ring: The keys of the peers.
        clock: For creation times and the validity of keys.
        needs_signature: Whether a peer, by name, is to be sent signed requests and has to sign its responses.
        nonce: Returns a new nonce for each request.
    """

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
        self.needs_signature = needs_signature
        self._nonce = nonce

    def replace_keys(self, keys: OwnKeys) -> None:
        """Sign with ``keys`` from now on."""
        self.keys = keys

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:
        if to is None or not self.needs_signature(to):
            return _NO_HEADERS
        return self.sign_for_anyone(method=method, url=url, body=body)

    def sign_for_anyone(
        self, *, method: str, url: str, body: bytes, content_type: str = JSON_UTF8
    ) -> Mapping[str, str]:
        """Return the headers of a signed request, whoever is to get it."""
        authority, path, query = split_target(url)
        now = self._clock.time()
        return sign_request(
            self.keys.signing_key(now), method=method, authority=authority, path=path, query=query, body=body,
            now=now, nonce=self._nonce(), content_type=content_type,
        )  # fmt: skip

    def verify_response(
        self, *, to: str | None, request_headers: Mapping[str, str], response: SignedResponseParts
    ) -> None:
        if to is None or not self.needs_signature(to):
            return
        signature = verify_response(response, request_headers, self._key_ring.find, self._clock.time())
        # A valid signature of another peer proves nothing about this one.
        owner = self._key_ring.owner(signature.key)
        if owner != to:
            raise VerificationError(f"the response is signed by {owner}")

    def sign_response(self, status: int, body: bytes, request_signature: VerifiedSignature) -> Mapping[str, str]:
        """Return the headers of a signed response to a signed request."""
        now = self._clock.time()
        return sign_response(
            self.keys.signing_key(now), status=status, body=body, request_signature=request_signature, now=now
        )


class NoOpSigner:
    """INSECURE: signs no request and accepts any response; anyone who can reach the receiver can send the same."""

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's shape
        return _NO_HEADERS

    def verify_response(
        self, *, to: str | None, request_headers: Mapping[str, str], response: SignedResponseParts
    ) -> None:
        """Accept any response."""


class BearerToken:
    """Sends a shared bearer token (RFC 6750); it protects NEITHER the message NOR against replay.

    Args:
        token: The token, which appears in no repr.
    """

    def __init__(self, token: str) -> None:
        self._headers = MappingProxyType({"Authorization": f"Bearer {token}"})

    def __repr__(self) -> str:
        return "BearerToken(token=hidden)"

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the protocol's shape
        return self._headers

    def verify_response(
        self, *, to: str | None, request_headers: Mapping[str, str], response: SignedResponseParts
    ) -> None:
        """Accept any response: a backend signs none."""


class OwnBackendSigner:
    """Signs requests to a backend of ours with this node's keys, and sends a token too if the backend wants one.

    Its responses are not signed: TLS authenticates it.

    Args:
        signer: Has this node's present keys.
        token: The bearer token, if there is one.
    """

    def __init__(self, signer: MessageSigner, token: BearerToken | None = None) -> None:
        self._signer = signer
        self._token = token or NoOpSigner()

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:
        token = self._token.sign(to=to, method=method, url=url, body=body)
        return {**token, **self._signer.sign_for_anyone(method=method, url=url, body=body)}

    def verify_response(
        self, *, to: str | None, request_headers: Mapping[str, str], response: SignedResponseParts
    ) -> None:
        """Accept any response: a backend signs none."""
