"""Restores of nodes under load, and an EMP's backend that refuses CDRs: fault actions with a round's end of their own.

What a restore may lose is counted apart: the CDRs that the CPO's node acknowledged after its backup and that nobody
else had when it ended. In every other round the CSMS sends the records of that time again, as docs/backup.md asks
for, and then nothing may be missing.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from p2p_oicp.simulator import NodeProcess
from p2p_oicp.simulator.node_files import TOKEN_FILE
from tests.chaos.ledger import database, rows, stored_cdrs
from tests.chaos.testbed import Testbed
from tests.support import messages

# What was on its way when the CPO's node was killed has been committed, or refused, by then.
_SETTLING_SECONDS = 0.5
_STATES_TIMEOUT_SECONDS = 20.0
_CRASH_PROBABILITY = 0.3


@dataclass(frozen=True)
class RestoreAction:
    """A fault under load, and what the companies do about it when the load has ended; no datasets are pushed."""

    start: Callable[[Testbed], Awaitable[None]]
    finish: Callable[[Testbed], Awaitable[None]]


async def run_program(node: NodeProcess, *arguments: str) -> str:
    """Run ``p2p-oicp`` for a node, and return its output; fail if it does not exit with 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "p2p_oicp", *arguments, "--config", str(node.directory / "node.toml"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, (arguments, output.decode())
    return output.decode()


async def restore_backups(testbed: Testbed, *names: str) -> None:
    """Back nodes up at random moments, kill them at later ones, and start them from their backups."""
    backups = {}
    for name in names:
        await asyncio.sleep(testbed.rng.uniform(0.0, 0.8))
        node = testbed.cluster[name]
        backups[name] = node.directory / f"backup-{time.time_ns()}.sqlite3"
        await run_program(node, "backup", "--database-only", str(backups[name]))
    await asyncio.sleep(testbed.rng.uniform(0.2, 1.5))
    await _restore(testbed, backups)


async def restore_copies(testbed: Testbed, *names: str) -> None:
    """Copy the database files of nodes that are stopped for it, and put them back when the nodes are killed later."""
    copies = {}
    for name in names:
        await asyncio.sleep(testbed.rng.uniform(0.0, 0.8))
        node = testbed.cluster[name]
        await node.stop()
        copies[name] = node.directory / f"copy-{time.time_ns()}.sqlite3"
        shutil.copy(database(node), copies[name])
        await node.start()
    await asyncio.sleep(testbed.rng.uniform(0.2, 1.5))
    await _restore(testbed, copies)


async def restore_empty(testbed: Testbed, *names: str) -> None:
    """Kill nodes at random moments, and start them with empty databases; what is in ``keys/`` stays."""
    await asyncio.sleep(testbed.rng.uniform(0.5, 2.0))
    await _restore(testbed, dict.fromkeys(names))


async def _restore(testbed: Testbed, backups: dict[str, Path | None]) -> None:
    """Kill nodes, and start them with other databases; sometimes twice, or with a crash while they recover."""
    nodes, rng = [testbed.cluster[name] for name in backups], testbed.rng
    for _ in range(rng.choice((1, 1, 2))):
        for node in nodes:
            await node.kill()
            await asyncio.sleep(rng.uniform(0.0, 0.3))
        await asyncio.sleep(_SETTLING_SECONDS)
        for node in nodes:
            _replace_database(node, backups[node.spec.name])
        _count_losses(testbed, set(backups))
        for node in rng.sample(nodes, len(nodes)):
            await node.start()
            await asyncio.sleep(rng.uniform(0.0, 0.5))
    if rng.random() < _CRASH_PROBABILITY:
        node = rng.choice(nodes)
        await node.kill()
        _count_losses(testbed, {node.spec.name} & {"node b"})  # what was on its way to the backend comes again
        await node.start()


def _replace_database(node: NodeProcess, backup: Path | None) -> None:
    for file in database(node).parent.glob("node.sqlite3*"):
        file.unlink()
    if backup is not None:
        shutil.copy(backup, database(node))


def _count_losses(testbed: Testbed, restored: set[str]) -> None:
    """Record what the restore of these nodes may lose, and what it may have delivered again."""
    csms, contracts, restores = testbed.csms, testbed.contracts, testbed.restores
    restores.sessions.update(csms.notified, contracts.authorized, csms.remote)
    if "node b" in restored:
        restores.allowed_copies.update({session.lower() for session in contracts.records})
    if "node a" in restored:
        at_cpo, at_emp = _keys(testbed.a, "cpo"), _keys(testbed.b, "emp")
        restores.to_send_again = {key: body for key, body in csms.records.items() if key.lower() not in at_cpo}
        restores.lost = {key for key in restores.to_send_again if key.lower() not in at_emp}


def _keys(node: NodeProcess, role: str) -> set[str]:
    """Return the sessions whose CDRs a database has; none where it is empty."""
    return set(stored_cdrs(database(node), role)) if database(node).exists() else set()


async def finish_restore(testbed: Testbed) -> None:
    """Push all datasets again, and send the CDRs of the lost time again, or take them out of the CSMS's ledger."""
    restores = testbed.restores
    await testbed.push()
    if testbed.rng.random() < 0.5:
        for session, body in restores.to_send_again.items():
            reply = await testbed.csms.send_until_answered(messages.CDR, json.loads(body))
            assert reply.is_positive, (session, reply)
    else:
        for session in restores.lost:  # neither node has them, but the EMP's backend may
            restores.lost_count += testbed.contracts.records.pop(session, None) is None
            testbed.csms.records.pop(session)
    restores.to_send_again, restores.lost = {}, set()


async def refuse_records(testbed: Testbed) -> None:
    """Let the EMP's backend refuse CDRs for a while; in every other round a node is killed meanwhile."""
    testbed.contracts.fault_for = lambda operation: "refuse" * (operation == "ChargeDetailRecord")
    await asyncio.sleep(testbed.rng.uniform(0.3, 1.0))
    if testbed.rng.random() < 0.5:
        node = testbed.rng.choice((testbed.a, testbed.b))
        await node.kill()
        await asyncio.sleep(testbed.rng.uniform(0.0, 0.3))
        await node.start()
    await asyncio.sleep(testbed.rng.uniform(0.3, 1.0))
    testbed.contracts.fault_for = lambda _: ""


async def retry_refused(testbed: Testbed) -> None:
    """Wait until both nodes call the same CDRs disputed, then let the EMP's node ask its backend again."""
    async with asyncio.timeout(_STATES_TIMEOUT_SECONDS):
        while (disputed := _disputed(testbed.b)) != _disputed(testbed.a) or _is_waiting(testbed.b):
            await asyncio.sleep(0.1)
    # One as people do it; a program that is started for each of hundreds takes too long.
    for number, session in enumerate(sorted(disputed)):
        if number == 0:
            await run_program(testbed.b, "cdrs", "retry", session)
            continue
        url = f"{testbed.b.backend_url}/admin/v1/cdrs/{session}/retry"
        headers = {"Authorization": f"Bearer {(testbed.b.directory / TOKEN_FILE).read_text().strip()}"}
        async with testbed.http.post(url, json={}, headers=headers) as response:
            assert response.status == 200, await response.text()


def _disputed(node: NodeProcess) -> set[str]:
    return {key for (key,) in rows(node, "SELECT session_key FROM cdrs WHERE state = 'disputed'")}


def _is_waiting(node: NodeProcess) -> bool:
    return bool(rows(node, "SELECT 1 FROM cdrs WHERE state = 'waiting' LIMIT 1"))


def _restoring(how: Callable[..., Awaitable[None]], *names: str) -> RestoreAction:
    return RestoreAction(lambda testbed: how(testbed, *names), finish_restore)


RESTORE_ACTIONS: dict[str, RestoreAction] = {
    "old-backup-cpo": _restoring(restore_backups, "node a"),
    "old-backup-emp": _restoring(restore_backups, "node b"),
    "old-backup-both": _restoring(restore_backups, "node a", "node b"),
    "copied-cpo": _restoring(restore_copies, "node a"),
    "copied-emp": _restoring(restore_copies, "node b"),
    "empty-cpo": _restoring(restore_empty, "node a"),
    "empty-emp": _restoring(restore_empty, "node b"),
    "empty-both": _restoring(restore_empty, "node a", "node b"),
    "refusing-backend": RestoreAction(refuse_records, retry_refused),
}
