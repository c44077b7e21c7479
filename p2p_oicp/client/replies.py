"""JSON in any charset, turned into UTF-8, the only one our models read.

What an answer means, without I/O: status, headers and bytes in; a :class:`Reply` or a typed error out.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import msgspec
import orjson

from p2p_oicp.errors import PeerBusy, PeerError, PeerProtocolError, PeerRejected, PeerUnauthorized, PeerUnreachable
from p2p_oicp.oicp import (
    Acknowledgement,
    InvalidMessage,
    Message,
    Operation,
    StatusCodeValue,
    read_records,
    response_model,
)
from p2p_oicp.oicp.record_reader import has_records

# The charsets of nearly every message: nothing to look up, nothing to convert.
_UTF8_CONTENT_TYPES = frozenset(
    {"application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8"}
)
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def as_utf8(body: bytes, content_type: str) -> bytes:
    """Return JSON text as UTF-8 without a byte order mark; raise ValueError if its charset is unknown or does not fit.

    A byte order mark, or the zero bytes of UTF-16 and UTF-32, beat the declared charset: they cannot be a mistake.
    """
    detected = _detect_encoding(body)
    if detected is not None:
        return body.decode(detected).encode()
    if content_type in _UTF8_CONTENT_TYPES:
        return body
    charset = _declared_charset(content_type)
    if charset is None or charset == "utf-8":
        return body
    return body.decode(charset).encode()


def _detect_encoding(body: bytes) -> str | None:
    if b"\x00" in body[:4] or body.startswith(_BYTE_ORDER_MARKS):
        return json.detect_encoding(body)
    return None


def _declared_charset(content_type: str) -> str | None:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return _canonical_charset(value.strip().strip('"'))
    return None


def _canonical_charset(charset: str) -> str:
    try:
        info = codecs.lookup(charset)
    except LookupError as exc:
        raise ValueError(f"unknown charset {charset!r}") from exc
    if not getattr(info, "_is_text_encoding", True):
        raise ValueError(f"unknown charset {charset!r}")
    return info.name


_MAX_REASON_LENGTH = 300


class OicpReply(msgspec.Struct, frozen=True):
    """An OICP answer, positive or not: ``Result: false`` and ``NotAuthorized`` are answers, not errors.

    ``message`` is the operation's response, or an Acknowledgement in its place (some refusals come so). A page comes
    without its records, which ``read_records`` reads one by one from ``body`` (box T1); so does a list with a record
    that cannot be read. ``body`` is what was received, as UTF-8; ``process_id`` is the answer's ``Process-ID`` header,
    ``date`` its ``Date``.
    """

    http_status: int
    body: bytes
    message: Message
    process_id: str | None
    date: str = ""

    @property
    def sent_at(self) -> float | None:
        """The other side's time in seconds since the epoch, None where it does not say."""
        return _parse_http_date(self.date)


class HttpResponse(msgspec.Struct, frozen=True):
    """One HTTP answer as it came; header lookup does not care about case."""

    peer: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def body_as_utf8(self) -> bytes:
        """Return the body as UTF-8; raise PeerBroken if its charset is unknown or wrong."""
        try:
            return as_utf8(self.body, self.headers.get("Content-Type", ""))
        except ValueError as exc:
            raise PeerProtocolError(self.peer, f"the answer's text cannot be decoded: {exc}") from exc

    def error_text(self) -> str:
        """Return the words of an error body, as far as there are any."""
        return _error_details(self)[1]


def read_reply(response: HttpResponse, operation: Operation, *, now: float) -> OicpReply:
    """Return the reply to one call of ``operation``; raise a PeerError for everything that is not an OICP answer."""
    raise_for_status(response, now=now)
    body = response.body_as_utf8()
    if not body.strip():
        raise PeerProtocolError(response.peer, f"HTTP {response.status} with an empty body")
    message, headers = _parse_response(response.peer, operation, body), response.headers
    return OicpReply(response.status, body, message, headers.get("Process-ID"), headers.get("Date", ""))


def raise_for_status(response: HttpResponse, *, now: float, is_oicp: bool = True) -> None:
    """Raise the PeerError that the HTTP status stands for; return for 2xx. ``now`` is in seconds since the epoch.

    Where OICP was asked, a 4xx that explains nothing in JSON is a web server's page and no refusal of the message.
    """
    if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    error = _error_for_status(response, now)
    if is_oicp and isinstance(error, PeerRejected) and error.reason == f"HTTP {response.status}":
        raise PeerProtocolError(response.peer, f"{error.reason}, without an OICP answer")
    raise error


