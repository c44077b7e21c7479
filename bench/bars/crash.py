"""Bar 10: kill -9 under load: what was acknowledged is stored, and the database is intact."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time

import orjson

from bench import messages, nodes
from bench.bench import Bench
from bench.nodes import MAX_REQUESTS_PER_SECOND, NodeSetup
from bench.processes import ROOT, BenchmarkError, Server
from bench.table import Row

# Fewer prove little: the node may have been killed before the generator had started.
_MIN_ACKNOWLEDGED = 1_000


def measure(bench: Bench) -> list[Row]:
    """Kill a node under load several times; after each, check its database, from which it starts again."""
    node = nodes.prepare_node("emp", bench.directory / "crash")
    nodes.configure_emp(node, nodes.prepare_node("cpo", bench.directory / "unused"))
    acknowledged_count = missing = damaged = 0
    kills = 3 if bench.quick else 10
    for _ in range(kills):
        with nodes.emp_node(node) as server:
            acknowledged = _kill_under_load(bench, server)
        acknowledged_count += len(acknowledged)
        missing += len(acknowledged - _stored_session_ids(node))
        damaged += not _passes_integrity_check(node)
    note = f"{kills} kills, {acknowledged_count:,} acknowledged requests"
    return [
        Row(bar=10, what="acknowledged requests missing after kill -9, FULL", limit=0, measured=missing, note=note),
        Row(bar=10, what="databases that fail PRAGMA integrity_check", limit=0, measured=damaged),
    ]


def _kill_under_load(bench: Bench, server: Server) -> set[str]:
    """Return the SessionIDs that were answered."""
    file, successful_file = bench.directory / "starts", bench.directory / "answered"
    numbers = list(bench.numbers(MAX_REQUESTS_PER_SECOND * 2))
    messages.write_requests(file, messages.authorize_starts(numbers))
    options = ["--port", str(server.port), "--file", str(file), "--seconds", "30", "--answered", str(successful_file)]
    options += ["--expect", '"Authorized"']
    generator = subprocess.Popen(
        [sys.executable, "-m", "bench.generator", *options], stdout=subprocess.DEVNULL, cwd=ROOT
    )
    time.sleep(1.5)
    server.kill()
    if generator.wait() != 0:
        raise BenchmarkError(f"the load ended with {generator.returncode} when the node was killed")
    acknowledged = orjson.loads(successful_file.read_bytes())
    if len(acknowledged) < _MIN_ACKNOWLEDGED:
        raise BenchmarkError(f"only {len(acknowledged)} requests were answered before the kill, which proves little")
    return {messages.session_id(numbers[index]) for index in acknowledged}


def _stored_session_ids(node: NodeSetup) -> set[str]:
    with contextlib.closing(sqlite3.connect(node.database)) as database:
        return {row[0] for row in database.execute("SELECT session_id FROM sessions WHERE state = 'authorized'")}


def _passes_integrity_check(node: NodeSetup) -> bool:
    with contextlib.closing(sqlite3.connect(node.database)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone() == ("ok",))
