"""``p2p-oicp ocpi``: objects of OCPI partners, what could not be carried, and CDRs that wait for a person.

`losses` and `held` read the database directly, so they work while the node runs or is down. The others ask the node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json
from p2p_oicp.cli.terminal import Column, print_table
from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.logs import printable
from p2p_oicp.ocpi_gateway.describing import describe_finding, describe_held
from p2p_oicp.storage import open_readonly
from p2p_oicp.storage.ocpi import findings, objects

_PATH = "/admin/v1/ocpi/partners"
# A list of a large partner has thousands of pages.
_PULL_SECONDS = 3600.0
_MAX_LOSSES = 10_000
_HELD_COLUMNS = (
    Column("CDR"),
    Column("Reason"),
    Column("Received", 3),
    Column("EVSE", 2),
    Column("Start", 1),
    Column("kWh", 1),
    Column("Provider", 2),
    Column("Session", 4),
)
_LOSS_COLUMNS = (
    Column("Kind"),
    Column("Object"),
    Column("Code"),
    Column("Place", 2),
    Column("At", 3),
    Column("Message", is_detail=True),
)
_PULL_COLUMNS = (Column("Module"), Column("Objects"), Column("Unreadable"), Column("Gone"))
_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the partner in the settings.")]
_CdrArgument = Annotated[str, typer.Argument(metavar="CDR", help="Id of the CDR, in any letter case.")]


def register_commands(group: typer.Typer) -> None:
    """Add the commands."""
    commands = (
        ("pull", pull),
        ("push", push),
        ("show", show),
        ("losses", losses),
        ("held", held),
        ("assign", assign),
        ("drop", drop),
    )
    for name, command in commands:
        group.command(name)(command)


def pull(
    name: _NameArgument,
    module: Annotated[
        str | None, typer.Argument(metavar="MODULE", help="locations, tariffs, sessions or cdrs; absent: all.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what has changed since, such as 2026-11-10T09:00:00Z.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Read the lists of a partner now, and carry what is new."""
    if since is not None and module is None:
        raise ConfigurationError("--since: expected a MODULE as well")
    given: dict[str, object] = {"module": module, "since": since}
    body = {key: value for key, value in given.items() if value is not None}
    answer = client.call_admin(config, "POST", _path(name, "pull"), body, timeout=_PULL_SECONDS)
    if as_json:
        echo(format_json(answer))
        return
    rows = [tuple(str(each[key]) for key in ("module", "objects", "refused", "removed")) for each in answer["pulled"]]
    print_table(_PULL_COLUMNS, rows, empty="The partner has no lists.")


def push(
    name: _NameArgument,
    module: Annotated[str | None, typer.Argument(metavar="MODULE", help="tokens; absent: all.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Send a partner everything again that it gets from us: the tokens of the EMPs."""
    body: dict[str, object] = {} if module is None else {"module": module}
    answer = client.call_admin(config, "POST", _path(name, "push"), body, timeout=_PULL_SECONDS)
    echo(f"{answer['sent']} objects were sent to {name}")


def show(
    name: _NameArgument,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="location, session, cdr or tariff.")],
    object_id: Annotated[str, typer.Argument(metavar="ID", help="In any letter case.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show what came of a partner, what was made of it, and what was lost."""
    path = _path(name, "objects", kind, object_id)
    echo(format_json(client.call_admin(config, "GET", path)["objects"]))


def losses(name: _NameArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show what could not be carried of a partner's objects, the newest first; the node may be down."""
    settings = load_settings(config, with_secrets=False)
    _check_name(name, settings.ocpi_partners)
    with open_readonly(settings.storage.location) as store:
        rows = store.rows(findings.LIST, partner_=name, limit=_MAX_LOSSES)
        found = [describe_finding(findings.read_finding(row)) for row in rows]
    if as_json:
        echo(format_json(found))
        return
    table = [
        (each["kind"], printable(each["id"]), each["code"], each["pointer"], each["at"], printable(each["message"]))
        for each in found
    ]
    print_table(_LOSS_COLUMNS, table, empty=f"Nothing of {name} was lost.")


def held(name: _NameArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the CDRs of a partner that wait for a person, the oldest first; the node may be down."""
    settings = load_settings(config, with_secrets=False)
    _check_name(name, settings.ocpi_partners)
    with open_readonly(settings.storage.location) as store:
        rows = store.rows(objects.HELD_CDRS, partner_=name)
        found = [describe_held(objects.read_object_row(row)) for row in rows]
    if as_json:
        echo(format_json(found))
        return
    print_table(_HELD_COLUMNS, [_held_row(each) for each in found], empty=f"No CDR of {name} waits for a person.")
    if found:
        echo(f"\nNext: p2p-oicp ocpi assign {name} CDR --session SESSION-ID, or p2p-oicp ocpi drop {name} CDR")


def _held_row(cdr: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("id", "reason", "received_at", "evse_id", "start", "energy", "provider")
    return (*(printable(str(cdr[name])) for name in names), cdr["session_id"] or "")


def assign(
    name: _NameArgument,
    cdr: _CdrArgument,
    session: Annotated[str, typer.Option(metavar="SESSION-ID", help="The session of OICP that it belongs to.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Carry a held CDR as that of a session. The exit code is 1 if it is still held."""
    answer = client.call_admin(config, "POST", _path(name, "held", cdr, "assignment"), {"session_id": session})
    if answer["state"] == "held":
        echo(f"{cdr} is still held: {printable(answer['reason'])}", err=True)
        raise typer.Exit(1)
    echo(f"{cdr} is {answer['state']} as the CDR of {session}")


def drop(name: _NameArgument, cdr: _CdrArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Decide that a held CDR is carried nowhere; it stays stored."""
    client.call_admin(config, "DELETE", _path(name, "held", cdr))
    echo(f"{cdr} is dropped, and stays stored: p2p-oicp ocpi show {name} cdr {cdr}")


def _path(*parts: str) -> str:
    return "/".join((_PATH, *(quote(part, safe="") for part in parts)))


def _check_name(name: str, partners: Sequence[Any]) -> None:
    """Raise ConfigurationError for a partner that is not configured."""
    names = [each.name for each in partners]
    if name not in names:
        raise ConfigurationError(f"{name}: no [[ocpi.partners]] has this name; there is {', '.join(names) or 'none'}")
