"""Rounds of kill -9 and other faults under load, from a seed: what CI runs a few of, and a night many.

``python -m tests.chaos.fault_rounds --rounds 50 --seed 7`` prints the books of each round;
exit code 1 if one is not even.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from p2p_oicp.simulator import NodeProcess
from tests.chaos import proxy
from tests.chaos.datasets import LARGE, Told
from tests.chaos.ledger import Balance
from tests.chaos.testbed import SECURE, World, world

MOST_SECONDS_A_ROUND = 60.0
CHANCE_OF_A_LARGE_PUSH = 0.2
Mischief = Callable[[World], Awaitable[None]]


async def kill_a_node(on: World) -> None:
    """End a node as a crash would, at any moment; start it again after a while."""
    await _crash(on, on.rng.choice((on.a, on.b)))


async def kill_both_nodes(on: World) -> None:
    """Crash both, one shortly after the other."""
    async with asyncio.TaskGroup() as crashes:
        for node in (on.a, on.b):
            crashes.create_task(_crash(on, node))


async def break_the_line(on: World) -> None:
    """Treat some of the requests between the nodes badly, of all kinds or of one."""
    faults = list(proxy.FAULTS.values())
    rate, target = on.rng.uniform(0.1, 0.9), on.rng.choice(("", "cdrmgmt", "notification", "status"))

    def choose(path: str) -> proxy.Fault:
        # An authorization that fails is a driver who does not charge: most pass, so that there is something to lose.
        bad = target in path and on.rng.random() < (rate / 5 if "/authorize" in path else rate)
        return on.rng.choice(faults) if bad else proxy.PASS

    on.to_a.choose = on.to_b.choose = choose
    await asyncio.sleep(on.rng.uniform(0.3, 1.5))
    on.to_a.choose = on.to_b.choose = None


async def cut_the_line(on: World) -> None:
    """Refuse every connection for a while."""
    line = on.rng.choice((on.to_a, on.to_b))
    await line.refuse()
    await asyncio.sleep(on.rng.uniform(0.2, 1.0))
    await line.open()


async def break_the_backend(on: World) -> None:
    """Let the EMP's backend fail, or take without an answer."""
    target = on.rng.choice(("", "ChargeDetailRecord"))
    on.contracts.trouble = lambda operation: on.rng.choice(("", "fail", "drop")) if target in operation else ""
    await asyncio.sleep(on.rng.uniform(0.3, 1.5))
    on.contracts.trouble = lambda _: ""


async def restart_a_node(on: World) -> None:
    """End a node in order, and start it again."""
    await on.rng.choice((on.a, on.b)).restart()


async def kill_under_a_bad_line(on: World) -> None:
    """Crash a node while the line is bad."""
    await asyncio.gather(break_the_line(on), kill_a_node(on))


MISCHIEF: dict[str, Mischief] = {
    "kill": kill_a_node,
    "kill-both": kill_both_nodes,
    "line": break_the_line,
    "cut": cut_the_line,
    "backend": break_the_backend,
    "restart": restart_a_node,
    "kill-line": kill_under_a_bad_line,
}


async def _crash(on: World, node: NodeProcess) -> None:
    await asyncio.sleep(on.rng.uniform(0.0, 0.8))
    await node.kill()
    await asyncio.sleep(on.rng.uniform(0.0, 0.5))
    await node.start()


async def play(on: World, mischief: Mischief, *, large: bool = False) -> Balance:
    """Let drivers charge and state change while the mischief is done; return the books afterwards.

    ``large`` begins with a push of some thousand EVSEs.
    """
    async with asyncio.timeout(MOST_SECONDS_A_ROUND):
        app = asyncio.create_task(_use_the_app(on))
        enough = asyncio.Event()
        driving = asyncio.gather(
            on.csms.keep_busy(enough), *(_keep_telling(each, enough, large=large) for each in on.told)
        )
        await mischief(on)
        await asyncio.sleep(0.1)
        enough.set()
        await driving
        app.cancel()
        await asyncio.gather(app, return_exceptions=True)
        await on.csms.finish_remote()
    return await on.balances(within=30.0)


async def _keep_telling(told: Told, until: asyncio.Event, *, large: bool) -> None:
    if large and told.kind.name == "EVSE_DATA":
        await told.replace(LARGE)
    while not until.is_set():
        await told.change()
        await asyncio.sleep(0.1)


async def _use_the_app(on: World) -> None:
    """Start sessions from the app, too: one attempt each, whatever the answer."""
    for evse in on.csms.evses[-8:]:
        with contextlib.suppress(TimeoutError):
            await on.contracts.start_remotely(evse)
        await asyncio.sleep(on.rng.uniform(0.0, 0.3))


async def night(rounds: int, seed: int, mix: list[str], folder: Path, secure: str) -> int:
    """Play so many rounds in one world; return the exit code."""
    async with world(folder, seed=seed, secure=secure) as on:
        await on.push()
        for number in range(1, rounds + 1):
            name = on.rng.choice(mix)
            start = time.monotonic()
            try:
                balance = await play(on, MISCHIEF[name], large=on.rng.random() < CHANCE_OF_A_LARGE_PUSH)
            except (AssertionError, TimeoutError) as error:
                print(f"round {number}, {name}: the books do not balance (seed {seed}): {error!r} {on.balance}")
                print(f"logs and stores: {folder}")
                return 1
            print(f"round {number:3} {name:9} {time.monotonic() - start:5.1f} s  {balance}", flush=True)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Crashes and other faults under load; the books must balance.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mix", default="kill", help=f"of {', '.join(MISCHIEF)}, or all; names separated by commas")
    parser.add_argument("--secure", choices=SECURE, default="none", help="what the nodes have to prove each other")
    parser.add_argument("--keep", type=Path, help="folder for stores and logs; otherwise a temporary one")
    given = parser.parse_args()
    mix = list(MISCHIEF) if given.mix == "all" else given.mix.split(",")
    folder = given.keep or Path(tempfile.mkdtemp(prefix="p2p-oicp-faults-"))
    sys.exit(asyncio.run(night(given.rounds, given.seed, mix, folder, given.secure)))


if __name__ == "__main__":
    main()
