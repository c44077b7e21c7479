"""Bar 9: what a node is when it stands: how soon it serves, how much memory it holds, and whether that grows."""

from __future__ import annotations

import time

from bench import nodes
from bench.bench import Bench
from bench.table import Row

_MEGABYTE = 1_000_000
_IDLE_SECONDS = 2.0
#: What a node may hold more at the end than early on.
_FLAT = 1.1
#: After so many requests, the part of the database that SQLite keeps in memory (32 MiB of its pages) is full.
_CACHES_ARE_FULL = 60_000


def measure(bench: Bench) -> list[Row]:
    """Start a node, let it idle, then load it for long."""
    at = nodes.place("emp", bench.directory / "standing")
    nodes.configure_emp(at, nodes.place("cpo", bench.directory / "nobody"), synchronous="NORMAL")
    wanted = 90_000 if bench.quick else 1_000_000
    soon = max(_CACHES_ARE_FULL, wanted // 10)
    with nodes.emp_node(at) as server:
        time.sleep(_IDLE_SECONDS)
        idle = server.memory_bytes()
        early, done = 0, 0
        while done < wanted:
            done += bench.authorize_starts(2.0).run(server).requests
            if not early and done >= soon:
                early = server.memory_bytes()
        late = server.memory_bytes()
    note = f"{early / _MEGABYTE:.0f} MB after {soon:,}, {late / _MEGABYTE:.0f} MB after {done:,}"
    return [
        Row(bar=9, what="memory of an idle node", limit=120, unit="MB", measured=idle / _MEGABYTE),
        Row(
            bar=9,
            what=f"memory after {wanted:,} requests, against early on",
            limit=_FLAT,
            measured=late / early,
            note=note,
        ),
    ]
