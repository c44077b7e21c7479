"""What a partner is answered: always an envelope, with the ids of its request (transport_and_format).

HTTP 200 for refusals of OCPI; else the HTTP status says what is wrong with the request, and the envelope says it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

import structlog
from aiohttp import web

from p2p_oicp.clock import Clock
from p2p_oicp.errors import PeerError, StoreError
from p2p_oicp.ocpi.base import encode_json
from p2p_oicp.ocpi.envelope import OcpiStatus, write_envelope
from p2p_oicp.ocpi.paging import PageRequest, serve_page
from p2p_oicp.ocpi.registration import RegistrationProblem
from p2p_oicp.ocpi.tokens import masked_path
from p2p_oicp.ocpi_gateway.requests import ModuleResult, OcpiProblem, PageFilter
from p2p_oicp.oicp.findings import InvalidMessage
from p2p_oicp.server.problems import OVERLOAD_STATUSES, SERVER, HttpError, store_unavailable

log = structlog.get_logger(__name__)

_MAX_ID_LENGTH = 128
_MAX_MESSAGE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class RequestIds:
    """The ids of a request, which its answer repeats (transport_and_format, unique message IDs)."""

    request_id: str
    correlation_id: str

    @classmethod
    def of(cls, request: web.BaseRequest, new_id: Callable[[], str]) -> RequestIds:
        """Return those of a request; what is missing, or cannot be repeated, is made."""
        return cls(*(_usable(request.headers.get(name)) or new_id() for name in ("X-Request-ID", "X-Correlation-ID")))

    def headers(self) -> dict[str, str]:
        return {"X-Request-ID": self.request_id, "X-Correlation-ID": self.correlation_id}


def _usable(text: str | None) -> str | None:
    is_plain = text is not None and text.isascii() and text.isprintable() and 0 < len(text.strip()) <= _MAX_ID_LENGTH
    return text if is_plain else None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it is written."""

    result: ModuleResult
    headers: Mapping[str, str] = field(default_factory=dict)


def paged(answer: Answer, url: str, query: Mapping[str, str], page: PageFilter) -> Answer:
    """Return the answer with a part of a list with the headers of pages; ``url``: our own address of the list."""
    total = answer.result.total
    if total is None or answer.result.http_status != HTTPStatus.OK:
        return answer
    served = serve_page(url, query, PageRequest(page.offset, page.limit), total)
    return Answer(answer.result, {**answer.headers, **served.headers})


def respond(answer: Answer, ids: RequestIds, clock: Clock) -> web.Response:
    """Return an answer as HTTP."""
    result, now = answer.result, datetime.fromtimestamp(clock.time(), UTC)
    message = result.message[:_MAX_MESSAGE_LENGTH] if result.message else None
    envelope = write_envelope(now, result.data, result.status_code, message)
    headers = {"Server": SERVER, "Content-Type": "application/json; charset=utf-8", **ids.headers()}
    body = encode_json(envelope)
    return web.Response(body=body, status=result.http_status, headers={**headers, **answer.headers, **result.headers})


def failure(error: Exception, request: web.BaseRequest, partner: str) -> Answer:
    """Return what is answered to a request that failed; a bug is logged with its stack."""
    match _as_own(error, request, partner):
        case OcpiProblem() as error:
            headers = {"WWW-Authenticate": "Token"} if error.http_status == HTTPStatus.UNAUTHORIZED else {}
            if error.http_status == HTTPStatus.SERVICE_UNAVAILABLE:
                headers = {"Retry-After": "5"}
            return _problem(error.status_code, error.message, error.http_status, headers)
        case RegistrationProblem() as error:
            log.info("ocpi.registration_refused", partner=partner, reason=str(error), status=int(error.status))
            return _problem(error.status, str(error))
        case InvalidMessage() as error:
            finding = error.findings[0]
            text = f"{finding.pointer or '/'}: {finding.message}"
            return _problem(OcpiStatus.INVALID_PARAMETERS, text, HTTPStatus.BAD_REQUEST)
        case HttpError() as error:
            is_overload = error.http_status in OVERLOAD_STATUSES
            code = OcpiStatus.SERVER_ERROR if is_overload else OcpiStatus.CLIENT_ERROR
            return _problem(code, error.info, error.http_status, error.headers)
    log.error("ocpi.internal_error", partner=partner, path=masked_path(request.path), exc_info=error)
    text = "this node failed; its log has the details"
    return _problem(OcpiStatus.SERVER_ERROR, text, HTTPStatus.INTERNAL_SERVER_ERROR)


def _as_own(error: Exception, request: web.BaseRequest, partner: str) -> Exception:
    """Return an error of other parts of the node as one of this listener; others as they are."""
    match error:
        case StoreError():
            return store_unavailable(error, path=masked_path(request.path))
        case PeerError():
            log.warning("ocpi.request_failed", partner=partner, path=masked_path(request.path), reason=error.reason)
            return OcpiProblem(OcpiStatus.SERVER_ERROR, "a system that is needed for it does not answer")
        case RecursionError() | OverflowError() | UnicodeError():
            text = f"cannot be processed: {type(error).__name__}"
            return OcpiProblem(OcpiStatus.INVALID_PARAMETERS, text, http_status=HTTPStatus.BAD_REQUEST)
    return error


def _problem(
    code: int, text: str, http_status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Answer:
    return Answer(ModuleResult(status_code=code, message=text, http_status=http_status), headers or {})
