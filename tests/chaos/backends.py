"""The two companies' own systems, stubborn and with books: what each did, and what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
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
class Answer:
    """What came back; status 0 is no answer at all."""

    status: int
    json: dict
    headers: dict = field(default_factory=dict)
    text: str = ""

    @property
    def code(self) -> str:
        return str(self.json.get("StatusCode", {}).get("Code", ""))

    @property
    def is_yes(self) -> bool:
        return self.json.get("Result") is True or self.json.get("AuthorizationStatus") == "Authorized"


@dataclass
class Backend:
    """A company's system: asks its node over HTTP, and answers it at ``url``."""

    http: aiohttp.ClientSession
    node_url: str = ""
    url: str = ""
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    heard: int = 0

    async def ask(self, path: str, body: bytes, base: str = "") -> Answer:
        """Send one request once, to our node's backend API unless ``base`` is another listener."""
        headers = {"Content-Type": "application/json"}
        url = f"{base or self.node_url}/api/oicp/{path}"
        try:
            async with self.http.post(url, data=_payload(body), headers=headers, timeout=_DEADLINE) as response:
                text = (await response.read()).decode(errors="replace")
                return Answer(response.status, _json(text), dict(response.headers), text)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Answer(0, {})

    async def insist(self, path: str, message: dict) -> Answer:
        """Send the same bytes until there is an answer that is not "come back later"."""
        body = json.dumps(message).encode()
        while True:
            answer = await self.ask(path, body)
            if 200 <= answer.status < 500 and answer.status != 429:
                return answer
            await asyncio.sleep(0.03 + 0.1 * self.rng.random())

    async def answer(self, operation: str, message: dict, body: bytes) -> dict | None:
        """Answer one request of the node; None breaks the connection."""
        raise NotImplementedError

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        route = find(request.path.removeprefix("/api/oicp/"))
        if route is None:  # a node of another cluster, which had this port before
            return web.Response(status=404)
        self.heard += 1
        told = await self.answer(route.choose(body).name, json.loads(body), body)
        if told is None:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(told or {})


@asynccontextmanager
async def listening(*backends: Backend) -> AsyncIterator[None]:
    """Let the backends answer their nodes."""
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
class Csms(Backend):
    """A charge point operator's system. What its node has acknowledged is in its books, by SessionID."""

    evses: list[str] = field(default_factory=lambda: [f"{messages.A_CPO}*E{n:04}" for n in range(40)])
    records: dict[str, bytes] = field(default_factory=dict)
    notified: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, str] = field(default_factory=dict)
    remote: dict[str, str] = field(default_factory=dict)
    refused: list[tuple[str, int, dict]] = field(default_factory=list)
    swipes: int = 0
    not_authorized: int = 0
    progress: int = 2
    _partners: int = 0

    async def push_all(self) -> Answer:
        """Replace everything that the node knows of our statuses."""
        self.statuses = dict.fromkeys(self.evses, "Available")
        return await self._push("fullLoad", self.statuses)

    async def set_status(self, evse: str, status: str) -> None:
        """Tell the node of one EVSE."""
        if (await self._push("update", {evse: status})).is_yes:
            self.statuses[evse] = status

    async def _push(self, action: str, statuses: dict[str, str]) -> Answer:
        records = [{"EvseID": evse, "EvseStatus": status} for evse, status in statuses.items()]
        group = {"OperatorID": messages.A_CPO, "OperatorName": "GEF", "EvseStatusRecord": records}
        push = {"ActionType": action, "OperatorEvseStatus": group}
        return self._note("push", await self.insist(messages.PUSH_STATUS, push))

    async def drive(self, sessions: int, *, at_once: int = 8) -> None:
        """Let so many drivers charge, each at a charging point of its own."""
        evses = iter([self.evses[n % len(self.evses)] for n in range(sessions)])

        async def driver() -> None:
            for evse in evses:
                await self.charge(evse)

        await asyncio.gather(*(driver() for _ in range(at_once)))

    async def keep_busy(self, until: asyncio.Event, *, at_once: int = 8) -> None:
        """Let drivers charge, each at charging points of its own, one session after the other."""

        async def driver(evse: str) -> None:
            while not until.is_set():
                if await self.charge(evse) is None:
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(driver(evse) for evse in self.evses[:at_once]))

    async def charge(self, evse: str) -> str | None:
        """Swipe, charge, stop, send the record; return the SessionID, None where the driver was not authorized."""
        self._partners += 1
        self.swipes += 1
        partner = f"csms-{self._partners}"
        start = messages.authorize_start(EvseID=evse, CPOPartnerSessionID=partner)
        answer = await self.insist(messages.START, start)
        if not answer.is_yes:
            self.not_authorized += 1
            return None
        session = answer.json["SessionID"]
        await self.set_status(evse, "Occupied")
        await self.tell_all(session, evse, partner)
        await self.set_status(evse, "Available")
        return session

    async def tell_all(self, session: str, evse: str, partner: str) -> None:
        """Send the notifications and the record of a session."""
        ids = {"EvseID": evse, "CPOPartnerSessionID": partner}
        await self.notify(messages.notification("Start", session, **ids))
        for step in range(self.progress):
            told = {"ConsumedEnergyProgress": step + 1, "EventOccurred": f"2026-03-01T10:{10 + 5 * step}:05+01:00"}
            told["ChargingDuration"] = (10 + 5 * step) * 60_000
            await self.notify(messages.notification("Progress", session, **ids, **told))
        await self.notify(messages.notification("End", session, **ids))
        await self.settle(session, **ids)

    async def notify(self, notification: dict) -> None:
        """Send one notification until it is acknowledged."""
        answer = self._note("notification", await self.insist(messages.NOTIFY, notification))
        if answer.is_yes:
            self.notified[notification["SessionID"]].append(json.dumps(notification).encode())

    async def settle(self, session: str, **members: object) -> Answer:
        """Send the record of a session until it is acknowledged."""
        energy = self.rng.randrange(1, 50_000) / 1000
        amounts = {"MeterValueStart": 100, "MeterValueEnd": round(100 + energy, 3), "ConsumedEnergy": energy}
        now = datetime.now(UTC) - timedelta(minutes=1)
        times = {name: (now + timedelta(seconds=n)).isoformat() for n, name in enumerate(_TIMES)}
        record = messages.cdr(session, **amounts, **times, **members)
        answer = self._note("record", await self.insist(messages.CDR, record))
        if answer.is_yes:
            self.records[session] = json.dumps(record).encode()
        return answer

    async def finish_remote(self) -> None:
        """Send the records of the sessions that an app has started."""
        for session, evse in list(self.remote.items()):
            if session not in self.records:
                await self.settle(session, EvseID=evse)

    async def answer(self, operation: str, message: dict, body: bytes) -> dict | None:
        del body
        if operation == "AuthorizeRemoteStart":
            self.remote[message["SessionID"]] = message["EvseID"]
        return {**_OK, "SessionID": message["SessionID"]}

    def _note(self, what: str, answer: Answer) -> Answer:
        if not answer.is_yes:
            self.refused.append((what, answer.status, answer.json))
        return answer


