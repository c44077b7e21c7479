"""One node as a process of its own: event loop, logs and signals.

SIGTERM and SIGINT end it in order, SIGHUP lets it read its keys, certificates and peers again.
"""

from __future__ import annotations

import asyncio
import signal
from functools import partial

from p2p_oicp.delivery import Supervisor
from p2p_oicp.logs import configure_logs
from p2p_oicp.node import Node
from p2p_oicp.settings import Settings


async def _run_until_told(settings: Settings) -> None:
    ended, hung_up = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    async with Node(settings) as node, Supervisor() as supervisor:
        supervisor.keep_running("reload", partial(_reload_when, hung_up, node))
        await ended.wait()


async def _reload_when(told: asyncio.Event, node: Node) -> None:
    while True:
        await told.wait()
        told.clear()
        await node.reload()


def run(settings: Settings) -> int:
    """Run one node until SIGTERM or SIGINT; return the exit code."""
    configure_logs(settings.log.format, settings.log.level)
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        asyncio.run(_run_until_told(settings))
    else:
        uvloop.run(_run_until_told(settings))
    return 0
