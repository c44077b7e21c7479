"""A mixed load for minutes: sessions, pushes, crashes, failing requests and backends, sometimes an overload.

``python -m tests.chaos.soak --minutes 20 --seed 3`` prints the comparison once a minute and at the end; exit code 1 if
it is not even.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from p2p_oicp.cli.progress import show_progress
from tests.chaos.fault_rounds import FAULT_ACTIONS, LARGE_PUSH_PROBABILITY, run_round
from tests.chaos.overload import run_overload
from tests.chaos.testbed import SECURE, Testbed, start_testbed

_REPORT_INTERVAL_SECONDS = 60.0
_OVERLOAD_PROBABILITY = 0.03


async def soak(minutes: float, seed: int, folder: Path, secure: str) -> int:
    """Run for some minutes; return the exit code."""
    until, output = time.monotonic() + 60 * minutes, time.monotonic()
    counts: Counter[str] = Counter()
    async with start_testbed(folder, seed=seed, secure=secure) as testbed:
        await testbed.push()
        memory_task = asyncio.create_task(_record_memory(testbed))
        try:
            with show_progress("Under load", total=60 * minutes, unit="s") as advance:
                while (started := time.monotonic()) < until:
                    name = await _run_one(testbed)
                    counts[name] += 1
                    advance(time.monotonic() - started)
                    if time.monotonic() - output > _REPORT_INTERVAL_SECONDS:
                        output = time.monotonic()
                        _print_report(testbed, counts)
            balance = await testbed.check_ledger(within=60.0)
        except (AssertionError, TimeoutError) as error:
            print(f"ledgers and databases differ (seed {seed}): {error!r}")
            print(f"{testbed.balance}\nlogs and databases: {folder}")
            return 1
        finally:
            memory_task.cancel()
        _print_report(testbed, counts)
    return 0 if balance.is_even else 1


async def _run_one(testbed: Testbed) -> str:
    if testbed.rng.random() < _OVERLOAD_PROBABILITY:
        outcome = await run_overload(testbed, 3.0, factor=20, recovery_timeout=15.0)
        assert not outcome.faults, str(outcome)
        await testbed.push()  # the burst has replaced the statuses
        return "overload"
    name = testbed.rng.choice(list(FAULT_ACTIONS))
    await run_round(testbed, FAULT_ACTIONS[name], large=testbed.rng.random() < LARGE_PUSH_PROBABILITY)
    return name


async def _record_memory(testbed: Testbed) -> None:
    while True:
        testbed.record_memory()
        await asyncio.sleep(0.5)


def _print_report(testbed: Testbed, counts: Counter[str]) -> None:
    starts = sum(node.log().count("node.ready") for node in (testbed.a, testbed.b))
    mixed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    print(
        f"{mixed}\n  starts of nodes {starts}, peak memory {testbed.peak_megabytes:.0f} MB, {testbed.balance}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A mixed load for minutes; ledgers and databases must agree.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--secure", choices=SECURE, default="none", help="how the nodes authenticate to each other")
    parser.add_argument("--keep", type=Path, help="folder for databases and logs; otherwise a temporary one")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="p2p-oicp-soak-"))
    try:
        sys.exit(asyncio.run(soak(options.minutes, options.seed, folder, options.secure)))
    except KeyboardInterrupt:
        print(f"interrupted; logs and databases: {folder}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
