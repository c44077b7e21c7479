"""``p2p-oicp history`` and ``p2p-oicp quarantine``: what the database has of an EVSE, and what was rejected.

Both read the database directly, so they work while the node runs or is down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import orjson
import typer

from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json, parse_time
from p2p_oicp.cli.terminal import Column, Moment, UtcOption, print_table, print_text
from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import load_settings
from p2p_oicp.oicp import EvseID
from p2p_oicp.storage import Location, Row, listings, query_once
from p2p_oicp.storage.datasets import quarantine, queries
from p2p_oicp.storage.datasets.models import ALL_PROVIDERS, DatasetKind
from p2p_oicp.storage.statements import list_parameter

_EVSE_DATASETS = (DatasetKind.EVSE_DATA, DatasetKind.EVSE_STATUS, DatasetKind.EVSE_PRICING)
_MAX_CELL_LENGTH = 60
_MAX_RECORD_LENGTH = 200
_QUARANTINE_COLUMNS = (
    Column("Peer"),
    Column("Operation"),
    Column("Times", 2),
    Column("Last seen", 1),
    Column("Findings", is_detail=True),
    Column("Record", is_detail=True),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("history")(show_history)
    group = typer.Typer(no_args_is_help=True)
    # Typer turns a group of one command into that command, unless the group has a callback.
    group.callback()(lambda: None)
    group.command("list")(list_quarantine)
    app.add_typer(group, name="quarantine", help="Records of peers that were rejected, and why.")


def show_history(
    evse_id: Annotated[str, typer.Argument(metavar="EVSE-ID", help="In any spelling, such as DE*ABC*E1.")],
    config: ConfigOption = DEFAULT_CONFIG,
    at: Annotated[
        str, typer.Option(metavar="TIME", help="Only what was valid then, such as 2026-03-01T12:00:00+01:00.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show every version of an EVSE's data, status, prices, products. The node may be down; exit code 1: none."""
    versions = evse_history(load_settings(config).storage.location, evse_id, at)
    if as_json:
        echo(format_json(versions))
    else:
        print_history(evse_id, versions)
    raise typer.Exit(0 if versions else 1)


def list_quarantine(
    config: ConfigOption = DEFAULT_CONFIG,
    source: Annotated[str, typer.Option("--from", metavar="PEER", help="Only those of this peer.")] = "",
    as_json: JsonOption = False,
    utc: UtcOption = False,
) -> None:
    """Show the records of peers that this node rejected, with the reasons; the node may be down."""
    records = quarantined_records(load_settings(config).storage.location, source)
    if as_json:
        echo(format_json(records))
    else:
        print_quarantine(records, utc=utc)


@dataclass(frozen=True, slots=True)
class RecordVersion:
    """One version of a record: valid from ``since`` up to ``until`` (None: still valid).

    ``source`` is a peer's name, or ``own``; ``record`` the JSON value, None if it was deleted.
    """

    dataset: str
    source: str
    since: str
    until: str | None
    deleted: bool
    record: Any


def evse_history(file: Location, evse_id: str, at: str) -> list[RecordVersion]:
    """Return the versions of an EVSE's records and of the products of its prices, oldest first.

    Only those valid at the time ``at``, if it is given.
    """
    moment = parse_time(at, "--at") if at else None
    dataset_ids = list_parameter(int(dataset) for dataset in _EVSE_DATASETS)
    rows = [*query_once(file, queries.VERSIONS_BY_KEY, datasets=dataset_ids, key=EvseID(evse_id).key)]
    products = list_parameter([int(DatasetKind.PRICING_PRODUCT)])
    for key in (*_product_keys(EvseID(evse_id), rows), *_default_price_keys(file, EvseID(evse_id))):
        rows += query_once(file, queries.VERSIONS_BY_KEY, datasets=products, key=key)
    return [_row_to_version(dict(row)) for row in rows if moment is None or _is_valid_at(dict(row), moment)]


