"""``p2p-oicp cdrs``: exporting charge detail records, and fetching those that never arrived.

`export` reads the database directly; `reconcile` asks the running node, which asks its CPO peers.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, parse_date_or_time
from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import ChargeDetailRecord
from p2p_oicp.storage import Row, cdrs, open_readonly

_ROLES = ("", "cpo", "emp")
_CSV_COLUMNS = (
    "Role", "Peer", "ReceivedAt", "ForwardedAt", "SessionID", "CPOPartnerSessionID", "EMPPartnerSessionID", "EvseID",
    "Identification", "PartnerProductID", "SessionStart", "ChargingStart", "ChargingEnd", "SessionEnd",
    "MeterValueStart", "MeterValueEnd", "ConsumedEnergy",
)  # fmt: skip
_SINCE_HELP = "A date (2026-03-01, from midnight UTC) or a time with its offset (2026-03-01T02:00:00+01:00)."


class ExportFormat(StrEnum):
    """The format of an export."""

    JSON = "json"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("export")(export)
    group.command("reconcile")(reconcile)
    app.add_typer(group, name="cdrs", help="Charge detail records.")


def export(
    since: Annotated[str, typer.Option(metavar="TIME", help=f"Records received since then. {_SINCE_HELP}")],
    config: ConfigOption = DEFAULT_CONFIG,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="And before then; absent: until now.")] = None,
    to_format: Annotated[
        ExportFormat, typer.Option("--format", help="json: one list, as received; csv: a table.")
    ] = ExportFormat.JSON,
    role: Annotated[str, typer.Option(metavar="ROLE", help="Only ours as cpo, or only those received as emp.")] = "",
) -> None:
    """Write charge detail records to standard output, for a nightly job; the node may be running."""
    export_filter = CdrExportFilter.from_options(since, until, role)
    write_cdrs(load_settings(config).storage.file, export_filter, to_format)


def reconcile(
    config: ConfigOption = DEFAULT_CONFIG,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Ask for sessions that ended since then. {_SINCE_HELP}")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for the answer.")] = 600.0,
) -> None:
    """Let the running node ask its CPO peers for records that never arrived.

    The exit code is 1 if a peer could not be asked, or if one of its records was rejected.
    """
    payload: dict[str, object] = {"since": format_timestamp(parse_date_or_time(since, "--since"))} if since else {}
    peers = client.call_admin(config, "POST", "/admin/v1/cdrs/reconcile", payload, timeout=timeout)["peers"]
    table = Table("Peer", "Reported", "Imported", "Rejected", "Error", box=box.SIMPLE)
    for peer in peers:
        counts = (str(peer[member]) for member in ("reported", "imported", "rejected"))
        table.add_row(peer["peer"], *counts, peer["error"] or "")
    Console().print(table if peers else "No peer is a CPO's.", markup=False)
    raise typer.Exit(int(any(peer["error"] or peer["rejected"] for peer in peers)))


@dataclass(frozen=True, slots=True)
class CdrExportFilter:
    """Which records: received from ``since`` up to ``until`` (seconds since the epoch), in one role or in both ("")."""

    since: float
    until: float
    role: str

    @classmethod
    def from_options(cls, since: str, until: str | None, role: str) -> Self:
        """Read the options; raise `ConfigurationError`."""
        if role not in _ROLES:
            raise ConfigurationError(f"--role {role}: expected cpo or emp")
        end = parse_date_or_time(until, "--until") if until else time.time()
        return cls(parse_date_or_time(since, "--since"), end, role)


def write_cdrs(file: Path, export_filter: CdrExportFilter, to_format: ExportFormat) -> None:
    """Write the records to standard output, one by one."""
    with open_readonly(file) as store:
        rows = store.rows(cdrs.RECEIVED_BETWEEN, since_=export_filter.since, until_=export_filter.until)
        filtered = (row for row in rows if export_filter.role in {"", row["role"]})
        (_write_csv if to_format is ExportFormat.CSV else _write_json)(filtered)


def _write_json(rows: Iterable[Row]) -> None:
    # By hand: a record stays byte for byte as received, and only one is in memory at a time.
    out = sys.stdout.buffer
    separator = b"[\n"
    for row in rows:
        out.write(separator + row["body"])
        separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")
    out.flush()


def _write_csv(rows: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(_CSV_COLUMNS)
    for row in rows:
        writer.writerow(list(_csv_cells(row, ChargeDetailRecord.from_json(row["body"]))))


def _csv_cells(row: Row, cdr: ChargeDetailRecord) -> Iterator[object]:
    yield from (row["role"], row["peer"], format_timestamp(row["received_at"]))
    yield format_timestamp(row["forwarded_at"]) if row["forwarded_at"] else ""
    yield from (cdr.session_id, cdr.cpo_partner_session_id or "", cdr.emp_partner_session_id or "")
    yield from (cdr.evse_id, cdr.identification.uid or cdr.identification.evco_id or "")
    yield cdr.partner_product_id or ""
    times = (cdr.session_start, cdr.charging_start, cdr.charging_end, cdr.session_end)
    yield from (moment.isoformat() for moment in times)
    meter_values = (cdr.meter_value_start, cdr.meter_value_end, cdr.consumed_energy)
    yield from ("" if value is None else value for value in meter_values)
