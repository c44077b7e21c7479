from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_oicp.oicp import ChargeDetailRecord, InvalidMessage, PushEvseData, PushPricingProductData, encode, validate
from tests.support.oicp_examples import CDR, EVSE, REQUESTS, body, push_evse_data

amounts = st.decimals(-(10**300), 10**300, allow_nan=False, allow_infinity=False) | st.decimals(-999, 999, places=40)


@given(amounts)
def test_a_decimal_is_exact_in_json(amount):
    received = body(CDR).replace(b"100.5", str(amount).encode())
    message = ChargeDetailRecord.from_json(received)
    assert message.meter_value_start == amount
    again = json.loads(encode(message), parse_float=Decimal, parse_int=Decimal)
    assert again["MeterValueStart"] == amount


def _energy(value: object) -> ChargeDetailRecord:
    return ChargeDetailRecord.from_json(body(CDR | {"ConsumedEnergy": value}))


@pytest.mark.parametrize(
    ("written", "amount", "codes"),
    [
        pytest.param("35", Decimal(35), ["text-for-number", "energy-mismatch"], id="a text"),
        pytest.param(10.1234, Decimal("10.1234"), ["too-many-decimals", "energy-mismatch"], id="four decimals"),
        pytest.param(-1, Decimal(-1), ["too-small", "energy-mismatch"], id="negative"),
        pytest.param(10.25, Decimal("10.25"), [], id="a number"),
    ],
)
def test_energy_is_parsed(written, amount, codes):
    message = _energy(written)
    assert message.consumed_energy == amount
    assert [finding.code for finding in validate(message)] == codes


@pytest.mark.parametrize("written", [True, "10,5", "ten", "NaN", "", "٣", [], {}])
def test_a_malformed_amount_is_refused(written):
    with pytest.raises(InvalidMessage):
        _energy(written)


@pytest.mark.parametrize("written", [b"1e401", b"1e-401", b"9" * 500, b"0." + b"1" * 500])
def test_a_number_beyond_the_limits_is_refused_before_any_calculation(written):
    with pytest.raises(InvalidMessage) as refused:
        ChargeDetailRecord.from_json(body(CDR).replace(b"10.25", written))
    assert refused.value.findings[0].code == "number-out-of-range"


def test_energy_is_compared_without_binary_floats():
    message = ChargeDetailRecord.from_json(
        body(CDR | {"MeterValueStart": 0.1, "MeterValueEnd": 0.3, "ConsumedEnergy": 0.2})
    )
    assert validate(message) == []


@pytest.mark.parametrize(
    ("member", "value", "severity"),
    [
        pytest.param("Amperage", 99, None, id="99 A"),
        pytest.param("Amperage", 500, "known-defect", id="500 A"),
        pytest.param("Amperage", -1, "error", id="negative current"),
        pytest.param("Voltage", 1500, "known-defect", id="1500 V"),
        pytest.param("Power", 22.5, "known-defect", id="22.5 kW"),
        pytest.param("Power", 1000, "known-defect", id="1 MW"),
        pytest.param("Power", 22.0, None, id="22.0 kW is 22 kW"),
        pytest.param("Power", -1, "error", id="negative power"),
    ],
)
def test_a_value_beyond_the_documented_maximum_is_a_known_defect(member, value, severity):
    facility = {"PowerType": "DC", "Power": 22} | {member: value}
    message = PushEvseData.from_json(body(push_evse_data(EVSE | {"ChargingFacilities": [facility]})))
    assert [finding.severity for finding in validate(message)] == ([severity] if severity else [])


def test_a_price_may_be_an_integer():
    value = REQUESTS["PushPricingProductData"]
    value = value | {"PricingProductData": value["PricingProductData"] | {"PricingDefaultPrice": 1}}
    assert PushPricingProductData.from_json(body(value)).pricing_product_data.pricing_default_price == Decimal(1)


@pytest.mark.parametrize(
    ("written", "offset"),
    [
        pytest.param("2024-05-01T10:00:00+02:00", timedelta(hours=2), id="documented form"),
        pytest.param("2024-05-01T10:00:00Z", timedelta(0), id="Z"),
        pytest.param("2024-05-01T10:00:00.123456789-05:30", timedelta(hours=-5.5), id="nanoseconds"),
    ],
)
def test_a_time_keeps_its_offset(written, offset):
    message = ChargeDetailRecord.from_json(body(CDR | {"SessionStart": written}))
    assert message.session_start.utcoffset() == offset


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("2024-05-01T10:00:00", id="no offset"),
        pytest.param("2024-05-01T10:00+02:00", id="no seconds"),
        pytest.param("2024-05-01 10:00:00+02:00", id="a blank"),
        pytest.param("2024-05-01", id="a date"),
        pytest.param("2024-02-30T10:00:00Z", id="no such day"),
        pytest.param("2024-05-01T10:00:00+24:00", id="no such offset"),
        pytest.param("2024-05-01T10:00:00+0200", id="no colon"),
        pytest.param("2024-05-01T10:00:00Z\n", id="a newline behind it"),
        pytest.param("٢٠٢٤-05-01T10:00:00Z", id="Arabic digits"),
        pytest.param(1714557600, id="seconds since the epoch"),
    ],
)
def test_a_malformed_time_is_refused(written):
    with pytest.raises(InvalidMessage) as refused:
        ChargeDetailRecord.from_json(body(CDR | {"SessionStart": written}))
    assert refused.value.findings[0].pointer == "/SessionStart"
