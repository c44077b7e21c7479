"""What ``p2p-oicp cdrs reconcile`` does: one request to the node's admin API, one table."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from p2p_oicp.cli.calling import Answer, Caller, Target
from p2p_oicp.cli.times import seconds_of
from p2p_oicp.clock import wire_time
from p2p_oicp.errors import PeerRejected

_PATH = "/admin/v1/cdrs/reconcile"
_OK = 200


def reconcile(config: Path, since: str | None, *, seconds: float) -> int:
    """Ask the node, and print what each CPO peer had; return the exit code."""
    target = Target.of(None, config)
    wanted = {"since": wire_time(seconds_of(since, "--since"))} if since else {}
    answer = asyncio.run(_ask(target, orjson.dumps(wanted), seconds))
    if answer.status != _OK:
        raise PeerRejected(target.url, f"HTTP {answer.status}: {answer.pretty()}", http_status=answer.status)
    peers = orjson.loads(answer.body)["peers"]
    table = Table("Peer", "Told", "New", "Refused", "Trouble", box=box.SIMPLE)
    for peer in peers:
        table.add_row(peer["peer"], str(peer["told"]), str(peer["new"]), str(peer["refused"]), peer["error"] or "")
    Console().print(table if peers else "No peer is a CPO's.", markup=False)
    return int(any(peer["error"] or peer["refused"] for peer in peers))


async def _ask(target: Target, body: bytes, seconds: float) -> Answer:
    async with Caller(target, seconds=seconds) as caller:
        return await caller.post(target.url.rstrip("/") + _PATH, body)
