"""Rounds of kill -9 and other faults under load, reproducible by a seed.

``python -m tests.chaos.fault_rounds --rounds 50 --seed 7`` prints the comparison after each round;
exit code 1 if one is not even.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from p2p_oicp.cli.progress import show_progress
from p2p_oicp.simulator import NodeProcess
from tests.chaos import proxy
from tests.chaos.datasets import LARGE_PUSH_RECORDS, PushedDataset
from tests.chaos.ledger import Balance
from tests.chaos.restores import RESTORE_ACTIONS, RestoreAction
from tests.chaos.testbed import SECURE, Testbed, start_testbed

MAX_ROUND_SECONDS = 60.0
# So many processes are started one after the other, on a machine that does other work as well.
MAX_RESTORE_ROUND_SECONDS = 240.0
LARGE_PUSH_PROBABILITY = 0.2
FaultAction = Callable[[Testbed], Awaitable[None]]


async def kill_node(testbed: Testbed) -> None:
    """Kill a node at a random moment; start it again after a while."""
    await _crash(testbed, testbed.rng.choice((testbed.a, testbed.b)))


async def kill_both_nodes(testbed: Testbed) -> None:
    """Kill both nodes, one shortly after the other."""
    async with asyncio.TaskGroup() as crashes:
        for node in (testbed.a, testbed.b):
            crashes.create_task(_crash(testbed, node))


async def disturb_requests(testbed: Testbed) -> None:
    """Apply faults to some of the requests between the nodes, of all operations or of one."""
    faults = list(proxy.FAULTS.values())
    rate, target = testbed.rng.uniform(0.1, 0.9), testbed.rng.choice(("", "cdrmgmt", "notification", "status"))

    def choose(path: str) -> proxy.Fault:
        # Most authorizations pass: without a session there is no message to lose.
        bad = target in path and testbed.rng.random() < (rate / 5 if "/authorize" in path else rate)
        return testbed.rng.choice(faults) if bad else proxy.PASS

    testbed.proxy_to_a.choose = testbed.proxy_to_b.choose = choose
    await asyncio.sleep(testbed.rng.uniform(0.3, 1.5))
    testbed.proxy_to_a.choose = testbed.proxy_to_b.choose = None


async def refuse_connections(testbed: Testbed) -> None:
    """Refuse all connections to a node for a while."""
    proxy = testbed.rng.choice((testbed.proxy_to_a, testbed.proxy_to_b))
    await proxy.close()
    await asyncio.sleep(testbed.rng.uniform(0.2, 1.0))
    await proxy.open()


async def disturb_backend(testbed: Testbed) -> None:
    """Let the EMP's backend fail, or receive without a response."""
    target = testbed.rng.choice(("", "ChargeDetailRecord"))
    testbed.contracts.fault_for = lambda operation: (
        testbed.rng.choice(("", "fail", "drop")) if target in operation else ""
    )
    await asyncio.sleep(testbed.rng.uniform(0.3, 1.5))
    testbed.contracts.fault_for = lambda _: ""


async def restart_node(testbed: Testbed) -> None:
    """Stop a node with SIGTERM, and start it again."""
    await testbed.rng.choice((testbed.a, testbed.b)).restart()


async def kill_while_disturbed(testbed: Testbed) -> None:
    """Kill a node while requests between the nodes fail."""
    await asyncio.gather(disturb_requests(testbed), kill_node(testbed))


FAULT_ACTIONS: dict[str, FaultAction] = {
    "kill": kill_node,
    "kill-both": kill_both_nodes,
    "line": disturb_requests,
    "cut": refuse_connections,
    "backend": disturb_backend,
    "restart": restart_node,
    "kill-line": kill_while_disturbed,
}
ALL_ACTIONS = [*FAULT_ACTIONS, *RESTORE_ACTIONS]


async def _crash(testbed: Testbed, node: NodeProcess) -> None:
    await asyncio.sleep(testbed.rng.uniform(0.0, 0.8))
    await node.kill()
    await asyncio.sleep(testbed.rng.uniform(0.0, 0.5))
    await node.start()


async def run_round(testbed: Testbed, fault_action: FaultAction, *, large: bool = False) -> Balance:
    """Run sessions and pushes while the fault happens; return the comparison afterwards.

    ``large`` begins with a push of some thousand EVSEs.
    """
    async with asyncio.timeout(MAX_ROUND_SECONDS):
        await _run_load(testbed, fault_action, large=large, pushed=testbed.datasets)
    return await testbed.check_ledger(within=30.0)


