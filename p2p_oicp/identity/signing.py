"""Our own identity in use: signs what we send, checks what we are answered, signs what we answer."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import urlsplit

from p2p_oicp.clock import Clock
from p2p_oicp.errors import NotProven
from p2p_oicp.identity.keyring import KeyRing, KnownKey
from p2p_oicp.identity.keys import PrivateKey, PublicKey
from p2p_oicp.identity.keystore import OwnKeys
from p2p_oicp.identity.seams import AnswerParts
from p2p_oicp.identity.signatures import VerifiedSignature, sign_answer, sign_request, verify_answer

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


def target_of(url: str) -> tuple[str, str, str]:
    """Return authority, path and query of an absolute URL, as they are signed."""
    start = url.index("//") + 2
    slash = url.find("/", start)
    origin, target = (url, "/") if slash < 0 else (url[:slash], url[slash:])
    path, _, query = target.partition("?")
    return authority_of(origin), path, query


class OneTimeSigner:
    """Signs with one key, and accepts answers of one other key (``RequestSigner``)."""

    def __init__(self, key: PrivateKey, answered_by: PublicKey, clock: Clock) -> None:
        self._key = key
        self._ring = KeyRing([KnownKey(answered_by, "")])
        self._clock = clock

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the seam's shape
        """Return the headers of a signed request."""
        authority, path, query = target_of(url)
        return sign_request(
            self._key, method=method, authority=authority, path=path, query=query, body=body,
            now=self._clock.time(), nonce=secrets.token_urlsafe(16),
        )  # fmt: skip

    def check(self, *, to: str | None, sent: Mapping[str, str], answer: AnswerParts) -> None:  # noqa: ARG002 - the seam's shape
        """Raise NotProven unless the other key signed this answer to this request."""
        verify_answer(answer, sent, self._ring.find, self._clock.time())


class MessageSigner:
    """Signs requests and checks answers, for the peers of whom ``needs_signature`` is true (``RequestSigner``)."""

    def __init__(
        self,
        keys: OwnKeys,
        ring: KeyRing,
        clock: Clock,
        *,
        needs_signature: Callable[[str], bool],
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self.keys = keys
        self._ring = ring
        self._clock = clock
        self._needs_signature = needs_signature
        self._nonce = nonce

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """Return the headers of a signed request, none where the peer needs none."""
        if to is None or not self._needs_signature(to):
            return _NO_HEADERS
        authority, path, query = target_of(url)
        now = self._clock.time()
        return sign_request(
            self.keys.signing(now), method=method, authority=authority, path=path, query=query, body=body,
            now=now, nonce=self._nonce(),
        )  # fmt: skip

    def check(self, *, to: str | None, sent: Mapping[str, str], answer: AnswerParts) -> None:
        """Raise UnknownKey or NotProven unless ``to`` gave this answer to the request with the headers ``sent``."""
        if to is None or not self._needs_signature(to):
            return
        signature = verify_answer(answer, sent, self._ring.find, self._clock.time())
        owner = self._ring.owner(signature.key)
        if owner != to:
            raise NotProven(f"the answer is signed by {owner}")

    def sign_answer(self, status: int, body: bytes, to: VerifiedSignature) -> Mapping[str, str]:
        """Return the headers of a signed answer."""
        now = self._clock.time()
        return sign_answer(self.keys.signing(now), status=status, body=body, to=to, now=now)
