"""Runs one node as a program of its own: event loop, signals, garbage collection, limits of the process.

SIGTERM and SIGINT end the node in order. SIGHUP makes it read its keys, its certificate and its peers again.
"""

from __future__ import annotations

import asyncio
import gc
import shlex
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog

from p2p_oicp.backends import CpoBackend, EmpBackend
from p2p_oicp.clock import SystemClock
from p2p_oicp.concurrency import TaskSupervisor
from p2p_oicp.config import Settings
from p2p_oicp.logs import configure_logs
from p2p_oicp.node import Node

log = structlog.get_logger(__name__)

# File descriptors beside those of the listeners: connections to peers and backends, the database, nonces; of few ones
# this part.
_RESERVED_FDS, _RESERVED_PART = 2200, 0.25
# A listener under attack has ten times its limit of open connections (``server.listener``), the other one has one.
_FDS_PER_CONNECTION, _MIN_CONNECTIONS = 11, 16
# How long a thread that waits for Python's lock waits before it asks for it. With the default of 5 ms, a commit never
# gets to ask while the event loop reads a push: the loop releases the lock for some microseconds every millisecond, and
# the wait begins anew. An authorization beside pushes of 10,000 records waited up to 220 ms with it, and waits 24 ms
# with this (docs/performance.md).
_THREAD_SWITCH_INTERVAL_SECONDS = 0.0002


def run(
    settings: Settings,
    *,
    cpo: CpoBackend | None = None,
    emp: EmpBackend | None = None,
    exposed: Sequence[Path] = (),
) -> int:
    """Run one node until SIGTERM or SIGINT, and return the exit code.

    Args:
        settings: see `Node`, as for the backends.
        cpo: the CPO's backend.
        emp: the EMP's backend.
        exposed: files that other users of the machine may read, for a warning.
    """
    configure_logs(settings.log.format, settings.log.level, SystemClock())
    if exposed:
        files = [str(file) for file in exposed]
        log.warning("files.readable_by_others", files=files, hint=f"chmod go-rwx {shlex.join(files)}")
    settings = _fit_to_fd_limit(settings)
    node = Node(settings, cpo=cpo, emp=emp)
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        asyncio.run(_serve_until_signal(node))
    else:
        uvloop.run(_serve_until_signal(node))
    return 0


async def _serve_until_signal(node: Node) -> None:
    stop_requested, reload_requested = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    # Order: the handlers are installed before the node starts, so that a signal during a long start ends it in order.
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop_requested.set)
    loop.add_signal_handler(signal.SIGHUP, reload_requested.set)
    async with node, TaskSupervisor() as supervisor:
        supervisor.start_service("reload", partial(_reload_on_signal, reload_requested, node))
        _tune_gc()
        sys.setswitchinterval(_THREAD_SWITCH_INTERVAL_SECONDS)
        await stop_requested.wait()


async def _reload_on_signal(reload_requested: asyncio.Event, node: Node) -> None:
    while True:
        await reload_requested.wait()
        reload_requested.clear()
        await node.reload()


def _tune_gc() -> None:
    """Exempt what lives as long as the node from garbage collection, and collect the rest in larger portions.

    Without this, each full collection traverses all models, tables and backends again: 60 to 90 ms without a response,
    several times a second under load (docs/performance.md). Called when the node has started, so that all of it exists.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


def _fit_to_fd_limit(settings: Settings) -> Settings:
    """Raise the limit of open files as far as this process may; lower ``[limits] connections`` to what it allows."""
    required = _FDS_PER_CONNECTION * settings.limits.connections + _RESERVED_FDS
    allowed = _raise_fd_limit(required)
    if allowed >= required:
        return settings
    free = int(allowed - min(_RESERVED_FDS, _RESERVED_PART * allowed))
    connections = min(settings.limits.connections, max(_MIN_CONNECTIONS, free // _FDS_PER_CONNECTION))
    hint = f"raise it; until then [limits] connections = {connections}"
    log.warning("fd_limit.too_low", allowed=allowed, required=required, hint=hint)
    limits = settings.limits.model_copy(update={"connections": connections})
    return settings.model_copy(update={"limits": limits})


def _raise_fd_limit(required: int) -> int:
    """Raise the limit of open files (a connection is one) up to ``required``; return how many are allowed."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return required
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    new_limit = required if hard == resource.RLIM_INFINITY else min(required, hard)
    if soft != resource.RLIM_INFINITY and soft < new_limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (new_limit, hard))
    return new_limit
