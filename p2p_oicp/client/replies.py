"""What a response means, without I/O: status, headers and bytes in; an `OicpReply` or a `PeerError` out.

In the order of a response: `authenticate_response` (who signed it), `raise_for_status` (HTTP), `read_reply` (OICP).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import msgspec
import orjson
import structlog

from p2p_oicp.crypto import RequestSigner, SignedResponseParts
from p2p_oicp.crypto.exchange import PreparedExchange
from p2p_oicp.errors import (
    ClockMismatch,
    FailureCause,
    PeerBusy,
    PeerError,
    PeerProtocolError,
    PeerRejected,
    PeerUnauthorized,
    PeerUnreachable,
    PeerVerificationError,
    UnknownKey,
    VerificationError,
)
from p2p_oicp.oicp import (
    Acknowledgement,
    Finding,
    InvalidMessage,
    Message,
    Operation,
    StatusCodeValue,
    read_records,
    response_model,
)
from p2p_oicp.oicp.answers import ContradictoryAnswer, complete_answer, is_whole
from p2p_oicp.oicp.intake import rewritten
from p2p_oicp.oicp.message import as_utf8
from p2p_oicp.oicp.record_reader import has_records

log = structlog.get_logger(__name__)

#: A node states with this response header (value ``proven``) that it has authenticated us.
IDENTITY_CONFIRMED_HEADER = "P2P-Identity"
#: A node states with this response header (value ``1``) that it has refused a request because of overload, unread.
NOT_PROCESSED_HEADER = "P2P-Not-Processed"

# These statuses are no answer to the question, only obstacles on the way (a proxy, an overload, a refused identity):
# they decide nothing, so they need no signature.
_UNSIGNED_ERROR_STATUSES = frozenset({401, 403, 408, 421, 429, *range(500, 600)})
_PAYLOAD_TOO_LARGE = 413
_STATUS_CAUSES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: FailureCause.BODY_TOO_LARGE,
    HTTPStatus.MISDIRECTED_REQUEST: FailureCause.ANOTHER_SYSTEM,
    HTTPStatus.BAD_GATEWAY: FailureCause.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT: FailureCause.BAD_GATEWAY,
}
# Half of what a signature may be old: with more, some requests fail and others do not.
_NOTABLE_CLOCK_SKEW_SECONDS = 150.0
_UNAUTHORIZED_STATUSES = frozenset({401, 403})
_MAX_REASON_LENGTH = 300


class OicpReply(msgspec.Struct, frozen=True):
    """An OICP response, positive or not: ``Result: false`` and ``NotAuthorized`` are replies, not errors.

    Attributes:
        http_status: 2xx.
        body: as received, in UTF-8.
        message: the operation's response, or an Acknowledgement in its place, as in some refusals. A page is without
            its records, which ``read_records`` reads one by one from ``body`` (RULES T1); so is a list with a record
            that cannot be read.
        process_id: its ``Process-ID`` header.
        date: its ``Date`` header, empty if there is none.
        exchange: to be recorded as evidence by the caller, in its own transaction; None if nothing is signed, or the
            operation costs no money.
    """

    http_status: int
    body: bytes
    message: Message
    process_id: str | None
    date: str = ""
    exchange: PreparedExchange | None = None

    @property
    def sent_at(self) -> float | None:
        """The time of the other side in seconds since the epoch, None if it is not stated."""
        return _parse_http_date(self.date)


class UnknownSigningKey(PeerVerificationError):
    """The response is signed with an unknown key; refreshing the peer's keys may help."""


class BodyTooLarge(PeerProtocolError):
    """Something in front of the peer does not take so large a body (413): it was not processed."""

    may_have_arrived = False
    cause = FailureCause.BODY_TOO_LARGE


class HttpResponse(msgspec.Struct, frozen=True):
    """One HTTP response as it was received.

    Attributes:
        peer: who was called, for errors.
        status: the HTTP status.
        headers: looked up without regard to case.
        body: without its content coding.
        raw_body: as it was on the wire, which is what a signature covers.
    """

    peer: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    raw_body: bytes = b""

    @property
    def is_json(self) -> bool:
        """Whether it says that it is JSON."""
        return "json" in self.headers.get("Content-Type", "").lower()

    def clock_skew(self, now: float) -> float | None:
        """Return by how many seconds the other side's clock is ahead of ours; None where it does not tell the time."""
        sent_at = _parse_http_date(self.headers.get("Date", ""))
        return None if sent_at is None else sent_at - now

    def signed_parts(self) -> SignedResponseParts:
        """Return what a signature of the response is verified against."""
        return SignedResponseParts(self.status, self.headers, self.raw_body)

    def body_as_utf8(self) -> bytes:
        """Return the body as UTF-8; raise PeerProtocolError if its charset is unknown or wrong."""
        try:
            return as_utf8(self.body, self.headers.get("Content-Type", ""))
        except ValueError as exc:
            raise PeerProtocolError(self.peer, f"the response's text cannot be decoded: {exc}") from exc


