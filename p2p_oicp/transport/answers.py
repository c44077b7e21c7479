"""What an answer means, without I/O: status, headers and bytes in; a :class:`Reply` or a typed error out."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import msgspec
import orjson

from p2p_oicp.errors import (
    PeerBroken,
    PeerBusy,
    PeerError,
    PeerRejected,
    PeerUnauthorized,
    PeerUnreachable,
)
from p2p_oicp.oicp import Acknowledgement, Code, InvalidMessage, Message, Operation, read_records, response_model
from p2p_oicp.oicp.records import has_records
from p2p_oicp.transport.charsets import as_utf8

_LONGEST_REASON = 300


class Reply(msgspec.Struct, frozen=True):
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
        return _seconds(self.date)


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer as it came; header lookup does not care about case."""

    peer: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def text(self) -> bytes:
        """Return the body as UTF-8; raise PeerBroken if its charset is unknown or wrong."""
        try:
            return as_utf8(self.body, self.headers.get("Content-Type", ""))
        except ValueError as exc:
            raise PeerBroken(self.peer, f"the answer's text cannot be decoded: {exc}") from exc

    def explanation(self) -> str:
        """Return the words of an error body, as far as there are any."""
        return _explanation(self)[1]


def read_reply(answer: Answer, operation: Operation, *, now: float) -> Reply:
    """Return the reply to one call of ``operation``; raise a PeerError for everything that is not an OICP answer."""
    check_status(answer, now=now)
    body = answer.text()
    if not body.strip():
        raise PeerBroken(answer.peer, f"HTTP {answer.status} with an empty body")
    message, headers = _message(answer.peer, operation, body), answer.headers
    return Reply(answer.status, body, message, headers.get("Process-ID"), headers.get("Date", ""))


def check_status(answer: Answer, *, now: float, is_oicp: bool = True) -> None:
    """Raise the PeerError that the HTTP status stands for; return for 2xx. ``now`` is in seconds since the epoch.

    Where OICP was asked, a 4xx that explains nothing in JSON is a web server's page and no refusal of the message.
    """
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    error = _refused(answer, now)
    if is_oicp and isinstance(error, PeerRejected) and error.reason == f"HTTP {answer.status}":
        raise PeerBroken(answer.peer, f"{error.reason}, without an OICP answer")
    raise error


def _refused(answer: Answer, now: float) -> PeerError:
    peer, status = answer.peer, answer.status
    if status < HTTPStatus.BAD_REQUEST:
        place = answer.headers.get("Location", "nowhere")
        return PeerBroken(peer, f"HTTP {status}, a redirect to {place}: correct the peer's url")
    code, text = _explanation(answer)
    reason = f"HTTP {status}: {text}" if text else f"HTTP {status}"
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return PeerUnauthorized(peer, reason)
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE | HTTPStatus.REQUEST_TIMEOUT:
            # 408: our request did not arrive whole (RFC 9110, 15.5.9)
            return PeerBusy(peer, reason, _retry_after(answer.headers, now))
        case HTTPStatus.MISDIRECTED_REQUEST:
            return PeerUnreachable(peer, f"another system answers at its address: {reason}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return PeerBroken(peer, reason)
    return PeerRejected(peer, reason, http_status=status, code=code)


def _message(peer: str, operation: Operation, body: bytes) -> Message:
    """Read the operation's own response, else an Acknowledgement (CONFORMANCE D57)."""
    # Looking at the members costs more than looking for the word, which the other responses do not have.
    suspicious = operation.response is not Acknowledgement and b'"Result"' in body
    model = response_model(operation, body) if suspicious else operation.response
    try:
        return (
            read_records(model, body).envelope
            if operation.paged and model is operation.response
            else _whole(model, body)
        )
    except InvalidMessage as exc:
        return _acknowledgement(peer, body, exc)


def _whole(model: type[Message], body: bytes) -> Message:
    try:
        return model.from_json(body)
    except InvalidMessage:
        if not has_records(model):
            raise
    return read_records(model, body).envelope


def _acknowledgement(peer: str, body: bytes, cause: InvalidMessage) -> Acknowledgement:
    """Read an acknowledgement in place of another answer: it says ``Result``, or refuses with a code."""
    try:
        message = Acknowledgement.from_json(body)
    except InvalidMessage:
        message = None
    if message is None or (message.status_code.code == Code.SUCCESS and not message.result):
        raise PeerBroken(peer, _shortened(f"the answer is not OICP: {cause}")) from cause
    return message


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return seconds, from either form (RFC 9110, 10.2.3); a date counts from the answer's own Date, if it has one."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until = _seconds(value)
    if until is None:
        return None
    since = _seconds(headers.get("Date", ""))
    return max(0.0, until - (now if since is None else since))


def _seconds(http_date: str) -> float | None:
    try:
        return parsedate_to_datetime(http_date).timestamp()
    except (ValueError, OverflowError):
        return None


def _explanation(answer: Answer) -> tuple[str | None, str]:
    """Return OICP code and words of an error body, in any of the shapes that are seen; nothing here can fail."""
    try:
        body = orjson.loads(as_utf8(answer.body, answer.headers.get("Content-Type", "")))
    except ValueError:
        return None, ""
    if not isinstance(body, dict):
        return None, ""
    status = body.get("StatusCode")
    if isinstance(status, dict):
        code = _code(status.get("Code"))
        return code, _shortened(" ".join(str(part) for part in (code, *_words(status)) if part))
    return None, _shortened("; ".join(_hints(body)))


def _code(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:03}"
    return value if isinstance(value, str) and value else None


def _words(status: dict[str, Any]) -> list[str]:
    return [str(status[name]) for name in ("Description", "AdditionalInfo") if status.get(name)]


def _hints(body: dict[str, Any]) -> list[str]:
    """``message`` and ``validationErrors`` as Hubject writes them, ``description`` as WWCP does."""
    hints = [str(body[name]) for name in ("message", "description") if body.get(name)]
    errors = body.get("validationErrors")
    listed = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    return hints + [f"{error.get('fieldReference', '?')} {error.get('errorMessage', '?')}" for error in listed]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
