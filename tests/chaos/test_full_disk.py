"""The disk is full, or another process locks the database: new work is refused with 503 and 021, nothing is lost."""

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
    """Keep the node's files from growing, its log included."""
    pid = node.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked_database(node):
    """Hold a write transaction in another process."""
    with closing(sqlite3.connect(ledger.database(node), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))


def can_mount() -> bool:
    """Return whether a small disk can be mounted here, in a mount namespace of its own."""
    try:
        tried = subprocess.run((*UNSHARE, "mount", "-t", "tmpfs", "small", "/mnt"), capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


CAN_MOUNT = can_mount()
# Where no small disk can be mounted, files that cannot grow replace it.
STORE_FAULTS = {"database locked": locked_database} | ({} if CAN_MOUNT else {"disk full": full_disk})
each_store_fault = pytest.mark.parametrize("fault_for", STORE_FAULTS.values(), ids=STORE_FAULTS)


async def authorized(testbed) -> dict:
    reply = await testbed.csms.send(
        messages.START, json.dumps(messages.authorize_start(EvseID=testbed.csms.evses[0])).encode()
    )
    assert reply.is_positive
    return messages.cdr(reply.json["SessionID"], EvseID=testbed.csms.evses[0])


@each_store_fault
async def test_the_cpo_node_refuses_new_work_loses_nothing_and_recovers(testbed, fault_for):
    await testbed.csms.run_sessions(2)
    record = await authorized(testbed)
    with fault_for(testbed.a):
        sent = ((messages.CDR, record), (messages.START, messages.authorize_start()))
        for reply in await asyncio.gather(*(testbed.csms.send(path, json.dumps(each).encode()) for path, each in sent)):
            assert (reply.status, reply.code) == (503, "021")
            assert int(reply.headers["Retry-After"]) >= 1
            assert "Traceback" not in reply.text
    assert (await testbed.csms.settle(record["SessionID"], EvseID=record["EvseID"])).is_positive
    await testbed.csms.run_sessions(2)
    await testbed.check_ledger()


@each_store_fault
async def test_the_emp_node_accepts_nothing_and_gets_it_later(testbed, fault_for):
    record = await authorized(testbed)
    with fault_for(testbed.b):
        assert (await testbed.csms.settle(record["SessionID"], EvseID=record["EvseID"])).is_positive
        await testbed.csms.set_status(testbed.csms.evses[1], "Reserved")
        reply = await testbed.contracts.start_remotely(testbed.csms.evses[2])
        assert (reply.status, reply.code) == (503, "021")
        assert record["SessionID"] not in testbed.contracts.records
    await testbed.csms.run_sessions(2)
    await testbed.check_ledger()


@pytest.mark.skipif(not CAN_MOUNT, reason="a small disk cannot be mounted here: unshare --mount, mount -t tmpfs")
async def test_on_disks_that_are_really_full_nothing_is_lost_and_new_work_is_refused():
    played = await asyncio.create_subprocess_exec(
        *UNSHARE, sys.executable, "-m", "tests.chaos.small_disk",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await played.communicate()
    assert played.returncode == 0, output.decode()[-3000:]


@pytest.mark.skipif(CAN_MOUNT, reason="the test above fills a real disk")
async def test_a_node_that_is_killed_on_a_full_disk_starts_again_and_has_lost_nothing(testbed):
    await testbed.csms.run_sessions(3)
    resource.prlimit(testbed.a.process.pid, resource.RLIMIT_FSIZE, (1, 1))
    reply = await testbed.csms.send(messages.START, json.dumps(messages.authorize_start()).encode())
    assert reply.status == 503
    await testbed.a.kill()
    await testbed.a.start()
    await testbed.csms.run_sessions(2)
    await testbed.check_ledger()
