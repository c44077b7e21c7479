"""Ingesting a push: what is valid is applied, what is not is refused or quarantined; unchanged records are not read."""

import json
from dataclasses import replace

import pytest

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import InvalidMessage, OperatorID, RecordStream, read_records
from p2p_oicp.roles.context import OperationRequest
from p2p_oicp.roles.datasets.ingest import ingest_push, redact_pins
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.storage.datasets import quarantine
from p2p_oicp.storage.datasets.models import OWN, DatasetKind
from tests.support.changesets import living
from tests.unit.roles.datasets.conftest import CPO

STATUS = DATASET_TYPES[DatasetKind.EVSE_STATUS]
US = replace(CPO, name="us", is_self=True)


def record(name: str, status: str = "Available") -> dict:
    return {"EvseID": f"DE*GEF*E{name}", "EvseStatus": status}


def push(*records: dict, action: str = "fullLoad", sender=CPO) -> OperationRequest:
    wrapper = {"OperatorID": "DE*GEF", "EvseStatusRecord": list(records)}
    body = json.dumps({"ActionType": action, "OperatorEvseStatus": wrapper}).encode()
    stream = read_records(STATUS.operation.request, body)
    return OperationRequest(STATUS.operation, stream.envelope, sender, "DE*GEF", stream, body)


INVALID = {"EvseID": "DE*GEF*E2"}
FOREIGN = {"EvseID": "FR*XYZ*E1", "EvseStatus": "Available"}


async def test_an_invalid_record_of_a_peer_is_quarantined_and_the_others_are_applied(services, store):
    result = await ingest_push(services(), push(record("1"), INVALID), STATUS, CPO)
    assert (result.changed, result.quarantined, "EvseStatus" in result.reason) == (2, 1, True)
    assert await living(store, "cpo") == {"DEGEFE1": "available"}
    (row,) = await store.query(quarantine.LIST_BY_SOURCE, source_="cpo")
    assert json.loads(row["record"]) == INVALID


@pytest.mark.parametrize(
    ("sender", "records", "action", "refusal"),
    [
        (US, [record("1"), INVALID], "fullLoad", InvalidMessage),
        (US, [record("1"), FOREIGN], "fullLoad", "018"),
        (CPO, [record("1"), INVALID, FOREIGN], "fullLoad", "018"),
        (CPO, [record("1"), record("1", "Occupied")], "fullLoad", "018"),
        (CPO, [record("9")], "update", "009"),
        (CPO, [record("0")], "insert", "009"),
    ],
    ids=["invalid", "foreign", "foreign among others", "twice", "update of an unknown", "insert of a known"],
)
async def test_a_push_that_is_refused_changes_nothing(services, store, sender, records, action, refusal):
    context, source = services(), OWN if sender is US else "cpo"
    await ingest_push(context, push(record("0"), sender=sender), STATUS, sender)
    with pytest.raises(InvalidMessage if refusal is InvalidMessage else Refusal) as refused:
        await ingest_push(context, push(*records, action=action, sender=sender), STATUS, sender)
    assert refusal is InvalidMessage or refused.value.code == refusal
    assert await living(store, source) == {"DEGEFE0": "available"}
    assert await store.query(quarantine.LIST_ALL) == []


async def test_of_a_large_push_only_the_changed_records_are_read(services, store, monkeypatch):
    context, names = services(), [f"{number:03}" for number in range(150)]
    await ingest_push(context, push(*map(record, names)), STATUS, CPO)
    read, fast_view = [], RecordStream.fast_view
    monkeypatch.setattr(RecordStream, "fast_view", lambda stream, raw: read.append(raw) or fast_view(stream, raw))
    changed = [record(names[0], "Occupied"), *map(record, names[1:])]
    assert (await ingest_push(context, push(*changed), STATUS, CPO)).changed == 1
    assert [json.loads(raw) for raw in read] == [changed[0]]
    assert (await living(store, "cpo"))["DEGEFE000"] == "occupied"


async def test_a_record_of_a_sub_operator_belongs_to_the_peer_that_answers_for_it(services, store):
    hub = replace(CPO, operators=(*CPO.operators, OperatorID("FR*XYZ")))
    assert (await ingest_push(services(), push(record("1"), FOREIGN), STATUS, hub)).quarantined == 0
    assert set(await living(store, "cpo")) == {"DEGEFE1", "FRXYZE1"}


@pytest.mark.parametrize(
    ("raw", "redacted"),
    [
        (b'{"QRCodeIdentification":{"EvcoID":"x","PIN":"4711"},"a":[{"Pin":"1"}]}', {"a": [{}]}),
        (b"4711", 4711),
        (b"not JSON with 4711", None),
    ],
    ids=["members", "no object", "no JSON"],
)
def test_a_quarantined_record_has_no_pin(raw, redacted):
    found = json.loads(redact_pins(raw))
    if isinstance(found, dict):
        assert found.pop("QRCodeIdentification") == {"EvcoID": "x"}
    assert found == redacted
