"""``p2p-oicp outbox``: pending, held and dead-lettered messages; sending them again, moving or discarding them.

`list` and `show` read the database directly, so they work while the node is down. `retry`, `move` and `drop` go through
the admin API: the running node has to wake its dispatcher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import orjson
import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json
from p2p_oicp.cli.terminal import Column, Moment, UtcOption, print_table
from p2p_oicp.config import Settings, load_settings
from p2p_oicp.config.backends import destination_of
from p2p_oicp.errors import ConfigurationError, PeerUnreachable
from p2p_oicp.storage import outbox, outbox_lists, peer_state, query_once
from p2p_oicp.storage.statements import list_parameter

_COLUMNS = (
    Column("ID"),
    Column("To", 1),
    Column("Message", 2),
    Column("Session"),
    Column("State"),
    Column("Since", 3),
    Column("Tries", 5),
    Column("Next try", 4),
    Column("Last error", is_detail=True),
)
_MessageNumber = Annotated[
    int, typer.Argument(metavar="ID", min=1, help="Number of the message, as `outbox list` shows it.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    for name, command in (
        ("list", list_messages),
        ("show", show),
        ("retry", retry),
        ("move", move),
        ("drop", drop),
    ):
        group.command(name)(command)
    app.add_typer(
        group,
        name="outbox",
        help="Messages that wait for peers and our own backends; held and dead-lettered ones.",
    )


def list_messages(
    config: ConfigOption = DEFAULT_CONFIG,
    dead: Annotated[bool, typer.Option("--dead", help="Only dead-lettered messages.")] = False,
    held: Annotated[bool, typer.Option("--held", help="Only those for a backend that is configured no more.")] = False,
    to: Annotated[str, typer.Option(metavar="NAME", help="Only for this peer, or for `backend:NAME`.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 100,
    as_json: JsonOption = False,
    utc: UtcOption = False,
) -> None:
    """Show pending messages, and held and dead-lettered ones with the reason; the node may be down."""
    settings = load_settings(config)
    if dead and held:
        raise ConfigurationError("expected --dead or --held, not both")
    state = outbox.DEAD if dead else outbox.HELD if held else ""
    parameters = {"state_": state, "destination_": to, "limit": limit, "backends": _destinations(settings)}
    page, parameters = outbox_lists.MESSAGES.page(None, **parameters)
    messages = [dict(row) for row in query_once(settings.storage.location, page.statement, **parameters)]
    if as_json:
        echo(format_json(messages))
        return
    print_messages(messages, utc=utc)
    print_held_parties(config)
    # Datasets have no messages: nothing waits here while replication fails.
    for row in query_once(settings.storage.location, peer_state.FAILING):
        echo(f"Fails: {row['name']}: {row['last_error']} (see p2p-oicp status)", err=True)


def print_held_parties(config: Path) -> None:
    """Print which parties are held up at peers: their records wait in no outbox (RULES L18)."""
    try:
        peers = client.call_admin(config, "GET", "/admin/v1/peers")["peers"]
    except PeerUnreachable:
        return  # the node does not run: only it knows
    for peer in peers:
        if peer["held"]:
            echo(f"held: {peer['held']}", err=True)


def show(number: _MessageNumber, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show one message with its body."""
    settings = load_settings(config)
    rows = query_once(settings.storage.location, outbox_lists.SHOW, id_=number, backends=_destinations(settings))
    if not rows:
        raise ConfigurationError(f"there is no message {number} in the outbox; see `p2p-oicp outbox list`")
    message = {**dict(rows[0]), "body": orjson.loads(rows[0]["body"])}
    if as_json:
        echo(format_json(message))
    else:
        print_messages([message])
        echo(format_json(message["body"]))


def retry(
    number: Annotated[int | None, typer.Argument(metavar="[ID]", min=1, help="Number of the message.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    all_dead: Annotated[bool, typer.Option("--dead", help="All dead-lettered messages instead of one.")] = False,
    to: Annotated[str, typer.Option(metavar="NAME", help="With --dead: only those for this peer.")] = "",
) -> None:
    """Send a message again now, also a dead-lettered one; the node must be running."""
    if (number is None) != all_dead:
        raise ConfigurationError("name one message by its number, or all dead-lettered ones with --dead")
    path = f"retry?destination={quote(to)}" if number is None else f"{number}/retry"
    response = client.call_admin(config, "POST", f"/admin/v1/outbox/{path}")
    echo(f"{response['requeued']} to be sent again now")


def move(
    to: Annotated[str, typer.Option(metavar="NAME", help="The contract system of ours that gets them.")],
    number: Annotated[int | None, typer.Argument(metavar="[ID]", min=1, help="Number of one message.")] = None,
    source: Annotated[str, typer.Option("--from", metavar="NAME", help="All messages of this backend.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Give messages of one backend to another: one, all of a backend, or all that are held. The node must run."""
    if number is not None and source:
        raise ConfigurationError("name one message by its number, or a backend with --from, not both")
    query = {"to": to, **({"id": number} if number is not None else {}), **({"from": source} if source else {})}
    response = client.call_admin(config, "POST", f"/admin/v1/outbox/move?{urlencode(query)}")
    echo(f"{response['moved']} moved to {response['to']}")


def drop(number: _MessageNumber, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Discard a message for good; the node must be running."""
    client.call_admin(config, "DELETE", f"/admin/v1/outbox/{number}")
    echo(f"message {number} discarded (noted in the session history)")


def _destinations(settings: Settings) -> str:
    """Return the destinations of our contract systems, as a list parameter."""
    return list_parameter(
        destination_of(backend.name) for backend in settings.all_backends() if backend.serves_role("emp")
    )


def print_messages(messages: Sequence[Mapping[str, Any]], *, utc: bool = False) -> None:
    """Print a table with one row for each message."""
    rows = [
        (
            str(message["id"]),
            message["destination"],
            message["operation"],
            message["session_key"],
            message["state"],
            Moment(message["created_at"]),
            str(message["attempts"]),
            Moment(message["next_try_at"] if message["state"] == "waiting" else None),
            message["last_error"] or "",
        )
        for message in messages
    ]
    print_table(_COLUMNS, rows, utc=utc, empty="No pending or dead-lettered messages.")
