"""``p2p-oicp webhooks``: who is sent events; adding, removing and trying receivers. The node must be running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    EventEvseOption,
    EventPartyOption,
    EventPeerOption,
    EventTypeOption,
    JsonOption,
    echo,
    format_json,
)
from p2p_oicp.cli.terminal import Column, print_table

_COLUMNS = (
    Column("Name"),
    Column("URL", 1),
    Column("Events", 2),
    Column("Behind"),
    Column("From", 3),
    Column("Last error", is_detail=True),
)
_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the webhook.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    for name, command in (("list", list_webhooks), ("add", add), ("remove", remove), ("test", try_now)):
        group.command(name)(command)
    app.add_typer(group, name="webhooks", help="Who is sent events, as CloudEvents: receivers, and how far each is.")


def list_webhooks(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show all receivers of events, and how many events each has not got yet."""
    webhooks = client.call_admin(config, "GET", "/admin/v1/webhooks")["webhooks"]
    if as_json:
        echo(format_json(webhooks))
        return
    rows = [
        (
            each["name"],
            each["url"],
            _selection(each),
            str(each["behind"]),
            "node.toml" if each["source"] == "file" else "added",
            each.get("last_error", ""),
        )
        for each in webhooks
    ]
    print_table(_COLUMNS, rows, empty="No webhooks.")


def _selection(webhook: Mapping[str, Any]) -> str:
    names = [value for key in ("types", "peers", "parties", "evses") for value in webhook[key]]
    return ", ".join(names) or "all"


def add(
    name: _NameArgument,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent by POST, http or https.")],
    config: ConfigOption = DEFAULT_CONFIG,
    types: EventTypeOption = None,
    peer: EventPeerOption = None,
    party: EventPartyOption = None,
    evse: EventEvseOption = None,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Events of one request at most; 1: no lists.")] = 100,
    token: Annotated[
        str,
        typer.Option(
            metavar="TOKEN", envvar="P2P_OICP_WEBHOOK_TOKEN", help="Sent as a bearer token; better in the environment."
        ),
    ] = "",
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Requests are not signed.")] = False,
) -> None:
    """Add a receiver, which gets what happens from now on, also after restarts."""
    filters = {"types": types, "peers": peer, "parties": party, "evses": evse}
    members: dict[str, object] = {"name": name, "url": url, "batch": batch, "signature": not unsigned}
    members |= {key: values for key, values in filters.items() if values} | ({"token": token} if token else {})
    client.call_admin(config, "POST", "/admin/v1/webhooks", members)
    echo(f"webhook {name} gets what happens from now on; p2p-oicp webhooks test {name} tries it")


def remove(name: _NameArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Remove a receiver that was added, with its dead letters."""
    client.call_admin(config, "DELETE", f"/admin/v1/webhooks/{quote(name, safe='')}")
    echo(f"webhook {name} removed")


def try_now(name: _NameArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Send a receiver an event `webhook.test` now. Exit code 1: it has not taken it."""
    answer = client.call_admin(config, "POST", f"/admin/v1/webhooks/{quote(name, safe='')}/test", timeout=70.0)
    if answer["taken"]:
        echo(f"webhook {name} has taken event {answer['event']}")
        return
    echo(f"webhook {name} has not taken it: {answer['error']}", err=True)
    raise typer.Exit(1)
