"""Both nodes on disks of a few megabytes that fill up: ``unshare --mount python -m tests.chaos.small_disk``.

It mounts file systems and so needs a mount namespace of its own: ``unshare --mount`` as root, ``unshare --map-root-user
--mount`` otherwise, where the system allows it. Prints the comparison; exit code 1 if a check fails.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from aiohttp import ClientConnectionError

from p2p_oicp.config import load_settings
from p2p_oicp.simulator import NodeFailed, NodeProcess
from tests.chaos.backends import Reply
from tests.chaos.testbed import Testbed, start_testbed
from tests.support import messages

MEGABYTES = 16
_MAX_ATTEMPTS = 5000
_CHUNK_BYTES = 4096
_REFUSED_REQUESTS = 300


def mount(folder: Path) -> None:
    """Mount a small disk for the data of each node."""
    for name in ("node a", "node b"):
        (data := folder / name / "data").mkdir(parents=True)
        command = ("mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "small", str(data))
        subprocess.run(command, check=True)


@contextmanager
def full(node: NodeProcess) -> Iterator[None]:
    """Fill a node's disk to the last byte."""
    ballast = node.directory / "data" / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * _CHUNK_BYTES)
            except OSError:
                break
    try:
        yield
    finally:
        ballast.unlink()


async def wait_until_refused(testbed: Testbed) -> Reply:
    """Send AuthorizeStarts until one is refused: the database's log has some room left at first."""
    for _ in range(_MAX_ATTEMPTS):
        reply = await testbed.csms.send(messages.START, json.dumps(messages.authorize_start()).encode())
        if reply.status != 200:
            return reply
    raise AssertionError("the node still writes on a full disk")


def check_refusal(reply: Reply) -> None:
    assert (reply.status, reply.code) == (503, "021"), reply
    assert int(reply.headers["Retry-After"]) >= 1
    assert "Traceback" not in reply.text


async def fill_cpo_disk(testbed: Testbed) -> None:
    """Check that new work is refused, at once and after a crash, and that what was acknowledged arrives."""
    await testbed.csms.run_sessions(2)
    session = await testbed.authorize(testbed.csms.evses[0])
    with full(testbed.a):
        check_refusal(await wait_until_refused(testbed))
        record = json.dumps(messages.cdr(session, EvseID=testbed.csms.evses[0])).encode()
        check_refusal(await testbed.csms.send(messages.CDR, record))
        await check_what_it_says(testbed)
        assert testbed.a.is_running
        await testbed.a.kill()
        await start_or_check_refusal(testbed)
    await wait_until_ready(testbed)
    assert (await testbed.csms.settle(session, EvseID=testbed.csms.evses[0])).is_positive
    await testbed.csms.run_sessions(2)
    print("the CPO's disk was full:", await testbed.check_ledger())


async def check_what_it_says(testbed: Testbed) -> None:
    """Check that the node's readiness and log name the full disk, the log once a second and without a stack trace."""
    before, started = len(testbed.a.log()), time.monotonic()
    for _ in range(_REFUSED_REQUESTS):
        check_refusal(await testbed.csms.send(messages.START, json.dumps(messages.authorize_start()).encode()))
    status, ready = await readiness(testbed)
    assert (status, ready["status"]) == (503, "unavailable"), ready
    assert "disk is full" in ready["store"], ready
    lines = [line for line in testbed.a.log()[before:].splitlines() if "disk is full" in line]
    assert len(lines) <= time.monotonic() - started + 2, lines
    assert "Traceback" not in testbed.a.log()


async def readiness(testbed: Testbed) -> tuple[int, dict]:
    """Return what node A says of its readiness, with its details."""
    settings = load_settings(testbed.a.directory / "node.toml")
    headers = {"Authorization": f"Bearer {settings.backend_api.token.get_secret_value()}"}
    async with testbed.http.get(f"{testbed.a.backend_url}/readyz", headers=headers) as response:
        return response.status, await response.json()


async def says_that_the_disk_is_full(testbed: Testbed) -> bool:
    try:
        status, ready = await readiness(testbed)
    except ClientConnectionError:  # it does not listen yet, or no more
        return False
    return status == HTTPStatus.SERVICE_UNAVAILABLE and "disk is full" in ready.get("store", "")


async def check_that_it_is_ready(testbed: Testbed) -> None:
    """Check that a node that says it cannot write finds out by itself when it can."""
    async with testbed.http.get(f"{testbed.b.backend_url}/readyz") as response:
        assert response.status == HTTPStatus.OK


async def start_or_check_refusal(testbed: Testbed) -> None:
    """Start node A on a full disk: it says so in a line and ends; or it runs, and says so where readiness is asked for.

    Whether the start itself has to write depends on what the crash has left.
    """
    before, refused = len(testbed.a.log()), ""
    starting = asyncio.create_task(testbed.a.start())
    try:
        while not starting.done() and not await says_that_the_disk_is_full(testbed):
            await asyncio.sleep(0.1)
        if starting.done():
            await starting
    except NodeFailed as problem:
        refused = str(problem)
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    output = testbed.a.log()[before:]
    assert testbed.a.is_running or ("exited with 2 while starting" in refused and "disk is full" in output), refused
    assert "Traceback" not in output, output


async def wait_until_ready(testbed: Testbed) -> None:
    """A node that runs finds out by itself that there is room again."""
    if not testbed.a.is_running:
        await testbed.a.start()
    async with asyncio.timeout(10):
        while (await readiness(testbed))[0] != HTTPStatus.OK:
            await asyncio.sleep(0.1)


async def fill_emp_disk(testbed: Testbed) -> None:
    """Check that the CPO's node acknowledges and stores, and the EMP's node accepts nothing that it cannot store."""
    session = await testbed.authorize(testbed.csms.evses[1])
    with full(testbed.b):
        for _ in range(_MAX_ATTEMPTS):
            reply = await testbed.contracts.start_remotely(testbed.csms.evses[2])
            if reply.status != 200:
                break
        check_refusal(reply)
        assert (await testbed.csms.settle(session, EvseID=testbed.csms.evses[1])).is_positive
        await testbed.csms.set_status(testbed.csms.evses[3], "Reserved")
    await check_that_it_is_ready(testbed)
    await testbed.csms.finish_remote()
    await testbed.csms.run_sessions(2)
    print("the EMP's disk was full:", await testbed.check_ledger())


async def run_round(folder: Path) -> None:
    mount(folder)
    async with start_testbed(folder, secure="signed") as testbed:
        await testbed.push()
        await fill_cpo_disk(testbed)
        await fill_emp_disk(testbed)
        for node in (testbed.a, testbed.b):
            assert "http.internal_error" not in node.log(), node.log()[-3000:]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="p2p-oicp-disk-", ignore_cleanup_errors=True) as folder:
        asyncio.run(run_round(Path(folder)))
    sys.exit(0)


if __name__ == "__main__":
    main()
