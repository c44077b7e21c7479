"""Runs one node as a program of its own: event loop, signals, garbage collection, limits of the process.

SIGTERM and SIGINT end the node in order. SIGHUP makes it read its keys, its certificate and its peers again. A service
manager (systemd, ``Type=notify``) hears when the node serves and when it stops, and as long as its event loop runs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog

from p2p_oicp.backends import CpoBackend, EmpBackend
from p2p_oicp.clock import SystemClock
from p2p_oicp.concurrency import TaskSupervisor, periodic
from p2p_oicp.config import Settings
from p2p_oicp.config.hub import HubSettings
from p2p_oicp.hub import Hub
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
    on_ready: Callable[[Node], Awaitable[None]] | None = None,
) -> int:
    """Run one node until SIGTERM or SIGINT, and return the exit code.

    Args:
        settings: see `Node`, as for the backends.
        cpo: the CPO's backend.
        emp: the EMP's backend.
        exposed: files that other users of the machine may read, for a warning.
        on_ready: is called once, when the node serves.
    """
    configure_logs(settings.log.format, settings.log.level, SystemClock())
    if exposed:
        files = [str(file) for file in exposed]
        log.warning("files.readable_by_others", files=files, hint=f"chmod go-rwx {shlex.join(files)}")
    return _serve(Node(_fit_to_fd_limit(settings), cpo=cpo, emp=emp), on_ready)


def run_hub(
    settings: HubSettings,
    folder: Path,
    *,
    script: Path | None = None,
    keeps: bool = False,
    on_ready: Callable[[Node], Awaitable[None]] | None = None,
) -> int:
    """Run a hub until SIGTERM or SIGINT, and return the exit code; SIGHUP has the script read again.

    Args:
        settings: see `Hub`, as for the others.
        folder: of the database.
        script: a file with rules.
        keeps: whether the folder is kept.
        on_ready: is called once, when the hub serves.
    """
    configure_logs(settings.log.format, settings.log.level, SystemClock())
    return _serve(Hub(settings, folder, script=script, keeps=keeps), on_ready)


def _serve(node: Node, on_ready: Callable[[Node], Awaitable[None]] | None) -> int:
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        asyncio.run(_serve_until_signal(node, on_ready))
    else:
        uvloop.run(_serve_until_signal(node, on_ready))
    return 0


async def _serve_until_signal(node: Node, on_ready: Callable[[Node], Awaitable[None]] | None) -> None:
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
        manager = ServiceManager.from_environment(os.environ)
        if manager.watchdog_interval is not None:
            supervisor.start_service("watchdog", manager.send_signs_of_life)
        manager.send("READY=1")
        if on_ready is not None:
            await on_ready(node)
        await stop_requested.wait()
        manager.send("STOPPING=1")


class ServiceManager:
    """What the service manager that has started this process wants to be told (sd_notify(3)); nothing without one.

    Args:
        address: of its datagram socket; empty: there is no service manager.
        watchdog_interval: seconds between two signs of life; None: it does not ask for them.
    """

    def __init__(self, address: str, watchdog_interval: float | None) -> None:
        # A name that begins with "@" is one of Linux's abstract sockets.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_interval = watchdog_interval if address else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ServiceManager:
        """Return the service manager that ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` name."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        # systemd kills the process after WATCHDOG_USEC without a sign: one every half of it, as sd_watchdog_enabled(3).
        interval = int(microseconds) / 2_000_000 if microseconds.isdecimal() else None
        return cls(environment.get("NOTIFY_SOCKET", ""), interval)

    def send(self, state: str) -> None:
        """Send a message such as ``READY=1``; a service manager that is gone is no failure of the node."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(state.encode(), self._address)
        except OSError as error:
            log.warning("service_manager.unreachable", state=state, reason=error.strerror)

    async def send_signs_of_life(self) -> None:
        """Send one from the event loop again and again: a loop that hangs sends none, and the process is restarted."""
        await periodic("watchdog", self.watchdog_interval, self._send_sign_of_life)

    async def _send_sign_of_life(self) -> None:
        self.send("WATCHDOG=1")


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
