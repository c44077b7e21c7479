"""Calls OCPI partners: strict in what is sent and in where it goes, tolerant in how it is answered.

One request, one deadline. A URL is called only on an origin of the partner's registration (`OcpiConnection.origins`),
so that nothing that a partner says makes this node call another system. Of redirects, 307 and 308 are followed, once,
and only to the same origin and path with or without a slash at its end.

What partners deviate in is read in `ocpi.envelope`; this module decides what is no answer at all. A business refusal is
an answer: `OcpiReply` with its status code. These are errors: no answer (`PeerUnreachable`, `PeerTimeout`), too much to
do (`PeerBusy`), 401 and 403 (`PeerUnauthorized`), and an answer without an envelope (`NotAnEnvelope`).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from ssl import SSLContext
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

from p2p_oicp.client.replies import HttpResponse, parse_retry_after
from p2p_oicp.client.transport import HttpTransport, OutboundRequest
from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.concurrency import offload
from p2p_oicp.crypto.tls import client_context
from p2p_oicp.errors import FailureCause, PeerBusy, PeerProtocolError, PeerRejected, PeerUnauthorized
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.ocpi.base import ci, encode_json
from p2p_oicp.ocpi.credentials import authorization_header
from p2p_oicp.ocpi.envelope import OcpiReply, OcpiStatus, read_envelope
from p2p_oicp.ocpi.paging import PageRequest, next_page
from p2p_oicp.ocpi.tokens import masked_path
from p2p_oicp.ocpi_mapping.ids import Party

#: Seconds for one exchange: versions and credentials; objects; an authorization; a command.
REGISTRATION_SECONDS: Final = 10.0
OBJECT_SECONDS: Final = 10.0
AUTHORIZE_SECONDS: Final = 3.5
COMMAND_SECONDS: Final = 4.0
#: The largest answer, in bytes.
MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
MAX_PAGES: Final = 10_000
_PAGE_LIMIT: Final = 100
_MAX_REASON_LENGTH: Final = 300
# Reading a larger answer holds the event loop for more than some milliseconds.
_MIN_OFFLOADED_BYTES: Final = 256 * 1024
_REDIRECTS = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_UNAUTHORIZED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class NotAnEnvelope(PeerProtocolError):
    """An answer without an envelope: ``http_status`` is all that it says."""

    def __init__(self, partner: str, reason: str, http_status: int) -> None:
        super().__init__(partner, reason)
        self.http_status = http_status


class OcpiRefused(PeerRejected):
    """The partner does not do what it was to do; ``status_code`` is OCPI's, ``http_status`` that of HTTP."""

    def __init__(self, partner: str, reply: OcpiReply) -> None:
        reason = f"OCPI {reply.status_code}: {reply.message}" if reply.message else f"OCPI {reply.status_code}"
        super().__init__(partner, _shortened(reason), http_status=reply.http_status)
        self.status_code = reply.status_code or OcpiStatus.CLIENT_ERROR


class EndpointMissing(PeerRejected):
    """The partner has no such interface, so that its function is disabled."""

    may_have_arrived = False

    def __init__(self, partner: str, module: str, role: str) -> None:
        super().__init__(partner, f"has no endpoint {module} {role}", http_status=200, code="320")


@dataclass(frozen=True, slots=True)
class OcpiConnection:
    """How a partner is called.

    Attributes:
        name: of the partner, for errors: its destination.
        token: the one that it has given us.
        endpoints: URL by module and role of its interfaces.
        origins: scheme and authority of the servers that may be called.
        sender: who we are to it, unless a call says otherwise; None: no routing headers.
        receiver: who it is.
    """

    name: str
    token: str = field(repr=False)
    endpoints: Mapping[tuple[str, str], str] = field(default_factory=dict)
    origins: frozenset[str] = frozenset()
    sender: Party | None = None
    receiver: Party | None = None

    def url_of(self, module: str, role: str, *segments: str) -> str:
        """Return the URL of an interface or of an object in it; raise `EndpointMissing`."""
        endpoint = self.endpoints.get((str(module), str(role)))
        if endpoint is None:
            raise EndpointMissing(self.name, module, role)
        return "/".join((endpoint.rstrip("/"), *(quote(segment, safe="") for segment in segments)))


