"""Two nodes in one process, on real sockets: A is the CPO DE*GEF, B the EMP DE-GDF; their backends are Python."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.errors import PeerError
from p2p_oicp.node import Node
from p2p_oicp.oicp import Acknowledgement, AuthorizationStart, AuthorizationStop, StatusCode
from p2p_oicp.simulator.node_files import free_ports
from tests.support import database
from tests.support.clients import TestClient
from tests.support.messages import A_CPO, B_EMP, START, UID, authorize_start
from tests.support.waiting import eventually

OK = StatusCode(code="000", description="Success")

QUICKLY = "retry_first = 0.05\nretry_max = 0.2\n"


@dataclass
class FakeCsms:
    """A CPO's backend with configurable responses, which keeps its requests."""

    starts: list = field(default_factory=list)
    stops: list = field(default_factory=list)
    reservations: list = field(default_factory=list)
    reservation_stops: list = field(default_factory=list)
    refuse_with: str | None = None
    fail_with: PeerError | None = None
    hold: asyncio.Event | None = None

    async def authorize_remote_start(self, request):
        self.starts.append(request)
        if self.hold:
            await self.hold.wait()
        return self._answer()

    async def authorize_remote_stop(self, request):
        self.stops.append(request)
        return self._answer()

    async def authorize_remote_reservation_start(self, request):
        self.reservations.append(request)
        return self._answer()

    async def authorize_remote_reservation_stop(self, request):
        self.reservation_stops.append(request)
        return self._answer()

    def _answer(self) -> Acknowledgement:
        if self.fail_with:
            raise self.fail_with
        if self.refuse_with:
            return Acknowledgement(result=False, status_code=StatusCode(code=self.refuse_with))
        return Acknowledgement(result=True, status_code=OK, cpo_partner_session_id="csms-1")


@dataclass
class FakeContracts:
    """An EMP's backend that authorizes some UIDs, and keeps its requests."""

    uids: frozenset[str] = frozenset({UID})
    starts: list = field(default_factory=list)
    stops: list = field(default_factory=list)
    notifications: list = field(default_factory=list)
    records: list = field(default_factory=list)
    refuse_with: str = "102"
    refuse_records_with: str | None = None
    fail_with: PeerError | None = None
    received: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None
    stop_identifications: tuple = ()

    async def authorize_start(self, request):
        self.starts.append(request)
        if self.hold:
            await self.hold.wait()
        if self.fail_with:
            raise self.fail_with
        rfid = request.identification.rfid_mifare_family
        if rfid and rfid.uid.key in self.uids:
            return AuthorizationStart(
                authorization_status="Authorized",
                status_code=OK,
                emp_partner_session_id="contract-1",
                authorization_stop_identifications=self.stop_identifications,
            )
        return AuthorizationStart(authorization_status="NotAuthorized", status_code=StatusCode(code=self.refuse_with))

    async def authorize_stop(self, request):
        self.stops.append(request)
        return AuthorizationStop(authorization_status="Authorized", status_code=OK)

    async def charging_notifications(self, notification):
        return self._receive(self.notifications, notification)

    async def charge_detail_record(self, record):
        if self.refuse_records_with:
            status = StatusCode(code=self.refuse_records_with, additional_info="no such contract")
            return Acknowledgement(result=False, status_code=status)
        return self._receive(self.records, record)

    def _receive(self, messages: list, message) -> Acknowledgement:
        if self.fail_with:
            raise self.fail_with
        messages.append(message)
        self.received.set()
        return Acknowledgement(result=True, status_code=OK)

    async def until(self, condition) -> None:
        async with asyncio.timeout(10):
            while not condition(self):
                self.received.clear()
                await self.received.wait()


