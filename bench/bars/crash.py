"""Bar 10: kill -9 under load. What was answered is there, and the database is whole."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time

import orjson

from bench import messages, nodes
from bench.bench import Bench
from bench.nodes import MOST_A_SECOND, Place
from bench.processes import ROOT, BenchFailed, Server
from bench.table import Row

# A slow start of the generator must not be taken for a node that lost nothing.
_ENOUGH = 1_000


def measure(bench: Bench) -> list[Row]:
    """Kill a node under load, several times, and look into its database each time; it starts again from it."""
    at = nodes.place("emp", bench.directory / "crash")
    nodes.configure_emp(at, nodes.place("cpo", bench.directory / "nobody"))
    answered = missing = damaged = 0
    kills = 3 if bench.quick else 10
    for _ in range(kills):
        with nodes.emp_node(at) as server:
            acknowledged = _killed_under_load(bench, server)
        answered += len(acknowledged)
        missing += len(acknowledged - _stored(at))
        damaged += not _is_whole(at)
    note = f"{kills} kills, {answered:,} acknowledged requests"
    return [
        Row(bar=10, what="acknowledged requests missing after kill -9, FULL", limit=0, measured=missing, note=note),
        Row(bar=10, what="databases that fail PRAGMA integrity_check", limit=0, measured=damaged),
    ]


def _killed_under_load(bench: Bench, server: Server) -> set[str]:
    """Return the SessionIDs that were answered."""
    file, answered = bench.directory / "starts", bench.directory / "answered"
    numbers = list(bench.numbers(MOST_A_SECOND * 2))
    messages.write(file, messages.authorize_starts(numbers))
    options = ["--port", str(server.port), "--file", str(file), "--seconds", "30", "--answered", str(answered)]
    options += ["--expect", '"Authorized"']
    generator = subprocess.Popen(
        [sys.executable, "-m", "bench.generator", *options], stdout=subprocess.DEVNULL, cwd=ROOT
    )
    time.sleep(1.5)
    server.kill()
    if generator.wait() != 0:
        raise BenchFailed(f"the load ended with {generator.returncode} when the node was killed")
    acknowledged = orjson.loads(answered.read_bytes())
    if len(acknowledged) < _ENOUGH:
        raise BenchFailed(f"only {len(acknowledged)} requests were answered before the kill, which proves little")
    return {messages.session_id(numbers[at]) for at in acknowledged}


def _stored(at: Place) -> set[str]:
    with contextlib.closing(sqlite3.connect(at.database)) as database:
        return {row[0] for row in database.execute("SELECT session_id FROM sessions WHERE state = 'authorized'")}


def _is_whole(at: Place) -> bool:
    with contextlib.closing(sqlite3.connect(at.database)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone() == ("ok",))
