"""A foreign OCPI platform on loopback, and a node of which it is a partner.

`Platform` is what another company would have: versions, details, credentials and lists, as the standard has them. What
a known platform does in another way is a field of it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.simulator.node_files import free_ports

TIME = "2026-11-10T09:00:00Z"
CPO_MODULES = (
    *((module, "SENDER") for module in ("locations", "sessions", "cdrs", "tariffs")),
    *((module, "RECEIVER") for module in ("tokens", "commands", "chargingprofiles")),
)


def token_header(token: str) -> str:
    return f"Token {base64.b64encode(token.encode()).decode()}"


def envelope(data: Any = None, code: int = 1000, message: str | None = None) -> dict[str, Any]:
    members = {"data": data, "status_code": code, "status_message": message, "timestamp": TIME}
    return {name: value for name, value in members.items() if value is not None}


@dataclass
class Answer:
    """One answer of a node."""

    status: int
    headers: dict[str, str]
    json: dict[str, Any]

    @property
    def code(self) -> int:
        return self.json["status_code"]

    @property
    def data(self) -> Any:
        return self.json.get("data")


@dataclass
class Platform:
    """An OCPI CPO; it keeps what it is sent.

    ``own_tokens`` are those by which partners may call it; ``peer`` is what it has got of its partner.
    ``answers`` replaces the answer to a verb and path; ``hold`` delays the answer to ``POST`` and ``PUT credentials``.
    """

    role: str = "CPO"
    country_code: str = "DE"
    party_id: str = "GEF"
    modules: tuple[tuple[str, str], ...] = CPO_MODULES
    versions: tuple[str, ...] = ("2.1.1", "2.2.1")
    objects: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    own_tokens: set[str] = field(default_factory=set)
    peer: dict[str, Any] | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[tuple[str, str], Callable[[web.Request], web.StreamResponse]] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    lower_case: bool = False
    calls_back: bool = True
    url: str = ""
    http: aiohttp.ClientSession | None = None

    @property
    def versions_url(self) -> str:
        return f"{self.url}/ocpi/versions"

    def credentials(self, token: str) -> dict[str, Any]:
        text = str.lower if self.lower_case else str
        role = {
            "role": self.role,
            "country_code": text(self.country_code),
            "party_id": text(self.party_id),
            "business_details": {"name": "A foreign platform"},
        }
        return {"token": token, "url": self.versions_url, "roles": [role]}

    def new_token(self) -> str:
        token = secrets.token_urlsafe(16)
        self.own_tokens.add(token)
        return token

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(
            {
                "verb": request.method,
                "path": request.path,
                "query": dict(request.query),
                "headers": dict(request.headers),
                "json": json.loads(body) if body else None,
            }
        )
        if (answer := self.answers.get((request.method, request.path))) is not None:
            return answer(request)
        authorization = request.headers.get("Authorization", "")
        if authorization not in {token_header(token) for token in self.own_tokens}:
            return web.json_response(envelope(code=2001, message="unknown token"), status=401)
        return await self._serve(request, body)

    async def _serve(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        path = request.path.rstrip("/")
        if path == "/ocpi/versions":
            rows = [{"version": each, "url": f"{self.url}/ocpi/{each}"} for each in self.versions]
            return web.json_response(envelope(rows))
        if path == "/ocpi/2.2.1":
            rows = [*self.modules, ("credentials", "SENDER")]
            endpoints = [
                {"identifier": module, "role": role, "url": f"{self.url}/ocpi/2.2.1/{module}"} for module, role in rows
            ]
            return web.json_response(envelope({"version": "2.2.1", "endpoints": endpoints}))
        if path == "/ocpi/2.2.1/credentials":
            return await self._serve_credentials(request, body)
        module = path.removeprefix("/ocpi/2.2.1/").partition("/")[0]
        if request.method != "GET":
            return web.json_response(envelope())
        rows = self.objects.get(module, [])
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 50))
        headers = {"X-Total-Count": str(len(rows)), "X-Limit": str(limit)}
        if offset + limit < len(rows):
            headers["Link"] = f'<{self.url}{path}?offset={offset + limit}&limit={limit}>; rel="next"'
        return web.json_response(envelope(rows[offset : offset + limit]), headers=headers)

    async def _serve_credentials(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        if request.method == "DELETE":
            self.peer = None
            return web.json_response(envelope())
        given = json.loads(body)
        if request.method == "POST" and self.peer is not None:
            return web.json_response(envelope(code=2000, message="registered already"), status=405)
        if self.calls_back:
            # As a platform does that is registered with: it reads our versions before it answers.
            assert self.http is not None
            async with self.http.get(given["url"], headers={"Authorization": token_header(given["token"])}) as answer:
                if answer.status != 200:
                    return web.json_response(envelope(code=3001, message=f"HTTP {answer.status}"))
        if self.hold is not None:
            await self.hold.wait()
        self.peer = given
        self.own_tokens = {self.new_token()}
        (token,) = self.own_tokens
        return web.json_response(envelope(self.credentials(token)))

    def sent(self, verb: str, path: str) -> list[dict[str, Any]]:
        return [each for each in self.requests if each["verb"] == verb and each["path"].startswith(path)]

    # As a client of the node

    async def call(
        self, verb: str, url: str, token: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        assert self.http is not None
        data = None
        if body is not None:
            data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        sent = {"Authorization": token_header(token), "Content-Type": "application/json", **(headers or {})}
        async with self.http.request(verb, url, data=data, headers=sent, allow_redirects=False) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.json(content_type=None))

    async def register(self, invitation: dict[str, Any]) -> Answer:
        """Register with a node, as an invited platform does."""
        answer = await self.call(
            "POST",
            invitation["versions_url"].replace("/versions", "/2.2.1/credentials"),
            invitation["token"],
            self.credentials(self.new_token()),
        )
        if answer.code == 1000:
            self.peer = answer.data
        return answer


@asynccontextmanager
async def serving(platform: Platform) -> AsyncIterator[Platform]:
    """Serve a platform on loopback."""
    runner = web.ServerRunner(web.Server(platform.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    platform.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession() as platform.http:
        try:
            yield platform
        finally:
            await runner.cleanup()


@dataclass
class Lab:
    """A node with an OCPI partner, which may run or not."""

    folder: Path
    platform: Platform
    ports: dict[str, int]
    extra: str = ""
    partner: str = ""

    @property
    def config(self) -> Path:
        return self.folder / "node.toml"

    @property
    def url(self) -> str:
        """The address that partners know."""
        return f"http://127.0.0.1:{self.ports['ocpi']}/ocpi"

    @property
    def backend_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['backend']}"

    def write(self) -> None:
        self.config.write_text(
            f'[node]\nname = "Node A"\noperators = ["DE*GEF"]\nproviders = ["DE-GDF"]\n'
            f"[peer_api]\nport = {self.ports['peer']}\n[backend_api]\nport = {self.ports['backend']}\n"
            "[security]\nrequire = []\n[storage]\nsynchronous = 'NORMAL'\n"
            f"{self.extra}[ocpi]\nport = {self.ports['ocpi']}\n"
            '[[ocpi.partners]]\nname = "citrine"\nface = "cpo"\nparties = ["DE*GEF"]\nhotline = "+4930123456"\n'
            f'versions_url = "{self.platform.versions_url}"\n{self.partner}'
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        async with Node(load_settings(self.config)) as node:
            yield node

    async def admin(self, verb: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Call the administration below /admin/v1/ocpi."""
        assert self.platform.http is not None
        url = f"{self.backend_url}/admin/v1/ocpi/{path}"
        async with self.platform.http.request(verb, url, json=body) as answer:
            return answer.status, await answer.json()

    async def invite(self) -> dict[str, Any]:
        status, invitation = await self.admin("POST", "partners/citrine/invitation", {})
        assert status == 200, invitation
        return invitation

    async def register_partner(self) -> str:
        """Let the platform register with the node; return the token by which it calls from then on."""
        answer = await self.platform.register(await self.invite())
        assert answer.code == 1000, answer
        return answer.data["token"]

    async def partner_state(self) -> dict[str, Any]:
        _, answer = await self.admin("GET", "partners")
        return answer["partners"][0]


@asynccontextmanager
async def lab_with(folder: Path, platform: Platform | None = None, **changes: str) -> AsyncIterator[Lab]:
    """A configured node that does not run yet, and its partner, which does."""
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(platform or Platform()))
        names = ("peer", "backend", "ocpi")
        lab = Lab(folder, served, dict(zip(names, free_ports(len(names)), strict=True)), **changes)
        lab.write()
        yield lab
