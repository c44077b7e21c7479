"""The frame of every page: who looks at it, the headers it goes out with, and what becomes of what goes wrong.

In the order of a request: the rules of the backend listener (`server.app`), the cookie, for a POST the right to act and
the token of the form; then the page. A page that fails is a page as well, with the reason in words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

import structlog

from p2p_oicp.errors import StoreError
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.dashboard.access import DashboardAccess, Login
from p2p_oicp.server.dashboard.rendering import Renderer
from p2p_oicp.server.pipeline import HttpHandler, RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError, store_unavailable

log = structlog.get_logger(__name__)

_MAX_FORM_BYTES = 256 * 1024
_HTML = "text/html"
#: No page loads anything of another host, runs a script that stands in it, or is shown in a page of others.
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class PageRequest:
    """A request for a page, of somebody who may see it.

    Attributes:
        login: who it is.
        query: the query of its URL; of several values of a name the last one.
        form: the fields of its form; empty where it is none.
        reveals: whether identifications are shown unmasked.
    """

    def __init__(self, context: RequestContext, login: Login, *, form: Mapping[str, str], reveals: bool) -> None:
        self._context = context
        self.login = login
        self.form = form
        self.reveals = reveals
        self.query: Mapping[str, str] = dict(context.http.query)
        self.path = context.http.path

    def parameter(self, name: str) -> str:
        """Return a part of the path by its name in the route."""
        return self._context.parameter(name)

    @property
    def accept(self) -> str:
        """What kind of answer is accepted: the header ``Accept``."""
        return self._context.head.headers.get("Accept", "")

    @property
    def origin(self) -> str:
        """Where the node is, as its sender sees it: scheme, host and port."""
        http = self._context.http
        return f"{'https' if http.secure else 'http'}://{self._context.head.headers.get('Host', '')}"

    @property
    def url(self) -> str:
        """Its path and query, without what reveals and without where a page goes on."""
        left = {name: value for name, value in self.query.items() if name not in {"reveal", "notice"}}
        return f"{quote(self.path)}?{urlencode(left)}" if left else quote(self.path)


PageHandler: TypeAlias = Callable[[PageRequest], Awaitable[OperationResponse]]


def redirect(url: str, cookie: str | None = None) -> OperationResponse:
    """Return what sends a browser to a page of ours, by GET."""
    headers = {**SECURITY_HEADERS, "Location": url} | ({"Set-Cookie": cookie} if cookie is not None else {})
    return OperationResponse(b"", 303, content_type=_HTML, headers=headers)


def is_own_path(url: str) -> bool:
    """Whether a URL leads to a page of the dashboard, and to no other host."""
    return url.startswith("/ui") and "\\" not in url and url.isprintable()


class PageServer:
    """Serves pages to whoever has logged in.

    Args:
        access: knows who has.
        renderer: of the templates.
    """

    def __init__(self, access: DashboardAccess, renderer: Renderer) -> None:
        self._access = access
        self._renderer = renderer

    def wrap(
        self, pipeline: RequestPipeline, handler: PageHandler, *, acts: bool = False, decides: bool = False
    ) -> HttpHandler:
        """Return the aiohttp handler of a page.

        Args:
            pipeline: of the listener.
            handler: serves the page.
            acts: it needs the right to change things, as every form does.
            decides: it requires that right itself (`require_right`), of some of its forms.
        """

        async def serve(context: RequestContext) -> OperationResponse:
            login = self._access.find_login(context.head.headers)
            if login is None:
                return self._send_to_login(context)
            try:
                request = await self._read(context, login)
                if acts or (context.http.method == "POST" and not decides):
                    require_right(login)
                return await handler(request)
            except StoreError as error:
                return self._failure(store_unavailable(error, path=context.http.path), login)
            except HttpError as error:
                return self._failure(error, login)

        return pipeline.wrap(serve, needs_token=False)

    async def _read(self, context: RequestContext, login: Login) -> PageRequest:
        form: dict[str, str] = {}
        if context.http.method == "POST":
            form = await read_form(context)
            if not self._access.is_form_token(login, form.pop("csrf", "")):
                info = "this form is older than your login, or of another page; open the page again"
                raise HttpError(403, StatusCodeValue.UNAUTHORIZED_ACCESS, info)
        ticket = context.http.query.get("reveal", "")
        reveals = bool(ticket) and self._access.may_see(login, context.http.path, ticket)
        return PageRequest(context, login, form=form, reveals=reveals)

    def _send_to_login(self, context: RequestContext) -> OperationResponse:
        if (login := self._access.log_in_anyone()) is not None and context.http.method in {"GET", "HEAD"}:
            headers = context.head.headers
            cookie = self._access.cookie_of(login, headers, is_secure=context.http.secure)
            return redirect(_local_url(context), cookie)
        target = _local_url(context) if context.http.method == "GET" else "/ui"
        return redirect(f"/ui/login?{urlencode({'next': target})}")

    def page(self, request: PageRequest, template: str, http_status: int = 200, **values: object) -> OperationResponse:
        """Return a page: a template with values, and what each page knows."""
        return self._render(request.login, template, http_status, request=request, **values)

    def _failure(self, error: HttpError, login: Login) -> OperationResponse:
        return self._render(login, "error.html", error.http_status, request=None, reason=error.info)

    def _render(self, login: Login, template: str, http_status: int, **values: object) -> OperationResponse:
        token = self._access.form_token(login)
        html = self._renderer.render(template, login=login, csrf=token, is_open=self._access.is_open, **values)
        return OperationResponse(html, http_status, content_type=_HTML, headers=SECURITY_HEADERS)

    def login_page(self, http_status: int = 200, **values: object) -> OperationResponse:
        """Return the page that asks for the token."""
        html = self._renderer.render("login.html", login=None, request=None, is_open=False, **values)
        return OperationResponse(html, http_status, content_type=_HTML, headers=SECURITY_HEADERS)


async def read_form(context: RequestContext) -> dict[str, str]:
    """Return the fields of a form; raise HttpError 400 for one that cannot be read."""
    body = await context.read_body(_MAX_FORM_BYTES, is_form=True)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=200))
    except ValueError as error:
        raise HttpError(400, StatusCodeValue.DATA_ERROR, f"this form cannot be read: {error}") from error


def _local_url(context: RequestContext) -> str:
    # As it came: a decoded "&" or "+" of a value would be another query.
    query = context.http.rel_url.raw_query_string
    path = quote(context.http.path)
    return f"{path}?{query}" if query else path


def require_right(login: Login) -> None:
    """Raise HttpError 403 for somebody who may only look."""
    if not login.may_act:
        info = "you have logged in with the token that only shows; log in with the token of the backend API to act"
        raise HttpError(403, StatusCodeValue.UNAUTHORIZED_ACCESS, info)
