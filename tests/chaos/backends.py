"""The two companies' own systems. Each retries until its node answers, and keeps a ledger of what was acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
from aiohttp import web

from p2p_oicp.oicp import find
from tests.support import messages

LOOPBACK = "127.0.0.1"
_LARGE = 1 << 19
_DEADLINE = aiohttp.ClientTimeout(total=15)
_TIMES = ("SessionStart", "ChargingStart", "ChargingEnd", "SessionEnd")
_REFUSALS = {"fail": "021", "refuse": "022"}
_OK = {"Result": True, "StatusCode": {"Code": "000"}}


@dataclass
class Reply:
    """An HTTP response; status 0 if there was none."""

    status: int
    json: dict
    headers: dict = field(default_factory=dict)
    text: str = ""

    @property
    def code(self) -> str:
        return str(self.json.get("StatusCode", {}).get("Code", ""))

    @property
    def is_positive(self) -> bool:
        return self.json.get("Result") is True or self.json.get("AuthorizationStatus") == "Authorized"


@dataclass
class Backend:
    """A company's system: sends requests to its node, and serves the node's requests at ``url``."""

    http: aiohttp.ClientSession
    node_url: str = ""
    url: str = ""
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    received_count: int = 0

    async def send(self, path: str, body: bytes, base: str = "") -> Reply:
        """Send a request once, to our node's backend API or the listener at ``base``."""
        headers = {"Content-Type": "application/json"}
        url = f"{base or self.node_url}/api/oicp/{path}"
        try:
            async with self.http.post(url, data=_payload(body), headers=headers, timeout=_DEADLINE) as response:
                text = (await response.read()).decode(errors="replace")
                return Reply(response.status, _json(text), dict(response.headers), text)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Reply(0, {})

    async def send_until_answered(self, path: str, message: dict) -> Reply:
        """Send the same bytes until the response is neither 429 nor 5xx."""
        body = json.dumps(message).encode()
        while True:
            reply = await self.send(path, body)
            if 200 <= reply.status < 500 and reply.status != 429:
                return reply
            await asyncio.sleep(0.03 + 0.1 * self.rng.random())

    async def respond(self, operation: str, message: dict, body: bytes) -> dict | None:
        """Return the response to a request of the node; None breaks the connection."""
        raise NotImplementedError

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        route = find(request.path.removeprefix("/api/oicp/"))
        if route is None:  # a node of another cluster, which used this port before
            return web.Response(status=404)
        self.received_count += 1
        response = await self.respond(route.choose(body).name, json.loads(body), body)
        if response is None:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(response or {})


@asynccontextmanager
async def listening(*backends: Backend) -> AsyncIterator[None]:
    """Serve the requests of the nodes to these backends."""
    async with contextlib.AsyncExitStack() as stack:
        for backend in backends:
            app = web.Application(client_max_size=1 << 26)
            app.router.add_post("/{path:.*}", backend._serve)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, LOOPBACK, 0).start()
            backend.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
        yield


