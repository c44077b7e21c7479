"""Pushes of statuses and EVSE records, as tests of the storage write them."""

import json
from dataclasses import replace

from p2p_oicp.storage.state.model import OWN, EvseFacts, Group, Kind, Must, Push, Record, Replaces, Request
from p2p_oicp.storage.statements import Statement

MUST = {"insert": Must.BE_NEW, "update": Must.BE_KNOWN}


def record(key: str, status: str, group: str = "DEABC") -> Record:
    return Record(key, group, f'{{"EvseID":"{key}","EvseStatus":"{status}"}}'.encode(), status.lower())


def push(action: str, source: str = OWN, operator: str = "DEABC", **records: str) -> Push:
    made = [record(key, status, operator) for key, status in records.items()]
    return Push(
        kind=Kind.EVSE_STATUS,
        source=source,
        groups=(Group(operator, operator, b'{"OperatorID":"%b"}' % operator.encode()),),
        records=() if action == "delete" else made,
        gone=[one.key for one in made] if action == "delete" else (),
        must=MUST.get(action),
        replaces=Replaces.GROUPS if action == "fullLoad" else Replaces.NOTHING,
    )


def many(count: int, status: str = "Available") -> dict[str, str]:
    return {f"E{number:05}": status for number in range(count)}


STAGED = Statement("SELECT (SELECT count(*) FROM staged) + (SELECT count(*) FROM batches) AS n", {})
LIVING = Statement("SELECT key, facet FROM state_records WHERE deleted = 0 AND source = :source ORDER BY key", {})


async def living(store, source: str = OWN) -> dict[str, str]:
    return {row["key"]: row["facet"] for row in await store.read(LIVING, source=source)}


def journaled(change: Push) -> Push:
    return replace(change, request=Request("DE*ABC", b"the request" * 10))


HEAD = Group("DEABC", "DE*ABC", b'{"OperatorID":"DE*ABC"}')


def evse_record(key: str, value: int) -> Record:
    facts = EvseFacts(
        evse_key=key,
        operator_key="DEABC",
        group_key="DEABC",
        country="DEU",
        latitude=None,
        longitude=None,
        cell=None,
        accessibility="",
        calibration="",
        authentication_modes="",
        renewable=None,
        compatible=None,
        always_open=None,
    )
    return Record(key, "DEABC", json.dumps({"key": key, "value": value}).encode(), "", facts)


def push_of(action: str, values: dict[str, int], source: str = OWN) -> Push:
    return Push(
        kind=Kind.EVSE_DATA,
        source=source,
        groups=(HEAD,),
        records=() if action == "delete" else [evse_record(key, value) for key, value in values.items()],
        gone=list(values) if action == "delete" else (),
        must=MUST.get(action),
        replaces=Replaces.GROUPS if action == "fullLoad" else Replaces.NOTHING,
    )
