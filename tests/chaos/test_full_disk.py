"""The disk is full, or somebody else holds the database: new work is refused with 503 and 021, nothing is lost."""

import asyncio
import json
import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest

from tests.chaos import ledger
from tests.support import messages

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECURE = "signed"


@contextmanager
def full_disk(node):
    """No file of the node can grow, its log included; what is there stays."""
    pid = node.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked_database(node):
    """Another process writes, and takes its time."""
    with closing(sqlite3.connect(ledger.database(node), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))


def can_mount() -> bool:
    """Say whether a small disk can be mounted here, where nobody else sees it."""
    try:
        tried = subprocess.run((*UNSHARE, "mount", "-t", "tmpfs", "small", "/mnt"), capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


CAN_MOUNT = can_mount()
# Where no small disk can be had, files that cannot grow stand in for it.
TROUBLES = {"database locked": locked_database} | ({} if CAN_MOUNT else {"disk full": full_disk})
each_trouble = pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)


async def authorized(on) -> dict:
    answer = await on.csms.ask(messages.START, json.dumps(messages.authorize_start(EvseID=on.csms.evses[0])).encode())
    assert answer.is_yes
    return messages.cdr(answer.json["SessionID"], EvseID=on.csms.evses[0])


@each_trouble
async def test_the_cpo_node_refuses_new_work_keeps_what_it_has_and_recovers(on, trouble):
    await on.csms.drive(2)
    record = await authorized(on)
    with trouble(on.a):
        sent = ((messages.CDR, record), (messages.START, messages.authorize_start()))
        for answer in await asyncio.gather(*(on.csms.ask(path, json.dumps(each).encode()) for path, each in sent)):
            assert (answer.status, answer.code) == (503, "021")
            assert int(answer.headers["Retry-After"]) >= 1
            assert "Traceback" not in answer.text
    assert (await on.csms.settle(record["SessionID"], EvseID=record["EvseID"])).is_yes
    await on.csms.drive(2)
    await on.balances()


@each_trouble
async def test_the_emp_node_takes_nothing_over_and_gets_it_later(on, trouble):
    record = await authorized(on)
    with trouble(on.b):
        assert (await on.csms.settle(record["SessionID"], EvseID=record["EvseID"])).is_yes
        await on.csms.set_status(on.csms.evses[1], "Reserved")
        answer = await on.contracts.start_remotely(on.csms.evses[2])
        assert (answer.status, answer.code) == (503, "021")
        assert record["SessionID"] not in on.contracts.records
    await on.csms.drive(2)
    await on.balances()


@pytest.mark.skipif(not CAN_MOUNT, reason="nobody may mount a small disk here: unshare --mount, mount -t tmpfs")
async def test_on_disks_that_are_really_full_nothing_is_lost_and_new_work_is_refused():
    played = await asyncio.create_subprocess_exec(
        *UNSHARE, sys.executable, "-m", "tests.chaos.small_disk",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await played.communicate()
    assert played.returncode == 0, said.decode()[-3000:]


@pytest.mark.skipif(CAN_MOUNT, reason="a really full disk is played with above")
async def test_a_node_that_is_killed_on_a_full_disk_starts_again_with_all_it_had(on):
    await on.csms.drive(3)
    resource.prlimit(on.a.process.pid, resource.RLIMIT_FSIZE, (1, 1))
    answer = await on.csms.ask(messages.START, json.dumps(messages.authorize_start()).encode())
    assert answer.status == 503
    await on.a.kill()
    await on.a.start()
    await on.csms.drive(2)
    await on.balances()
