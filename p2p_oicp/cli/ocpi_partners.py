"""``p2p-oicp ocpi``: systems that roam by OCPI, and their registration, at a running node (`partners`: at any)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json, parse_duration
from p2p_oicp.cli.terminal import Column, print_table
from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError, reason_of
from p2p_oicp.ocpi_gateway.listing import describe_in_file

_PATH = "/admin/v1/ocpi/partners"
# Versions, details and credentials, each with a deadline of its own.
_TIMEOUT_SECONDS = 60.0
_COLUMNS = (
    Column("Name"),
    Column("Face", 3),
    Column("State"),
    Column("Parties", 1),
    Column("As", 2),
    Column("Last success", 4),
    Column("Waiting"),
    Column("Held"),
    Column("Dropped", 5),
    Column("Lacks", is_detail=True),
    Column("Last error", is_detail=True),
)
_STDIN = "-"
_NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the partner in the settings.")]
_UrlOption = Annotated[str | None, typer.Option("--url", metavar="URL", help="Of its versions, as the partner says.")]


def register_commands(group: typer.Typer) -> None:
    """Add the commands."""
    commands = (
        ("partners", partners),
        ("invite", invite),
        ("register", register_with),
        ("refresh", refresh),
        ("unregister", unregister),
    )
    for name, command in commands:
        group.command(name)(command)


def partners(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show all systems that roam by OCPI, and how each is; the node may be down."""
    settings = load_settings(config, with_secrets=False)
    rows = describe_in_file(settings) if settings.ocpi_partners else []
    if as_json:
        echo(format_json(rows))
        return
    print_table(_COLUMNS, [_row(each) for each in rows], empty="No OCPI partners; a table [[ocpi.partners]] is one.")


def _row(partner: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        partner["name"],
        partner["face"],
        "not registered" if partner["state"] == "none" else partner["state"],
        ", ".join(partner["parties"]),
        ", ".join(f"{each['country_code']}*{each['party_id']}" for each in partner["presented"])
        or ", ".join(partner["as"]),
        partner["last_success"] or "never",
        *(str(partner[name]) for name in ("waiting", "held", "dropped")),
        ", ".join(partner["missing"]),
        partner["last_error"],
    )


def invite(
    name: _NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    ttl: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long the token lives, such as 7d; else invitation_ttl.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token (CREDENTIALS_TOKEN_A) by which a partner registers with us. It is shown once."""
    body: dict[str, object] = {} if ttl is None else {"ttl": parse_duration(ttl, "--ttl")}
    answer = client.call_admin(config, "POST", f"{_PATH}/{quote(name, safe='')}/invitation", body)
    if as_json:
        echo(format_json(answer))
        return
    echo(f"Versions URL: {answer['versions_url']}")
    echo(f"Token A:      {answer['token']}")
    echo()
    echo(
        "For the partner: please register with us by OCPI 2.2.1. Read our versions at the URL above with the header\n"
        "`Authorization: Token BASE64`, BASE64 being the token in base64, and send your credentials by POST to the\n"
        f"endpoint of the module credentials. The token can be used once, until {answer['expires']}."
    )


def register_with(
    name: _NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    url: _UrlOption = None,
    token_file: Annotated[
        str,
        typer.Option(metavar="FILE", help="File with the token that the partner has given us; - : standard input."),
    ] = _STDIN,
    provisioned: Annotated[
        bool,
        typer.Option("--provisioned", help="Both tokens were exchanged by hand: no credentials are sent (CitrineOS)."),
    ] = False,
    own_token_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="With --provisioned: file with the token that the partner sends; else a new one."
        ),
    ] = None,
) -> None:
    """Register with a partner that has invited us. Its token is read from a file or standard input."""
    if own_token_file is not None and not provisioned:
        raise ConfigurationError("--own-token-file: expected --provisioned as well; else the token is a new one")
    body: dict[str, object] = {"token": _read_token(token_file), **({"url": url} if url else {})}
    if provisioned:
        body["provisioned"] = True
    if own_token_file is not None:
        body["own_token"] = _read_token(own_token_file)
    path = f"{_PATH}/{quote(name, safe='')}/registration"
    answer = client.call_admin(config, "POST", path, body, timeout=_TIMEOUT_SECONDS)
    _print_registered(f"{name} is registered", answer)
    if token := answer.get("token"):
        echo(f"The token that {name} sends, shown once: {token}")


def refresh(name: _NameArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Exchange tokens and endpoints with a partner anew; one that was suspended goes on."""
    path = f"{_PATH}/{quote(name, safe='')}/refresh"
    _print_registered(f"{name} has new credentials", client.call_admin(config, "POST", path, timeout=_TIMEOUT_SECONDS))


def _print_registered(text: str, answer: Mapping[str, Any]) -> None:
    echo(f"{text}: OCPI {answer['version']}")
    if answer["missing"]:
        echo(f"It lacks {', '.join(answer['missing'])}: what needs them is disabled.")


def unregister(
    name: _NameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    forget: Annotated[bool, typer.Option("--forget", help="Delete all of its objects as well.")] = False,
) -> None:
    """End the registration or invitation of a partner, also if it does not answer."""
    path = f"{_PATH}/{quote(name, safe='')}/registration?forget={'true' if forget else 'false'}"
    answer = client.call_admin(config, "DELETE", path, timeout=_TIMEOUT_SECONDS)
    echo(f"{name} is registered no more" + (", and its objects are deleted" if forget else ""))
    if error := answer.get("error"):
        echo(f"The partner was not reached, and may not know: {error}", err=True)


def _read_token(file: str) -> str:
    """Return the token in a file, or of standard input; raise `ConfigurationError`."""
    try:
        if file == _STDIN:
            if sys.stdin.isatty():
                echo("Reading the token from standard input; Ctrl-D ends it.", err=True)
            token = sys.stdin.read().strip()
        else:
            token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{file}: cannot be read: {reason_of(exc)}; expected a file with a token") from exc
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{file}: expected one token, of printable characters without blanks")
    return token
