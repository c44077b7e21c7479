"""Sessions as a table for people, as JSON for programs."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from p2p_oicp.clock import wire_time
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import SessionID
from p2p_oicp.storage import Reader, looking, sessions
from p2p_oicp.storage.lifecycle import State

_HIDDEN = frozenset({"request_digest", "answer", "stop_digest", "stop_answer", "session_key"})
_WIDTH_OF_A_FILE = 160
_TIMES = frozenset({"created_at", "updated_at", "progress_at"})


def newest(file: Path, state: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest sessions, in a state or in any."""
    if state and state not in set(State):
        raise ConfigurationError(f"--state {state}: no such state; expected one of {', '.join(State)}")
    with looking(file) as store:
        return [_members(row) for row in store.rows(sessions.LIST, state_=state, most=limit)]


def stories(file: Path, session_id: str) -> list[dict[str, Any]]:
    """Return a session as each role of this node knows it, with its events."""
    key = SessionID(session_id).key
    with looking(file) as store:
        rows = list(store.rows(sessions.OF_KEY, key_=key))
        return [_members(row) | {"events": _events(store, row["role"], key)} for row in rows]


def as_json(found: object) -> str:
    """Return one JSON list."""
    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()


def print_table(found: Sequence[dict[str, Any]]) -> None:
    """Print one row a session; ids are never cut, so that they can be taken to the next command."""
    table = Table(box=box.SIMPLE)
    for name in ("SessionID", "State", "Kind", "EVSE", "Peer", "Began"):
        table.add_column(name, no_wrap=name in {"SessionID", "State"}, overflow="fold")
    for session in found:
        kind = f"{session['kind']}, as {session['role'].upper()}"
        began = session["created_at"][:19]
        cells = (session["session_id"], session["state"], kind, session["evse_key"], session["peer"], began)
        table.add_row(*cells)
    _console().print(table if found else "No session.", markup=False)


def print_stories(session_id: str, found: Sequence[dict[str, Any]]) -> None:
    """Print each role's view: what is known, then what happened."""
    console = _console()
    if not found:
        console.print(f"{session_id} is no session of this node.", markup=False)
    for story in found:
        table = Table(box=box.SIMPLE, show_header=False, title=f"{story['session_id']}, as {story['role'].upper()}")
        for name, value in story.items():
            if name != "events" and value not in {None, ""}:
                table.add_row(name, str(value))
        console.print(table)
        events = Table("At", "Event", "Message", box=box.SIMPLE)
        for event in story["events"]:
            body = event["message"]
            events.add_row(event["at"], event["event"], "" if body is None else orjson.dumps(body).decode())
        console.print(events, markup=False)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)


def _members(row: sqlite3.Row) -> dict[str, Any]:
    named = {name: row[name] for name in row.keys() if name not in _HIDDEN}  # noqa: SIM118  # a Row iterates values
    times = {name: wire_time(value) for name, value in named.items() if name in _TIMES and value is not None}
    return named | times | {"offline": bool(named["offline"])}


def _events(store: Reader, role: str, key: str) -> list[dict[str, Any]]:
    return [
        {
            "at": wire_time(row["at"]),
            "event": row["event"],
            "message": orjson.loads(row["body"]) if row["body"] else None,
        }
        for row in store.rows(sessions.EVENTS, role_=role, key_=key)
    ]
