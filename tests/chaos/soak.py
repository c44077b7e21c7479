"""All of it mixed, for minutes: sessions, statuses, crashes, bad lines, failing backends, now and then an overload.

``python -m tests.chaos.soak --minutes 20 --seed 3`` prints the books now and then and at the end; exit code 1 if they
do not balance.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.fault_rounds import CHANCE_OF_A_LARGE_PUSH, MISCHIEF, play
from tests.chaos.overload import press
from tests.chaos.testbed import SECURE, World, world

_SAY_EVERY_SECONDS = 60.0
_CHANCE_OF_OVERLOAD = 0.03


async def soak(minutes: float, seed: int, folder: Path, secure: str) -> int:
    """Go on for some minutes; return the exit code."""
    until, said = time.monotonic() + 60 * minutes, time.monotonic()
    played: Counter[str] = Counter()
    async with world(folder, seed=seed, secure=secure) as on:
        await on.push()
        watching = asyncio.create_task(_watch(on))
        try:
            while time.monotonic() < until:
                name = await _one(on)
                played[name] += 1
                if time.monotonic() - said > _SAY_EVERY_SECONDS:
                    said = time.monotonic()
                    _say(on, played)
            balance = await on.balances(within=60.0)
        except (AssertionError, TimeoutError) as error:
            print(f"the books do not balance (seed {seed}): {error!r}\n{on.balance}\nlogs and stores: {folder}")
            return 1
        finally:
            watching.cancel()
        _say(on, played)
    return 0 if balance.is_even else 1


async def _one(on: World) -> str:
    if on.rng.random() < _CHANCE_OF_OVERLOAD:
        outcome = await press(on, 3.0, factor=20, patience=15.0)
        assert not outcome.faults, str(outcome)
        await on.push()  # the storm has replaced the statuses
        return "overload"
    name = on.rng.choice(list(MISCHIEF))
    await play(on, MISCHIEF[name], large=on.rng.random() < CHANCE_OF_A_LARGE_PUSH)
    return name


async def _watch(on: World) -> None:
    while True:
        on.measure()
        await asyncio.sleep(0.5)


def _say(on: World, played: Counter[str]) -> None:
    starts = sum(node.log().count("node.ready") for node in (on.a, on.b))
    mixed = ", ".join(f"{name} {count}" for name, count in sorted(played.items()))
    print(f"{mixed}\n  starts of nodes {starts}, peak memory {on.megabytes:.0f} MB, {on.balance}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Everything mixed, for minutes; the books must balance.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--secure", choices=SECURE, default="none", help="what the nodes have to prove each other")
    parser.add_argument("--keep", type=Path, help="folder for stores and logs; otherwise a temporary one")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="p2p-oicp-soak-"))
    sys.exit(asyncio.run(soak(given.minutes, given.seed, folder, given.secure)))


if __name__ == "__main__":
    main()
