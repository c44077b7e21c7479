"""Sending a status feed: one fullLoad an operator, one after the other, and a summary."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence

import typer

from p2p_oicp.cli.calling import Answer, Caller, Target
from p2p_oicp.cli.feed import OperatorPush, all_operators, is_feed, read_feed
from p2p_oicp.errors import ConfigurationError, PeerError
from p2p_oicp.oicp import OperatorID
from p2p_oicp.oicp.operation import Operation

_UNUSABLE = 2


def operators_line(body: bytes, known: Sequence[OperatorID]) -> str:
    """Return the ``operators`` line of a node that may push this feed, those ``known`` already first."""
    if not is_feed(body):
        raise ConfigurationError("--list-operators: expected a status feed, an object with a list EVSEStatuses")
    return _line(all_operators(read_feed(body), known))


def send_feed(operation: Operation, body: bytes, target: Target, *, seconds: float) -> int:
    """Push every operator of the feed; return the exit code. A refused push does not stop the others."""
    pushes = read_feed(body)
    if missing := _missing(pushes, target):
        typer.echo(_what_to_configure(pushes, target, missing), err=True)
        return _UNUSABLE
    begin = time.perf_counter()
    failures = asyncio.run(_send_all(operation, pushes, target, seconds))
    typer.echo(_summary(pushes, failures, time.perf_counter() - begin))
    return 1 if failures else 0


def _missing(pushes: Sequence[OperatorPush], target: Target) -> list[OperatorID]:
    if target.operators is None:
        return []
    return [operator for operator in all_operators(pushes) if operator not in target.operators]


def _what_to_configure(pushes: Sequence[OperatorPush], target: Target, missing: Sequence[OperatorID]) -> str:
    line = _line(all_operators(pushes, target.operators or ()))
    return (
        f"p2p-oicp: {target.settings_file}: [node] operators lacks {len(missing)} of this feed's operators; "
        f"nothing was sent. Restart the node with this line:\n{line}"
    )


def _line(operators: Iterable[OperatorID]) -> str:
    return f"operators = {json.dumps([operator.text for operator in operators])}"


async def _send_all(operation: Operation, pushes: Sequence[OperatorPush], target: Target, seconds: float) -> int:
    failures = 0
    async with Caller(target, seconds=seconds) as caller:
        for done, push in enumerate(pushes):
            for remark in push.remarks():
                typer.echo(remark)
            try:
                answer = await caller.post(operation.url(target.url, push.operator.text), push.message())
            except PeerError:
                typer.echo(f"Stopped after {done} of {len(pushes)} operators.", err=True)
                raise
            failures += not answer.is_positive
            typer.echo(_outcome(push, answer))
    return failures


def _outcome(push: OperatorPush, answer: Answer) -> str:
    size = f"{push.operator}: {len(push.records)} record{'s' if len(push.records) != 1 else ''}"
    if answer.is_positive:
        return f"{size} accepted, {answer.milliseconds:.0f} ms"
    return f"{size} REFUSED: {answer.headline()}: {' '.join(answer.pretty().split())}"


def _summary(pushes: Sequence[OperatorPush], failures: int, seconds: float) -> str:
    records = sum(len(push.records) for push in pushes)
    return f"{len(pushes)} operators, {records} records, {seconds:.2f} s, {failures} failures"
