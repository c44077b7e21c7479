from __future__ import annotations

import json

import pytest

from p2p_oicp.oicp import ChargeDetailRecordPage, EvseDataPage, EvseStatuses, InvalidMessage, PushEvseData, read_records
from tests.support.oicp_examples import CDR, EVSE, body, page, push_evse_data

PULLED = EVSE | {"OperatorID": "DE*ABC", "OperatorName": "ABC"}


def test_an_invalid_record_does_not_affect_the_others():
    stream = read_records(
        PushEvseData, body(push_evse_data(EVSE, EVSE | {"EvseID": 7}, EVSE | {"EvseID": "DE*ABC*E3"}))
    )
    assert [read.record is not None for read in stream.records] == [True, False, True]
    assert [finding.pointer for finding in stream.records[1].findings] == ["/OperatorEvseData/EvseDataRecord/1/EvseID"]


def test_a_record_keeps_its_bytes():
    received = body(push_evse_data("here")).replace(b'"here"', b' {"EvseID" : 1.50} ')
    (read,) = read_records(PushEvseData, received).records
    assert read.raw == b'{"EvseID" : 1.50}'


def test_the_envelope_is_the_message_without_its_records():
    stream = read_records(PushEvseData, body(push_evse_data(EVSE)))
    assert stream.envelope.operator_evse_data.evse_data_record == ()
    assert str(stream.envelope.operator_evse_data.operator_id) == "DE*ABC"
    assert stream.findings == ()


@pytest.mark.parametrize(
    ("model", "value", "count"),
    [
        pytest.param(EvseDataPage, page(PULLED, PULLED), 2, id="page of EVSE data"),
        pytest.param(ChargeDetailRecordPage, page(CDR), 1, id="page of CDRs"),
        pytest.param(
            EvseStatuses,
            {"EvseStatuses": {"OperatorEvseStatus": [{"OperatorID": "DE*ABC", "EvseStatusRecord": []}]}},
            1,
            id="statuses",
        ),
        pytest.param(
            EvseStatuses,
            {"EvseStatuses": [{"OperatorID": "DE*ABC", "EvseStatusRecord": []}]},
            1,
            id="statuses as a bare list",
        ),
    ],
)
def test_pages_are_read_record_by_record(model, value, count):
    records = read_records(model, body(value)).records
    assert [read.record is not None for read in records] == [True] * count


@pytest.mark.parametrize("value", [[], {"ActionType": "insert"}, push_evse_data(EVSE) | {"OperatorEvseData": 7}])
def test_a_malformed_envelope_is_refused(value):
    with pytest.raises(InvalidMessage):
        read_records(PushEvseData, body(value))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param(b'{"A":[{"EvseID":1}],"OperatorEvseData":{"EvseDataRecord":[{"EvseID":1}]}}', 1, id="also before"),
        pytest.param(b'{"OperatorEvseData":{"EvseDataRecord":[{"EvseID":1}],"A":[{"EvseID":1}]}}', 1, id="also behind"),
        pytest.param(b'{"OperatorEvseData":{"EvseDataRecord":[1,1,1],"A":1}}', 3, id="all the same"),
        pytest.param(b'{"OperatorEvseData": {"EvseDataRecord" : [ 1 ,\n2 ] } }', 2, id="with blanks"),
        pytest.param(b'{"OperatorEVSEData":{"EvseDataRecord":[1,2]}}', 2, id="another spelling"),
        pytest.param(b'{"OperatorEvseData":{"EvseDataRecord":[]}}', 0, id="none"),
    ],
)
def test_records_are_split_from_the_envelope_and_nothing_else(written, expected):
    members = b'"ActionType":"insert",' + written[1:]
    body = b"{" + members.replace(b'{"EvseDataRecord"', b'{"OperatorID":"DE*ABC","OperatorName":"A","EvseDataRecord"')
    stream = read_records(PushEvseData, body)
    assert len(stream.raw_records) == expected
    envelope, received = json.loads(stream.envelope.to_json()), json.loads(body)
    name = next(name for name in received if name.lower() == "operatorevsedata")
    assert envelope == received | {name: received[name] | {"EvseDataRecord": []}}
