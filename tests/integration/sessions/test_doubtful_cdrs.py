"""A charge detail record that our own data speaks against is taken as it is, and reported (RULES C4, C6, C7)."""

import pytest
import structlog

from tests.support import dataset_messages as state
from tests.support.messages import CDR, START, authorize_start, cdr, plausible

STRONG = {"ChargingFacilities": [{"PowerType": "DC", "Power": 50}]}
EXTERNAL = {**STRONG, "CalibrationLawDataAvailability": "External"}

# members of the EVSE, ProductIDs that its operator tells, members of the record, what is reported
CASES = {
    "nothing is wrong": (STRONG, ["AC 22"], {"PartnerProductID": "AC 22"}, ""),
    "no product is named": (STRONG, ["AC 22"], {}, ""),
    "no products are pushed": (STRONG, [], {"PartnerProductID": "AC 1"}, ""),
    "signed values are missing": (EXTERNAL, [], {}, "no signed meter values"),
    "more than the outlet can deliver": (
        STRONG,
        [],
        {"MeterValueEnd": 1050.25, "ConsumedEnergy": 50},
        "but 50 kW deliver",
    ),
    "a product of nobody": (STRONG, ["AC 22", "a|b"], {"PartnerProductID": "AC 1"}, "is none of the products"),
}


@pytest.mark.parametrize(("evse", "products", "members", "words"), CASES.values(), ids=CASES)
async def test_what_our_own_data_speaks_against_is_reported(pair, evse, products, members, words):
    await pair.a.post(state.PUSH_DATA, state.push_data(state.evse("1234567*1", **evse)))
    if products:
        await pair.a.post(state.PUSH_PRODUCTS, state.push_products(*map(state.product, products)))
    session = (await pair.a.post(START, authorize_start())).json["SessionID"]
    record = cdr(session, **(plausible() | members))
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            assert (await pair.a.post(CDR, record)).json["Result"] is True
    reported = [
        entry["doubts"] for entry in logs if entry["event"] == "cdr.plausibility_warning" and entry["role"] == "cpo"
    ]
    assert [words in doubts for doubts in reported] == ([True] if words else [])
