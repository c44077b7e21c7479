"""Plays the day from beginning to end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from p2p_oicp.clock import SystemClock
from p2p_oicp.errors import P2pOicpError
from p2p_oicp.simulator.demo.report import Check, Report
from p2p_oicp.simulator.demo.scenes import SCENES, Scene
from p2p_oicp.simulator.demo.timeline import Timeline
from p2p_oicp.simulator.demo.world import World, open_world

_DAY = 60.0
_SCENE = 25.0


async def play(directory: Path, timeline: Timeline, scenes: Sequence[tuple[str, Scene]] = SCENES) -> Report:
    """Play all scenes with nodes that live in ``directory``; return what was checked. Takes 60 s at most."""
    report = Report()
    clock = SystemClock()
    started = clock.monotonic()
    try:
        async with asyncio.timeout(_DAY), open_world(directory, timeline, report) as world:
            world.tell("node A and node B are up")
            for number, (title, scene) in enumerate(scenes, start=1):
                await _play_scene(world, number, title, scene)
    except (P2pOicpError, TimeoutError) as exc:
        _fail(report, timeline, "The day", "the day was played to its end", exc)
    report.seconds = clock.monotonic() - started
    timeline.summary(report)
    return report


async def _play_scene(world: World, number: int, title: str, scene: Scene) -> None:
    world.scene = title
    world.timeline.scene(number, title)
    try:
        async with asyncio.timeout(_SCENE):
            await scene(world)
    except (P2pOicpError, TimeoutError) as exc:
        _fail(world.report, world.timeline, title, "the scene was played to its end", exc)


def _fail(report: Report, timeline: Timeline, scene: str, sentence: str, exc: Exception) -> None:
    check = Check(scene, sentence, held=False, detail=str(exc) or "took too long")
    report.checks.append(check)
    timeline.check(check)
