"""Both nodes on disks of a few megabytes that fill up: ``unshare --mount python -m tests.chaos.small_disk``.

Mounts what it needs, so it wants a mount namespace of its own: with ``unshare --mount`` for root, ``unshare
--map-root-user --mount`` for anybody else, where the system lets them. Prints the books; exit code 1 if something is
not as it should be.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2p_oicp.simulator import NodeFailed, NodeProcess
from tests.chaos.backends import Answer
from tests.chaos.testbed import World, world
from tests.support import messages

MEGABYTES = 16
_MOST_ATTEMPTS = 5000
_PIECE = 4096


def mount(folder: Path) -> None:
    """Put a small disk under the data of both nodes."""
    for name in ("node a", "node b"):
        (data := folder / name / "data").mkdir(parents=True)
        command = ("mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "small", str(data))
        subprocess.run(command, check=True)


@contextmanager
def full(node: NodeProcess) -> Iterator[None]:
    """Leave no byte free on a node's disk."""
    ballast = node.directory / "data" / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * _PIECE)
            except OSError:
                break
    try:
        yield
    finally:
        ballast.unlink()


async def until_refused(on: World) -> Answer:
    """Ask for authorizations until the disk is felt: the log of the database has some room left."""
    for _ in range(_MOST_ATTEMPTS):
        answer = await on.csms.ask(messages.START, json.dumps(messages.authorize_start()).encode())
        if answer.status != 200:
            return answer
    raise AssertionError("the node goes on writing on a full disk")


def check_refusal(answer: Answer) -> None:
    assert (answer.status, answer.code) == (503, "021"), answer
    assert int(answer.headers["Retry-After"]) >= 1
    assert "Traceback" not in answer.text


async def fill_the_cpos(on: World) -> None:
    """New work is refused, at once and after a crash; what was acknowledged arrives."""
    await on.csms.drive(2)
    session = await on.authorize(on.csms.evses[0])
    with full(on.a):
        check_refusal(await until_refused(on))
        record = json.dumps(messages.cdr(session, EvseID=on.csms.evses[0])).encode()
        check_refusal(await on.csms.ask(messages.CDR, record))
        assert on.a.is_running
        await on.a.kill()
        await start_if_it_can(on.a)
    if not on.a.is_running:
        await on.a.start()
    assert (await on.csms.settle(session, EvseID=on.csms.evses[0])).is_yes
    await on.csms.drive(2)
    print("the CPO's disk was full:", await on.balances())


async def start_if_it_can(node: NodeProcess) -> None:
    """Start a node on a full disk: it runs, or says in a line why not."""
    before, refused = len(node.log()), ""
    try:
        await node.start()
    except NodeFailed as problem:
        refused = str(problem)
    said = node.log()[before:]
    assert not refused or ("exited with 2 while starting" in refused and "disk is full" in said), refused
    assert not refused or "Traceback" not in said, said


async def fill_the_emps(on: World) -> None:
    """The CPO's node acknowledges and keeps; the EMP's node takes nothing over that it cannot keep."""
    session = await on.authorize(on.csms.evses[1])
    with full(on.b):
        for _ in range(_MOST_ATTEMPTS):
            answer = await on.contracts.start_remotely(on.csms.evses[2])
            if answer.status != 200:
                break
        check_refusal(answer)
        assert (await on.csms.settle(session, EvseID=on.csms.evses[1])).is_yes
        await on.csms.set_status(on.csms.evses[3], "Reserved")
    await on.csms.finish_remote()
    await on.csms.drive(2)
    print("the EMP's disk was full:", await on.balances())


async def play(folder: Path) -> None:
    mount(folder)
    async with world(folder, secure="signed") as on:
        await on.push()
        await fill_the_cpos(on)
        await fill_the_emps(on)
        for node in (on.a, on.b):
            assert "http.internal_error" not in node.log(), node.log()[-3000:]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="p2p-oicp-disk-", ignore_cleanup_errors=True) as folder:
        asyncio.run(play(Path(folder)))
    sys.exit(0)


if __name__ == "__main__":
    main()
