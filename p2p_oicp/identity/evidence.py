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
from p2p_oicp.identity.signatures import field_of, key_ids, recheck_request, unusual_headers, verify_answer

_CONTEXT = b"p2p-oicp evidence v1\n"
_VERSION = 1
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError)
_TYPE, _INPUT = "Content-Type", "Signature-Input"
_USUAL_HEADERS = (_TYPE, "Content-Digest", "Content-Encoding", _INPUT, "Signature")
_USUAL_NAMES = frozenset(name.lower() for name in _USUAL_HEADERS)


class Exchange(msgspec.Struct, frozen=True):
    """One request and its answer as they were on the wire; ``at`` is our clock, ``peer`` our name for the other."""

    at: float
    operation: str
    sent_by_us: bool
    peer: str
    request: SignedParts
    answer: AnswerParts

    def kept(self) -> tuple[bytes, list[str]]:
        """Return it for keeping, and which keys its signatures name.

        All headers that a signature covers are kept, beside the usual ones.
        """
        request, answer = self.request, self.answer
        asked, said = _usual(request.headers), _usual(answer.headers)
        _add_unusual(asked, request.headers, said, answer.headers)
        text = orjson.dumps(
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
                    "headers": asked,
                    "body": _text(request.body),
                },
                "answer": {"status": answer.status, "headers": said, "body": _text(answer.body)},
            }
        )
        return text, key_ids(asked.get(_INPUT, "")) + key_ids(said.get(_INPUT, ""))


@dataclass(frozen=True, slots=True)
class Statement:
    """What is proved: who (a key) said what, when by the signer's own clock (seconds since the epoch).

    ``number`` is its place in the file: each exchange has two.
    """

    number: int
    key: PublicKey
    at: int
    what: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file whose seal fits: what was said of ``session_id``, and the key of the node that wrote the file.

    ``statements`` are proved; ``unproven`` are the exchanges that prove nothing, each with its place and the reason.
    ``holders`` are names by key id and ``descriptors`` what the holders said of themselves: as the writer knows them.
    """

    session_id: str
    writer: PublicKey
    statements: tuple[Statement, ...]
    unproven: tuple[str, ...]
    holders: Mapping[str, str]
    descriptors: tuple[bytes, ...]


def key_ids_of(exchange: bytes) -> list[str]:
    """Return which keys the signatures of a kept exchange name."""
    kept = orjson.loads(exchange)
    return [name for part in (kept["request"], kept["answer"]) for name in key_ids(part["headers"].get(_INPUT, ""))]


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
    """Verify a file and return what it proves; raise NotProven where it is none, or is not as it was sealed."""
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
        statements, unproven = _proved(content["exchanges"], ring)
        return Evidence(
            str(content["session_id"]),
            writer,
            statements,
            unproven,
            {key.key_id: holder for key, holder in known},
            tuple(orjson.dumps(descriptor) for descriptor in content["descriptors"]),
        )
    except _MALFORMED as exc:
        raise NotProven(f"this is no evidence file: {exc!r}") from exc


def _proved(
    exchanges: list[dict[str, Any]], ring: Mapping[str, PublicKey]
) -> tuple[tuple[Statement, ...], tuple[str, ...]]:
    statements: list[Statement] = []
    unproven: list[str] = []
    for number, exchange in enumerate(exchanges):
        first = 2 * number + 1
        try:
            statements += _statements(first, exchange, ring)
        except NotProven as exc:
            unproven.append(f"{first} and {first + 1} ({exchange['operation']} and its answer): {exc}")
        except _MALFORMED as exc:
            unproven.append(f"{first} and {first + 1}: this is no exchange: {exc!r}")
    return tuple(statements), tuple(unproven)


def _statements(number: int, exchange: dict[str, Any], ring: Mapping[str, PublicKey]) -> tuple[Statement, Statement]:
    operation = exchange["operation"]
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
    what = f"{operation}: {request.method} {request.authority}{request.path}"
    return (
        Statement(number, first.key, first.created, what, request.body),
        Statement(number + 1, second.key, second.created, f"answers it with HTTP {answer.status}", answer.body),
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


def _usual(headers: Mapping[str, str]) -> dict[str, str]:
    if isinstance(headers, dict):  # written by ourselves: with these very names, each of them once
        return {name: headers[name] for name in _USUAL_HEADERS if name in headers}
    kept = {name: value for name in _USUAL_HEADERS if (value := field_of(headers, name)) is not None}
    if not kept.get(_TYPE, "").isascii():
        kept[_TYPE] = _writable(kept[_TYPE])
    return kept


def _add_unusual(
    asked: dict[str, str], request: Mapping[str, str], said: dict[str, str], answer: Mapping[str, str]
) -> None:
    """Add what is covered beside the usual headers; an answer's signature may cover headers of the request."""
    for covered in unusual_headers(asked.get(_INPUT, "")):
        _add(asked, covered.name, request)
    for covered in unusual_headers(said.get(_INPUT, "")):
        kept, headers = (asked, request) if covered.of_request else (said, answer)
        _add(kept, covered.name, headers)


def _add(kept: dict[str, str], name: str, headers: Mapping[str, str]) -> None:
    value = None if name in _USUAL_NAMES else field_of(headers, name)
    if value is not None:
        kept[name] = _writable(value)


def _writable(value: str) -> str:
    # What is no UTF-8 may stand in a header that is covered by no signature that counts.
    return value.encode(errors="replace").decode()


def _text(body: bytes) -> str:
    return b2a_base64(body, newline=False).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
