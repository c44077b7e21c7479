"""The built-in whitelist, from the command line.

``p2p-oicp tokens``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from p2p_oicp.cli.common import ConfigOption, JsonOption
from p2p_oicp.clock import format_timestamp
from p2p_oicp.crypto.pins import hash_pin
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import UID, EvcoID
from p2p_oicp.storage import open_for_change, open_readonly, tokens
from p2p_oicp.storage.tokens import Token


def parse_tokens(texts: Iterable[str], pin: str | None = None) -> Iterator[Token]:
    """Return what the texts are: UIDs or EvcoIDs; raise `ConfigurationError`."""
    for text in texts:
        yield Token(_validated_key(text, pin), text, hash_pin(pin) if pin else None)


def read_token_file(file: str | None) -> Iterator[Token]:
    """Read a file of tokens, with the PIN behind a comma; raise `ConfigurationError` that names the line."""
    if file is None:
        return
    try:
        lines = (sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        token, _, pin = (part.strip() for part in line.partition(","))
        if token:
            try:
                yield from parse_tokens([token], pin or None)
            except ConfigurationError as error:
                raise ConfigurationError(f"{file}, line {number}: {error}") from error


def add_tokens(file: Path, new_tokens: Sequence[Token]) -> None:
    """Put all tokens on the list, or none; raise `ConfigurationError` where there are none."""
    if not new_tokens:
        raise ConfigurationError("expected a token, or --from FILE")
    now = time.time()
    with open_for_change(file) as tx:
        for token in new_tokens:
            tokens.upsert_token(tx, token, now)


def remove_tokens(file: Path, texts: Sequence[str]) -> list[str]:
    """Take tokens off the list; return those that were not on it."""
    with open_for_change(file) as tx:
        return [text for text in texts if not tokens.delete_token(tx, _validated_key(text))]


def print_tokens(file: Path, *, as_json: bool) -> None:
    """Print the list."""
    with open_readonly(file) as store:
        entries = [
            {"token": row["token"], "pin": bool(row["has_pin"]), "added_at": format_timestamp(row["added_at"])}
            for row in store.rows(tokens.ALL_TOKENS)
        ]
    if as_json:
        sys.stdout.write(orjson.dumps(entries, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    table = Table("Token", "PIN", "Added", box=box.SIMPLE)
    for entry in entries:
        table.add_row(str(entry["token"]), "yes" if entry["pin"] else "", str(entry["added_at"]))
    Console().print(table if entries else "No token yet: p2p-oicp tokens add UID", markup=False)


def _validated_key(text: str, pin: str | None = None) -> str:
    uid, evco_id = UID(text), EvcoID(text)
    if uid.is_valid or UID(text.upper()).is_valid:
        if pin:
            raise ConfigurationError(f"{text}: a card has no PIN; only an EvcoID has")
        return uid.key
    if evco_id.is_valid:
        return evco_id.key
    raise ConfigurationError(f"{text}: is neither a UID (8, 14 or 20 hex digits) nor an EvcoID (DE-GDF-C12345678-X)")


_FILE_HELP = "One token a line, an EvcoID's PIN behind a comma; - reads standard input."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_tokens)
    group.command("remove")(remove)
    app.add_typer(group, name="tokens", help="The drivers of an EMP that has no contract system.")


def add(
    tokens: Annotated[list[str] | None, typer.Argument(metavar="[TOKEN]...", help="UIDs of cards, EvcoIDs.")] = None,
    config: ConfigOption = Path("node.toml"),
    pin: Annotated[bool, typer.Option("--pin", help="Ask for a PIN; it is kept as a bcrypt hash.")] = False,
    file: Annotated[str | None, typer.Option("--from", metavar="FILE", help=_FILE_HELP)] = None,
) -> None:
    """Let drivers charge; a running node knows them at once. A token that is there already is replaced."""
    # import of own module
    from p2p_oicp.config import load_settings

    secret = typer.prompt("PIN", hide_input=True) if pin else None
    parsed = [*parse_tokens(tokens or [], secret), *read_token_file(file)]
    add_tokens(load_settings(config).storage.file, parsed)
    typer.echo(f"{len(parsed)} added")


def list_tokens(config: ConfigOption = Path("node.toml"), as_json: JsonOption = False) -> None:
    """Show who may charge; PINs are not shown."""
    # import of own module
    from p2p_oicp.config import load_settings

    print_tokens(load_settings(config).storage.file, as_json=as_json)


def remove(
    tokens: Annotated[list[str], typer.Argument(metavar="TOKEN...", help="UIDs of cards, EvcoIDs.")],
    config: ConfigOption = Path("node.toml"),
) -> None:
    """Let these drivers charge no more; the exit code is 1 if one of them was not on the list."""
    # import of own module
    from p2p_oicp.config import load_settings

    missing = remove_tokens(load_settings(config).storage.file, tokens)
    for token in missing:
        typer.echo(f"{token} was not on the list", err=True)
    raise typer.Exit(int(bool(missing)))
