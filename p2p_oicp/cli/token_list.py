"""The built-in whitelist, from the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from p2p_oicp.clock import wire_time
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity.pins import hash_pin
from p2p_oicp.oicp import UID, EvcoID
from p2p_oicp.storage import changing, looking, tokens
from p2p_oicp.storage.tokens import Token


def of_texts(texts: Iterable[str], pin: str | None = None) -> Iterator[Token]:
    """Return what the texts are: UIDs or EvcoIDs; raise `ConfigurationError`."""
    for text in texts:
        yield Token(_key(text, pin), text, hash_pin(pin) if pin else None)


def of_file(file: str | None) -> Iterator[Token]:
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
                yield from of_texts([token], pin or None)
            except ConfigurationError as error:
                raise ConfigurationError(f"{file}, line {number}: {error}") from error


def add(file: Path, given: Sequence[Token]) -> None:
    """Put all tokens on the list, or none; raise `ConfigurationError` where there are none."""
    if not given:
        raise ConfigurationError("expected a token, or --from FILE")
    now = time.time()
    with changing(file) as tx:
        for token in given:
            tokens.put(tx, token, now)


def remove(file: Path, texts: Sequence[str]) -> list[str]:
    """Take tokens off the list; return those that were not on it."""
    with changing(file) as tx:
        return [text for text in texts if not tokens.remove(tx, _key(text))]


def show(file: Path, *, as_json: bool) -> None:
    """Print the list."""
    with looking(file) as store:
        found = [
            {"token": row["token"], "pin": bool(row["has_pin"]), "added_at": wire_time(row["added_at"])}
            for row in store.rows(tokens.ALL)
        ]
    if as_json:
        sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    table = Table("Token", "PIN", "Added", box=box.SIMPLE)
    for token in found:
        table.add_row(str(token["token"]), "yes" if token["pin"] else "", str(token["added_at"]))
    Console().print(table if found else "No token yet: p2p-oicp tokens add UID", markup=False)


def _key(text: str, pin: str | None = None) -> str:
    uid, evco_id = UID(text), EvcoID(text)
    if uid.is_valid or UID(text.upper()).is_valid:
        if pin:
            raise ConfigurationError(f"{text}: a card has no PIN; only an EvcoID has")
        return uid.key
    if evco_id.is_valid:
        return evco_id.key
    raise ConfigurationError(f"{text}: is neither a UID (8, 14 or 20 hex digits) nor an EvcoID (DE-GDF-C12345678-X)")
