"""``p2p-oicp cdrs``: charge detail records, their states, and what people do with them.

`list`, `show` and `export` read the database directly, so they work while the node runs or is down. The others ask the
running node.
"""

from __future__ import annotations

import asyncio
import csv
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote

import msgspec
import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json, parse_date_or_time
from p2p_oicp.cli.progress import show_progress
from p2p_oicp.cli.terminal import Column, Moment, UtcOption, print_fields, print_table
from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import load_settings
from p2p_oicp.delivery.node_protocol import CDR_VERDICT
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.logs import printable
from p2p_oicp.oicp import ChargeDetailRecord, SessionID
from p2p_oicp.storage import Location, Row, cdrs, listings, open_readonly
from p2p_oicp.storage.cdrs import CdrState

_ROLES = ("", "cpo", "emp")
# What of the outbox speaks of a CDR: the record itself, and what our backend says of one that has come.
_OPERATIONS = ("ChargeDetailRecord", CDR_VERDICT)
_CSV_COLUMNS = (
    "Role", "Peer", "ReceivedAt", "ForwardedAt", "State", "Unconfirmed", "SessionID", "CPOPartnerSessionID",
    "EMPPartnerSessionID", "EvseID", "Identification", "PartnerProductID", "SessionStart", "ChargingStart",
    "ChargingEnd", "SessionEnd", "MeterValueStart", "MeterValueEnd", "ConsumedEnergy",
)  # fmt: skip
_SINCE_HELP = "A date (2026-03-01, from midnight UTC) or a time with its offset (2026-03-01T02:00:00+01:00)."


