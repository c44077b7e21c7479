"""``p2p-oicp exchanges``: what was said to whom, as far as it is recorded.

The running node is asked, for it may record in memory only; while it is down, what it has recorded on disk is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json
from p2p_oicp.cli.terminal import Column, Moment, UtcOption, print_table
from p2p_oicp.config import load_settings
from p2p_oicp.config.loader import exchange_folder
from p2p_oicp.errors import ConfigurationError, PeerUnreachable
from p2p_oicp.storage.exchange_files import read_files
from p2p_oicp.storage.exchanges import ExchangeFilter, encode_page

FOLLOW_SECONDS = 0.5
_MAX_LIMIT = 1000
_COLUMNS = (
    Column("ID"),
    Column("At", 1),
    Column("Direction"),
    Column("With"),
    Column("Message"),
    Column("Session", 3),
    Column("EVSE", 5),
    Column("HTTP", 4),
    Column("Code"),
    Column("Duration", 2),
    Column("Error", is_detail=True),
)
_PeerOption = Annotated[
    str, typer.Option("--peer", metavar="NAME", help="Only with this peer, or with a system of ours: `backend:NAME`.")
]
_OFF = 'nothing is recorded: set [exchanges] record = "memory" (or "disk") in {config}, and start the node again'


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_exchanges)
    group.command()(show)
    app.add_typer(
        group, name="exchanges", help="What was said to whom: requests and answers, masked, as far as recorded."
    )


def list_exchanges(
    config: ConfigOption = DEFAULT_CONFIG,
    peer: _PeerOption = "",
    operation: Annotated[str, typer.Option(metavar="NAME", help="Only of this operation.")] = "",
    session: Annotated[str, typer.Option(metavar="ID", help="Only of this session.")] = "",
    after: Annotated[
        int | None, typer.Option(min=0, metavar="ID", help="Only those after this one, the oldest first.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=_MAX_LIMIT, help="Show at most so many.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new ones, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
    utc: UtcOption = False,
) -> None:
    """Show the newest recorded exchanges; with --json and --follow, one a line."""
    selection = ExchangeFilter(after, limit, peer, operation, session)
    if not follow:
        page = read_exchanges(config, selection)
        if as_json:
            echo(format_json(page["exchanges"]))
        else:
            _print_exchanges(page["exchanges"], utc=utc)
        return
    for exchanges in _follow(config, selection):
        if as_json:
            for exchange in exchanges:
                echo(msgspec.json.encode(exchange).decode())
        elif exchanges:
            _print_exchanges(exchanges, utc=utc)


def show(
    number: Annotated[int, typer.Argument(metavar="ID", min=1, help="Number of it, as `exchanges list` shows it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show one exchange with the bodies of request and answer."""
    exchanges = read_exchanges(config, ExchangeFilter(number - 1, 1))["exchanges"]
    if not exchanges or exchanges[0]["number"] != number:
        raise ConfigurationError(f"there is no exchange {number}; see `p2p-oicp exchanges list`")
    exchange = exchanges[0]
    if as_json:
        echo(format_json(exchange))
        return
    _print_exchanges(exchanges, utc=True)
    for name, title in (("request", "Request"), ("response", "Answer")):
        if (body := exchange.get(name)) is not None:
            echo(f"{title}: {exchange['method']} {exchange['path']}" if name == "request" else f"{title}:")
            echo(format_json(body["json"]) if "json" in body else body.get("start", f"({body['bytes']} bytes)"))


def _follow(config: Path, selection: ExchangeFilter) -> Iterator[list[dict[str, Any]]]:
    for round_number in count():
        page = read_exchanges(config, selection)
        yield page["exchanges"]
        selection = selection._replace(after=next_number(page, selection.after))
        if len(page["exchanges"]) < selection.limit or round_number == 0:
            time.sleep(FOLLOW_SECONDS)


def next_number(page: dict[str, Any], after: int | None) -> int:
    """Return the number to go on after; 0 if the node has begun to count again, for it records in memory."""
    return 0 if page["newest"] < (after or 0) else int(page["next"])


def read_exchanges(config: Path, selection: ExchangeFilter) -> dict[str, Any]:
    """Return a page of what a node has recorded (`/admin/v1/exchanges`).

    Raises:
        ConfigurationError: nothing is recorded there.
        PeerUnreachable: the node does not run, and has recorded nothing on disk.
    """
    query = {name: value for name, value in selection._asdict().items() if value not in ("", None)}
    try:
        page = client.call_admin(config, "GET", f"/admin/v1/exchanges?{urlencode(query)}")
    except PeerUnreachable:
        settings = load_settings(config)
        if settings.exchanges.record != "disk":
            raise
        page = msgspec.json.decode(encode_page(read_files(exchange_folder(settings), selection), selection, "disk"))
    if page["record"] == "off":
        raise ConfigurationError(_OFF.format(config=config))
    return page


def _print_exchanges(exchanges: Sequence[dict[str, Any]], *, utc: bool) -> None:
    rows = [
        (
            str(each["number"]),
            Moment(each["at"]),
            "→" if each["direction"] == "out" else "←",
            each.get("peer") or (f"backend:{each['backend']}" if "backend" in each else "?"),
            each.get("operation") or f"{each['method']} {each['path']}",
            each.get("session_id", ""),
            each.get("evse_id", ""),
            str(each.get("http_status", "")),
            each.get("code", ""),
            f"{1000 * each['seconds']:.0f} ms",
            each.get("error", ""),
        )
        for each in exchanges
    ]
    print_table(_COLUMNS, rows, utc=utc, empty="No exchange is recorded.")
