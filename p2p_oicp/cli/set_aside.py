"""The quarantine as lines for people, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import typer

from p2p_oicp.clock import wire_time
from p2p_oicp.storage import read_once
from p2p_oicp.storage.state import quarantine

_LONGEST_RECORD = 200


def records(file: Path, source: str) -> list[dict[str, Any]]:
    """Return what is set aside, of all peers or of one."""
    rows = read_once(file, quarantine.OF_SOURCE, source_=source) if source else read_once(file, quarantine.LIST)
    return [_entry(dict(row)) for row in rows]


def as_json(found: Sequence[dict[str, Any]]) -> str:
    """Return a JSON list."""
    return json.dumps(found, indent=2, ensure_ascii=False)


def print_records(found: Sequence[dict[str, Any]]) -> None:
    """Print each record with what is wrong with it."""
    for entry in found:
        typer.echo(f"{entry['source']}, {entry['operation']}, {entry['times']} times, last {entry['last_seen']}")
        for finding in entry["findings"]:
            typer.echo(f"  {finding['pointer']}: {finding['message']}")
        typer.echo(f"  {entry['record'][:_LONGEST_RECORD]}")
    typer.echo(f"{len(found)} records" if found else "Nothing is set aside.")


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": row["source"],
        "operation": row["operation"],
        "times": row["times"],
        "first_seen": wire_time(row["first_seen_at"]),
        "last_seen": wire_time(row["last_seen_at"]),
        "findings": orjson.loads(row["findings"]),
        "record": bytes(row["record"]).decode(errors="replace"),
    }
