"""Letters of the outbox as a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_TITLES = ("ID", "To", "Message", "Session", "State", "Since (UTC)", "Tries", "Next try (UTC)", "Last error")


def print_table(letters: Sequence[Mapping[str, Any]]) -> None:
    """Print one row a letter."""
    if not letters:
        Console().print("Nothing waits, and there are no dead letters.", markup=False)
        return
    table = Table(box=box.SIMPLE)
    for title in _TITLES:
        table.add_column(title, overflow="fold")
    for letter in letters:
        next_try = _time(letter["next_try_at"]) if letter["state"] == "waiting" else ""
        table.add_row(
            str(letter["id"]),
            letter["destination"],
            letter["operation"],
            letter["session_key"],
            letter["state"],
            _time(letter["created_at"]),
            str(letter["attempts"]),
            next_try,
            letter["last_error"] or "",
        )
    Console().print(table, markup=False)


def print_letter(letter: Mapping[str, Any]) -> None:
    """Print one letter, its message last."""
    print_table([letter])
    Console().print(json.dumps(letter["body"], indent=2, ensure_ascii=False), markup=False, soft_wrap=True)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
