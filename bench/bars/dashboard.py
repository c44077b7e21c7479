"""Bar 14: the pages of the dashboard, at a node with a million EVSEs, a million sessions and a hundred peers."""

from __future__ import annotations

import base64
import contextlib
import http.client
import sqlite3
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import orjson

from bench import nodes
from bench.bench import Bench
from bench.large_store import PEERS, Sizes, StoreFiller, operator_id, provider_id
from bench.nodes import NodeSetup
from bench.processes import BenchmarkError, Server
from bench.table import Row

_MAX_MS = 1000.0
_MAX_SETTLING_SECONDS, _IDLE_CPU_SECONDS = 120.0, 0.1
_QUICK_DIVISOR = 20
_OK, _SEE_OTHER = 200, 303
# The position of a page deep in a list: so much of the list lies before it.
_DEPTH = 0.9
_LAST_CREATED = "SELECT created_at, session_key, role FROM sessions ORDER BY created_at LIMIT 1 OFFSET {}"


@dataclass(frozen=True, slots=True)
class Page:
    """A page: what it is, and its path."""

    what: str
    path: str


def measure(bench: Bench) -> list[Row]:
    """Fill a node, and open each page as a browser does, one after the other."""
    node = prepare(bench)
    with nodes.running_node(node) as server:
        _wait_until_idle(server)
        cookie = _log_in(server)
        return [_page_row(bench, server, cookie, page) for page in pages(node)]


def _wait_until_idle(server: Server) -> None:
    """Wait until the node has done what it does at its start: it expires, deletes, and greets its peers."""
    deadline = time.monotonic() + _MAX_SETTLING_SECONDS
    while time.monotonic() < deadline:
        before = server.cpu_seconds()
        time.sleep(1.0)
        if server.cpu_seconds() - before < _IDLE_CPU_SECONDS:
            return
    raise BenchmarkError(f"{server.name} is not idle after {_MAX_SETTLING_SECONDS:g} s")


def prepare(bench: Bench) -> NodeSetup:
    """Return a node with the large database."""
    node = nodes.prepare_node("large", bench.directory / "large")
    peers = [
        (
            f"peer {number:02d}",
            *(("providers", provider_id(number)) if number % 2 else ("operators", operator_id(number))),
        )
        for number in range(PEERS)
    ]
    nodes.configure_with_absent_peers(node, peers)
    with nodes.running_node(node):
        pass  # makes the database, with the ids of the peers
    sizes = Sizes().divided(_QUICK_DIVISOR) if bench.quick else Sizes()
    StoreFiller(node.database, sizes, time.time()).fill()
    return node


def pages(node: NodeSetup) -> list[Page]:
    """Return all pages, with the filters that find much, little and nothing, and pages deep in the lists."""
    session = _text(node, "SELECT session_key FROM cdrs WHERE id = (SELECT max(id) / 2 FROM cdrs)")
    deep = _positions(node)
    peer = f"/ui/peers/{quote('peer 02')}"
    message = node.count("SELECT max(id) FROM outbox")
    lists = {
        "sessions": [
            {}, {"state": "charging"}, {"state": "uncertain"}, {"state": "expired"}, {"peer": "peer 02"},
            {"role": "emp", "state": "settled"}, {"evse": "DE*P02*E2*1"}, {"evse": "DE*XXX*E1"}, {"peer": "nobody"},
            {"since": "2020-01-01T00:00:00Z"},
        ],
        "cdrs": [
            {}, {"state": "dead"}, {"state": "accepted"}, {"peer": "peer 02"}, {"peer": "nobody"},
            {"state": "disputed", "peer": "peer 03"}, {"unconfirmed": "true"}, {"doubtful": "true"},
        ],
        "evses": [
            {}, {"evse": "DE*P02*E2"}, {"operator": "DE*P02"}, {"operator": "DE*XXX"}, {"country": "LUX"},
            {"country": "ESP"}, {"peer": "peer 02"}, {"peer": "nobody"}, {"peer": "own"},
        ],
        "delivery": [{}, {"state": "dead"}, {"state": "held"}, {"destination": "peer 02"}],
        "delivery/quarantine": [{}, {"peer": "peer 02"}, {"operation": "PushEvseStatus"}],
        "log": [{}, {"type": "action"}, {"type": "session"}],
        "tokens": [{}, {"token": "1000"}],
    }  # fmt: skip
    found = [Page(name, f"/ui{path}") for name, path in (
        ("overview", ""), ("topology", "/topology"), ("peers", "/peers"), ("traffic", "/traffic"),
        ("settings", "/settings"), ("keys", "/settings/keys"), ("map", "/map"), ("data quality", "/quality"),
    )]  # fmt: skip
    found += [Page("a peer", peer), Page("a session", f"/ui/sessions/{session}"), Page("a CDR", f"/ui/cdrs/{session}")]
    found += [Page("an EVSE", f"/ui/evses/{quote('DE*GEF*E40*1')}"), Page("a message", f"/ui/delivery/{message}")]
    for name, filters in lists.items():
        found += [_list_page(name, each) for each in filters]
        if name in deep:
            found.append(Page(f"{name}, deep", f"/ui/{name}?{urlencode({'cursor': deep[name]})}"))
    return found