def _product_keys(evse_id: EvseID, rows: Sequence[Row]) -> list[str]:
    """Return the keys of the products that any version of an EVSE's prices names (`roles.datasets.types`)."""
    operator = evse_id.operator.key if evse_id.operator else ""
    keys: dict[str, None] = {}
    for row in rows:
        if row["dataset"] == DatasetKind.EVSE_PRICING and row["raw"] is not None:
            audience = str(row["key"]).partition("|")[2]
            for product in orjson.loads(row["raw"]).get("EvseIDProductList") or ():
                keys |= dict.fromkeys(f"{operator}|{each}|{product}" for each in (audience, ALL_PROVIDERS))
    return [*keys]


def _default_price_keys(file: Location, evse_id: EvseID) -> list[str]:
    """Return the keys of what the operator of an EVSE takes where no product applies."""
    operator = evse_id.operator.key if evse_id.operator else ""
    rows = query_once(file, queries.GROUPS_OF_OPERATOR, dataset=int(DatasetKind.PRICING_PRODUCT), operator=operator)
    return [f"{row['group_key']}|" for row in rows]


def print_history(evse_id: str, versions: Sequence[RecordVersion]) -> None:
    """Print what changed from version to version."""
    previous: dict[tuple[str, str], Any] = {}
    for version in versions:
        key = (version.dataset, version.source)
        if key not in previous:
            echo(f"{version.dataset}, {version.source}")
        change = "withdrawn" if version.deleted else _describe_changes(previous.get(key), version.record)
        print_text(f"{version.since} to {version.until or 'now'}: {change}", "  ", "    ")
        previous[key] = None if version.deleted else version.record
    if not versions:
        echo(f"{evse_id}: no version in the database, as far back as its history goes.")


def _is_valid_at(row: dict[str, Any], moment: float) -> bool:
    return not row["deleted"] and row["since"] <= moment and (row["until"] is None or moment < row["until"])


def _row_to_version(row: dict[str, Any]) -> RecordVersion:
    raw = None if row["deleted"] or row["raw"] is None else orjson.loads(row["raw"])
    is_default = row["dataset"] == DatasetKind.PRICING_PRODUCT and row["key"].endswith("|")
    return RecordVersion(
        dataset="default price" if is_default else DatasetKind(row["dataset"]).name.lower().replace("_", " "),
        source=row["source"] or "own",
        since=format_timestamp(row["since"]),
        until=None if row["until"] is None else format_timestamp(row["until"]),
        deleted=bool(row["deleted"]),
        record=raw,
    )


def _describe_changes(previous: Any, record: Any) -> str:  # noqa: ANN401  # any JSON
    if not isinstance(previous, dict) or not isinstance(record, dict):
        return f"added: {_abbreviate(record)}"
    changed = [f"{name} = {_abbreviate(value)}" for name, value in record.items() if previous.get(name) != value]
    removed = [f"{name} removed" for name in previous if name not in record]
    return "; ".join([*changed, *removed]) or "unchanged"


def _abbreviate(value: Any, length: int = _MAX_CELL_LENGTH) -> str:  # noqa: ANN401  # any JSON
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= length else f"{text[: length - 1]}…"


def quarantined_records(file: Location, source: str) -> list[dict[str, Any]]:
    """Return the quarantined records of one peer, or of all."""
    rows = (
        query_once(file, quarantine.LIST_BY_SOURCE, source_=source) if source else query_once(file, quarantine.LIST_ALL)
    )
    return [listings.quarantined_to_json(row) for row in rows]


def print_quarantine(records: Sequence[dict[str, Any]], *, utc: bool = False) -> None:
    """Print a table with one row for each record, its findings and the begin of its text."""
    rows = [
        (
            entry["source"],
            entry["operation"],
            str(entry["occurrences"]),
            Moment(datetime.fromisoformat(entry["last_seen"]).timestamp()),
            "; ".join(f"{finding['pointer']}: {finding['message']}" for finding in entry["findings"]),
            _abbreviate(entry["record"], _MAX_RECORD_LENGTH),
        )
        for entry in records
    ]
    print_table(_QUARANTINE_COLUMNS, rows, utc=utc, empty="No quarantined records.")
