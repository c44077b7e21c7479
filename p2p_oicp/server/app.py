"""Which path of a listener is served by what, and to whom.

`BackendAccess` says who may use the backend listener: our own systems, and not what a web page makes a browser send
(DESIGN section 7). A browser on a machine that reaches the listener sends requests for any page that it shows. What
gives them away: the page's address (``Origin``, ``Sec-Fetch-Site``), a name in ``Host`` that is not the listener's (DNS
rebinding), and a body that is not JSON, which is all that a page may send to others without asking first (the Fetch
standard, CORS).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from typing import TypeAlias, cast
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.inbound import FORM_TYPE, InboundRequest, routed_path
from p2p_oicp.server.openapi import listener_endpoints
from p2p_oicp.server.pipeline import OICP_PREFIX, PATH_PARAMETERS, RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError

_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?")
_DEFAULT_PORTS = re.compile(r":(?:80|443)$")
_JSON = "application/json"
# The pages for people take forms, each with a token that only such a page has (`dashboard.access`).
_FORM_PREFIX = "/ui/"
# Nearly all requests have one of these: nothing to parse.
_COMMON_CONTENT_TYPES = frozenset({_JSON, f"{_JSON}; charset=utf-8"})

# What a client certificate opens; the administration needs the token.
_CERTIFIED_PATHS = (OICP_PREFIX, "/metrics")

# Of a request whose path is served by other methods only.
_ALLOWED_METHODS: web.RequestKey[list[str]] = web.RequestKey("allowed methods", list)

#: Returns the JSON of ``/readyz``; without the token, only its "status" is shown, which is "ready" or something else.
ReadinessProbe = Callable[[], Awaitable[dict[str, object]]]
#: Returns ``/metrics``, with or without those that name peers.
MetricsRenderer = Callable[[bool], Awaitable[OperationResponse]]
#: What a part of a listener serves.
Routes: TypeAlias = Sequence[web.RouteDef]
#: Returns a sentence for each part that does not work, while the node does.
DegradedParts = Callable[[], Awaitable[list[str]]]


class RequestRouter:
    """The request handler of one listener: OICP by its prefix, everything else by aiohttp's router.

    aiohttp's ``Application`` would take 10.6 µs of the about 81 µs of an AuthorizeStart to find the one OICP route;
    ``dispatcher`` finds the operation by one look-up in a dictionary.

    Args:
        pipeline: serves OICP, and answers 404 for all other paths.
        routes: of this listener.
    """

    def __init__(self, pipeline: RequestPipeline, routes: Sequence[web.RouteDef]) -> None:
        self._serve_oicp = pipeline.serve_oicp
        self._router = web.UrlDispatcher()
        self._router.add_routes(
            [
                listener_endpoints.LIVENESS.route(pipeline, _handle_liveness),
                listener_endpoints.HEALTH.route(pipeline, _handle_liveness),
                *routes,
            ]
        )
        self._serve_unknown = pipeline.wrap(_handle_unknown, needs_token=False)

    def __call__(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        # Not a coroutine: aiohttp awaits what is returned, and one frame less is some tenths of a microsecond.
        target = request.raw_path
        if target.startswith(OICP_PREFIX) or routed_path(target).startswith(OICP_PREFIX):
            return self._serve_oicp(request)
        return self._serve_by_route(request)

    async def _serve_by_route(self, request: web.BaseRequest) -> web.StreamResponse:
        match = await self._router.resolve(cast("web.Request", request))
        if match.http_exception is not None:
            request[_ALLOWED_METHODS] = sorted(getattr(match.http_exception, "allowed_methods", ()))
            return await self._serve_unknown(request)
        request[PATH_PARAMETERS] = match
        return await match.handler(cast("web.Request", request))

    def paths(self) -> set[tuple[str, str]]:
        """Return method and path of everything that is served besides OICP, as they were declared."""
        return {
            (route.method, route.resource.canonical)
            for route in self._router.routes()
            if route.resource is not None and route.method != "HEAD"
        }


def backend_routes(
    pipeline: RequestPipeline,
    readiness: ReadinessProbe,
    degraded: DegradedParts,
    metrics: MetricsRenderer,
    *,
    metrics_need_token: bool,
) -> list[web.RouteDef]:
    """Return the routes by which the backend API shows how the node is."""

    async def handle_readiness(context: RequestContext) -> OperationResponse:
        details = await readiness()
        http_status = 200 if details["status"] == "ready" else 503
        if not context.may_see_details:
            shown: dict[str, object] = {"status": details["status"]}
        else:
            shown = {**details, "degraded": await degraded()} if http_status == HTTPStatus.OK else details
        return OperationResponse(orjson.dumps(shown), http_status)

    async def handle_metrics(context: RequestContext) -> OperationResponse:
        return await metrics(context.may_see_details)

    return [
        listener_endpoints.READINESS.route(pipeline, handle_readiness),
        listener_endpoints.METRICS.route(pipeline, handle_metrics, needs_token=metrics_need_token),
    ]


async def _handle_liveness(_context: RequestContext) -> OperationResponse:
    return OperationResponse(b'{"status": "ok"}')


async def _handle_unknown(context: RequestContext) -> OperationResponse:
    if allowed := context.http.get(_ALLOWED_METHODS):
        methods = ", ".join(allowed)
        info = f"{context.http.method} is not served at {context.http.path}; expected {methods}"
        raise HttpError(405, StatusCodeValue.SERVICE_NOT_AVAILABLE, info, {"Allow": methods})
    info = f"{context.http.path} is not served here; OICP is below {OICP_PREFIX}"
    raise HttpError(404, StatusCodeValue.SERVICE_NOT_AVAILABLE, info)


class BackendAccess:
    """The rules of the backend listener.

    Args:
        token: the bearer token; None: whoever reaches the listener may do everything.
        oicp_needs_token: whether OICP needs it too, and not only the administration.
        accepts_certificates: whether a client certificate does for OICP; the handshake has verified the one shown.
        hosts: the names of the listener, with or without a port, besides loopback names and literal addresses.
        has_any_name: whether every name is one of the listener's.
    """

    def __init__(
        self,
        token: str | None,
        *,
        oicp_needs_token: bool = False,
        accepts_certificates: bool = False,
        hosts: Iterable[str] = (),
        has_any_name: bool = False,
    ) -> None:
        self._token = token.encode() if token is not None else None
        self._hosts = frozenset(host.lower() for host in hosts)
        self._has_any_name = has_any_name
        self.oicp_needs_token = oicp_needs_token
        self._accepts_certificates = accepts_certificates
        self._is_own_host = lru_cache(maxsize=256)(self._judge_host)

    def check(self, head: InboundRequest, *, needs_token: bool) -> None:
        """Raise HttpError 421, 403, 415 or 401 for a request that may not be served."""
        headers = head.headers
        host, origin, site = headers.get("Host"), headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if host is not None and not self._is_own_host(host):
            info = f"Host {host[:100]!r} is no name of this listener; add it to [backend_api] hosts if it is"
            raise HttpError(421, StatusCodeValue.UNAUTHORIZED_ACCESS, info)
        if origin is not None and not self._is_own_origin(origin, host or ""):
            raise _from_a_foreign_page(f"of {origin[:100]!r}")
        if site is not None and not _is_own_site(site, head):
            raise _from_a_foreign_page(f"of another site ({site[:20]!r})")
        if headers.get("Content-Type") not in _COMMON_CONTENT_TYPES:
            _check_content_type(head)
        if needs_token and not self._is_certified(head) and not self.has_token(headers):
            info = "this needs the token of the backend API: Authorization: Bearer TOKEN"
            if self._accepts_certificates:
                info += "; for OICP, a client certificate of [backend_api] ca does as well"
            raise HttpError(401, StatusCodeValue.UNAUTHORIZED_ACCESS, info, {"WWW-Authenticate": "Bearer"})

    def _is_certified(self, head: InboundRequest) -> bool:
        """Whether a client certificate does for this request."""
        return self._accepts_certificates and head.certificate is not None and head.path.startswith(_CERTIFIED_PATHS)

    def has_token(self, headers: Mapping[str, str]) -> bool:
        """Whether a request carries the token; true for all where there is none."""
        if self._token is None:
            return True
        scheme, _, credentials = headers.get("Authorization", "").partition(" ")
        # surrogateescape: a header may have any bytes.
        presented = credentials.strip().encode(errors="surrogateescape")
        return scheme.lower() == "bearer" and hmac.compare_digest(presented, self._token)

    def _judge_host(self, authority: str) -> bool:
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            return False
        if self._has_any_name:
            return True
        name = (match["ipv6"] or match["name"]).lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        return authority.lower() in self._hosts or _is_literal_address(name)

    def _is_own_origin(self, origin: str, host: str) -> bool:
        """Whether a page comes from this listener itself: from the host that it calls, or from a configured one."""
        try:
            authority = urlsplit(origin).netloc.lower()
        except ValueError:
            return False
        bare = _DEFAULT_PORTS.sub("", authority)
        return bare != "" and (
            bare == _DEFAULT_PORTS.sub("", host.lower()) or not self._hosts.isdisjoint((bare, authority))
        )


def _is_own_site(site: str, head: InboundRequest) -> bool:
    # Another port of this host is "same-site": a link from there may be followed, which changes nothing.
    is_followed_link = head.method == "GET" and head.headers.get("Sec-Fetch-Mode") == "navigate"
    return site in {"same-origin", "none"} or (site == "same-site" and is_followed_link)


def _is_literal_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _check_content_type(head: InboundRequest) -> None:
    if not head.content_length and "Transfer-Encoding" not in head.headers:
        return
    content_type = head.headers.get("Content-Type", "")
    expected = FORM_TYPE if head.path.startswith(_FORM_PREFIX) else _JSON
    if content_type.partition(";")[0].strip().lower() != expected:
        info = f"Content-Type {content_type[:100]!r} is not served here; send {expected}"
        raise HttpError(415, StatusCodeValue.DATA_ERROR, info)


def _from_a_foreign_page(of_whom: str) -> HttpError:
    info = f"this request comes from a web page {of_whom}; the backend API serves none but its own"
    return HttpError(403, StatusCodeValue.UNAUTHORIZED_ACCESS, info)
