"""A charge detail record that our own data speaks against is taken as it is, and reported (RULES C4, C6, C7)."""

import pytest
import structlog

from tests.support import dataset_messages as state
from tests.support.messages import CDR, START, authorize_start, cdr

STRONG = {"ChargingFacilities": [{"PowerType": "DC", "Power": 50}]}
EXTERNAL = {**STRONG, "CalibrationLawDataAvailability": "External"}

# members of the EVSE, ProductIDs that its operator tells, members of the record, what is reported
CASES = {
    "nothing is wrong": (STRONG, ["AC 22"], {"PartnerProductID": "AC 22"}, []),
    "no product is named": (STRONG, ["AC 22"], {}, []),
    "no products are pushed": (STRONG, [], {"PartnerProductID": "AC 1"}, []),
    "signed values are missing": (EXTERNAL, [], {}, ["unsigned-values"]),
    "more than the outlet can deliver": (
        STRONG,
        [],
        {"ChargingEnd": "2026-03-01T10:10:00+01:00"},
        ["implausible-energy"],
    ),
    "a product of nobody": (STRONG, ["AC 22", "a|b"], {"PartnerProductID": "AC 1"}, ["unknown-product"]),
}


@pytest.mark.parametrize(("evse", "products", "members", "codes"), CASES.values(), ids=CASES)
async def test_what_our_own_data_speaks_against_is_reported(pair, evse, products, members, codes):
    await pair.a.post(state.PUSH_DATA, state.push_data(state.evse("1234567*1", **evse)))
    if products:
        await pair.a.post(state.PUSH_PRODUCTS, state.push_products(*map(state.product, products)))
    session = (await pair.a.post(START, authorize_start())).json["SessionID"]
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            assert (await pair.a.post(CDR, cdr(session, **members))).json["Result"] is True
    reported = [entry["findings"] for entry in logs if entry["event"] == "cdr.plausibility_warning"]
    assert [[code in text for code, text in zip(codes, found, strict=True)] for found in reported] == (
        [[True] * len(codes)] if codes else []
    )