@dataclass
class Contracts(Backend):
    """A provider's system: everybody may charge. What it was told is in its books, by SessionID, every time.

    ``trouble`` names what happens to what the node tells: ``fail`` (021) and ``refuse`` (022), both not written down,
    or ``drop`` (written down, no answer); empty: nothing.
    """

    authorized: set[str] = field(default_factory=set)
    records: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    notified: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    trouble: Callable[[str], str] = lambda _: ""
    started: list[tuple[str, Answer]] = field(default_factory=list)

    async def start_remotely(self, evse: str) -> Answer:
        """Start charging from the app; one attempt."""
        body = json.dumps(messages.remote_start(evse, EMPPartnerSessionID=f"app-{len(self.started)}")).encode()
        answer = await self.ask(messages.REMOTE_START, body)
        self.started.append((evse, answer))
        return answer

    async def pull(self) -> dict[str, str]:
        """Return all statuses that the node knows."""
        answer = await self.insist(messages.PULL_STATUS, {"ProviderID": messages.B_EMP})
        groups = answer.json.get("EvseStatuses", {}).get("OperatorEvseStatus", [])
        return {record["EvseID"]: record["EvseStatus"] for group in groups for record in group["EvseStatusRecord"]}

    async def answer(self, operation: str, message: dict, body: bytes) -> dict | None:
        session = message["SessionID"]
        if operation == "AuthorizeStart":
            self.authorized.add(session)
            return {"AuthorizationStatus": "Authorized", "SessionID": session, "ProviderID": messages.B_EMP,
                    "StatusCode": {"Code": "000"}}  # fmt: skip
        trouble = self.trouble(operation)
        if trouble in _REFUSALS:
            return {
                "Result": False,
                "StatusCode": {"Code": _REFUSALS[trouble], "Description": f"the backend's {trouble}"},
            }
        book = self.records if operation == "ChargeDetailRecord" else self.notified
        book[session].append(body)
        return None if trouble == "drop" else {**_OK, "SessionID": session}


def _payload(body: bytes) -> bytes | io.BytesIO:
    """Return what aiohttp sends piece by piece where it is large."""
    return io.BytesIO(body) if len(body) > _LARGE else body


def _json(text: str) -> dict:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
