"""The history of a charging spot, as lines for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import typer

from p2p_oicp.clock import wire_time
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import EvseID
from p2p_oicp.storage import read_once
from p2p_oicp.storage.state import history
from p2p_oicp.storage.state.model import Kind

_OF_AN_EVSE = (Kind.EVSE_DATA, Kind.EVSE_STATUS, Kind.EVSE_PRICING)
_LONGEST_CELL = 60


@dataclass(frozen=True, slots=True)
class Version:
    """One version: valid from ``since`` up to ``until`` (None: still); ``source`` is the peer's name or ``own``."""

    kind: str
    source: str
    since: str
    until: str | None
    deleted: bool
    record: Any


def of_evse(file: Path, evse_id: str, at: str) -> list[Version]:
    """Return the versions of what is known of an EVSE, oldest first; those valid at the time ``at``, if it is given."""
    moment = _seconds(at) if at else None
    kinds = orjson.dumps([int(kind) for kind in _OF_AN_EVSE]).decode()
    rows = read_once(file, history.OF_KEY, kinds=kinds, key=EvseID(evse_id).key)
    return [_version(dict(row)) for row in rows if moment is None or _is_valid(dict(row), moment)]


def as_json(versions: Sequence[Version]) -> str:
    """Return a JSON list."""
    return json.dumps([asdict(version) for version in versions], indent=2, ensure_ascii=False)


def print_story(evse_id: str, versions: Sequence[Version]) -> None:
    """Print what changed from version to version."""
    before: dict[tuple[str, str], Any] = {}
    for version in versions:
        key = (version.kind, version.source)
        if key not in before:
            typer.echo(f"{version.kind}, {version.source}")
        what = "withdrawn" if version.deleted else _difference(before.get(key), version.record)
        typer.echo(f"  {version.since} to {version.until or 'now'}: {what}")
        before[key] = None if version.deleted else version.record
    if not versions:
        typer.echo(f"{evse_id}: nothing is known of it, now or as far back as the history goes.")


def _seconds(at: str) -> float:
    try:
        time = datetime.fromisoformat(at)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigurationError(f'--at {at}: expected a time with its offset, such as "2026-03-01T12:00:00+01:00"')
    return time.timestamp()


def _is_valid(row: dict[str, Any], moment: float) -> bool:
    return not row["deleted"] and row["since"] <= moment and (row["until"] is None or moment < row["until"])


def _version(row: dict[str, Any]) -> Version:
    raw = None if row["deleted"] or row["raw"] is None else orjson.loads(row["raw"])
    return Version(
        kind=Kind(row["kind"]).name.lower().replace("_", " "),
        source=row["source"] or "own",
        since=wire_time(row["since"]),
        until=None if row["until"] is None else wire_time(row["until"]),
        deleted=bool(row["deleted"]),
        record=raw,
    )


def _difference(before: Any, record: Any) -> str:  # noqa: ANN401  # any JSON
    """Say which members are new or other than before."""
    if not isinstance(before, dict) or not isinstance(record, dict):
        return f"added: {_short(record)}"
    changed = {name: value for name, value in record.items() if before.get(name) != value}
    gone = [f"{name} is gone" for name in before if name not in record]
    return "; ".join([*(f"{name} = {_short(value)}" for name, value in changed.items()), *gone]) or "as before"


def _short(value: Any) -> str:  # noqa: ANN401  # any JSON
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"
