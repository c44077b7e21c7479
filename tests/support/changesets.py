"""Pushes of statuses and EVSE records, as tests of the storage write them."""

import json
from pathlib import Path

from p2p_oicp.errors import StoreError
from p2p_oicp.storage import Lane
from p2p_oicp.storage.datasets.models import (
    OWN,
    Changeset,
    DatasetKind,
    DatasetRecord,
    EvseIndexRow,
    Precondition,
    RecordGroup,
    ReplaceScope,
)
from p2p_oicp.storage.statements import Statement

MUST = {"insert": Precondition.MUST_NOT_EXIST, "update": Precondition.MUST_EXIST}


def record(key: str, status: str, group: str = "DEABC") -> DatasetRecord:
    return DatasetRecord(key, group, f'{{"EvseID":"{key}","EvseStatus":"{status}"}}'.encode(), status.lower())


def push(action: str, source: str = OWN, operator: str = "DEABC", **records: str) -> Changeset:
    made = [record(key, status, operator) for key, status in records.items()]
    return Changeset(
        dataset=DatasetKind.EVSE_STATUS,
        source=source,
        groups=(RecordGroup(operator, operator, b'{"OperatorID":"%b"}' % operator.encode()),),
        records=() if action == "delete" else made,
        deleted_keys=[one.key for one in made] if action == "delete" else (),
        precondition=MUST.get(action),
        replace_scope=ReplaceScope.GROUPS if action == "fullLoad" else ReplaceScope.NOTHING,
    )


def many(count: int, status: str = "Available") -> dict[str, str]:
    return {f"E{number:05}": status for number in range(count)}


STAGED = Statement("SELECT (SELECT count(*) FROM imports) + (SELECT count(*) FROM spool) AS n", {})
LIVING = Statement(
    "SELECT key, filter_value FROM dataset_records WHERE deleted = 0 AND source = :source ORDER BY key", {}
)


def spool_files(database: Path) -> list[Path]:
    return list(database.parent.glob(f"{database.name}-import-*"))


def any_source(source: str) -> str:
    return source or "us"


async def living(store, source: str = OWN) -> dict[str, str]:
    return {row["key"]: row["filter_value"] for row in await store.query(LIVING, source=source)}


HEAD = RecordGroup("DEABC", "DE*ABC", b'{"OperatorID":"DE*ABC"}')


def evse_record(key: str, value: int) -> DatasetRecord:
    facts = EvseIndexRow(
        evse_key=key,
        operator_key="DEABC",
        group_key="DEABC",
        country="DEU",
        latitude=None,
        longitude=None,
        geo_cell=None,
        accessibility="",
        calibration_law_data="",
        authentication_modes="",
        renewable_energy=None,
        hubject_compatible=None,
        open_24_hours=None,
    )
    return DatasetRecord(key, "DEABC", json.dumps({"key": key, "value": value}).encode(), "", facts)


def push_of(action: str, values: dict[str, int], source: str = OWN) -> Changeset:
    return Changeset(
        dataset=DatasetKind.EVSE_DATA,
        source=source,
        groups=(HEAD,),
        records=() if action == "delete" else [evse_record(key, value) for key, value in values.items()],
        deleted_keys=list(values) if action == "delete" else (),
        precondition=MUST.get(action),
        replace_scope=ReplaceScope.GROUPS if action == "fullLoad" else ReplaceScope.NOTHING,
    )


def crash_after(store, monkeypatch, jobs: int) -> None:
    """Let every write fail after so many jobs."""
    write, left = store.write, jobs

    async def fail(job, lane=Lane.INTERACTIVE, about=()):
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreError("power failed")
        return await write(job, lane, about)

    monkeypatch.setattr(store, "write", fail)
