"""The protocols of identity and what passes through them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class AnswerParts(msgspec.Struct, frozen=True):
    """The parts of a received answer that its giver can be proved from; ``body`` is what was on the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RequestSigner(Protocol):
    """Proves our identity on outgoing requests, and holds the answers to the one of whoever was asked.

    ``to`` is the name of the peer, None where nobody in particular is called: then nothing is signed or checked.
    """

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """Return the headers to add; ``url`` and ``body`` are exactly what goes on the wire."""

    def check(self, *, to: str | None, sent: Mapping[str, str], answer: AnswerParts) -> None:
        """Raise NotProven unless ``answer`` proves that ``to`` gave it to the request with the headers ``sent``."""


class SignedParts(msgspec.Struct, frozen=True):
    """The parts of a received request that an identity can be proved from, as they came.

    ``path`` is still percent-encoded, ``query`` is without its ``?``; ``headers`` do not care about case. ``body`` is
    what was on the wire. ``certificate`` is the connection's client certificate (DER), where there is one.
    """

    method: str
    authority: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    certificate: bytes | None = None
