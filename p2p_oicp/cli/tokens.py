"""``p2p-oicp tokens``: the token list of an EMP without a contract system.

The commands change the database directly; a running node reads the list at each authorization, so it needs no signal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json
from p2p_oicp.cli.terminal import Column, Moment, UtcOption, print_table
from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import load_settings
from p2p_oicp.crypto.pins import hash_pin
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.storage import Location, open_for_change, open_readonly, tokens
from p2p_oicp.storage.tokens import Token

_FILE_HELP = "One token a line, an EvcoID's PIN behind a comma; - reads standard input."
_TOKENS_HELP = "UIDs of RFID cards, EvcoIDs."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_tokens)
    group.command("remove")(remove)
    app.add_typer(group, name="tokens", help="The token list of an EMP that has no contract system.")


def add(
    tokens: Annotated[list[str] | None, typer.Argument(metavar="[TOKEN]...", help=_TOKENS_HELP)] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    pin: Annotated[bool, typer.Option("--pin", help="Ask for a PIN; only its bcrypt hash is stored.")] = False,
    file: Annotated[str | None, typer.Option("--from", metavar="FILE", help=_FILE_HELP)] = None,
) -> None:
    """Authorize tokens, effective at once in a running node. A token that is listed already is replaced."""
    secret = _ask_pin() if pin else None
    parsed = [*parse_tokens(tokens or [], secret), *read_token_file(file)]
    settings = load_settings(config)
    add_tokens(settings.storage.location, parsed)
    echo(f"{len(parsed)} added")
    if not settings.node.providers:
        echo(f"{config}: [node] has no providers: without a ProviderID this node authorizes nobody", err=True)


def list_tokens(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False, utc: UtcOption = False) -> None:
    """Show the authorized tokens; PINs are not shown."""
    print_tokens(load_settings(config).storage.location, as_json=as_json, utc=utc)


def remove(
    tokens: Annotated[list[str], typer.Argument(metavar="TOKEN...", help=_TOKENS_HELP)],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Revoke tokens; the exit code is 1 if one of them was not on the list."""
    missing = remove_tokens(load_settings(config).storage.location, tokens)
    for token in missing:
        echo(f"{token} was not on the list", err=True)
    echo(f"{len(tokens) - len(missing)} revoked")
    raise typer.Exit(int(bool(missing)))


def parse_tokens(texts: Iterable[str], pin: str | None = None) -> Iterator[Token]:
    """Return the tokens of texts that are UIDs or EvcoIDs; raise `ConfigurationError`."""
    for text in texts:
        yield Token(tokens.key_of(text, has_pin=bool(pin)), text, hash_pin(pin) if pin else None)


def read_token_file(file: str | None) -> Iterator[Token]:
    """Read a file of tokens, each with an optional PIN behind a comma; raise `ConfigurationError` naming the line."""
    if file is None:
        return
    try:
        lines = (sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")).splitlines()
    except OSError as exc:
        raise ConfigurationError(f"{file}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{file}: not UTF-8 text (byte {exc.start}); save it as UTF-8") from exc
    for number, line in enumerate(lines, 1):
        token, _, pin = (part.strip() for part in line.partition(","))
        if token:
            try:
                yield from parse_tokens([token], pin or None)
            except ConfigurationError as exc:
                raise ConfigurationError(f"{file}, line {number}: {exc}") from exc


def add_tokens(file: Location, new_tokens: Sequence[Token]) -> None:
    """Insert or replace all tokens, or none; raise `ConfigurationError` if there are none."""
    if not new_tokens:
        raise ConfigurationError("expected a token, or --from FILE")
    now = time.time()
    with open_for_change(file) as tx:
        for token in new_tokens:
            tokens.upsert_token(tx, token, now)


def remove_tokens(file: Location, texts: Sequence[str]) -> list[str]:
    """Delete tokens; return those that were not on the list."""
    with open_for_change(file) as tx:
        return [text for text in texts if not tokens.delete_token(tx, tokens.key_of(text))]


def print_tokens(file: Location, *, as_json: bool, utc: bool = False) -> None:
    """Print the list as a table, or as JSON."""
    with open_readonly(file) as store:
        listed = [(row["token"], bool(row["has_pin"]), row["added_at"]) for row in store.rows(tokens.ALL_TOKENS)]
    if as_json:
        entries = [
            {"token": token, "pin": has_pin, "added_at": format_timestamp(added_at)}
            for token, has_pin, added_at in listed
        ]
        echo(format_json(entries))
        return
    rows = [(token, "yes" if has_pin else "", Moment(added_at)) for token, has_pin, added_at in listed]
    columns = (Column("Token"), Column("PIN", 2), Column("Added", 1))
    print_table(columns, rows, utc=utc, empty="No token yet: p2p-oicp tokens add UID")


def _ask_pin() -> str:
    # Without a terminal, getpass would warn with a Python traceback line and echo what is typed.
    if not sys.stdin.isatty():
        raise ConfigurationError("--pin asks at a terminal; use --from FILE, with the PIN behind a comma")
    return str(typer.prompt("PIN", hide_input=True))