@dataclass
class Pair:
    """Both nodes, their backends, and clients of their listeners.

    ``extra_config`` are further lines of each ``node.toml``, ``deadlines`` of its table; ``authorization_deadline`` is
    in seconds.
    """

    folder: Path
    http: aiohttp.ClientSession
    ports: dict[str, int]
    csms: FakeCsms = field(default_factory=FakeCsms)
    contracts: FakeContracts = field(default_factory=FakeContracts)
    extra_config: str = ""
    deadlines: str = ""
    authorization_deadline: float = 2.0

    def write(self) -> None:
        for name, table, party in (("a", "operators", A_CPO), ("b", "providers", B_EMP)):
            home = self.folder / name
            home.mkdir(exist_ok=True)
            (home / "node.toml").write_text(
                'peers_file = "peers.toml"\n'
                f'[node]\nname = "node {name}"\n{table} = ["{party}"]\n'
                f"[peer_api]\nport = {self.ports[name]}\n[backend_api]\nport = {self.ports[name + ' backend']}\n"
                f"[security]\nrequire = []\n[delivery]\n{QUICKLY}"
                f"[deadlines]\nauthorize = {self.authorization_deadline}\n{self.deadlines}"
                "[storage]\nsynchronous = 'NORMAL'\n" + self.extra_config
            )
        self._write_peers("a", "node b", "b", "providers", B_EMP)
        self._write_peers("b", "node a", "a", "operators", A_CPO)

    def _write_peers(self, at: str, name: str, port: str, table: str, party: str) -> None:
        self.write_peer(at, name, port, f'{table} = ["{party}"]')

    def write_peer(self, at: str, name: str, port: str, lines: str) -> None:
        (self.folder / at / "peers.toml").write_text(
            f'[[peer]]\nname = "{name}"\nurl = "http://127.0.0.1:{self.ports[port]}"\n{lines}\n'
        )

    @asynccontextmanager
    async def running(self, name: str) -> AsyncIterator[Node]:
        settings = load_settings(self.folder / name / "node.toml")
        backends = {"cpo": self.csms} if name == "a" else {"emp": self.contracts}
        async with Node(settings, **backends) as node:
            yield node

    async def at_rest(self, name: str) -> None:
        """Wait until a node has delivered all messages of its outbox, and has deleted them there."""
        await eventually(lambda: not query(self, name, "SELECT 1 FROM outbox LIMIT 1"))

    def database(self, name: str) -> Path:
        return self.folder / name / "data" / "node.sqlite3"

    def _client(self, port: str) -> TestClient:
        return TestClient(self.http, f"http://127.0.0.1:{self.ports[port]}")

    @property
    def a(self) -> TestClient:
        """Node A's backend API."""
        return self._client("a backend")

    @property
    def b(self) -> TestClient:
        """Node B's backend API."""
        return self._client("b backend")

    @property
    def a_peer(self) -> TestClient:
        """Node A's peer API."""
        return self._client("a")

    @property
    def b_peer(self) -> TestClient:
        """Node B's peer API."""
        return self._client("b")


def restore(pair: Pair, name: str, backup: Path | None) -> None:
    """Replace the database of a stopped node by a backup; None: by none, so that it starts with an empty one."""
    file = pair.database(name)
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()
    if backup is not None:
        shutil.copy(backup, file)


def query(pair: Pair, name: str, sql: str, *parameters: object) -> list[tuple]:
    """Execute one statement on a node's database, beside the node, and return its rows."""
    return database.execute(pair.database(name), sql, parameters)


def peer_id(pair: Pair, at: str, name: str) -> str:
    """Return the id that the rows of a node have of the peer ``name``."""
    return query(pair, at, "SELECT id FROM peers WHERE name = ?", name)[0][0]


async def start_session(pair: Pair, **members) -> str:
    """Authorize a driver of the EMP at the CPO's station, and return the SessionID."""
    return (await pair.a.post(START, authorize_start(**members))).json["SessionID"]


AnyPair = TypeVar("AnyPair", bound=Pair)


@asynccontextmanager
async def configured(make: Callable[..., AnyPair], folder: Path) -> AsyncIterator[AnyPair]:
    """Two configured nodes that do not run yet."""
    names = ("a", "a backend", "b", "b backend")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    async with aiohttp.ClientSession() as http:
        pair = make(folder, http, ports)
        pair.write()
        yield pair


@pytest.fixture
async def stopped(tmp_path) -> AsyncIterator[Pair]:
    """Two configured nodes that do not run yet."""
    async with configured(Pair, tmp_path) as pair:
        yield pair


@pytest.fixture
async def patient(stopped) -> Pair:
    """The same; they retry after minutes, unless a sign of life resets their backoff."""
    for name in ("a", "b"):
        file = stopped.folder / name / "node.toml"
        file.write_text(file.read_text().replace(QUICKLY, "retry_first = 300\nretry_max = 600\n"))
    return stopped


@pytest.fixture
async def pair(stopped) -> AsyncIterator[Pair]:
    """Two running nodes."""
    async with stopped.running("a"), stopped.running("b"):
        yield stopped