def authenticate_response(
    response: HttpResponse, signer: RequestSigner, *, to: str | None, request_headers: Mapping[str, str], now: float
) -> None:
    """Return if the response is that of the peer ``to`` to this request, or needs no signature.

    Args:
        response: what was received.
        signer: verifies responses, if ``to`` has to sign them.
        to: the name of the peer that was called.
        request_headers: the headers of the request, whose signature the response's signature covers.
        now: seconds since the epoch.

    Raises:
        UnknownSigningKey: it is signed with a key that is not known.
        PeerVerificationError: its signature is missing or invalid, so it counts as no response.
        PeerUnauthorized: the peer did not accept our credentials, and has processed nothing.
        PeerError: what another unsigned error status stands for.
        PeerRejected: the peer has authenticated us, and refuses what we claim to be.
    """
    try:
        signer.verify_response(to=to, request_headers=request_headers, response=response.signed_parts())
    except VerificationError as exc:
        if response.status in _UNSIGNED_ERROR_STATUSES:
            raise_for_status(response, now=now)
        if response.status == _PAYLOAD_TOO_LARGE:
            raise BodyTooLarge(response.peer, "HTTP 413, not signed by the peer: it comes from a proxy") from exc
        error_class = UnknownSigningKey if isinstance(exc, UnknownKey) else PeerVerificationError
        error = error_class(response.peer, f"response signature missing or invalid (HTTP {response.status}): {exc}")
        raise error.because_of(_verification_cause(response, exc)) from exc
    # An authenticated 401 is about the party that we named, not about our keys: fresh ones would change nothing.
    if response.status in _UNAUTHORIZED_STATUSES and response.headers.get(IDENTITY_CONFIRMED_HEADER) == "proven":
        reason = f"HTTP {response.status}: {_error_details(response)[1]}"
        raise PeerRejected(
            response.peer, reason, http_status=response.status, code=StatusCodeValue.UNAUTHORIZED_ACCESS.value
        ).because_of(FailureCause.PARTY_REFUSED)


def _verification_cause(response: HttpResponse, error: VerificationError) -> FailureCause:
    if isinstance(error, UnknownKey):
        return FailureCause.UNKNOWN_KEY
    if isinstance(error, ClockMismatch):
        return FailureCause.CLOCK_OFF
    return FailureCause.SIGNATURE_INVALID if response.is_json else FailureCause.NOT_OICP


def read_reply(
    response: HttpResponse, operation: Operation, *, now: float, exchange: PreparedExchange | None = None
) -> OicpReply:
    """Return the reply to one call of ``operation``; raise a PeerError if the response is not OICP."""
    raise_for_status(response, now=now)
    body = response.body_as_utf8()
    if not body.strip():
        raise PeerProtocolError(response.peer, f"HTTP {response.status} with an empty body")
    message, headers = _parse_response(response.peer, operation, body), response.headers
    return OicpReply(response.status, body, message, headers.get("Process-ID"), headers.get("Date", ""), exchange)


def raise_for_status(response: HttpResponse, *, now: float, is_oicp: bool = True) -> None:
    """Raise the PeerError that the HTTP status stands for; return for 2xx.

    Args:
        response: what was received.
        now: seconds since the epoch, for ``Retry-After``.
        is_oicp: the request was one of OICP: a 4xx without an explanation in JSON then is a web server's page, and no
            refusal of the message.
    """
    # Redirects are an error below: a signature covers the authority and the path, so it would not fit the new URL.
    if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    error = _error_for_status(response, now)
    cause = _cause_of_status(response, error, now)
    if is_oicp and isinstance(error, PeerRejected) and error.reason == f"HTTP {response.status}":
        if cause is FailureCause.BODY_TOO_LARGE:
            raise BodyTooLarge(response.peer, f"{error.reason}, without an OICP response")
        raise PeerProtocolError(response.peer, f"{error.reason}, without an OICP response")
    raise error.because_of(cause)


def _cause_of_status(response: HttpResponse, error: PeerError, now: float) -> FailureCause:
    """Return why a request has failed; what has no OICP code comes from something in front of the peer."""
    status, (code, text) = response.status, _error_details(response)
    if status in _UNAUTHORIZED_STATUSES:
        return _cause_of_refused_credentials(code, text, response.clock_skew(now))
    if status in _STATUS_CAUSES:
        return _STATUS_CAUSES[HTTPStatus(status)]
    if status < HTTPStatus.BAD_REQUEST:
        return FailureCause.REDIRECTED
    if status < HTTPStatus.INTERNAL_SERVER_ERROR or code is not None:
        return error.cause
    return FailureCause.BAD_GATEWAY if status == HTTPStatus.SERVICE_UNAVAILABLE else FailureCause.SERVER_ERROR


