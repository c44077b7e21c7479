"""All paths below ``/ui``: lists, pages, actions, login, and the files that pages need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from aiohttp import web

from p2p_oicp.clock import Clock
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.dashboard.access import DashboardAccess
from p2p_oicp.server.dashboard.actions import ActionPages
from p2p_oicp.server.dashboard.admin_calls import AdminCalls
from p2p_oicp.server.dashboard.evse_pages import EvsePages
from p2p_oicp.server.dashboard.list_pages import LISTS
from p2p_oicp.server.dashboard.lists import ListServer
from p2p_oicp.server.dashboard.map_pages import MapPages
from p2p_oicp.server.dashboard.message_pages import MessagePages
from p2p_oicp.server.dashboard.message_sender import MessageSender
from p2p_oicp.server.dashboard.node_pages import NodePages
from p2p_oicp.server.dashboard.record_pages import RecordPages
from p2p_oicp.server.dashboard.rendering import Renderer, static_files
from p2p_oicp.server.dashboard.requests import (
    SECURITY_HEADERS,
    PageHandler,
    PageRequest,
    PageServer,
    is_own_path,
    read_form,
    redirect,
)
from p2p_oicp.server.dashboard.tiles import TileArchive
from p2p_oicp.server.dashboard.totals import DayTotals
from p2p_oicp.server.event_stream import EventStreamApi
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage import Store

_MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "json": "application/json", "png": "image/png"}
)
# The URL of a file changes with its content.
_CACHED = MappingProxyType({**SECURITY_HEADERS, "Cache-Control": "public, max-age=31536000, immutable"})


class Dashboard:
    """The pages for people.

    Args:
        own: this node's entry: its name, and the parties that it speaks for.
        access: who may see them.
        admin: the administration, whose answers the pages show.
        stream: of events, after which parts of pages are shown anew.
        store: for the counts of the overview, and the events of what people do.
        clock: the time.
        sender: sends messages that people write.
        tiles: of the map; None: there are none.
    """

    def __init__(
        self,
        own: Peer,
        access: DashboardAccess,
        admin: AdminCalls,
        stream: EventStreamApi,
        store: Store,
        clock: Clock,
        *,
        sender: MessageSender,
        tiles: TileArchive | None = None,
    ) -> None:
        self._access = access
        self._stream = stream
        self._admin = admin
        parties = ", ".join(party.text for party in own.parties)
        self._pages = PageServer(access, Renderer(own.name, parties, clock))
        self._lists = ListServer(admin, self._pages)
        self._node_pages = NodePages(admin, self._pages, DayTotals(store, clock))
        self._map = MapPages(admin, self._pages, tiles)
        self._evses = EvsePages(admin, self._pages, clock)
        self._records = RecordPages(admin, self._pages, own.name)
        self._actions = ActionPages(admin, self._pages, access, store, clock)
        self._messages = MessagePages(admin, self._pages, self._actions, sender, own, clock)

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        """Return all paths."""
        page, actions = partial(self._pages.wrap, pipeline), self._actions
        return [
            web.get("/ui/login", pipeline.wrap(self._show_login, needs_token=False)),
            web.post("/ui/login", pipeline.wrap(self._log_in, needs_token=False)),
            web.post("/ui/logout", pipeline.wrap(self._log_out, needs_token=False)),
            web.get("/ui/static/{digest}/{name:.*}", pipeline.wrap(_static, needs_token=False)),
            web.get("/ui/events", self._stream.handler(pipeline, self._admit), allow_head=False),
            *(web.get(path, page(handler)) for path, handler in self._shown().items()),
            web.post("/ui/messages/{operation}", page(self._messages.submit, decides=True)),
            web.get("/ui/reveal", page(actions.ask_reveal, acts=True)),
            web.post("/ui/reveal", page(actions.reveal, acts=True)),
            web.get("/ui/actions/{name}", page(actions.ask, acts=True)),
            web.post("/ui/actions/{name}", page(actions.act, acts=True)),
            web.get("/ui/{path:.*}", page(_not_found)),
        ]

    def _shown(self) -> dict[str, PageHandler]:
        """Return the pages that only show."""
        node, records = self._node_pages, self._records
        return {
            "/ui": node.overview,
            "/ui/peers": node.peers,
            "/ui/peers/{name}": node.peer,
            **{f"/ui/{name}": partial(self._lists.show, listed) for name, listed in LISTS.items()},
            "/ui/sessions/{id}": records.session,
            "/ui/cdrs/{id}": records.cdr,
            "/ui/evses/{id}": self._evses.evse,
            "/ui/quality": self._evses.quality,
            "/ui/delivery/{id}": records.message,
            "/ui/traffic/{number}": records.exchange,
            "/ui/topology": node.topology,
            "/ui/messages": self._messages.list_operations,
            "/ui/messages/{operation}": self._messages.edit,
            "/ui/map": self._map.show,
            "/ui/map/data": self._map.data,
            "/ui/map/tiles/{zoom}/{column}/{row}": self._map.tile,
        }

    def _admit(self, context: RequestContext) -> None:
        if self._access.find_login(context.head.headers) is None:
            raise HttpError(401, StatusCodeValue.UNAUTHORIZED_ACCESS, "log in again: /ui/login")

    async def _show_login(self, context: RequestContext) -> OperationResponse:
        target = context.http.query.get("next", "/ui")
        if self._access.find_login(context.head.headers) is not None or self._access.is_open:
            return redirect(target if is_own_path(target) else "/ui")
        return self._pages.login_page(next=target, reason="")

    async def _log_in(self, context: RequestContext) -> OperationResponse:
        form = await read_form(context)
        target = form.get("next", "/ui")
        if self._access.has_too_many_failures():
            reason = "Too many wrong tokens in the last minute: try again in a minute."
            return self._pages.login_page(429, next=target, reason=reason)
        login = self._access.log_in(form.get("token", "").strip(), form.get("person", ""))
        if login is None:
            return self._pages.login_page(401, next=target, reason="This is not the token of this node.")
        headers = context.head.headers
        cookie = self._access.cookie_of(login, headers, is_secure=context.http.secure)
        return redirect(target if is_own_path(target) else "/ui", cookie)

    async def _log_out(self, context: RequestContext) -> OperationResponse:
        form, headers = await read_form(context), context.head.headers
        login = self._access.find_login(headers)
        if login is None or not self._access.is_form_token(login, form.get("csrf", "")):
            return redirect("/ui")
        return redirect("/ui/login", self._access.cookie_of(None, headers, is_secure=context.http.secure))


async def _static(context: RequestContext) -> OperationResponse:
    name = context.parameter("name")
    content = static_files().get(name)
    if content is None:
        raise HttpError(404, StatusCodeValue.DATA_ERROR, f"there is no file {name[:60]}")
    media_type = _MEDIA_TYPES.get(name.rpartition(".")[2], "text/plain")
    return OperationResponse(content, content_type=media_type, headers=_CACHED)


async def _not_found(request: PageRequest) -> OperationResponse:
    raise HttpError(404, StatusCodeValue.DATA_ERROR, f"there is no page {request.path[:100]}")
