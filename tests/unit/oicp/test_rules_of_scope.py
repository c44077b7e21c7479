"""Who may speak for whom, and what may stand in a push only once."""

from __future__ import annotations

import pytest

from p2p_oicp.oicp import (
    OperatorID,
    ProviderID,
    PushAuthenticationData,
    PushEvseData,
    PushEVSEPricing,
    PushEvseStatus,
    SenderScope,
    read_records,
    validate,
)
from tests.support.oicp_examples import APP, EVSE, body, push_evse_data
from tests.support.oicp_findings import CARD, pushed_driver

OWN = SenderScope(
    operators=frozenset({OperatorID("DEABC"), OperatorID("DE*SUB")}), providers=frozenset({ProviderID("DEDCB")})
)


@pytest.mark.parametrize(
    ("model", "value", "code"),
    [
        pytest.param(PushEvseData, push_evse_data(EVSE), None, id="own spot"),
        pytest.param(PushEvseData, push_evse_data(EVSE | {"EvseID": "DE*SUB*E1"}), None, id="spot of a sub-operator"),
        pytest.param(PushEvseData, push_evse_data(EVSE | {"EvseID": "DE*XYZ*E1"}), "018", id="foreign spot"),
        pytest.param(PushEvseData, push_evse_data(EVSE | {"EvseID": "FR*ABC*E1"}), "018", id="spot of another country"),
        pytest.param(
            PushEVSEPricing,
            {
                "ActionType": "insert",
                "EVSEPricing": [{"EvseID": "DE*XYZ*E1", "ProviderID": "*", "EvseIDProductList": ["AC1"]}],
            },
            "018",
            id="foreign price",
        ),
        pytest.param(
            PushEvseStatus,
            {
                "ActionType": "insert",
                "OperatorEvseStatus": {
                    "OperatorID": "DE*ABC",
                    "EvseStatusRecord": [{"EvseID": "DE*XYZ*E1", "EvseStatus": "Available"}],
                },
            },
            "018",
            id="foreign status",
        ),
        pytest.param(PushAuthenticationData, pushed_driver(APP), None, id="own contract"),
        pytest.param(
            PushAuthenticationData,
            pushed_driver({"RFIDIdentification": CARD | {"EvcoID": "FR-XYZ-C12345678-X"}}),
            "019",
            id="foreign contract",
        ),
    ],
)
def test_ids_must_belong_to_the_parties_of_the_sender(model, value, code):
    message = model.from_json(body(value))
    assert [found.status_code for found in validate(message, OWN)] == ([code] if code else [])
    assert validate(message) == []
    apart = [found.status_code for read in read_records(model, body(value), OWN) for found in read.findings]
    assert apart == ([code] if code else [])


def test_duplicates_are_found_when_records_are_read_one_by_one():
    reading = read_records(PushEvseData, body(push_evse_data(EVSE, EVSE)))
    assert [read.record is None for read in reading] == [False, True]
    assert reading.records[1].findings[0].code == "duplicate-evse-id"
