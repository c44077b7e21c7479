"""A peer on a real socket, whose responses the test decides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from p2p_oicp.client import Endpoint, HttpTransport, OicpClient, OicpReply
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.oicp.operations import OPERATION_BY_NAME

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AUTHORIZE_START = OPERATION_BY_NAME["AuthorizeStart"]
BODY = b'{"OperatorID":"DE*GEF","Identification":{"RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}}}'
NOT_AUTHORIZED = b'{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"102"}}'


async def not_authorized(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=NOT_AUTHORIZED, content_type="application/json", charset="utf-8")


@dataclass
class PeerServer:
    """A peer that collects requests, and responds by ``handler``."""

    handler: Handler = not_authorized
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    url: str = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.connections.add(request.transport)
        self.bodies.append(await request.read())
        return await self.handler(request)


@pytest.fixture
async def peer() -> AsyncIterator[PeerServer]:
    server = PeerServer()
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/{anything:.*}", server.serve)
    async with TestServer(app) as running:
        server.url = str(running.make_url("/"))
        yield server


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    async with HttpTransport(user_agent="p2p-oicp/test", max_body=100_000) as opened:
        yield opened


@pytest.fixture
def client(transport: HttpTransport) -> OicpClient:
    return OicpClient(transport, ids=UuidGenerator(), clock=SystemClock())


@pytest.fixture
def call(client: OicpClient, peer: PeerServer) -> Callable[..., Awaitable[OicpReply]]:
    async def send(**options) -> OicpReply:
        endpoint = options.pop("endpoint", Endpoint("peer B", peer.url))
        return await client.call(endpoint, AUTHORIZE_START, "DE*GEF", BODY, **{"deadline": 5.0, **options})

    return send