def _cause_of_refused_credentials(code: str | None, text: str, clock_skew: float | None) -> FailureCause:
    if code is None:
        return FailureCause.FORBIDDEN_BY_PROXY
    # The words of our own nodes; of others, only their clock tells.
    if abs(clock_skew or 0.0) > _NOTABLE_CLOCK_SKEW_SECONDS or "check both clocks" in text:
        return FailureCause.CLOCK_OFF
    return FailureCause.UNKNOWN_KEY if "unknown signing key" in text else FailureCause.CREDENTIALS_REFUSED


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
            # 503 may come from a proxy whose server was gone when it had the request (L5).
            is_shed = status == HTTPStatus.TOO_MANY_REQUESTS or response.headers.get(NOT_PROCESSED_HEADER) == "1"
            return PeerBusy(peer, reason, parse_retry_after(response.headers, now), may_have_arrived=not is_shed)
        case HTTPStatus.MISDIRECTED_REQUEST:  # its address was taken over (RECIPIENT_HEADER)
            return PeerUnreachable(peer, f"another system answers at its address: {reason}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return PeerProtocolError(peer, reason)
    return PeerRejected(peer, reason, http_status=status, code=code)


def _parse_response(peer: str, operation: Operation, body: bytes) -> Message:
    """Read the operation's own response, else an Acknowledgement (CONFORMANCE D57)."""
    # Parsing the members costs more than searching for the word, which no other response contains.
    may_be_acknowledgement = operation.response is not Acknowledgement and b'"Result"' in body
    model = response_model(operation, body) if may_be_acknowledgement else operation.response
    try:
        if operation.paged and model is operation.response:
            return read_records(model, body).envelope
        message = _parse_unpaged(model, body)
    except InvalidMessage as exc:
        return _complete(peer, operation, model, body) or _parse_acknowledgement(peer, operation, body, exc)
    return whole_answer(peer, operation, message, message.field_findings)


def whole_answer(sender: str, operation: Operation, message: Message, findings: Iterable[Finding] = ()) -> Message:
    """Return an answer as it goes out (`oicp.answers`): itself, if it is whole; raises PeerProtocolError."""
    if is_whole(message, findings):
        return message
    return _complete(sender, operation, type(message), message.to_json()) or message


def _complete(sender: str, operation: Operation, model: type[Message], body: bytes) -> Message | None:
    try:
        answer = complete_answer(model, body)
    except ContradictoryAnswer as error:
        raise PeerProtocolError(sender, str(error)) from error
    except InvalidMessage:
        return None
    if answer is not None and answer.deviation is not None:
        log.warning("oicp.answer_deviates", sender=sender, operation=operation.name, answer=answer.deviation)
    return None if answer is None else answer.message


def _parse_unpaged(model: type[Message], body: bytes) -> Message:
    try:
        return rewritten(model.from_json(body))
    except InvalidMessage:
        if not has_records(model):
            raise
    return read_records(model, body).envelope


def _parse_acknowledgement(peer: str, operation: Operation, body: bytes, cause: InvalidMessage) -> Message:
    """Read an acknowledgement in place of another response: it has ``Result``, or refuses with a code."""
    try:
        message = Acknowledgement.from_json(body)
    except InvalidMessage:
        message = None
    if message is None or (message.status_code.code == StatusCodeValue.SUCCESS and not message.result):
        raise PeerProtocolError(peer, _truncate(f"the response is not OICP: {cause}")) from cause
    return whole_answer(peer, operation, message, message.field_findings)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return seconds, from either form (RFC 9110, 10.2.3); a date counts from the response's own Date, if any."""
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
    """Return OICP code and text of an error body, in any of the shapes in use; never raises."""
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
    # ``message`` and ``validationErrors`` are Hubject's, ``description`` is WWCP's.
    messages = [str(body[name]) for name in ("message", "description") if body.get(name)]
    errors = body.get("validationErrors")
    validation_errors = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    return messages + [
        f"{error.get('fieldReference', '?')} {error.get('errorMessage', '?')}" for error in validation_errors
    ]


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_REASON_LENGTH else text[: _MAX_REASON_LENGTH - 1] + "…"


def raise_for_refused_push(name: str, operation: Operation, reply: OicpReply) -> None:
    """Raise PeerRejected unless the reply to a push acknowledges it."""
    acknowledgement = reply.message
    if not isinstance(acknowledgement, Acknowledgement) or not acknowledgement.result:
        status = getattr(acknowledgement, "status_code", None)
        code = str(getattr(status, "code", "")) or None
        words = (getattr(status, name, None) for name in ("description", "additional_info"))
        details = " ".join(filter(None, words))
        reason = f"refused {operation.name} with {code or 'no status code'}{': ' * bool(details)}{_truncate(details)}"
        raise PeerRejected(name, reason, http_status=reply.http_status, code=code)
