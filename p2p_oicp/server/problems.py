"""Responses that are no normal OICP answer, as HTTP (DESIGN section 8)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from types import MappingProxyType

import orjson
import structlog

from p2p_oicp.errors import ConfigurationError, P2pOicpError, Refusal, StoreBusy, StoreError
from p2p_oicp.oicp import Finding, InvalidMessage, Severity, StatusCodeValue, field_reference
from p2p_oicp.oicp.findings import format_counts
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.roles.responses import acknowledgement_response, as_unicode, status_code

#: The header ``Server`` of every response: no version of anything.
SERVER = "p2p-oicp"
log = structlog.get_logger(__name__)

# Beyond this number, a sender learns nothing more from single findings.
_MAX_VALIDATION_ERRORS = 100
#: The HTTP statuses of a node that has too much to do.
OVERLOAD_STATUSES = frozenset({429, 503})
_MAX_DIGITS = 18
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class HttpError(P2pOicpError):
    """A request that is answered with an HTTP error status and a StatusCode body.

    Args:
        http_status: 4xx or 5xx.
        code: the OICP status code of the body.
        info: its AdditionalInfo, for people.
        headers: further headers of the response.
    """

    def __init__(self, http_status: int, code: str, info: str, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(info)
        self.http_status = http_status
        self.code = code
        self.info = info
        self.headers = headers

    def to_response(self) -> OperationResponse:
        """Return a StatusCode without a Result: the body that other implementations read."""
        return OperationResponse(orjson.dumps({"StatusCode": status_code(self.code, self.info)}), self.http_status)


def parse_whole_number(text: str) -> int:
    """Return a number of a query or path, that fits into 64 bits; raise HttpError 400."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise HttpError(400, StatusCodeValue.DATA_ERROR, f"'{text[:20]}': expected a whole number")
    return int(text)


def cannot_listen(section: str, host: str, port: int, error: OSError) -> ConfigurationError:
    """Return the error of a listener that cannot be opened, with what to change in ``section`` of node.toml."""
    if isinstance(error, socket.gaierror) or error.errno is None:
        reason, cure = error.strerror or str(error), "expected an address of this machine as host"
    else:
        reason, cure = os.strerror(error.errno), "choose another port, or another address as host"
    if isinstance(error, PermissionError):
        cure = "choose a port from 1024 on, grant CAP_NET_BIND_SERVICE, or put a reverse proxy in front"
    return ConfigurationError(f"[{section}] cannot listen on {host}:{port}: {reason}; {cure}")


def store_unavailable(error: StoreError, **context: object) -> HttpError:
    """Return the 503 of a node whose database is busy, or cannot be used; the latter is logged with ``context``."""
    info = str(error)
    if not isinstance(error, StoreBusy):
        log.error("http.store_error", error=error, **context)
        info = "this node cannot use its database now; try again later"
    return HttpError(503, StatusCodeValue.SYSTEM_ERROR, info, {"Retry-After": "1"})


def validation_error_response(error: InvalidMessage, *, as_wwcp: bool = False) -> OperationResponse:
    """Answer a message that breaks the schema or a rule: HTTP 400 that names each member, as Hubject does.

    A WWCP peer reads only HTTP 200, with code 022 (WIRE.md).
    """
    errors = [finding for finding in error.findings if finding.severity == "error"][:_MAX_VALIDATION_ERRORS]
    note = None
    if error.counts.total() > len(errors):
        counts = format_counts(error.counts)
        note = f"{error.counts.total():,} findings, the first {len(errors)} follow; of all: {counts}"
    if as_wwcp:
        texts = (f"{finding.pointer or '/'}: {finding.message}" for finding in errors)
        return acknowledgement_response(StatusCodeValue.DATA_ERROR, "; ".join(filter(None, (note, *texts))))
    members = {
        "message": "Error parsing/validating JSON.",
        "extendedInfo": note,
        "validationErrors": [_validation_error(finding) for finding in errors],
    }
    return OperationResponse(orjson.dumps(members), 400)


def error_response(error: Exception, path: str, headers: dict[str, str]) -> OperationResponse:
    """Return what is answered instead; it may add ``headers``."""
    match error:
        case HttpError():
            # Overload is counted, and not logged: a storm of requests must not become one of the log.
            if error.http_status not in OVERLOAD_STATUSES:
                log.info("http.request_rejected", status=error.http_status, reason=error.info, path=path)
            headers |= error.headers
            return error.to_response()
        case InvalidMessage():
            return validation_error_response(error)
        case Refusal():
            return HttpError(error.http_status, error.code, error.info).to_response()
        case StoreError():
            return error_response(store_unavailable(error, path=path), path, headers)
        # What is nested deeper than Python's stack allows, larger than its numbers, or no text, is the sender's fault.
        case RecursionError() | OverflowError() | UnicodeError():
            log.warning("http.request_unreadable", reason=str(error), path=path)
            info = f"cannot be processed: {type(error).__name__}"
            return validation_error_response(InvalidMessage([Finding(Severity.ERROR, "", "not-processable", info)]))
    log.error("http.internal_error", path=path, exc_info=error)
    info = "this node failed; its log has the details"
    return HttpError(500, StatusCodeValue.SYSTEM_ERROR, info).to_response()


def as_refusal(error: InvalidMessage) -> Refusal | None:
    """Return the refusal of a readable message that breaks a rule with a status code of its own (101, 018, 019).

    Such a code is an OICP answer with HTTP 200; with anything unreadable beside it, the message is just invalid.
    """
    errors = [finding for finding in error.findings if finding.severity == "error"]
    codes = {finding.status_code for finding in errors}
    # 022 has no OICP answer of its own: HTTP 400 says more, member by member.
    if len(codes) != 1 or codes == {StatusCodeValue.DATA_ERROR}:
        return None
    return Refusal(codes.pop(), "; ".join(f"{finding.pointer}: {finding.message}" for finding in errors))


def _validation_error(finding: Finding) -> dict[str, str]:
    return {"fieldReference": field_reference(finding.pointer), "errorMessage": as_unicode(finding.message)}
