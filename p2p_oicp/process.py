"""One node as a program of its own: until it is told to end (SIGTERM, SIGINT), then in order.

SIGHUP lets it read its keys, its certificate and its peers again.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from functools import partial

import structlog

from p2p_oicp.backends import CpoBackend, EmpBackend
from p2p_oicp.delivery import Supervisor
from p2p_oicp.logs import configure_logs
from p2p_oicp.node import Node
from p2p_oicp.settings import Settings

log = structlog.get_logger(__name__)

# Connections to peers and backends, the database, nonces.
_OWN_FILES = 1200
# How long a thread that wants Python's lock waits before it asks for it. With the usual 5 ms, a commit never comes to
# ask while the event loop reads a push: the loop lets go for some microseconds every ms, and the waiting begins anew.
# So an authorization waited up to 220 ms beside pushes of 10,000 records; with this, 24 (docs/performance.md).
_SWITCH_SECONDS = 0.0002


async def _run_until_told(node: Node) -> None:
    ended, hung_up = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    async with node, Supervisor() as supervisor:
        supervisor.keep_running("reload", partial(_reload_when, hung_up, node))
        _look_for_garbage_less_often()
        sys.setswitchinterval(_SWITCH_SECONDS)
        await ended.wait()


async def _reload_when(told: asyncio.Event, node: Node) -> None:
    while True:
        await told.wait()
        told.clear()
        await node.reload()


def _look_for_garbage_less_often() -> None:
    """Leave out of garbage collection what stays for good, and collect the rest in larger portions.

    Without this, each full collection walks all models, tables and backends again: 60 to 90 ms in which nobody is
    answered, several times a second under load (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


def _allow_open_files(needed: int) -> None:
    """Raise the limit of open files, of which each connection is one, as far as this process may."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    may = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < may:
        resource.setrlimit(resource.RLIMIT_NOFILE, (may, hard))
    if may < needed:
        log.warning("files.limited", allowed=hard, wanted=needed, hint="raise the limit, or lower [limits] connections")


def run(settings: Settings, *, cpo: CpoBackend | None = None, emp: EmpBackend | None = None) -> int:
    """Run one node until SIGTERM or SIGINT; return the exit code. The backends are as for ``Node``."""
    configure_logs(settings.log.format, settings.log.level)
    # Both listeners, each with as many that are leaving; and what the node opens itself.
    _allow_open_files(4 * settings.limits.connections + _OWN_FILES)
    node = Node(settings, cpo=cpo, emp=emp)
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        asyncio.run(_run_until_told(node))
    else:
        uvloop.run(_run_until_told(node))
    return 0