def _error_for_status(response: HttpResponse, now: float) -> PeerError:
    peer, status = response.peer, response.status
    if status < HTTPStatus.BAD_REQUEST:
        location = response.headers.get("Location", "nowhere")
        return PeerProtocolError(peer, f"HTTP {status}, a redirect to {location}: correct the peer's url")
    code, text = _error_details(response)
    reason = f"HTTP {status}: {text}" if text else f"HTTP {status}"
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return PeerUnauthorized(peer, reason)
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE | HTTPStatus.REQUEST_TIMEOUT:
            # 408: our request did not arrive whole (RFC 9110, 15.5.9)
            return PeerBusy(peer, reason, _parse_retry_after(response.headers, now))
        case HTTPStatus.MISDIRECTED_REQUEST:
            return PeerUnreachable(peer, f"another system answers at its address: {reason}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return PeerProtocolError(peer, reason)
    return PeerRejected(peer, reason, http_status=status, code=code)


def _parse_response(peer: str, operation: Operation, body: bytes) -> Message:
    """Read the operation's own response, else an Acknowledgement (CONFORMANCE D57)."""
    # Looking at the members costs more than looking for the word, which the other responses do not have.
    may_be_acknowledgement = operation.response is not Acknowledgement and b'"Result"' in body
    model = response_model(operation, body) if may_be_acknowledgement else operation.response
    try:
        return (
            read_records(model, body).envelope
            if operation.paged and model is operation.response
            else _parse_unpaged(model, body)
        )
    except InvalidMessage as exc:
        return _parse_acknowledgement(peer, body, exc)


def _parse_unpaged(model: type[Message], body: bytes) -> Message:
    try:
        return model.from_json(body)
    except InvalidMessage:
        if not has_records(model):
            raise
    return read_records(model, body).envelope


def _parse_acknowledgement(peer: str, body: bytes, cause: InvalidMessage) -> Acknowledgement:
    """Read an acknowledgement in place of another answer: it says ``Result``, or refuses with a code."""
    try:
        message = Acknowledgement.from_json(body)
    except InvalidMessage:
        message = None
    if message is None or (message.status_code.code == StatusCodeValue.SUCCESS and not message.result):
        raise PeerProtocolError(peer, _truncate(f"the answer is not OICP: {cause}")) from cause
    return message


def _parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return seconds, from either form (RFC 9110, 10.2.3); a date counts from the answer's own Date, if it has one."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    retry_at = _parse_http_date(value)
    if retry_at is None:
        return None
    reference_time = _parse_http_date(headers.get("Date", ""))
    return max(0.0, retry_at - (now if reference_time is None else reference_time))


def _parse_http_date(http_date: str) -> float | None:
    try:
        return parsedate_to_datetime(http_date).timestamp()
    except (ValueError, OverflowError):
        return None


def _error_details(response: HttpResponse) -> tuple[str | None, str]:
    """Return OICP code and words of an error body, in any of the shapes that are seen; nothing here can fail."""
    try:
        body = orjson.loads(as_utf8(response.body, response.headers.get("Content-Type", "")))
    except ValueError:
        return None, ""
    if not isinstance(body, dict):
        return None, ""
    status = body.get("StatusCode")
    if isinstance(status, dict):
        code = _format_status_code(status.get("Code"))
        return code, _truncate(" ".join(str(part) for part in (code, *_status_code_texts(status)) if part))
    return None, _truncate("; ".join(_error_messages(body)))


def _format_status_code(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:03}"
    return value if isinstance(value, str) and value else None


def _status_code_texts(status: dict[str, Any]) -> list[str]:
    return [str(status[name]) for name in ("Description", "AdditionalInfo") if status.get(name)]


def _error_messages(body: dict[str, Any]) -> list[str]:
    """``message`` and ``validationErrors`` as Hubject writes them, ``description`` as WWCP does."""
    messages = [str(body[name]) for name in ("message", "description") if body.get(name)]
    errors = body.get("validationErrors")
    validation_errors = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    return messages + [
        f"{error.get('fieldReference', '?')} {error.get('errorMessage', '?')}" for error in validation_errors
    ]


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_REASON_LENGTH else text[: _MAX_REASON_LENGTH - 1] + "…"
