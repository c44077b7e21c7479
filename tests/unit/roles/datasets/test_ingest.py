"""Ingesting a push: what is valid is applied, what is not is refused or quarantined; unchanged records are not read."""

import json
from dataclasses import replace

import pytest

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import InvalidMessage, OperatorID, RecordStream, read_records
from p2p_oicp.roles.context import OperationRequest
from p2p_oicp.roles.datasets.ingest import ingest_push
from p2p_oicp.roles.datasets.pins import redact_pins
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.storage.datasets import quarantine
from p2p_oicp.storage.datasets.models import OWN, DatasetKind
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import living
from tests.support.dataset_messages import evse, push_data
from tests.unit.roles.datasets.conftest import CPO

STATUS, DATA = DATASET_TYPES[DatasetKind.EVSE_STATUS], DATASET_TYPES[DatasetKind.EVSE_DATA]
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
    ],
    ids=["invalid", "foreign", "foreign among others", "twice"],
)
async def test_a_push_that_is_refused_changes_nothing(services, store, sender, records, action, refusal):
    context, source = services(), OWN if sender is US else "cpo"
    await ingest_push(context, push(record("0"), sender=sender), STATUS, sender)
    with pytest.raises(InvalidMessage if refusal is InvalidMessage else Refusal) as refused:
        await ingest_push(context, push(*records, action=action, sender=sender), STATUS, sender)
    assert refusal is InvalidMessage or refused.value.code == refusal
    assert await living(store, source) == {"DEGEFE0": "available"}
    assert await store.query(quarantine.LIST_ALL) == []


@pytest.mark.parametrize(("action", "name"), [("insert", "0"), ("update", "9")])
async def test_l12_a_status_is_set_whether_or_not_there_was_one(services, store, action, name):
    context = services()
    await ingest_push(context, push(record("0")), STATUS, CPO)
    await ingest_push(context, push(record(name, "Occupied"), action=action), STATUS, CPO)
    assert (await living(store, "cpo"))[f"DEGEFE{name}"] == "occupied"


def push_of_data(*ids: str, action: str) -> OperationRequest:
    body = json.dumps(push_data(*(evse("") | {"EvseID": evse_id} for evse_id in ids), action=action)).encode()
    stream = read_records(DATA.operation.request, body)
    return OperationRequest(DATA.operation, stream.envelope, CPO, "DE*GEF", stream, body)


@pytest.mark.parametrize(
    ("action", "ids", "expected"),
    [
        ("update", ["DE*GEF*E7*1"], "1 records do not exist: DE*GEF*E7*1"),
        ("insert", ["DE*GEF*E1", "DEGEFE0"], "1 records exist already: DEGEFE0"),
        ("insert", ["DE*GEF*E1*1", "DEGEFE11"], "1 records occur more than once: DE*GEF*E1*1 = DEGEFE11"),
        (
            "update",
            [f"DE*GEF*E1*{number:02}" for number in range(12)],
            "12 records do not exist, the first 10 of them: DE*GEF*E1*00, DE*GEF*E1*01",
        ),
    ],
)
async def test_i11_l16_records_are_named_as_their_sender_wrote_them_and_a_cut_list_says_so(
    services, action, ids, expected
):
    context = services()
    await ingest_push(context, push_of_data("DE*GEF*E0", action="fullLoad"), DATA, CPO)
    with pytest.raises(Refusal) as refused:
        await ingest_push(context, push_of_data(*ids, action=action), DATA, CPO)
    assert refused.value.info.startswith(expected)


async def test_l17_two_operators_do_not_take_an_evse_from_each_other_for_ever(services, store):
    context = services()
    hub = replace(CPO, operators=(*CPO.operators, OperatorID("FR*XYZ"), OperatorID("FR*ABC")))

    def of(operator: str, status: str) -> OperationRequest:
        records = [{"EvseID": "FR*XYZ*E2", "EvseStatus": status}]
        body = json.dumps(
            {"ActionType": "fullLoad", "OperatorEvseStatus": {"OperatorID": operator, "EvseStatusRecord": records}}
        )
        stream = read_records(STATUS.operation.request, body.encode())
        return OperationRequest(STATUS.operation, stream.envelope, hub, operator, stream, body.encode())

    pushes = [of("DE*GEF", "Occupied"), of("FR*ABC", "Reserved"), of("FR*XYZ", "Available"), of("DE*GEF", "Occupied")]
    conflicts = [(await ingest_push(context, push, STATUS, hub)).conflict for push in pushes]
    assert [conflict and conflict.partition(", for ")[2] for conflict in conflicts] == [
        None,
        "they are among those of DE*GEF: FR*XYZ*E2",
        None,
        "they are among those of FR*XYZ: FR*XYZ*E2",
    ]
    (row,) = await store.query(Statement("SELECT group_key, filter_value, change FROM dataset_records", {}))
    assert tuple(row)[:2] == ("FRXYZ", "available")
    assert (await ingest_push(context, of("DE*GEF", "Reserved"), STATUS, hub)).changed == 0


async def test_l16_of_very_many_findings_the_first_are_listed_and_all_are_counted(services):
    records = [record("0"), *({"EvseID": f"DE*GEF*E{number}"} for number in range(1, 250))]
    with pytest.raises(InvalidMessage) as refused:
        await ingest_push(services(), push(*records, sender=US), STATUS, US)
    assert len(refused.value.findings) == 100
    assert refused.value.counts == {"missing": 249}


async def test_i8_a_record_is_stored_with_its_identifier_in_upper_case(services, store):
    await ingest_push(services(), push({"EvseID": "de*gef*e1", "EvseStatus": "Available"}), STATUS, CPO)
    (row,) = await store.query(Statement("SELECT raw FROM dataset_records", {}))
    assert json.loads(row["raw"]) == record("1")


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
