"""``GET /events``: what happens, as it happens, as Server-Sent Events (the HTML standard, 9.2).

``?type=cdr&type=session.charging&peer=…&party=…&evse=…&session=…``, each as often as needed. Who comes back with
``Last-Event-ID`` (as browsers do by themselves), or with ``?after=ID``, gets everything since; ``after=0``: everything
that is kept. Without either, it begins with what happens next.

**Slow clients.** What is written waits for the client to read it, and nothing is queued beyond that. One that reads
nothing for some seconds is cut off, and goes on where it was when it comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import msgspec
import structlog
from aiohttp import web

from p2p_oicp.errors import StoreError
from p2p_oicp.events.feed import EventFeed, EventSubscription, NewEvents
from p2p_oicp.events.types import MissedEvents
from p2p_oicp.events.view import EventFilter, ViewedEvent
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.event_admin import event_filter_of
from p2p_oicp.server.inbound import HttpConnection
from p2p_oicp.server.limits import overloaded
from p2p_oicp.server.openapi.log_endpoints import STREAM_EVENTS
from p2p_oicp.server.pipeline import HttpHandler, RequestContext, RequestPipeline
from p2p_oicp.server.problems import SERVER, HttpError

log = structlog.get_logger(__name__)

_HEARTBEAT_SECONDS = 15.0
_WRITE_TIMEOUT_SECONDS = 10.0
# Browsers and our own clients wait so long before they come back.
_RETRY_MILLISECONDS = 2000
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "Server": SERVER,
    "X-Accel-Buffering": "no",  # nginx would collect what is to go out at once
}
_SUBSCRIPTION: web.RequestKey[EventSubscription] = web.RequestKey("subscription", EventSubscription)


class StreamLimits(NamedTuple):
    """Limits of the stream: clients at once, seconds between signs of life, and for a client to read."""

    clients: int
    heartbeat: float = _HEARTBEAT_SECONDS
    write_timeout: float = _WRITE_TIMEOUT_SECONDS


class EventStreamApi:
    """Streams events to clients.

    Args:
        feed: of the node.
        limits: see `StreamLimits`.
    """

    def __init__(self, feed: EventFeed, limits: StreamLimits) -> None:
        self._feed = feed
        self._limits = limits
        self._clients = 0

    def __repr__(self) -> str:
        return f"<EventStreamApi clients={self._clients}>"

    @property
    def clients(self) -> int:
        """How many clients are listening."""
        return self._clients

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [web.get(STREAM_EVENTS.path, self.handler(pipeline), allow_head=False)]

    def handler(self, pipeline: RequestPipeline, admit: Callable[[RequestContext], None] | None = None) -> HttpHandler:
        """Return what serves the stream.

        Args:
            pipeline: of the listener.
            admit: raises HttpError for who may not listen; None: it needs the token of the backend API.
        """

        async def admitted(context: RequestContext) -> OperationResponse:
            if admit is not None:
                admit(context)
            return await self._subscribe(context)

        subscribe = pipeline.wrap(admitted, needs_token=admit is None)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            response = await subscribe(request)
            subscription = request.get(_SUBSCRIPTION)
            if subscription is None:  # refused
                return response
            self._clients += 1
            try:
                with subscription:
                    return await self._stream(request, subscription, response.headers["Process-ID"])
            finally:
                self._clients -= 1

        return handle

    async def _subscribe(self, context: RequestContext) -> OperationResponse:
        """Check the request, and leave the subscription in it."""
        if self._clients >= self._limits.clients:
            raise overloaded(f"{self._clients} clients are listening to events")
        query, headers = context.http.query, context.head.headers
        after = headers.get("Last-Event-ID") or query.get("after")
        event_filter = event_filter_of(query)
        try:
            subscription = await self._feed.subscribe(event_filter, after)
        except ValueError as error:
            raise HttpError(400, StatusCodeValue.DATA_ERROR, str(error)) from error
        context.http[_SUBSCRIPTION] = subscription
        return OperationResponse(b"")

    async def _stream(
        self, request: web.BaseRequest, subscription: EventSubscription, process_id: str
    ) -> web.StreamResponse:
        stream, connection = web.StreamResponse(headers={**_HEADERS, "Process-ID": process_id}), _connection(request)
        connection.prove()
        connection.when_lost(subscription.end)
        await stream.prepare(request)
        start = _position(subscription) if subscription.missed is None else _missed(subscription.missed)
        try:
            await self._write(stream, b"retry: %d\n%b" % (_RETRY_MILLISECONDS, start))
            while not subscription.is_ended:
                await self._write_next(stream, subscription)
        except TimeoutError:
            log.warning("events.client_cut", position=subscription.position, meaning="it reads nothing; it may resume")
            connection.drop("it reads no events")
        except StoreError as error:
            # The stream ends as it does when the node stops: a client comes back, and goes on where it was.
            log.warning("events.stream_ended", position=subscription.position, error=error)
        except ConnectionError:
            log.debug("events.client_gone", position=subscription.position)
        return stream

    async def _write_next(self, stream: web.StreamResponse, subscription: EventSubscription) -> None:
        """Write what is new; if there is nothing for some seconds, a sign of life."""
        loop_time, selected = asyncio.get_running_loop().time, True
        deadline = loop_time() + self._limits.heartbeat
        while (remaining := deadline - loop_time()) > 0 and not subscription.is_ended:
            new = await subscription.read(remaining)
            if new is None:
                break
            if payload := _render_new(new, subscription.filter):
                await self._write(stream, payload)
                return
            selected = False
        # An id without data: a client that comes back need not go through what the filter has left out.
        await self._write(stream, b":\n\n" if selected else b":\n" + _position(subscription))

    async def _write(self, stream: web.StreamResponse, payload: bytes) -> None:
        async with asyncio.timeout(self._limits.write_timeout):
            await stream.write(payload)


def _connection(request: web.BaseRequest) -> HttpConnection:
    return cast("HttpConnection", request.protocol)


def _position(subscription: EventSubscription) -> bytes:
    return b"id: %b\n\n" % subscription.last_id.encode()


def _render_new(new: NewEvents, event_filter: EventFilter) -> bytes:
    missed = _missed(new.missed) if new.missed is not None else b""
    return missed + new.chunk.rendered(event_filter, new.after, _render)


def _render(events: Sequence[ViewedEvent]) -> bytes:
    return b"".join(
        b"id: %b\nevent: %b\ndata: %b\n\n" % (each.data.id.encode(), each.data.type.encode(), each.body)
        for each in events
    )


def _missed(missed: MissedEvents) -> bytes:
    return b"event: events\ndata: %b\n\n" % msgspec.json.encode(missed)
