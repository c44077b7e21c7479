"""What ``p2p-oicp send`` does: one message, one answer, one exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import typer

from p2p_oicp.cli import feed_sending
from p2p_oicp.cli.calling import Answer, Caller, Target
from p2p_oicp.cli.feed import is_feed
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp.operation import Operation
from p2p_oicp.oicp.operations import OPERATION_BY_COMMAND, sender_party
from p2p_oicp.toml_file import unknown_key

_STATUS_PUSH = "push-evse-status"


@dataclass(frozen=True, slots=True)
class Request:
    """What the person wants sent."""

    operation: Operation
    body: bytes
    party: str | None
    query: Mapping[str, str]

    def url(self, base: str) -> str:
        """Return the URL; the sender's id in it is the one given, or else the message's own."""
        sender = sender_party(self.operation, self.operation.request.from_json(self.body))
        party = self.party or (sender.text if sender else None)
        if not party and "{" in self.operation.path:
            raise ConfigurationError(f"{self.operation.command}: the message does not name its sender; add --party ID")
        url = self.operation.url(base, party)
        return f"{url}?{urlencode(self.query)}" if self.query else url


def find_operation(command: str) -> Operation:
    """Return the operation of a command-line name; raise `ConfigurationError` naming the nearest one."""
    if command not in OPERATION_BY_COMMAND:
        known = unknown_key(command, list(OPERATION_BY_COMMAND)).removeprefix("unknown key; ")
        raise ConfigurationError(f'"{command}" is no operation; {known}')
    return OPERATION_BY_COMMAND[command]


def page_query(operation: Operation, page: int | None, size: int | None) -> dict[str, str]:
    """Return the query of a paged request; raise `ConfigurationError` if the operation has no pages."""
    query = {name: str(value) for name, value in (("page", page), ("size", size)) if value is not None}
    if query and not operation.paged:
        raise ConfigurationError(f"{operation.command}: its answer has no pages; leave out --{next(iter(query))}")
    return query


def read_body(file: str) -> bytes:
    """Return a file's bytes, or those of standard input for ``-``; raise `ConfigurationError` if unreadable."""
    if file == "-":
        if sys.stdin.isatty():
            typer.echo("Reading the message from standard input; Ctrl-D ends it.", err=True)
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{file}: cannot be read: {exc.strerror}") from exc


def send(request: Request, target: Target, *, seconds: float) -> int:
    """Send a message, or the pushes of a status feed; return the exit code."""
    if request.operation.command == _STATUS_PUSH and is_feed(request.body):
        return feed_sending.send_feed(request.operation, request.body, target, seconds=seconds)
    answer = asyncio.run(_call(target, request.url(target.url), request.body, seconds))
    typer.echo(answer.headline(), err=True)
    typer.echo(answer.pretty())
    return 0 if answer.is_positive else 1


async def _call(target: Target, url: str, body: bytes, seconds: float) -> Answer:
    async with Caller(target, seconds=seconds) as caller:
        return await caller.post(url, body)