async def run_restore_round(testbed: Testbed, action: RestoreAction) -> Balance:
    """Run sessions while nodes are restored, or refused; return the comparison after the companies have reacted."""
    received = {session.lower(): len(bodies) for session, bodies in testbed.contracts.records.items()}
    testbed.restores.allowed_copies.clear()
    async with asyncio.timeout(MAX_RESTORE_ROUND_SECONDS):
        await _run_load(testbed, action.start, large=False, pushed=())
        await action.finish(testbed)
    balance = await testbed.check_ledger(within=90.0)
    if action is not RESTORE_ACTIONS["refusing-backend"]:  # there a crash may repeat a delivery
        repeated = testbed.contracts.copies_beyond(received, testbed.restores.allowed_copies)
        assert not repeated, f"delivered again to the backend without need: {repeated[:3]}"
    return balance


async def _run_load(
    testbed: Testbed, fault_action: FaultAction, *, large: bool, pushed: Iterable[PushedDataset]
) -> None:
    app = asyncio.create_task(_start_remote_sessions(testbed))
    stop = asyncio.Event()
    driving = asyncio.gather(
        testbed.csms.charge_until(stop), *(_push_until(each, stop, large=large) for each in pushed)
    )
    await fault_action(testbed)
    await asyncio.sleep(0.1)
    stop.set()
    await driving
    app.cancel()
    await asyncio.gather(app, return_exceptions=True)
    await testbed.csms.finish_remote()


async def _push_until(datasets: PushedDataset, until: asyncio.Event, *, large: bool) -> None:
    if large and datasets.spec.name == "EVSE_DATA":
        await datasets.replace(LARGE_PUSH_RECORDS)
    while not until.is_set():
        await datasets.change()
        await asyncio.sleep(0.1)


async def _start_remote_sessions(testbed: Testbed) -> None:
    """Start sessions remotely, too: one attempt each, whatever the response."""
    for evse in testbed.csms.evses[-8:]:
        with contextlib.suppress(TimeoutError):
            await testbed.contracts.start_remotely(evse)
        await asyncio.sleep(testbed.rng.uniform(0.0, 0.3))


async def run_rounds(rounds: int, seed: int, mix: list[str], folder: Path, secure: str) -> int:
    """Run so many rounds on one testbed; return the exit code."""
    async with AsyncExitStack() as stack:
        testbed = await stack.enter_async_context(start_testbed(folder, seed=seed, secure=secure))
        await testbed.push()
        advance = stack.enter_context(show_progress("Rounds", total=rounds, unit="rounds"))
        for number in range(1, rounds + 1):
            name = testbed.rng.choice(mix)
            start = time.monotonic()
            try:
                balance = await _run_one(testbed, name)
            except (AssertionError, TimeoutError) as error:
                print(
                    f"round {number}, {name}: ledgers and databases differ (seed {seed}): {error!r} {testbed.balance}"
                )
                print(f"logs and databases: {folder}")
                return 1
            print(f"round {number:3} {name:16} {time.monotonic() - start:5.1f} s  {balance}", flush=True)
            advance(1)
    return 0


async def _run_one(testbed: Testbed, name: str) -> Balance:
    if name in RESTORE_ACTIONS:
        return await run_restore_round(testbed, RESTORE_ACTIONS[name])
    return await run_round(testbed, FAULT_ACTIONS[name], large=testbed.rng.random() < LARGE_PUSH_PROBABILITY)


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults under load; ledgers and databases must agree.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--mix",
        default="kill",
        help=f"of {', '.join(ALL_ACTIONS)}; names separated by commas; all: those without restores",
    )
    parser.add_argument("--secure", choices=SECURE, default="none", help="how the nodes authenticate to each other")
    parser.add_argument("--keep", type=Path, help="folder for databases and logs; otherwise a temporary one")
    options = parser.parse_args()
    mix = list(FAULT_ACTIONS) if options.mix == "all" else options.mix.split(",")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="p2p-oicp-faults-"))
    try:
        sys.exit(asyncio.run(run_rounds(options.rounds, options.seed, mix, folder, options.secure)))
    except KeyboardInterrupt:
        print(f"interrupted; logs and databases: {folder}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
