"""``p2p-oicp events``: what happened, the newest, and what happens, as it happens. The node must be running."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
import typer
from rich.cells import cell_len

from p2p_oicp.cli import client
from p2p_oicp.cli.client import ApiEndpoint
from p2p_oicp.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    EventEvseOption,
    EventPartyOption,
    EventPeerOption,
    EventTypeOption,
    JsonOption,
    echo,
)
from p2p_oicp.cli.terminal import UtcOption, output_width, wrap
from p2p_oicp.client.event_stream import EventListener
from p2p_oicp.clock import format_timestamp
from p2p_oicp.errors import PeerError
from p2p_oicp.events.types import SUBJECT_MEMBERS

_PIPE_COLUMNS = ("At", "ID", "Type", "What", "Subject", "EVSE", "Peer", "Count", "Text")
_GAP, _INDENT = "  ", "                "
_NAME_WIDTH = 20
_PAGE = 1000

Event = Mapping[str, Any]
_SessionOption = Annotated[list[str] | None, typer.Option("--session", metavar="ID", help="Only of this session.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(events)


def events(
    config: ConfigOption = DEFAULT_CONFIG,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C; comes back if it is cut off.")
    ] = False,
    types: EventTypeOption = None,
    peer: EventPeerOption = None,
    party: EventPartyOption = None,
    evse: EventEvseOption = None,
    session: _SessionOption = None,
    limit: Annotated[int, typer.Option(min=0, max=1000, help="Show so many of the newest.")] = 20,
    after: Annotated[str, typer.Option(metavar="ID", help="Show all after this event instead; 0: all.")] = "",
    as_json: JsonOption = False,
    utc: UtcOption = False,
) -> None:
    """Show what has happened at this node: sessions, CDRs, statuses, peers, refusals; with --json one a line."""
    selection = {"type": types, "peer": peer, "party": party, "evse": evse, "session": session}
    selected = {name: values for name, values in selection.items() if values}
    output = _Output(as_json=as_json, utc=utc)
    position = _print_all_after(config, selected, after, output) if after else None
    if position is None:
        newest, position = _newest(config, selected, limit)
        output.print(newest)
    if follow:
        asyncio.run(_follow(config, selected, position, output))
    elif not output.has_printed and not as_json:
        echo("No events.", err=True)


async def _follow(config: Path, selected: Mapping[str, Sequence[str]], after: str, output: _Output) -> None:
    endpoint = ApiEndpoint.from_settings(config)
    token = endpoint.token.get_secret_value() if endpoint.token is not None else None
    listener = EventListener(endpoint.url, token=token, tls=endpoint.tls, on_lost=_print_loss)
    async for event in listener.listen(selected, after):
        output.print([event.members])


def _print_loss(error: PeerError) -> None:
    echo(f"{error}; trying again", err=True)


def _newest(config: Path, selected: Mapping[str, Sequence[str]], limit: int) -> tuple[list[Event], str]:
    """Return the newest events that are selected, and the id of the newest of all."""
    page = _read(config, "/events/newest", selected, limit=limit)
    newest_id, found = page["newest_id"], page["events"]
    # Those of a rare type may be so far apart that a page ends before it is full.
    while len(found) < limit and page["cursor"] is not None:
        page = _read(config, "/events/newest", selected, limit=limit - len(found), cursor=page["cursor"])
        found += page["events"]
    return found[::-1], newest_id


def _print_all_after(config: Path, selected: Mapping[str, Sequence[str]], after: str, output: _Output) -> str:
    """Print all events after an id; return that of the newest."""
    while True:
        page = _read(config, "/events", selected, limit=_PAGE, after=after)
        output.print(page["events"])
        after = str(page["next"])
        if page["next"] >= page["newest"]:
            return str(page["newest_id"])


def _read(config: Path, path: str, selected: Mapping[str, Sequence[str]], **parameters: str | int) -> dict[str, Any]:
    query = urlencode({**selected, **parameters}, doseq=True)
    return client.call_admin(config, "GET", f"/admin/v1{path}?{query}")


class _Output:
    """Prints events: as lines for a terminal, separated by tabs in a pipe, or as JSON."""

    def __init__(self, *, as_json: bool, utc: bool) -> None:
        self._as_json = as_json
        self._utc = utc
        self.has_printed = False

    def print(self, events: Sequence[Event]) -> None:
        width = output_width()
        for event in events:
            if self._as_json:
                echo(orjson.dumps({**event, "at": format_timestamp(event["at"])}).decode())
            elif width is None:
                if not self.has_printed:
                    echo("\t".join(_PIPE_COLUMNS))
                echo("\t".join(_pipe_cells(event)))
            else:
                for line in format_event(event, width, utc=self._utc):
                    echo(line)
            self.has_printed = True
        sys.stdout.flush()


def _pipe_cells(event: Event) -> Iterator[str]:
    yield format_timestamp(event["at"])
    yield event.get("id", "")
    yield event["type"]
    yield event["what"]
    yield _subject(event)
    yield event.get("evse_id", "")
    yield event.get("peer", "")
    yield str(event.get("count", 1))
    yield " ".join(event.get("text", "").split())


def _subject(event: Event) -> str:
    return next((str(event[name]) for name in SUBJECT_MEMBERS.get(event["type"], ()) if event.get(name)), "")


def format_event(event: Event, width: int, *, utc: bool) -> list[str]:
    """Return the lines of an event: ids are never broken, and what does not fit stands below."""
    at = datetime.fromtimestamp(event["at"], UTC)
    time = f"{at if utc else at.astimezone():%m-%d %H:%M:%S}"
    name = f"{event['type'].replace('_', ' ')} {event['what'].replace('_', ' ')}"
    subject = event.get("peer") if event["type"] == "peer" and event.get("peer") else _subject(event)
    peer = f"({event['peer']})" if event.get("peer") and event["type"] != "peer" else ""
    times = f"{event['count']} times" if event.get("count", 1) > 1 else ""
    parts = filter(None, (subject, event.get("evse_id", ""), peer, times))
    lines = [f"{time}{_GAP}{name:<{_NAME_WIDTH}}"]
    for part in parts:
        if cell_len(lines[-1]) + len(_GAP) + cell_len(part) <= width:
            lines[-1] += _GAP + part
        else:
            lines.append(_INDENT + part)
    if text := event.get("text", ""):
        if cell_len(lines[-1]) + len(_GAP) + cell_len(text) <= width:
            lines[-1] += _GAP + " ".join(text.split())
        else:
            lines += wrap(text, width, _INDENT, _INDENT)
    return [line.rstrip() for line in lines]