def _text(node: NodeSetup, sql: str) -> str:
    with contextlib.closing(sqlite3.connect(node.database)) as database:
        return str(database.execute(sql).fetchone()[0])


def _list_page(name: str, filters: dict[str, str]) -> Page:
    words = ", ".join(f"{key} {value}" for key, value in filters.items())
    return Page(f"{name}, {words}" if words else name, f"/ui/{name}" + (f"?{urlencode(filters)}" if filters else ""))


def _positions(node: NodeSetup) -> dict[str, str]:
    """Return the cursor of a page deep in each list."""
    with contextlib.closing(sqlite3.connect(node.database)) as database:

        def number(sql: str) -> int:
            return int(database.execute(sql).fetchone()[0])

        sessions = number("SELECT count(*) FROM sessions")
        session = database.execute(_LAST_CREATED.format(int(sessions * (1 - _DEPTH)))).fetchone()
        return {
            "sessions": _cursor(session),
            "cdrs": _cursor([int(number("SELECT max(id) FROM cdrs") * (1 - _DEPTH))]),
            "evses": _cursor([int(number("SELECT max(record_id) FROM evse_index") * _DEPTH)]),
            "delivery": str(int(number("SELECT max(id) FROM outbox") * _DEPTH)),
            "delivery/quarantine": _cursor([int(number("SELECT max(id) FROM quarantine") * (1 - _DEPTH))]),
            "log": str(int(number("SELECT max(first_number) FROM event_batches") * (1 - _DEPTH))),
        }


def _cursor(position: Sequence[object]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(list(position))).decode()


def _log_in(server: Server) -> str:
    """Return the cookie that a node without a token gives to anybody."""
    status, headers, _ = _get(server, "/ui", "")
    if status != _SEE_OTHER or "Set-Cookie" not in headers:
        raise BenchmarkError(f"the dashboard answers {status}")
    return str(headers["Set-Cookie"]).partition(";")[0]


def _get(server: Server, path: str, cookie: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    with _connection(server) as connection:
        connection.request("GET", path, headers={"Cookie": cookie, "Accept": "text/html"})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


@contextlib.contextmanager
def _connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(nodes.LOOPBACK, server.port, timeout=120)
    try:
        yield connection
    finally:
        connection.close()


def _page_row(bench: Bench, server: Server, cookie: str, page: Page) -> Row:
    """Open a page some times; the first time counts as well, for that is what a person waits for."""
    times, cpu, size = [], server.cpu_seconds(), 0
    for _ in range(bench.rounds):
        began = time.perf_counter()
        status, _, body = _get(server, page.path, cookie)
        times.append(1e3 * (time.perf_counter() - began))
        size = len(body)
        if status != _OK:
            raise BenchmarkError(f"{page.path}: {status} {body[:2000].decode()}")
    return Row(
        bar=14, what=f"page {page.what}: the slowest of {bench.rounds}", limit=_MAX_MS, unit="ms", measured=max(times),
        cpu=1e6 * (server.cpu_seconds() - cpu) / bench.rounds, p50=statistics.median(times),
        note=f"{size / 1000:,.0f} kB; first {times[0]:.0f} ms",
    )  # fmt: skip
