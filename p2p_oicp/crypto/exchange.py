"""Signed exchanges, as they are recorded for evidence: a request and its response as they were on the wire.

The client (for requests that this node sends) and the server (for those it receives) prepare an exchange; nothing is
written here. ``peering.evidence_recorder.ExchangeRecorder`` inserts a prepared exchange in the transaction of the
decision that it proves, and ``evidence_file`` exports what was recorded.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping

import msgspec
import orjson

from p2p_oicp.crypto.http_signatures import extra_covered_headers, key_ids
from p2p_oicp.crypto.signature_base import SignedRequestParts, SignedResponseParts, field_value

_CONTENT_TYPE, _SIGNATURE_INPUT = "Content-Type", "Signature-Input"
_ARCHIVED_HEADERS = (_CONTENT_TYPE, "Content-Digest", "Content-Encoding", _SIGNATURE_INPUT, "Signature")
_ARCHIVED_HEADER_NAMES = frozenset(name.lower() for name in _ARCHIVED_HEADERS)
#: The operations that may cost one of the two companies money: only their exchanges are recorded.
RECORDED_OPERATIONS = frozenset(
    {
        "AuthorizeStart",
        "AuthorizeStop",
        "AuthorizeRemoteStart",
        "AuthorizeRemoteStop",
        "AuthorizeRemoteReservationStart",
        "AuthorizeRemoteReservationStop",
        "ChargeDetailRecord",
    }
)


#: The responder of these may answer with another SessionID, which then is the session's.
OPENING_OPERATIONS = frozenset({"AuthorizeStart", "AuthorizeRemoteStart", "AuthorizeRemoteReservationStart"})
#: The member that a node adds to the Acknowledgement of a CDR that it has stored.
NODE_MEMBER = "P2P"


class _SessionReference(msgspec.Struct, rename={"session_id": "SessionID"}):
    session_id: str | None = None


# Reads one member and skips the rest: 0.5 µs, where the model of the message costs 13.
_decode_session_reference = msgspec.json.Decoder(_SessionReference).decode


class RecordedExchange(msgspec.Struct, frozen=True):
    """One request and its response as they were on the wire.

    Attributes:
        recorded_at: When, by our clock, in seconds since the epoch.
        operation: The name of the operation.
        sent_by_us: Whether we sent the request.
        peer: Our name of the other side.
        request: The request.
        response: The response.
    """

    recorded_at: float
    operation: str
    sent_by_us: bool
    peer: str
    request: SignedRequestParts
    response: SignedResponseParts

    def serialize(self) -> tuple[bytes, list[str]]:
        """Return the exchange as stored, with all headers that a signature covers, and the ids of its signing keys."""
        request, response = self.request, self.response
        request_headers, response_headers = _archived_headers(request.headers), _archived_headers(response.headers)
        _add_covered_headers(request_headers, request.headers, response_headers, response.headers)
        encoded = orjson.dumps(
            {
                "at": self.recorded_at,
                "operation": self.operation,
                "direction": "sent" if self.sent_by_us else "received",
                "peer": self.peer,
                "request": {
                    "method": request.method,
                    "authority": request.authority,
                    "path": request.path,
                    "query": request.query,
                    "headers": request_headers,
                    "body": _encode_base64(request.body),
                },
                "response": {
                    "status": response.status,
                    "headers": response_headers,
                    "body": _encode_base64(response.body),
                },
            }
        )
        return encoded, key_ids(request_headers.get(_SIGNATURE_INPUT, "")) + key_ids(
            response_headers.get(_SIGNATURE_INPUT, "")
        )


class PreparedExchange(msgspec.Struct, frozen=True):
    """A signed request with its signed response, and the session (its SessionID as sent) that they belong to."""

    session_id: str
    exchange: RecordedExchange


def prepare_exchange(
    operation: str,
    peer: str,
    request: SignedRequestParts,
    response: SignedResponseParts,
    decoded_body: bytes,
    *,
    sent_by_us: bool,
    now: float,
) -> PreparedExchange | None:
    """Return the exchange to be recorded; None if the operation costs no money, or no session is named.

    Args:
        operation: its name in the operations table.
        peer: the name of the other node's peer entry.
        request: the request as it was on the wire.
        response: the response as it was on the wire.
        decoded_body: the response's body without its content coding.
        sent_by_us: this node is the client.
        now: the time of the exchange, in seconds since the epoch.
    """
    if operation not in RECORDED_OPERATIONS:
        return None
    session_id = session_of(operation, request.body, decoded_body)
    if session_id is None:
        return None
    return PreparedExchange(session_id, RecordedExchange(now, operation, sent_by_us, peer, request, response))


def session_of(operation: str, request_body: bytes, response_body: bytes) -> str | None:
    """Return the SessionID of the session that an exchange belongs to, as sent; bodies are without content coding."""
    bodies = (response_body, request_body) if operation in OPENING_OPERATIONS else (request_body, response_body)
    return next((session_id for body in bodies if (session_id := _session_id(body)) is not None), None)


def signing_key_ids(exchange: bytes) -> list[str]:
    """Return the ids of the keys that signed a stored exchange."""
    recorded = orjson.loads(exchange)
    return [
        key_id
        for message in (recorded["request"], recorded["response"])
        for key_id in key_ids(message["headers"].get(_SIGNATURE_INPUT, ""))
    ]


def session_ids(*bodies: bytes) -> list[str]:
    """Return the SessionIDs that OICP messages name, without those that name none."""
    return [text for body in bodies if (text := _session_id(body)) is not None]


def is_agreement(response: bytes) -> bool:
    """Return whether the body of an OICP response is no refusal, and no doubt of the session (``unconfirmed``)."""
    try:
        members = orjson.loads(response)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(members, dict):
        return False
    extension = members.get(NODE_MEMBER)
    is_doubted = isinstance(extension, dict) and extension.get("unconfirmed") is True
    is_positive = members.get("Result") is True or members.get("AuthorizationStatus") == "Authorized"
    return is_positive and not is_doubted


def _session_id(body: bytes) -> str | None:
    try:
        return _decode_session_reference(body).session_id
    # ValueError: no UTF-8. RecursionError: nested deeper than Python's stack allows.
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _archived_headers(headers: Mapping[str, str]) -> dict[str, str]:
    if isinstance(headers, dict):  # our own message: these very names, each of them once
        return {name: headers[name] for name in _ARCHIVED_HEADERS if name in headers}
    archived = {name: value for name in _ARCHIVED_HEADERS if (value := field_value(headers, name)) is not None}
    if not archived.get(_CONTENT_TYPE, "").isascii():
        archived[_CONTENT_TYPE] = _replace_invalid_utf8(archived[_CONTENT_TYPE])
    return archived


def _add_covered_headers(
    request_archive: dict[str, str],
    request_headers: Mapping[str, str],
    response_archive: dict[str, str],
    response_headers: Mapping[str, str],
) -> None:
    """Add further covered headers; the signature of a response may cover headers of the request."""
    for component in extra_covered_headers(request_archive.get(_SIGNATURE_INPUT, "")):
        _add_header(request_archive, component.name, request_headers)
    for component in extra_covered_headers(response_archive.get(_SIGNATURE_INPUT, "")):
        archive, headers = (
            (request_archive, request_headers) if component.is_from_request else (response_archive, response_headers)
        )
        _add_header(archive, component.name, headers)


def _add_header(archive: dict[str, str], name: str, headers: Mapping[str, str]) -> None:
    value = None if name in _ARCHIVED_HEADER_NAMES else field_value(headers, name)
    if value is not None:
        archive[name] = _replace_invalid_utf8(value)


def _replace_invalid_utf8(value: str) -> str:
    # A header with other bytes than UTF-8 cannot be covered by a valid signature; the exchange must still be stored.
    return value.encode(errors="replace").decode()


def _encode_base64(body: bytes) -> str:
    return b2a_base64(body, newline=False).decode()
