"""The protocols of identity and what passes through them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
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
    what was on the wire. ``certificate`` is the connection's client certificate (DER), where there is one;
    ``claimed_party`` is the sender's id in the path, where the path has one.
    """

    method: str
    authority: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    certificate: bytes | None = None
    claimed_party: str | None = None


class Proof(StrEnum):
    """What an identity rests on."""

    NONE = "none"
    SIGNATURE = "signature"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class ProvenIdentity:
    """Who sent a request: ``subject`` is a key id, a certificate's fingerprint or, without proof, a claimed party."""

    subject: str | None
    proof: Proof

    @property
    def is_proven(self) -> bool:
        """Whether anything but the sender's own word stands behind ``subject``."""
        return self.proof is not Proof.NONE


class RequestVerifier(Protocol):
    """Finds out who sent a request."""

    def verify(self, request: SignedParts) -> ProvenIdentity:
        """Return the sender's identity; raise :class:`~p2p_oicp.errors.NotProven` if it is not proved."""
