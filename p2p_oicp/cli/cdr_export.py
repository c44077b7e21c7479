"""What ``p2p-oicp cdrs export`` writes: the records as they came, or a table of what a person bills by."""

from __future__ import annotations

import csv
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from p2p_oicp.cli.times import seconds_of
from p2p_oicp.clock import wire_time
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import ChargeDetailRecord
from p2p_oicp.storage import cdrs, looking

_ROLES = ("", "cpo", "emp")
_COLUMNS = (
    "Role", "Peer", "ReceivedAt", "ForwardedAt", "SessionID", "CPOPartnerSessionID", "EMPPartnerSessionID", "EvseID",
    "Identification", "PartnerProductID", "SessionStart", "ChargingStart", "ChargingEnd", "SessionEnd",
    "MeterValueStart", "MeterValueEnd", "ConsumedEnergy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: received in a time (seconds since the epoch), in a role or in both."""

    since: float
    until: float
    role: str

    @classmethod
    def of(cls, since: str, until: str | None, role: str) -> Self:
        """Read the options; raise `ConfigurationError`."""
        if role not in _ROLES:
            raise ConfigurationError(f"--role {role}: expected cpo or emp")
        return cls(seconds_of(since, "--since"), seconds_of(until, "--until") if until else time.time(), role)


def write(file: Path, wanted: Wanted, to_format: str) -> None:
    """Write to standard output, record by record."""
    with looking(file) as store:
        rows = store.rows(cdrs.SINCE, since_=wanted.since, until_=wanted.until)
        found = (row for row in rows if wanted.role in {"", row["role"]})
        (_write_csv if to_format == "csv" else _write_json)(found)


def _write_json(found: Iterable[sqlite3.Row]) -> None:
    out = sys.stdout.buffer
    before = b"[\n"
    for row in found:
        out.write(before + row["body"])
        before = b",\n"
    out.write(b"[]\n" if before == b"[\n" else b"\n]\n")
    out.flush()


def _write_csv(found: Iterable[sqlite3.Row]) -> None:
    table = csv.writer(sys.stdout)
    table.writerow(_COLUMNS)
    for row in found:
        table.writerow(list(_cells(row, ChargeDetailRecord.from_json(row["body"]))))


def _cells(row: sqlite3.Row, record: ChargeDetailRecord) -> Iterator[object]:
    yield from (row["role"], row["peer"], wire_time(row["received_at"]))
    yield wire_time(row["forwarded_at"]) if row["forwarded_at"] else ""
    yield from (record.session_id, record.cpo_partner_session_id or "", record.emp_partner_session_id or "")
    yield from (record.evse_id, record.identification.uid or record.identification.evco_id or "")
    yield record.partner_product_id or ""
    times = (record.session_start, record.charging_start, record.charging_end, record.session_end)
    yield from (moment.isoformat() for moment in times)
    meter = (record.meter_value_start, record.meter_value_end, record.consumed_energy)
    yield from ("" if value is None else value for value in meter)