@dataclass
class LedgerCsms(Backend):
    """A charge point operator's system. Its ledger holds what its node has acknowledged, by SessionID."""

    evses: list[str] = field(default_factory=lambda: [f"{messages.A_CPO}*E{n:04}" for n in range(40)])
    records: dict[str, bytes] = field(default_factory=dict)
    notified: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, str] = field(default_factory=dict)
    remote: dict[str, str] = field(default_factory=dict)
    refused: list[tuple[str, int, dict]] = field(default_factory=list)
    start_count: int = 0
    not_authorized: int = 0
    progress: int = 2
    _partners: int = 0

    async def push_all(self) -> Reply:
        """Replace all our statuses at the node."""
        self.statuses = dict.fromkeys(self.evses, "Available")
        return await self._push("fullLoad", self.statuses)

    async def set_status(self, evse: str, status: str) -> None:
        """Push the status of one EVSE."""
        if (await self._push("update", {evse: status})).is_positive:
            self.statuses[evse] = status

    async def _push(self, action: str, statuses: dict[str, str]) -> Reply:
        records = [{"EvseID": evse, "EvseStatus": status} for evse, status in statuses.items()]
        group = {"OperatorID": messages.A_CPO, "OperatorName": "GEF", "EvseStatusRecord": records}
        push = {"ActionType": action, "OperatorEvseStatus": group}
        return self._record("push", await self.send_until_answered(messages.PUSH_STATUS, push))

    async def run_sessions(self, sessions: int, *, concurrency: int = 8) -> None:
        """Run so many sessions, ``concurrency`` at a time, each at another charging point."""
        evses = iter([self.evses[n % len(self.evses)] for n in range(sessions)])

        async def driver() -> None:
            for evse in evses:
                await self.charge(evse)

        await asyncio.gather(*(driver() for _ in range(concurrency)))

    async def charge_until(self, until: asyncio.Event, *, concurrency: int = 8) -> None:
        """Run sessions, one after the other at each of ``concurrency`` charging points, until the event is set."""

        async def driver(evse: str) -> None:
            while not until.is_set():
                if await self.charge(evse) is None:
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(driver(evse) for evse in self.evses[:concurrency]))

    async def charge(self, evse: str) -> str | None:
        """Authorize, charge, stop, send the CDR; return the SessionID, or None if the driver was not authorized."""
        self._partners += 1
        self.start_count += 1
        partner = f"csms-{self._partners}"
        start = messages.authorize_start(EvseID=evse, CPOPartnerSessionID=partner)
        reply = await self.send_until_answered(messages.START, start)
        if not reply.is_positive:
            self.not_authorized += 1
            return None
        session = reply.json["SessionID"]
        await self.set_status(evse, "Occupied")
        await self.send_session_messages(session, evse, partner)
        await self.set_status(evse, "Available")
        return session

    async def send_session_messages(self, session: str, evse: str, partner: str) -> None:
        """Send the notifications and the CDR of a session."""
        ids = {"EvseID": evse, "CPOPartnerSessionID": partner}
        await self.notify(messages.notification("Start", session, **ids))
        for step in range(self.progress):
            datasets = {"ConsumedEnergyProgress": step + 1, "EventOccurred": f"2026-03-01T10:{10 + 5 * step}:05+01:00"}
            datasets["ChargingDuration"] = (10 + 5 * step) * 60_000
            await self.notify(messages.notification("Progress", session, **ids, **datasets))
        await self.notify(messages.notification("End", session, **ids))
        await self.settle(session, **ids)

    async def notify(self, notification: dict) -> None:
        """Send one notification until it is acknowledged."""
        reply = self._record("notification", await self.send_until_answered(messages.NOTIFY, notification))
        if reply.is_positive:
            self.notified[notification["SessionID"]].append(json.dumps(notification).encode())

    async def settle(self, session: str, **members: object) -> Reply:
        """Send the CDR of a session until it is acknowledged."""
        energy = self.rng.randrange(1, 50_000) / 1000
        amounts = {"MeterValueStart": 100, "MeterValueEnd": round(100 + energy, 3), "ConsumedEnergy": energy}
        now = datetime.now(UTC) - timedelta(minutes=1)
        times = {name: (now + timedelta(seconds=n)).isoformat() for n, name in enumerate(_TIMES)}
        record = messages.cdr(session, **amounts, **times, **members)
        reply = self._record("record", await self.send_until_answered(messages.CDR, record))
        if reply.is_positive:
            self.records[session] = json.dumps(record).encode()
        return reply

    async def finish_remote(self) -> None:
        """Send the CDRs of the sessions that were started remotely."""
        for session, evse in list(self.remote.items()):
            if session not in self.records:
                await self.settle(session, EvseID=evse)

    async def respond(self, operation: str, message: dict, body: bytes) -> dict | None:
        del body
        if operation == "AuthorizeRemoteStart":
            self.remote[message["SessionID"]] = message["EvseID"]
        return {**_OK, "SessionID": message["SessionID"]}

    def _record(self, what: str, reply: Reply) -> Reply:
        if not reply.is_positive:
            self.refused.append((what, reply.status, reply.json))
        return reply


@dataclass
class LedgerContracts(Backend):
    """A provider's system that authorizes every UID. Its ledger holds each message that it received, by SessionID.

    ``fault_for`` returns the fault of a request: ``fail`` (021) and ``refuse`` (022) are not entered in the ledger,
    ``drop`` is, but not responded to; empty: no fault.
    """

    authorized: set[str] = field(default_factory=set)
    records: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    notified: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    fault_for: Callable[[str], str] = lambda _: ""
    started: list[tuple[str, Reply]] = field(default_factory=list)

    async def start_remotely(self, evse: str) -> Reply:
        """Start charging remotely; one attempt."""
        body = json.dumps(messages.remote_start(evse, EMPPartnerSessionID=f"app-{len(self.started)}")).encode()
        reply = await self.send(messages.REMOTE_START, body)
        self.started.append((evse, reply))
        return reply

    def copies_beyond(self, received: Mapping[str, int], allowed: Mapping[str, int]) -> list[str]:
        """Return the sessions, in lower case, of which more CDRs have come since than one, or so many again."""
        counts = {session.lower(): len(bodies) for session, bodies in self.records.items()}
        return [key for key, count in counts.items() if count > received.get(key, 1) + allowed.get(key, 0)]

    async def pull(self) -> dict[str, str]:
        """Return all statuses of the node."""
        reply = await self.send_until_answered(messages.PULL_STATUS, {"ProviderID": messages.B_EMP})
        groups = reply.json.get("EvseStatuses", {}).get("OperatorEvseStatus", [])
        return {record["EvseID"]: record["EvseStatus"] for group in groups for record in group["EvseStatusRecord"]}

    async def respond(self, operation: str, message: dict, body: bytes) -> dict | None:
        session = message["SessionID"]
        if operation == "AuthorizeStart":
            self.authorized.add(session)
            return {"AuthorizationStatus": "Authorized", "SessionID": session, "ProviderID": messages.B_EMP,
                    "StatusCode": {"Code": "000"}}  # fmt: skip
        fault = self.fault_for(operation)
        if fault in _REFUSALS:
            return {
                "Result": False,
                "StatusCode": {"Code": _REFUSALS[fault], "Description": f"the backend's {fault}"},
            }
        ledger = self.records if operation == "ChargeDetailRecord" else self.notified
        ledger[session].append(body)
        return None if fault == "drop" else {**_OK, "SessionID": session}


def _payload(body: bytes) -> bytes | io.BytesIO:
    """Return a body that aiohttp sends in chunks if it is large."""
    return io.BytesIO(body) if len(body) > _LARGE else body


def _json(text: str) -> dict:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
