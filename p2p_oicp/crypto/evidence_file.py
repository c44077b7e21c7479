"""Evidence files: the signed exchanges of a session in one file that can be verified offline.

A file has two lines. The first is JSON: the exchanges as they were on the wire, the keys that their signatures name,
and the owners' node descriptors. The second is the signature of the exporting node over the first.

``read_evidence`` verifies that (1) the second line matches the first, byte for byte; (2) each request has a valid
signature that covers its body; (3) each response has one that covers its body and the signature of its request; (4) the
operation, by the signed path and body, is the one that the exporting node says; (5) the session, by the signed bodies,
is the one of the file. Which company a key belongs to is not said by the exporting node: that follows from the key's
fingerprint, or from a descriptor that is signed with it.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from p2p_oicp.crypto.exchange import OPENING_OPERATIONS, is_agreement, session_ids, session_of
from p2p_oicp.crypto.http_signatures import verify_request, verify_response
from p2p_oicp.crypto.keys import PrivateKey, PublicKey
from p2p_oicp.crypto.signature_base import SignedRequestParts, SignedResponseParts
from p2p_oicp.errors import VerificationError, reason_of
from p2p_oicp.oicp import OperatorID, ProviderID, SessionID
from p2p_oicp.oicp.operations import BASE_PATH, OPERATION_BY_NAME, Party, find

# A prefix of the signed bytes: a signature for one purpose must be none for another.
_SIGNATURE_CONTEXT = b"p2p-oicp evidence v1\n"
_VERSION = 1
_COMPRESSION_MAGIC = (b"\x1f\x8b", b"\x78")  # gzip and zlib; no JSON begins so
# zlib's own flag: the decompressor tells gzip from the zlib format.
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_MAX_DECODED_BYTES = 1024 * 1024
# What a file of any other content raises while it is read.
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A request or response whose signature was verified.

    Attributes:
        number: Its position in the file, from 1; each exchange has two.
        key: The key that signed it.
        signed_at: When, by the signer's own clock, in seconds since the epoch.
        description: What it is, for people.
        body: The signed body.
        operation: The name of the operation, by the signed path and body.
        sender: The party that a request speaks for, by its path; None in a response.
    """

    number: int
    key: PublicKey
    signed_at: int
    description: str
    body: bytes
    operation: str
    sender: OperatorID | ProviderID | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A verified evidence file.

    Attributes:
        session_id: The session.
        signer_key: The key of the node that exported the file.
        statements: The verified requests and responses.
        unverified: The exchanges that could not be verified, each with its position and the reason.
        descriptors: Node descriptors of the owners, as the exporting node had them.
    """

    session_id: str
    signer_key: PublicKey
    statements: tuple[SignedStatement, ...]
    unverified: tuple[str, ...]
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
    """Return an evidence file.

    Args:
        session_id: The session.
        exchanges: What ``RecordedExchange.serialize`` returned.
        keys: By key id, the public key (base64 of its SubjectPublicKeyInfo) and the name of its owner.
        descriptors: Signed node descriptors of the owners.
        key: Our key, which signs the file.
        now: Seconds since the epoch.
    """
    content = {
        "version": _VERSION,
        "session_id": session_id,
        "written_at": now,
        "exchanges": [orjson.loads(exchange) for exchange in exchanges],
        "keys": [{"public_key": public_key, "owner": owner} for public_key, owner in keys.values()],
        "descriptors": [orjson.loads(descriptor) for descriptor in descriptors],
    }
    content_line = orjson.dumps(content)
    return content_line + b"\n" + _signature_line(key, content_line) + b"\n"


def read_evidence(file: bytes) -> Evidence:
    """Verify an evidence file; raises VerificationError if it is none, or was changed after its export."""
    lines = file.split(b"\n")
    if len(lines) != 3 or lines[2]:  # noqa: PLR2004 - two lines, and nothing behind them
        raise VerificationError("this is no evidence file: expected two lines")
    signer_key = _verify_signature_line(lines[0], lines[1])
    # Order: (1) is checked above, so that a damaged file is reported as changed, not as malformed.
    try:
        content = orjson.loads(lines[0])
        if content["version"] != _VERSION:
            raise VerificationError(f"evidence of version {content['version']}; this program knows {_VERSION}")
        keys = [PublicKey.from_base64(entry["public_key"]) for entry in content["keys"]]
        session_id = str(content["session_id"])
        statements, unverified = _verify_exchanges(content["exchanges"], {key.key_id: key for key in keys}, session_id)
        return Evidence(
            session_id,
            signer_key,
            statements,
            unverified,
            tuple(orjson.dumps(descriptor) for descriptor in content["descriptors"]),
        )
    except _MALFORMED as exc:
        raise VerificationError(f"this is no evidence file: {reason_of(exc)}") from exc


def is_agreed_by(evidence: Evidence, key_ids: Collection[str], role: str, session_id: SessionID) -> bool:
    """Return whether one of these keys has signed, as CPO or EMP, that a session was started or paid for.

    That is the start or the CDR of the session, in an exchange that was no refusal. What the key has signed has to name
    the session itself: everything else is as the other side likes it. Only an AuthorizeStart may have been answered
    with another SessionID, for an EMP that invents a session invents a debt of its own.
    """
    return any(
        session_id.key in {SessionID(text).key for text in session_ids(*_agreeing_bodies(request, response, role))}
        for request, response in zip(evidence.statements[::2], evidence.statements[1::2], strict=True)
        if (request if _is_sender(role, request.operation) else response).key.key_id in key_ids
        and is_agreement(decode_body(response.body) or b"")
    )


def _is_sender(role: str, operation: str) -> bool:
    return OPERATION_BY_NAME[operation].sender == role.upper()


def _agreeing_bodies(request: SignedStatement, response: SignedStatement, role: str) -> list[bytes]:
    operation, own = request.operation, []
    if operation in OPENING_OPERATIONS or operation == "ChargeDetailRecord":
        own = [request] if _is_sender(role, operation) else [response]
    if operation == "AuthorizeStart" and role == "cpo":
        own.append(response)
    return [decode_body(statement.body) or b"" for statement in own]


def _verify_exchanges(
    exchanges: list[dict[str, Any]], keys_by_id: Mapping[str, PublicKey], session_id: str
) -> tuple[tuple[SignedStatement, ...], tuple[str, ...]]:
    statements: list[SignedStatement] = []
    unverified: list[str] = []
    for number, exchange in enumerate(exchanges):
        first_number = 2 * number + 1
        try:
            statements += _verify_exchange(first_number, exchange, keys_by_id, session_id)
        except VerificationError as exc:
            unverified.append(
                f"{first_number} and {first_number + 1} ({exchange['operation']} and its response): {exc}"
            )
        except _MALFORMED as exc:
            unverified.append(f"{first_number} and {first_number + 1}: this is no exchange: {reason_of(exc)}")
    return tuple(statements), tuple(unverified)


def _verify_exchange(
    number: int, exchange: dict[str, Any], keys_by_id: Mapping[str, PublicKey], session_id: str
) -> tuple[SignedStatement, SignedStatement]:
    request_json, response_json = exchange["request"], exchange["response"]
    request = SignedRequestParts(
        request_json["method"],
        request_json["authority"],
        request_json["path"],
        request_json["query"],
        request_json["headers"],
        _decode_base64(request_json["body"]),
    )
    response_body = _decode_base64(response_json["body"])
    response = SignedResponseParts(int(response_json["status"]), response_json["headers"], response_body)

    def find_key(key_id: str, now: float) -> PublicKey:  # noqa: ARG001 - evidence is verified long after
        if key_id not in keys_by_id:
            raise VerificationError(f"key {key_id} is not in the file")
        return keys_by_id[key_id]

    request_signature = verify_request(request, find_key, None)  # (2)
    response_signature = verify_response(response, request.headers, find_key, 0.0)  # (3)
    operation, sender = _check_content(exchange["operation"], request, response_body, session_id)
    description = f"{operation}: {request.method} {request.authority}{request.path}"
    response_description = f"its response, HTTP {response.status}"
    key, created = request_signature.key, request_signature.created
    response_key, responded_at = response_signature.key, response_signature.created
    return (
        SignedStatement(number, key, created, description, request.body, operation, sender),
        SignedStatement(number + 1, response_key, responded_at, response_description, response.body, operation),
    )


def _check_content(
    label: str, request: SignedRequestParts, response_body: bytes, session_id: str
) -> tuple[str, OperatorID | ProviderID | None]:
    """Return the name of the operation that a request asks for, by its path and body, and its sender.

    Raises:
        VerificationError: The exporting node calls it another, or it is of another session.
    """
    request_body, response_body = decode_body(request.body) or b"", decode_body(response_body) or b""
    route = find(request.path.partition(f"{BASE_PATH}/")[2])
    if route is None:
        raise VerificationError(f"{request.path} is no path of OICP")
    operation = route.choose(request_body)
    if label != operation.name:  # (4)
        raise VerificationError(f"this is {operation.name}; the file calls it {label}")
    found = session_of(operation.name, request_body, response_body)
    if found is None or SessionID(found) != SessionID(session_id):  # (5)
        raise VerificationError(f"this is of session {found}" if found else "this names no session")
    party_type = OperatorID if operation.sender is Party.CPO else ProviderID
    return operation.name, None if route.party is None else party_type(route.party)


def decode_body(body: bytes) -> bytes | None:
    """Return a body without its content coding (gzip or deflate); None if it is damaged, or larger than 1 MiB."""
    if not body.startswith(_COMPRESSION_MAGIC):
        return body
    decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        decoded = decompressor.decompress(body, _MAX_DECODED_BYTES)
    except zlib.error:
        return None
    return decoded if decompressor.eof else None


def _signature_line(key: PrivateKey, content_line: bytes) -> bytes:
    signature = base64.b64encode(key.sign(_SIGNATURE_CONTEXT + content_line)).decode()
    return orjson.dumps({"public_key": key.public.der_base64, "signature": signature})


def _verify_signature_line(content_line: bytes, signature_line: bytes) -> PublicKey:
    try:
        signature_json = orjson.loads(signature_line)
        key, signature = (
            PublicKey.from_base64(signature_json["public_key"]),
            base64.b64decode(signature_json["signature"], validate=True),
        )
    except (ValueError, KeyError, TypeError, binascii.Error) as exc:
        raise VerificationError("the signature line of this evidence file is malformed") from exc
    # The line is signed by nothing itself: only its one canonical form is accepted, so that no byte can be changed.
    canonical = {"public_key": key.der_base64, "signature": base64.b64encode(signature).decode()}
    if orjson.dumps(canonical) != signature_line:
        raise VerificationError("the signature line of this evidence file was changed")
    key.verify(signature, _SIGNATURE_CONTEXT + content_line)
    return key


def _decode_base64(encoded: str) -> bytes:
    return base64.b64decode(encoded, validate=True)
