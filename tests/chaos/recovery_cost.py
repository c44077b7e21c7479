"""What a recovery costs: its time, and the bytes that it fetches, where much is known already and where nothing is.

``python -m tests.chaos.recovery_cost --sessions 5000`` runs so many sessions between two nodes that sign everything,
then restores the CPO's node from a backup of just now, and both nodes, one after the other, with empty databases.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import shutil
import tempfile
import time
from pathlib import Path

import structlog

from p2p_oicp.client import AuthenticatedPeerClient
from p2p_oicp.storage.sqlite.backup import back_up
from tests.support.messages import CDR, START, authorize_start
from tests.support.nodes import configured, query, restore
from tests.support.restores import record
from tests.support.signed_nodes import SignedPair

_CONCURRENCY = 16
_PATHS = ("/p2p/v1/sessions", "/p2p/v1/cdrs")


class Traffic:
    """Counts the requests of a recovery and the bytes of their answers."""

    requests = 0
    answered_bytes = 0

    def count_all(self) -> None:
        """Count from now on."""
        send = AuthenticatedPeerClient.request

        async def counted(client, peer, method, path, *args, **kwargs):
            status, body = await send(client, peer, method, path, *args, **kwargs)
            if path.startswith(_PATHS):
                self.requests += 1
                self.answered_bytes += len(body)
            return status, body

        AuthenticatedPeerClient.request = counted


async def run_sessions(pair: SignedPair, count: int) -> None:
    """Authorize sessions, and settle them."""
    numbers = iter(range(count))

    async def driver() -> None:
        for number in numbers:
            start = authorize_start(CPOPartnerSessionID=f"csms-{number}")
            session = (await pair.a.post(START, start)).json["SessionID"]
            assert (await pair.a.post(CDR, record(session))).json["Result"] is True

    await asyncio.gather(*(driver() for _ in range(_CONCURRENCY)))
    while query(pair, "a", "SELECT count(*) FROM cdrs WHERE state = 'accepted'") != [(count,)]:
        await asyncio.sleep(0.2)


async def measure(pair: SignedPair, traffic: Traffic, name: str, backup: Path | None, count: int) -> None:
    """Restore one node, wait until it has fetched everything, and print what that took."""
    restore(pair, name, backup)
    requests, answered_bytes = traffic.requests, traffic.answered_bytes
    start, cpu_start = time.monotonic(), time.process_time()
    async with pair.running("a"), pair.running("b"):
        while not query(pair, name, "SELECT 1 FROM recoveries"):
            await asyncio.sleep(0.05)
        seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
    assert query(pair, name, "SELECT count(*) FROM cdrs") == [(count,)]
    megabytes = (traffic.answered_bytes - answered_bytes) / 1e6
    how, database = "from a backup" if backup else "empty", pair.database(name).stat().st_size / 1e6
    requests = traffic.requests - requests
    print(
        f"node {name} {how}: {seconds:.1f} s ({cpu_seconds:.1f} s of a CPU, both nodes), {requests} requests, "
        f"{megabytes:.2f} MB; database {database:.1f} MB"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of a recovery after a restore.")
    parser.add_argument("--sessions", type=int, default=5000)
    count = parser.parse_args().sessions
    traffic = Traffic()
    traffic.count_all()
    with tempfile.TemporaryDirectory() as folder:
        async with configured(SignedPair, Path(folder)) as pair:
            backup = pair.folder / "backup"
            async with pair.running("a"), pair.running("b"):
                await run_sessions(pair, count)
            back_up(pair.database("a"), backup, time.time())
            copies = {name: shutil.copy(pair.database(name), pair.folder / f"copy-{name}") for name in "ab"}
            for name, source in itertools.chain([("a", backup)], (("a", None), ("b", None))):
                for each, copy in copies.items():  # what the other node had
                    if each != name:
                        restore(pair, each, Path(copy))
                        (pair.folder / each / "keys" / "position").unlink(missing_ok=True)  # it is no older copy
                await measure(pair, traffic, name, source, count)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
        asyncio.run(main())
