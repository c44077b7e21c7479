"""Bar 9: memory of an idle node, and whether it grows under a long load."""

from __future__ import annotations

import time

from bench import nodes
from bench.bench import Bench
from bench.table import Row

_MEGABYTE = 1_000_000
_IDLE_SECONDS = 2.0
#: Memory at the end over memory early on.
_MAX_MEMORY_GROWTH = 1.1
#: After so many requests SQLite's page cache (32 MiB) is full; until then, memory grows by it.
_WARMUP_REQUESTS = 60_000


def measure(bench: Bench) -> list[Row]:
    """Start a node, let it idle, then load it for long."""
    node = nodes.prepare_node("emp", bench.directory / "standing")
    nodes.configure_emp(node, nodes.prepare_node("cpo", bench.directory / "unused"), synchronous="NORMAL")
    total_requests = 90_000 if bench.quick else 1_000_000
    early_requests = max(_WARMUP_REQUESTS, total_requests // 10)
    with nodes.emp_node(node) as server:
        time.sleep(_IDLE_SECONDS)
        idle_memory = server.memory_bytes()
        early_memory, sent_requests = 0, 0
        while sent_requests < total_requests:
            sent_requests += bench.authorize_starts(2.0).run(server).requests
            if not early_memory and sent_requests >= early_requests:
                early_memory = server.memory_bytes()
        late_memory = server.memory_bytes()
    note = (
        f"{early_memory / _MEGABYTE:.0f} MB after {early_requests:,}, "
        f"{late_memory / _MEGABYTE:.0f} MB after {sent_requests:,}"
    )
    return [
        Row(bar=9, what="memory of an idle node", limit=120, unit="MB", measured=idle_memory / _MEGABYTE),
        Row(
            bar=9,
            what=f"memory after {total_requests:,} requests, against early on",
            limit=_MAX_MEMORY_GROWTH,
            measured=late_memory / early_memory,
            note=note,
        ),
    ]
