"""Identity without proof: for loopback, demonstrations and nodes that run with ``require = []``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from p2p_oicp.identity.seams import AnswerParts

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class InsecureSigner:
    """PROVES NOTHING: requests go out unsigned, and anyone who can reach the receiver can send the same."""

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the seam's shape
        """Return no headers."""
        return _NO_HEADERS

    def check(self, *, to: str | None, sent: Mapping[str, str], answer: AnswerParts) -> None:
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

    def check(self, *, to: str | None, sent: Mapping[str, str], answer: AnswerParts) -> None:
        """Believe every answer."""
