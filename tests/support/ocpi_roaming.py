"""Two nodes in one process: below A a foreign OCPI platform with charging stations, at B an EMP's Python backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.server.openapi.documents import Listener
from p2p_oicp.simulator.node_files import free_ports
from tests.support.api_documents import Documented
from tests.support.messages import UID
from tests.support.nodes import Pair
from tests.support.ocpi_objects import cdr, cdr_token, location, period, session
from tests.support.ocpi_platform import Answer, Platform, envelope, serving
from tests.support.waiting import eventually

PROVIDER = {"country_code": "DE", "party_id": "GDF"}
CONTRACT = "DE-GDF-C12345678-X"
DOCUMENTED = Documented(Listener.BACKEND)


@dataclass
class ChargingPlatform(Platform):
    """An OCPI CPO with stations: it carries out commands, and sends sessions and CDRs.

    ``response`` and ``result`` are what commands are answered with; a result of None is never sent. Its own book is
    `tokens` (by uid) and `commands`.
    """

    node_url: str = ""
    response: str = "ACCEPTED"
    result: str | None = "ACCEPTED"
    commands: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def token(self) -> str:
        assert self.peer is not None
        return self.peer["token"]

    async def _serve(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        *_, module, command = request.path.rstrip("/").split("/")
        if request.method == "POST" and module == "commands":
            return self._command(command, json.loads(body))
        if "/tokens/" in request.path and request.method in {"PUT", "PATCH"}:
            uid = request.path.rsplit("/", 1)[1]
            if request.method == "PATCH" and uid not in self.tokens:
                return web.json_response(envelope(code=2004, message="unknown token"), status=404)
            self.tokens[uid] = self.tokens.get(uid, {}) | json.loads(body)
            return web.json_response(envelope())
        return await super()._serve(request, body)

    def _command(self, command: str, body: dict[str, Any]) -> web.StreamResponse:
        self.commands.append((command, body))
        if self.response == "ACCEPTED" and self.result is not None:
            result = {"result": self.result}
            task = asyncio.create_task(self.call("POST", body["response_url"], self.token, result))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return web.json_response(envelope({"result": self.response, "timeout": 30}))

    # What it says by itself

    async def send(self, verb: str, path: str, body: Any = None) -> Answer:
        """Call the node below its interfaces of an EMSP."""
        return await self.call(verb, f"{self.node_url}/2.2.1/emsp/{path}", self.token, body)

    async def authorize(self, uid: str = UID, **references: Any) -> Answer:
        body = {"location_id": "LOC1", "evse_uids": ["cp1"]} | references
        return await self.send("POST", f"tokens/{uid}/authorize?type=RFID", body)

    async def open_session(self) -> str:
        """Have the driver's card authorized, and return the reference of the session."""
        answer = await self.authorize()
        assert (answer.data or {}).get("allowed") == "ALLOWED", answer
        return answer.data["authorization_reference"]

    async def put_session(self, **changes: Any) -> Answer:
        value = recent_session(**changes)
        return await self.send("PUT", f"sessions/DE/GEF/{value['id']}", value)

    async def post_cdr(self, **changes: Any) -> Answer:
        return await self.send("POST", "cdrs", recent_cdr(**changes))


def moment(seconds: float = 0) -> str:
    """Return the time so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def recent_session(**changes: Any) -> dict[str, Any]:
    """Return a session that began a minute ago."""
    times = {"start_date_time": moment(-60), "last_updated": moment()}
    return session(**{"cdr_token": driver_token(), **times} | changes)


def recent_cdr(**changes: Any) -> dict[str, Any]:
    """Return a CDR of that minute, of half a kWh."""
    start, end = moment(-60), moment()
    times = {"start_date_time": start, "end_date_time": end, "last_updated": end}
    used = {"total_energy": 0.5, "total_time": 0.0167, "charging_periods": [period(start, ENERGY=0.5, TIME=0.0167)]}
    return cdr(**{"cdr_token": driver_token(), **times, **used} | changes)


def driver_token(**changes: Any) -> dict[str, Any]:
    return cdr_token(**PROVIDER, uid=UID, contract_id=CONTRACT) | changes


@dataclass
class RoamingPair(Pair):
    """Both nodes; ``platform`` is registered with A once `registered` has been called."""

    platform: ChargingPlatform = field(default_factory=ChargingPlatform)
    partner: str = ""
    authorization_deadline: float = 5.0

    @property
    def ocpi_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['ocpi']}/ocpi"

    def write(self) -> None:
        super().write()
        file = self.folder / "a" / "node.toml"
        file.write_text(
            f"{file.read_text()}[ocpi]\nport = {self.ports['ocpi']}\n"
            '[[ocpi.partners]]\nname = "csms"\nface = "cpo"\nparties = ["DE*GEF"]\nhotline = "+4930123456"\n'
            f"{self.partner}"
        )

    @asynccontextmanager
    async def running(self, name: str) -> AsyncIterator[Node]:
        backends = {} if name == "a" else {"emp": self.contracts}
        async with Node(load_settings(self.folder / name / "node.toml"), **backends) as node:
            yield node

    async def admin(self, verb: str, path: str, body: Any = None) -> Any:
        """Call A's administration below /admin/v1; the answer must be a success, and as the document says."""
        url = f"http://127.0.0.1:{self.ports['a backend']}/admin/v1/{path}"
        async with self.http.request(verb, url, json=body) as answer:
            content = await answer.json()
            assert answer.status == 200, (answer.status, content)
            assert DOCUMENTED.problems(verb, f"/admin/v1/{path}", answer.status, content) == []
            return content

    async def register(self) -> None:
        """Let the platform register with A, and wait until its locations are at B."""
        answer = await self.platform.register(await self.admin("POST", "ocpi/partners/csms/invitation", {}))
        assert answer.code == 1000, answer
        await eventually(self.evses_of_b)

    async def evses_of_b(self) -> list[dict[str, Any]]:
        """Return the EVSE records that B has of A."""
        body = {"ProviderID": "DE-GDF", "GeoCoordinatesResponseFormat": "DecimalDegree"}
        answer = await self.b.post("evsepull/v23/providers/DE-GDF/data-records", body)
        return answer.json.get("content", [])

    async def held(self) -> list[dict[str, Any]]:
        """Return the CDRs that wait for a person."""
        return (await self.admin("GET", "ocpi/partners/csms/held"))["held"]


@asynccontextmanager
async def roaming(folder: Path, **changes: Any) -> AsyncIterator[RoamingPair]:
    """Two configured nodes that do not run yet, and a platform, which does."""
    names = ("a", "a backend", "b", "b backend", "ocpi")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        platform = ChargingPlatform(objects={"locations": [location()]})
        await stack.enter_async_context(serving(platform))
        pair = RoamingPair(folder, http, ports, platform=platform, **changes)
        platform.node_url = pair.ocpi_url
        pair.write()
        yield pair
