"""``p2p-oicp sessions``: the sessions in a node's database, as tables for people and as JSON for programs.

Both commands read the database directly, so they work while the node runs or is down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
import typer

from p2p_oicp.cli.cdrs import cdr_fields, message_fields
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json
from p2p_oicp.cli.terminal import Column, Moment, UtcOption, output_width, print_fields, print_table, print_text
from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import SessionID
from p2p_oicp.storage import Location, ReadOnlyStore, Row, listings, open_readonly, sessions
from p2p_oicp.storage.sessions import SessionState

# What people read instead of the name of a column with its underscores.
_LABELS = {
    "operator_id": "OperatorID",
    "provider_id": "ProviderID",
    "evse_id": "EvseID",
    "cpo_partner_session_id": "CPOPartnerSessionID",
    "emp_partner_session_id": "EMPPartnerSessionID",
    "identification_key": "identification",
    "stop_identification_keys": "stopped also by",
    "id_generated_here": "session opened here",
    "offline": "authorized offline",
}
_PARTS = ("events", "records", "messages")
_COLUMNS = (
    Column("Session"),
    Column("State"),
    Column("Kind", 4),
    Column("EVSE", 1),
    Column("Peer", 2),
    Column("Began", 3),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_sessions)
    group.command("show")(show_session)
    app.add_typer(group, name="sessions", help="The charging sessions in this node's database.")


def list_sessions(
    config: ConfigOption = DEFAULT_CONFIG,
    state: Annotated[
        str, typer.Option(metavar="STATE", help="Only those in this state: requested, authorized, uncertain, ...")
    ] = "",
    peer: Annotated[str, typer.Option(metavar="NAME", help="Only those with this peer.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: JsonOption = False,
    utc: UtcOption = False,
) -> None:
    """Show the newest sessions; the node may be running."""
    matches = newest_sessions(load_settings(config).storage.location, state, limit, peer)
    if as_json:
        echo(format_json(matches))
    else:
        print_sessions(matches, utc=utc)


def show_session(
    session_id: Annotated[str, typer.Argument(metavar="SESSION-ID", help="In any letter case.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show one session with its events; the exit code is 1 if there is none."""
    matches = session_with_events(load_settings(config).storage.location, session_id)
    if as_json:
        echo(format_json(matches))
    else:
        print_session_history(session_id, matches)
    raise typer.Exit(0 if matches else 1)


def newest_sessions(file: Location, state: str, limit: int, peer: str = "") -> list[dict[str, Any]]:
    """Return the newest sessions, in one state or in any, with one peer or with all."""
    if state and state not in set(SessionState):
        raise ConfigurationError(f"--state {state}: no such state; expected one of {', '.join(SessionState)}")
    with open_readonly(file) as store:
        page, parameters = listings.SESSIONS.page(state_=state, peer_=peer, limit=limit)
        return [listings.session_to_json(row) for row in store.rows(page.statement, **parameters)]


def session_with_events(file: Location, session_id: str) -> list[dict[str, Any]]:
    """Return a session with its events, once for each role of this node that takes part in it."""
    key = SessionID(session_id).key
    with open_readonly(file) as store:
        return [_session_to_dict(store, row, key) for row in list(store.rows(sessions.BY_KEY, key_=key))]


def print_sessions(rows: Sequence[dict[str, Any]], *, utc: bool = False) -> None:
    """Print a table with one row for each session."""
    cells = [
        (
            session["session_id"],
            session["state"],
            f"{session['kind']}, as {session['role'].upper()}",
            session["evse_id"] or "",
            session["peer"] or "",
            Moment(datetime.fromisoformat(session["created_at"]).timestamp()),
        )
        for session in rows
    ]
    print_table(_COLUMNS, cells, utc=utc, empty="No session.")


def print_session_history(session_id: str, matches: Sequence[dict[str, Any]]) -> None:
    """Print for each role the session's columns, then its events, each with its whole message."""
    if not matches:
        echo(f"{session_id} is no session of this node.")
    for session in matches:
        echo(f"{session['session_id']}, as {session['role'].upper()}")
        print_fields([*_fields(session)])
        for record in session["records"]:
            print_fields([("CDR", record["state"]), *cdr_fields(record)])
        for message in session["messages"]:
            what = f"{message['state']} for {message['destination']}"
            print_fields([(message["operation"], what), *message_fields(message)])
        for event in session["events"]:
            print_text(event["event"], f"{event['at']}  ")
            if event["message"] is not None:
                _print_message(event["message"])


def _fields(session: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in session.items():
        if name not in {*_PARTS, "role", "session_id"} and value not in {None, ""}:
            text = ("no", "yes")[value] if isinstance(value, bool) else str(value)
            yield _LABELS.get(name, name.replace("_", " ")), text


def _print_message(message: object) -> None:
    """Print a message in one line, or indented where a terminal would break it."""
    line, width = f"  {orjson.dumps(message).decode()}", output_width()
    if width is None or len(line) <= width:
        echo(line)
        return
    for each in format_json(message).splitlines():
        echo(f"  {each}")


def _session_to_dict(store: ReadOnlyStore, row: Row, key: str) -> dict[str, Any]:
    """Return a session with its CDR, what waits because of it, and its events."""
    role = row["role"]
    events = store.rows(sessions.EVENTS, role_=role, key_=key)
    records = [each for each in store.rows(listings.CDRS_OF_SESSION, key_=key) if each["role"] == role]
    messages = [each for each in store.rows(listings.MESSAGES_OF_SESSION, key_=key) if each["role"] == role]
    return {
        **listings.session_to_json(row),
        "records": [listings.cdr_to_json(each) for each in records],
        "messages": [listings.message_to_json(each) for each in messages],
        "events": [listings.session_event_to_json(each) for each in events],
    }