RoleOption = Annotated[str, typer.Option(metavar="ROLE", help="Only ours as cpo, or only those received as emp.")]
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION-ID", help="In any letter case.")]
_COLUMNS = (
    Column("Session"),
    Column("Role", 2),
    Column("Peer", 1),
    Column("Received", 3),
    Column("State"),
    Column("Reason", is_detail=True),
)
_RECONCILE_COLUMNS = (
    Column("Peer"),
    Column("Reported", 1),
    Column("Imported", 1),
    Column("Rejected", 1),
    Column("Error", is_detail=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    for name, command in (
        ("list", list_cdrs),
        ("show", show_cdr),
        ("export", export),
        ("reconcile", reconcile),
        ("retry", retry),
        ("confirm", confirm),
        ("refuse", refuse),
    ):
        group.command(name)(command)
    app.add_typer(group, name="cdrs", help="Charge detail records.")


def list_cdrs(
    config: ConfigOption = DEFAULT_CONFIG,
    state: Annotated[
        CdrState | None, typer.Option(metavar="STATE", help="waiting, delivered, accepted, disputed or dead.")
    ] = None,
    unconfirmed: Annotated[
        bool, typer.Option("--unconfirmed", help="Only those that a person has to confirm.")
    ] = False,
    doubtful: Annotated[bool, typer.Option("--doubtful", help="Only those that something speaks against.")] = False,
    role: RoleOption = "",
    peer: Annotated[str, typer.Option(metavar="NAME", help="Only those of sessions with this peer.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: JsonOption = False,
    utc: UtcOption = False,
) -> None:
    """Show the newest charge detail records and what became of them; the node may be running."""
    filters = {"state_": state or "", "role_": _checked_role(role), "peer_": peer, "limit": limit}
    marks = {name: 1 for name, is_set in (("unconfirmed_", unconfirmed), ("doubtful_", doubtful)) if is_set}
    page, parameters = listings.CDRS.page(None, **filters, **marks)
    with open_readonly(load_settings(config).storage.location) as store:
        rows = list(store.rows(page.statement, **parameters))
    if as_json:
        echo(format_json([listings.cdr_to_json(row) for row in rows]))
        return
    cells = [_table_row(row) for row in rows]
    print_table(_COLUMNS, cells, utc=utc, empty="No such charge detail record.")


def _table_row(row: Row) -> tuple[str | Moment, ...]:
    names = {"unconfirmed": row["unconfirmed"], "doubtful": row["doubts"]}
    state = ", ".join([row["state"], *(name for name, is_set in names.items() if is_set)])
    verdict = f"{row['verdict_code'] or ''} {row['verdict_text'] or ''}".strip()
    reason = "; ".join(filter(None, (verdict, row["doubts"])))
    return row["session_key"], row["role"], row["peer"] or "?", Moment(row["received_at"]), state, reason


def show_cdr(session_id: SessionArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show one charge detail record: its state, what was said of it, and the record as it came."""
    matches = cdrs_of_session(load_settings(config).storage.location, session_id)
    if not matches:
        raise ConfigurationError(f"this node has no charge detail record of session {session_id}")
    if as_json:
        echo(format_json(matches))
        return
    for each in matches:
        echo(f"{each['session_id']}, as {each['role'].upper()}")
        print_fields([("state", each["state"]), *cdr_fields(each)])
        for message in each["messages"]:
            print_fields([("waits for", message["destination"]), *message_fields(message)])
        echo(format_json(each["record"]))


def cdrs_of_session(file: Location, session_id: str) -> list[dict[str, Any]]:
    """Return the CDR of a session, once for each role, with how its delivery goes, and with the record as it came."""
    key = SessionID(session_id).key
    with open_readonly(file) as store:
        messages = [listings.message_to_json(row) for row in store.rows(listings.MESSAGES_OF_SESSION, key_=key)]
        rows = list(store.rows(listings.CDRS_OF_SESSION, key_=key))
    return [
        {
            **listings.cdr_to_json(row),
            "messages": [each for each in messages if each["role"] == row["role"] and each["operation"] in _OPERATIONS],
            "record": msgspec.Raw(row["body"]),
        }
        for row in rows
    ]


def cdr_fields(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return what is known of a CDR beside its state, with labels for people."""
    for name, value in record.items():
        if name not in {"session_id", "role", "state", "messages", "record"} and value not in {None, ""}:
            yield name.replace("_", " "), ("no", "yes")[value] if isinstance(value, bool) else str(value)


def message_fields(message: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return how the delivery of a message goes, with labels for people."""
    for name in ("waiting_since", "tries", "last_error", "next_try"):
        if message[name] is not None:
            yield name.replace("_", " "), str(message[name])


def retry(session_id: SessionArgument, config: ConfigOption = DEFAULT_CONFIG, role: RoleOption = "") -> None:
    """Send a record again: as the CPO to the peer, as the EMP to our own backend, whose verdict is told anew."""
    _act(config, session_id, "retry", role=role)


def confirm(
    session_id: SessionArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    role: RoleOption = "",
    peer: Annotated[str, typer.Option(metavar="NAME", help="Whose session it was, where nobody knows it.")] = "",
) -> None:
    """Confirm an unconfirmed record: that its session took place, though restores have lost it on both sides."""
    _act(config, session_id, "confirm", role=role, peer=peer)


def refuse(
    session_id: SessionArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    role: RoleOption = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What the partner is told.")] = "",
) -> None:
    """Refuse an unconfirmed record: it is disputed, and the CPO is told."""
    _act(config, session_id, "refuse", role=role, reason=reason)


def _act(config: Path, session_id: str, action: str, **options: str) -> None:
    path = f"/admin/v1/cdrs/{quote(session_id, safe='')}/{action}"
    echo(client.call_admin(config, "POST", path, {**options})["done"])


def _checked_role(role: str) -> str:
    if role not in _ROLES:
        raise ConfigurationError(f"--role {role}: expected cpo or emp")
    return role


def export(
    since: Annotated[str, typer.Option(metavar="TIME", help=f"Records received since then. {_SINCE_HELP}")],
    config: ConfigOption = DEFAULT_CONFIG,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="And before then; absent: until now.")] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="A table; absent: one list as JSON, each record as received.")
    ] = False,
    role: RoleOption = "",
) -> None:
    """Write charge detail records to standard output, for a nightly job; the node may be running."""
    export_filter = CdrExportFilter.from_options(since, until, role)
    write_cdrs(load_settings(config).storage.location, export_filter, as_csv=as_csv)


def reconcile(
    config: ConfigOption = DEFAULT_CONFIG,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Ask for sessions that ended since then. {_SINCE_HELP}")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for the answer.")] = 600.0,
    as_json: JsonOption = False,
) -> None:
    """Let the running node ask its CPO peers for records that never arrived.

    The exit code is 1 if a peer could not be asked, or if one of its records was rejected.
    """
    payload: dict[str, object] = {"since": format_timestamp(parse_date_or_time(since, "--since"))} if since else {}
    peers = asyncio.run(reconcile_with_peers(client.ApiEndpoint.from_settings(config), payload, timeout))
    if as_json:
        echo(format_json(peers))
    else:
        rows = [
            (peer["peer"], *(str(peer[name]) for name in ("reported", "imported", "rejected")), peer["error"] or "")
            for peer in peers
        ]
        print_table(_RECONCILE_COLUMNS, rows, empty="No peer is a CPO's.")
    raise typer.Exit(int(any(peer["error"] or peer["rejected"] for peer in peers)))


async def reconcile_with_peers(
    endpoint: client.ApiEndpoint, payload: dict[str, object], timeout_seconds: float
) -> list[dict[str, Any]]:
    """Let the node ask its CPO peers, all at the same time, and show how many have answered."""
    peers = (await client.send_to_admin(endpoint, "GET", "/admin/v1/peers"))["peers"]
    names = [peer["name"] for peer in peers if peer["operators"] or peer["default_route"]]
    with show_progress("Asking the CPO peers", total=len(names), unit="peers") as advance:

        async def ask(name: str) -> list[dict[str, Any]]:
            path, options = "/admin/v1/cdrs/reconcile", payload | {"peer": name}
            response = await client.send_to_admin(endpoint, "POST", path, options, timeout=timeout_seconds)
            advance(1)
            return list(response["peers"])

        results = await asyncio.gather(*map(ask, names))
    return [result for of_peer in results for result in of_peer]


@dataclass(frozen=True, slots=True)
class CdrExportFilter:
    """Which records: received from ``since`` up to ``until`` (seconds since the epoch), in one role or in both ("")."""

    since: float
    until: float
    role: str

    @classmethod
    def from_options(cls, since: str, until: str | None, role: str) -> Self:
        """Read the options; raise `ConfigurationError`."""
        _checked_role(role)
        end = parse_date_or_time(until, "--until") if until else time.time()
        return cls(parse_date_or_time(since, "--since"), end, role)


def write_cdrs(file: Location, export_filter: CdrExportFilter, *, as_csv: bool) -> None:
    """Write the records to standard output, one by one."""
    bounds = {"since_": export_filter.since, "until_": export_filter.until}
    with open_readonly(file) as store:
        total = next(store.rows(cdrs.COUNT_RECEIVED_BETWEEN, **bounds))["records"]
        with show_progress("Exporting", total=total, unit="records") as advance:
            rows = _counted(store.rows(cdrs.RECEIVED_BETWEEN, **bounds), advance)
            filtered = (row for row in rows if export_filter.role in {"", row["role"]})
            (_write_csv if as_csv else _write_json)(filtered)


def _counted(rows: Iterable[Row], advance: Callable[[float], None]) -> Iterator[Row]:
    for row in rows:
        yield row
        advance(1)


def _write_json(rows: Iterable[Row]) -> None:
    # By hand: a record stays byte for byte as received, and only one is in memory at a time.
    out = sys.stdout.buffer
    for_a_person = sys.stdout.isatty()
    separator = b"[\n"
    for row in rows:
        body = printable(row["body"].decode(), keep="\n\t").encode() if for_a_person else row["body"]
        out.write(separator + body)
        separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")
    out.flush()


def _write_csv(rows: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(_CSV_COLUMNS)
    for row in rows:
        writer.writerow(
            [listings.csv_cell(cell) for cell in _csv_cells(row, ChargeDetailRecord.from_json(row["body"]))]
        )


def _csv_cells(row: Row, cdr: ChargeDetailRecord) -> Iterator[object]:
    yield from (row["role"], row["peer"], format_timestamp(row["received_at"]))
    yield format_timestamp(row["forwarded_at"]) if row["forwarded_at"] else ""
    yield from (row["state"], "yes" if row["unconfirmed"] else "")
    yield from (cdr.session_id, cdr.cpo_partner_session_id or "", cdr.emp_partner_session_id or "")
    yield from (cdr.evse_id, cdr.identification.uid or cdr.identification.evco_id or "")
    yield cdr.partner_product_id or ""
    times = (cdr.session_start, cdr.charging_start, cdr.charging_end, cdr.session_end)
    yield from (moment.isoformat() for moment in times)
    meter_values = (cdr.meter_value_start, cdr.meter_value_end, cdr.consumed_energy)
    yield from ("" if value is None else value for value in meter_values)
