"""One node as a program of its own: until it is told to end, then in order."""

from __future__ import annotations

import asyncio
import gc
import signal

from p2p_oicp.backends import CpoBackend, EmpBackend
from p2p_oicp.logs import configure_logs
from p2p_oicp.node import Node
from p2p_oicp.settings import Settings


async def _run_until_told(node: Node) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with node:
        _look_for_garbage_less_often()
        await told.wait()


def _look_for_garbage_less_often() -> None:
    """Leave out of garbage collection what stays for good, and collect the rest in larger portions.

    Without this, each full collection walks all models, tables and backends again: 60 to 90 ms in which nobody is
    answered, several times a second under load (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


def run(settings: Settings, *, cpo: CpoBackend | None = None, emp: EmpBackend | None = None) -> int:
    """Run one node until SIGTERM or SIGINT; return the exit code. The backends are as for ``Node``."""
    configure_logs(settings.log.format, settings.log.level)
    node = Node(settings, cpo=cpo, emp=emp)
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        asyncio.run(_run_until_told(node))
    else:
        uvloop.run(_run_until_told(node))
    return 0