def origin_of(url: str) -> str:
    """Return scheme and authority of a URL, by which it is pinned; empty: it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}" if parts.hostname and port else ""


@dataclass(frozen=True, slots=True)
class OcpiCall:
    """What is sent.

    Attributes:
        verb: the HTTP method.
        url: where; see `OcpiConnection.url_of`.
        body: JSON; None: there is none.
        query: parameters.
        deadline: seconds for the whole exchange.
        correlation_id: the Process-ID of what it belongs to; None: that of the request being served, or a new one.
        sender: who we are, for one call.
        receiver: whom it is for.
    """

    verb: str
    url: str
    body: object | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    deadline: float = OBJECT_SECONDS
    correlation_id: str | None = None
    sender: Party | None = None
    receiver: Party | None = None


@dataclass(frozen=True, slots=True)
class OcpiPage:
    """A page of a list: its objects, and how many match in all, if that is said."""

    objects: list[Any]
    total: int | None


class OcpiClient:
    """Calls OCPI partners over one transport, whose responses are bounded by `MAX_RESPONSE_BYTES`.

    Args:
        transport: sends the requests.
        ids: makes the ids of requests.
        clock: tells the time for ``Retry-After``.
        tls: the context for https; None: one that accepts what the machine's CAs vouch for.
    """

    def __init__(
        self, transport: HttpTransport, *, ids: IdGenerator, clock: Clock, tls: SSLContext | None = None
    ) -> None:
        self._transport = transport
        self._ids = ids
        self._clock = clock
        self._tls_context = tls

    async def call(self, connection: OcpiConnection, call: OcpiCall) -> OcpiReply:
        """Send one request and return the answer, whatever its status code.

        Raises:
            PeerError: there is none; see above. ``may_have_arrived`` says whether it may have been processed.
        """
        url = f"{call.url}?{urlencode(call.query)}" if call.query else call.url
        if origin_of(url) not in connection.origins:
            reason = f"{masked_path(call.url)} is none of its registered servers, and is not called"
            raise PeerRejected(connection.name, _shortened(reason), http_status=200)
        body = b"" if call.body is None else encode_json(call.body)
        request = OutboundRequest(
            call.verb, url, body, call.deadline, connection.name, self._headers(connection, call), self._tls(url)
        )
        response = await self._transport.send(request)
        if response.status in _REDIRECTS and (target := _slash_redirect(url, response)) is not None:
            response = await self._transport.send(_redirected(request, target))
        return await self._read(connection, response)

    async def fetch(self, connection: OcpiConnection, call: OcpiCall) -> Any:  # noqa: ANN401 - any JSON value
        """As `call`, and return ``data``; raise `OcpiRefused` for a status code that is no success."""
        reply = await self.call(connection, call)
        if not reply.is_success:
            raise OcpiRefused(connection.name, reply)
        return reply.data

    async def pages(
        self, connection: OcpiConnection, url: str, query: Mapping[str, str] = MappingProxyType({})
    ) -> AsyncIterator[OcpiPage]:
        """Return a list page by page, until its end or `MAX_PAGES`; raise as `fetch` does.

        Objects that move to another page meanwhile may come twice; a page with nothing new ends the list.
        """
        seen: set[int] = set()
        request = PageRequest(0, _PAGE_LIMIT)
        following: str | None = f"{url}?{urlencode({**query, 'offset': 0, 'limit': _PAGE_LIMIT})}"
        for _ in range(MAX_PAGES):
            if following is None:
                return
            reply = await self.call(connection, OcpiCall("GET", following))
            if not reply.is_success:
                raise OcpiRefused(connection.name, reply)
            objects = reply.data if isinstance(reply.data, list) else [reply.data] if reply.data else []
            keys = {hash(_object_key(each)) for each in objects}
            if not keys - seen:
                return
            seen |= keys
            yield OcpiPage(objects, _whole_number(reply.headers.get("X-Total-Count", "")))
            following = next_page(following, request, len(objects), reply.headers)
            request = replace(request, offset=request.offset + len(objects))

    def _headers(self, connection: OcpiConnection, call: OcpiCall) -> dict[str, str]:
        headers = {
            "Authorization": authorization_header(connection.token),
            "X-Request-ID": self._ids.process_id(),
            "X-Correlation-ID": call.correlation_id or PROCESS_ID.get() or self._ids.process_id(),
        }
        sender, receiver = call.sender or connection.sender, call.receiver or connection.receiver
        for direction, party in (("from", sender), ("to", receiver)):
            if party is not None:
                headers[f"OCPI-{direction}-country-code"] = party.country_code
                headers[f"OCPI-{direction}-party-id"] = party.party_id
        return headers

    async def _read(self, connection: OcpiConnection, response: HttpResponse) -> OcpiReply:
        status, body = response.status, response.body
        is_large = len(body) > _MIN_OFFLOADED_BYTES
        reply = await offload(read_envelope, status, body) if is_large else read_envelope(status, body)
        reason = _reason(connection, status, reply)
        if status in _UNAUTHORIZED:
            raise PeerUnauthorized(connection.name, reason)
        if status in _BUSY:
            retry_after = parse_retry_after(response.headers, self._clock.time())
            is_refused = status == HTTPStatus.TOO_MANY_REQUESTS
            raise PeerBusy(connection.name, reason, retry_after, may_have_arrived=not is_refused)
        is_ok = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        if reply.status_code is None and is_ok and not body.strip():
            reply = replace(reply, status_code=OcpiStatus.SUCCESS)  # as some answer a DELETE
        if reply.status_code is None:
            error = NotAnEnvelope(connection.name, f"{reason}, without an OCPI envelope", status)
            is_failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise error.because_of(FailureCause.SERVER_ERROR if is_failed else FailureCause.ANOTHER_SYSTEM)
        return replace(reply, headers=response.headers)

    def _tls(self, url: str) -> SSLContext | None:
        if not url.startswith("https:"):
            return None
        if self._tls_context is None:
            self._tls_context = client_context()
        return self._tls_context


def _slash_redirect(url: str, response: HttpResponse) -> str | None:
    """Return where a redirect leads that may be followed: the same address, but for a slash at the end of its path."""
    target = urljoin(url, response.headers.get("Location", ""))
    if origin_of(target) != origin_of(url):
        return None
    own, other = urlsplit(url), urlsplit(target)
    is_same = own.path != other.path and own.path.rstrip("/") == other.path.rstrip("/") and own.query == other.query
    return target if is_same else None


def _redirected(request: OutboundRequest, url: str) -> OutboundRequest:
    return OutboundRequest(
        request.method, url, request.body, request.timeout, request.target, request.headers, request.tls
    )


def _reason(connection: OcpiConnection, status: int, reply: OcpiReply) -> str:
    """Return what is said of an answer; a partner that echoes the token does not bring it into a log."""
    reason = f"HTTP {status}: {reply.message}" if reply.message else f"HTTP {status}"
    for secret in (connection.token, base64.b64encode(connection.token.encode()).decode()):
        reason = reason.replace(secret, "********")
    return _shortened(reason)


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_REASON_LENGTH else text[: _MAX_REASON_LENGTH - 1] + "…"


def _object_key(value: object) -> tuple[str, ...]:
    if not isinstance(value, Mapping):
        return (repr(value),)
    return tuple(ci(value.get(name, "")) for name in ("country_code", "party_id", "id", "uid", "type"))


def _whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
