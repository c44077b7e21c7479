"""Evidence: signed exchanges in one file that proves on any machine, offline, who said what when.

A file has two lines. The first is JSON: the exchanges of a session as they were on the wire, and what the node that
wrote the file knows of the keys in them. The second is that node's signature over the first. Whoever verifies needs
nothing else: (1) the second line fits the first, byte for byte; (2) each request and each answer carries a signature
that fits what it covers, so that its body is the one that was signed; (3) each answer belongs to its request. That a
key is the one of a company is known from its fingerprint, or from the node descriptor in the file.
"""

from __future__ import annotations

import base64
import binascii
from binascii import b2a_base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from p2p_oicp.errors import NotProven
from p2p_oicp.identity.keys import PrivateKey, PublicKey
from p2p_oicp.identity.seams import AnswerParts, SignedParts
from p2p_oicp.identity.signatures import recheck_request, verify_answer

_CONTEXT = b"p2p-oicp evidence v1\n"
_VERSION = 1
_KEPT_HEADERS = ("Content-Type", "Content-Digest", "Content-Encoding", "Signature-Input", "Signature")


class Exchange(msgspec.Struct, frozen=True):
    """One request and its answer as they were on the wire; ``at`` is our clock, ``peer`` our name for the other."""

    at: float
    operation: str
    sent_by_us: bool
    peer: str
    request: SignedParts
    answer: AnswerParts

    def to_json(self) -> bytes:
        """Return it for keeping."""
        request, answer = self.request, self.answer
        return orjson.dumps(
            {
                "at": self.at,
                "operation": self.operation,
                "direction": "sent" if self.sent_by_us else "received",
                "peer": self.peer,
                "request": {
                    "method": request.method,
                    "authority": request.authority,
                    "path": request.path,
                    "query": request.query,
                    "headers": _kept(request.headers),
                    "body": _text(request.body),
                },
                "answer": {"status": answer.status, "headers": _kept(answer.headers), "body": _text(answer.body)},
            }
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """What is proved: who (a key) said what, when by the signer's own clock (seconds since the epoch)."""

    key: PublicKey
    at: int
    what: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Evidence:
    """A verified file: what was said of ``session_id``, and the key of the node that wrote the file.

    ``holders`` are names by key id and ``descriptors`` what the holders said of themselves: as the writer knows them.
    """

    session_id: str
    writer: PublicKey
    statements: tuple[Statement, ...]
    holders: Mapping[str, str]
    descriptors: tuple[bytes, ...]


def write_evidence(
    session_id: str,
    exchanges: Iterable[bytes],
    *,
    keys: Mapping[str, tuple[str, str]],
    descriptors: Iterable[bytes],
    key: PrivateKey,
    now: float,
) -> bytes:
    """Return the file; ``keys`` are key id → (public key line, name of its holder)."""
    content = {
        "version": _VERSION,
        "session_id": session_id,
        "written_at": now,
        "exchanges": [orjson.loads(exchange) for exchange in exchanges],
        "keys": [{"public_key": line, "holder": holder} for line, holder in keys.values()],
        "descriptors": [orjson.loads(descriptor) for descriptor in descriptors],
    }
    first = orjson.dumps(content)
    return first + b"\n" + _seal(key, first) + b"\n"


def read_evidence(file: bytes) -> Evidence:
    """Verify a file and return what it proves; raise NotProven for anything that does not fit."""
    lines = file.split(b"\n")
    if len(lines) != 3 or lines[2]:  # noqa: PLR2004 - two lines, and nothing behind them
        raise NotProven("this is no evidence file: expected two lines")
    writer = _check_seal(lines[0], lines[1])
    try:
        content = orjson.loads(lines[0])
        if content["version"] != _VERSION:
            raise NotProven(f"evidence of version {content['version']}; this program knows {_VERSION}")
        known = [(PublicKey.from_line(entry["public_key"]), str(entry["holder"])) for entry in content["keys"]]
        ring = {key.key_id: key for key, _ in known}
        statements = [said for exchange in content["exchanges"] for said in _statements(exchange, ring)]
        descriptors = tuple(orjson.dumps(descriptor) for descriptor in content["descriptors"])
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise NotProven(f"this is no evidence file: {exc!r}") from exc
    holders = {key.key_id: holder for key, holder in known}
    return Evidence(str(content["session_id"]), writer, tuple(statements), holders, descriptors)


def _statements(exchange: dict[str, Any], ring: Mapping[str, PublicKey]) -> tuple[Statement, Statement]:
    asked, answered = exchange["request"], exchange["answer"]
    request = SignedParts(
        asked["method"], asked["authority"], asked["path"], asked["query"], asked["headers"], _bytes(asked["body"])
    )
    answer = AnswerParts(int(answered["status"]), answered["headers"], _bytes(answered["body"]))

    def find(key_id: str, now: float) -> PublicKey:  # noqa: ARG001 - whenever it counted
        if key_id not in ring:
            raise NotProven(f"key {key_id} is not in the file")
        return ring[key_id]

    first = recheck_request(request, find)
    second = verify_answer(answer, request.headers, find, 0.0)
    what = f"{exchange['operation']}: {request.method} {request.authority}{request.path}"
    return (
        Statement(first.key, first.created, what, request.body),
        Statement(second.key, second.created, f"answers it with HTTP {answer.status}", answer.body),
    )


def _seal(key: PrivateKey, first: bytes) -> bytes:
    signature = base64.b64encode(key.sign(_CONTEXT + first)).decode()
    return orjson.dumps({"public_key": key.public.line, "signature": signature})


def _check_seal(first: bytes, second: bytes) -> PublicKey:
    try:
        seal = orjson.loads(second)
        key, signature = PublicKey.from_line(seal["public_key"]), base64.b64decode(seal["signature"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error) as exc:
        raise NotProven("the seal of this evidence file cannot be read") from exc
    canonical = {"public_key": key.line, "signature": base64.b64encode(signature).decode()}
    if orjson.dumps(canonical) != second:
        raise NotProven("the seal of this evidence file was changed")
    key.verify(signature, _CONTEXT + first)
    return key


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _KEPT_HEADERS if name in headers}


def _text(body: bytes) -> str:
    return b2a_base64(body, newline=False).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
