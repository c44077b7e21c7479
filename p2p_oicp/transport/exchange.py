"""One exchange as plain data: where to send, what is sent, and what came back."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from p2p_oicp.identity import AnswerParts, RequestSigner
from p2p_oicp.transport.answers import Answer


class Request(msgspec.Struct, frozen=True):
    """One request; ``name`` is for errors, ``to`` the peer that has to prove itself, if any; ``tls`` as asked for."""

    method: str
    url: str
    body: bytes
    deadline: float
    name: str
    to: str | None
    signer: RequestSigner
    headers: Mapping[str, str] = MappingProxyType({})
    tls: ssl.SSLContext | None = None


class Exchange(msgspec.Struct, frozen=True):
    """A request and its answer; ``on_the_wire`` is its body without decoding, ``sent`` the headers that went out."""

    request: Request
    answer: Answer
    on_the_wire: bytes
    sent: Mapping[str, str]

    def parts(self) -> AnswerParts:
        """Return what proves who answered."""
        return AnswerParts(self.answer.status, self.answer.headers, self.on_the_wire)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send: ``name`` is for people, ``url`` the base, ``profile`` how the other side speaks.

    ``recipient`` names parties, separated by commas: a node that answers for none of them, because it has taken over
    the address, refuses with 421. ``is_peer`` is false for our own systems, which sign nothing: over https, a
    certificate of the system's CAs says who they are.
    """

    name: str
    url: str
    profile: str = "oicp"
    recipient: str | None = None
    is_peer: bool = True
