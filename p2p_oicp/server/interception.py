"""Lets something else answer in place of a role; a listener where nothing does has none of this.

`InterceptedDispatcher` gives each OICP request to an interceptor, with what would serve it. The interceptor may end the
connection of the request (`current_connection`), which `ConnectionRouter` knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

from aiohttp import web

from p2p_oicp.oicp.operations import Operation
from p2p_oicp.roles.context import OperationResponse, TransactionalSigner
from p2p_oicp.server.authentication import Principal
from p2p_oicp.server.dispatcher import OperationDispatcher
from p2p_oicp.server.inbound import HttpConnection, InboundRequest
from p2p_oicp.server.pipeline import HttpHandler

_CONNECTION: ContextVar[HttpConnection | None] = ContextVar("connection", default=None)


class InterceptedRequest(NamedTuple):
    """An OICP request that is about to be served: its operation, the sender's id in its path, its body."""

    operation: Operation
    party: str | None
    body: bytes


#: Serves an operation in place of its role, or by it: gets the request, and what would serve it.
OperationInterceptor: TypeAlias = Callable[
    [InterceptedRequest, Callable[[], Awaitable[OperationResponse]]], Awaitable[OperationResponse]
]


def current_connection() -> HttpConnection | None:
    """Return the connection of the request that is being served; None: it is of this process."""
    return _CONNECTION.get()


class ConnectionRouter:
    """The request handler of a listener whose requests are intercepted."""

    def __init__(self, serve: HttpHandler) -> None:
        self._serve = serve

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        # The requests of a connection are served by one task.
        token = _CONNECTION.set(cast("HttpConnection", request.protocol))
        try:
            return await self._serve(request)
        finally:
            _CONNECTION.reset(token)


class InterceptedDispatcher(OperationDispatcher):
    """A dispatcher whose operations are served by an interceptor."""

    def __init__(self, *arguments: Any, interceptor: OperationInterceptor, **options: Any) -> None:  # noqa: ANN401 - as the base class
        super().__init__(*arguments, **options)
        self._interceptor = interceptor

    async def execute(
        self,
        operation: Operation,
        party: str | None,
        principal: Principal,
        request: InboundRequest,
        body: bytes,
        *,
        sign_in_transaction: TransactionalSigner | None = None,
    ) -> OperationResponse:
        execute = super().execute
        serve = partial(execute, operation, party, principal, request, body, sign_in_transaction=sign_in_transaction)
        return await self._interceptor(InterceptedRequest(operation, party, body), serve)
