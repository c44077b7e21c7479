"""L13, L15, L16 and L24, I8 and I9: what is wrong with a message, said in the words of its sender."""

from __future__ import annotations

from typing import Any

import pytest

from p2p_oicp.cli.validation import format_findings
from p2p_oicp.oicp import Finding, InvalidMessage, PushEvseData, Severity, read_records
from p2p_oicp.oicp.identifier_problems import find_problem, likely_problems
from p2p_oicp.oicp.identifiers import (
    UID,
    EvcoID,
    EvseID,
    Identifier,
    OperatorID,
    ProviderID,
    SessionID,
)
from p2p_oicp.oicp.intake import rewritten
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.oicp.validation import Verdict, judge
from p2p_oicp.server.problems import validation_error_response
from tests.support.oicp_examples import AUTHORIZE_START, CDR, EVSE, PRODUCTS, REQUESTS, body, push_evse_data
from tests.support.oicp_findings import HASH, pushed_driver


def without(value: dict[str, Any], name: str, **others: object) -> dict[str, Any]:
    return {key: member for key, member in value.items() if key != name} | others


def findings_of(operation: str, value: object) -> list[Finding]:
    return list(judge(operation, "request", body(value)))


def only_finding(operation: str, value: object) -> tuple[str, str]:
    (found,) = findings_of(operation, value)
    return found.severity, found.message


def evse(**changes: object) -> dict[str, Any]:
    return push_evse_data(EVSE | changes)


@pytest.mark.parametrize(
    ("operation", "value", "severity", "names"),
    [
        pytest.param(
            "PushEvseData", push_evse_data(without(EVSE, "HotlinePhoneNumber", HotlinePhoneNum="+4936411234")),
            "error", ("HotlinePhoneNum", "HotlinePhoneNumber"), id="a mandatory one, cut",
        ),
        pytest.param(
            "PushEvseData", evse(ChargingFacilities=[{"power": 22, "PowerType": "DC"}]), "error", ("power", "Power"),
            id="a mandatory one, in a nested object",
        ),
        pytest.param(
            "PullEvseData",
            {"ProviderID": "DE-DCB", "GeoCoordinatesResponseFormat": "Google", "lastCall": "2024-05-01T10:00:00Z"},
            "warning", ("lastCall", "LastCall"), id="an optional one",
        ),
        pytest.param(
            "PushEvseData", evse(Address=EVSE["Address"] | {"Timezone": "UTC+01:00"}), "warning",
            ("Timezone", "TimeZone"), id="an optional one, in a nested object",
        ),
        pytest.param(
            "ChargeDetailRecord", without(CDR, "MeterValueEnd", MeterValues=[1, 2]), "warning",
            ("MeterValues", "MeterValueEnd"), id="an optional one, close to it",
        ),
        pytest.param(
            "AuthorizeStart", without(AUTHORIZE_START, "OperatorID", operatorId="DE*ABC"), "error",
            ("operatorId", "OperatorID"), id="the sender",
        ),
    ],
)  # fmt: skip
def test_l13_a_member_that_is_nearly_a_known_one_is_named(operation, value, severity, names):
    messages = [found.message for found in findings_of(operation, value) if found.severity == severity]
    assert any(f"'{names[0]}'" in text and f"did you mean '{names[1]}'?" in text for text in messages), messages


@pytest.mark.parametrize(
    ("operation", "value"),
    [
        pytest.param("PushEvseData", evse(OperatorID="DE*ABC", OperatorName="ABC"), id="members of pulled EVSE data"),
        pytest.param("AuthorizeStop", REQUESTS["AuthorizeStop"] | {"PartnerProductID": "AC1"}, id="of other messages"),
        pytest.param("ChargeDetailRecord", CDR | {"x-unknown": 1, "Signature": "a", "P2P": {}}, id="unlike any"),
        pytest.param("ChargeDetailRecord", CDR | {f"{'y' * 60}{at}": at for at in range(2000)}, id="very many"),
    ],
)
def test_l13_a_member_of_another_message_or_an_extension_is_none(operation, value):
    assert findings_of(operation, value) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param(
            {"GeoCoordinates": {"Google": "46.42424195876364 8.142627"}},
            "46.42424195876364 has 14 decimals, at most 6 are allowed", id="decimals",
        ),
        pytest.param(
            {"GeoCoordinates": {"Google": {"Coordinates": "46 8.142627"}}}, "46 has no decimals", id="no decimals",
        ),
        pytest.param(
            {"GeoCoordinates": {"DecimalDegree": {"Latitude": "46.1234567", "Longitude": "8.1"}}},
            "46.1234567 has 7 decimals", id="decimals of an angle",
        ),
        pytest.param(
            {"GeoCoordinates": {"Google": {"Coordinates": "46.4242428.142627"}}}, "there is no separator",
            id="no separator",
        ),
        pytest.param(
            {"GeoCoordinates": {"Google": "None None"}}, "'None None' cannot be read", id="no coordinates",
        ),
        pytest.param({"Plugs": ["Type 2 Outlet "]}, "'Type 2 Outlet ' ends in a blank", id="a blank at the end"),
        pytest.param({"Plugs": ["CHADEMO"]}, "did you mean 'CHAdeMO'?", id="letter case"),
        pytest.param({"Plugs": ["Type2 outlet"]}, "did you mean 'Type 2 Outlet'?", id="blanks"),
        pytest.param({"Accessibility": "Free Publicly accessible"}, "did you mean 'Free publicly", id="closed list"),
        pytest.param({"HotlinePhoneNumber": "+4936411234\t"}, "'+4936411234\t' ends in a tab", id="a tab at the end"),
        pytest.param({"MaxCapacity": 22.5}, "must be an integer, not a number (22.5)", id="a fraction"),
        pytest.param(
            {"AdditionalInfo": {"lang": "en", "value": None}},
            'must be an array, not an object ({"lang": "en", "value": null})', id="JSON, not Python",
        ),
        pytest.param({"RenewableEnergy": "True"}, "must be a boolean, not a string ('True')", id="a text"),
        pytest.param(
            {"Address": EVSE["Address"] | {"HouseNum": "1 to 13 and 15"}}, "'1 to 13 and 15' has 14 characters",
            id="too long",
        ),
    ],
)  # fmt: skip
def test_l15_the_reason_is_the_true_one(changes, reason):
    severity, message = only_finding("PushEvseData", evse(**changes))
    assert (severity, reason in message) == ("error", True), message


@pytest.mark.parametrize("plug", ["MCS", "NACS", "Type 4 Outlet"])
def test_l15_only_what_resembles_nothing_is_newer_than_the_list(plug):
    assert only_finding("PushEvseData", evse(Plugs=[plug]))[0] == "known-defect"


def test_l15_a_price_for_everyone_is_no_example_for_a_mistyped_provider():
    push = {"ActionType": "fullLoad", "PricingProductData": PRODUCTS | {"ProviderID": "**"}}
    severity, message = only_finding("PushPricingProductData", push)
    assert severity == "error"
    assert "'*'" not in message.replace("'**'", "")


@pytest.mark.parametrize(
    ("identifier", "problem"),
    [
        (EvseID("BE-BEC-E041503003"), "contains '-', which is not allowed in an EvseID"),
        (EvseID("DE*ABC*E"), "has 0 characters behind the E"),
        (EvseID("DE*ABC*E" + "1" * 31), "has 31 characters behind the E"),
        (EvseID("DE*ABC*840"), "has no 'E' behind its operator, ABC"),
        (EvseID("CHESWIE16970"), "has no 'E' behind its operator, ESW"),
        (EvseID("DE*ABC*E1 "), "ends in a blank"),
        (EvseID("DE*ABC*E1/2"), "contains '/'"),
        (EvseID(""), "is empty"),
        (OperatorID("CH*SWISSCHARGE"), "has 11 characters behind the country code, 3 are needed"),
        (OperatorID("DE-ABC"), "contains '-'"),
        (ProviderID("DE-DCBX"), "has 4 characters behind the country code"),
        (EvcoID("DE-BET-C12345678"), "has no check character"),
        (EvcoID("DE*BET*123456"), "has no check digit"),
        (EvcoID("DE*8EO*AET5E4*Z"), "ends in 'Z'; a check digit, or X, is needed"),
        (EvcoID("NL-TNM-000096379-M"), "has no 'C' before the instance"),
        (EvcoID("DE-BET-C1234567-X"), "has 7 characters behind the C, 8 are needed"),
        (UID("04E1D2C3B4A5"), "has 12 hexadecimal digits; a UID has 8, 14 or 20"),
        (UID("04:E1:D2:C3"), "has separators"),
        (UID("04E1D2CG"), "contains 'G'"),
        (SessionID("b26888557f0000026d8e48d883f6abb6"), "has no '-' between its five parts"),
        (SessionID("{b2688855-7f00-0002-6d8e-48d883f6abb6}"), "stands in braces"),
    ],
    ids=str,
)
def test_l15_an_identifier_says_what_is_wrong_with_it(identifier: Identifier, problem):
    assert not identifier.is_valid
    assert problem in (find_problem(identifier) or "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BE-BEC-E041503003", "EvseID"),
        ("04E1D2C3B4A5", "UID"),
        ("DE-BET-C12345678", "EvcoID"),
        ("NL-TNM-000096379-M", "EvcoID"),
        ("DE*ABC*E1 ", "EvseID"),
        ("CH*SWISSCHARGE", "OperatorID"),
    ],
)
def test_l15_a_text_says_which_identifier_it_nearly_is(text, expected):
    assert expected in [kind.__name__ for kind, _ in likely_problems(text)]


def test_l16_a_long_list_of_findings_says_how_long_it_is():
    found = [Finding(Severity.ERROR, f"/{at}", "missing" if at else "malformed", "text") for at in range(1497)]
    lines = [*format_findings(found)]
    assert "1,497 findings, the first 100 follow" in lines[0]
    assert lines[-1].strip() == "1,497 findings: 1,496 missing, 1 malformed"
    assert len(lines) == 2 + 2 * 100
    assert len([*format_findings(found[:100])]) == 2 * 100


def test_l16_a_refusal_says_how_many_findings_there_are_of_each_kind():
    found = [Finding(Severity.ERROR, "/Plugs", "missing", "text")] * 100
    members = validation_error_response(InvalidMessage(found, {"missing": 199, "malformed": 1})).body
    assert b"200 findings, the first 100 follow; of all: 199 missing, 1 malformed" in members
    assert b'"extendedInfo":null' in validation_error_response(InvalidMessage(found)).body


@pytest.mark.parametrize("text", ["a\x00b", "\x00"])
def test_l24_a_text_with_u_0000_is_refused_and_costs_no_other_record(text):
    (found,) = findings_of("AuthorizeStart", AUTHORIZE_START | {"CPOPartnerSessionID": text})
    assert (found.severity, found.pointer, found.code) == ("error", "/CPOPartnerSessionID", "nul-character")
    (found,) = findings_of("AuthorizeStart", AUTHORIZE_START | {"Other": [{text: 1}]})
    assert found.pointer == "/Other/0"
    push = push_evse_data(EVSE, EVSE | {"EvseID": "DE*ABC*E2", "HardwareManufacturer": text})
    stream = read_records(PushEvseData, body(push).replace(b"\\u0000", b"\\u0000"))
    assert [record is not None for _, record, _ in stream] == [True, False]
    assert [stream.fast_view(raw) is not None for raw in stream.raw_records] == [True, False]


def test_l24_a_backslash_before_u0000_is_no_such_character():
    assert findings_of("AuthorizeStart", AUTHORIZE_START | {"CPOPartnerSessionID": r"a\u0000"}) == []


@pytest.mark.parametrize(
    ("operation", "value", "expected"),
    [
        pytest.param(
            "AuthorizeRemoteStart",
            REQUESTS["AuthorizeRemoteStart"]
            | {"EvseID": "de*abc*e1*2", "Identification": {"RemoteIdentification": {"EvcoID": "de-dcb-c12345678-x"}}},
            [b'"EvseID": "DE*ABC*E1*2"', b'"EvcoID": "DE-DCB-C12345678-X"'],
            id="a remote start",
        ),
        pytest.param(
            "AuthorizeStart",
            AUTHORIZE_START | {"Identification": {"RFIDMifareFamilyIdentification": {"UID": "cafebabe"}}},
            [b'"UID": "CAFEBABE"'],
            id="a card",
        ),
        pytest.param(
            "PullEvseStatusByID",
            {"ProviderID": "DE-DCB", "EvseID": ["DE*ABC*E1", "de*abc*e2"]},
            [b'["DE*ABC*E1", "DE*ABC*E2"]'],
            id="a list",
        ),
    ],
)
def test_i8_lower_case_is_read_with_a_warning_and_handed_on_rewritten(operation, value, expected):
    found = findings_of(operation, value)
    assert {finding.code for finding in found} == {"lower-case-identifier"}
    assert Verdict.from_findings(found) == "accept-with-warning"
    message = rewritten(OPERATION_BY_NAME[operation].request.from_json(body(value)))
    assert all(member in message.to_json() for member in expected)
    assert message.field_findings == ()


def test_i8_only_identifiers_change_and_a_signed_message_does_not():
    value = AUTHORIZE_START | {"EvseID": "de*abc*e1", "PartnerProductID": 'text with "EvseID": "de*abc*e1"'}
    message = rewritten(OPERATION_BY_NAME["AuthorizeStart"].request.from_json(body(value)))
    assert message.to_json() == body(value | {"EvseID": "DE*ABC*E1"})
    signed = body(value | {"signature": "MEUCIQ"})
    assert rewritten(OPERATION_BY_NAME["AuthorizeStart"].request.from_json(signed)).to_json() == signed


@pytest.mark.parametrize(
    ("operation", "value", "expected"),
    [
        pytest.param("PushEVSEPricing", {"ActionType": "fullLoad", "EVSEPricing": []}, "reject", id="no price"),
        pytest.param("PushEvseData", evse(PaymentOptions=["No payment"]), "accept-with-warning", id="No payment"),
        pytest.param("PushEvseData", evse(PaymentOptions=["No payment", "Direct"]), "reject", id="No payment and more"),
        pytest.param(
            "PushPricingProductData",
            {"ActionType": "insert", "PricingProductData": PRODUCTS | {"PricingDefaultPriceCurrency": "eur"}},
            "reject",
            id="a currency in lower case",
        ),
        pytest.param(
            "PushAuthenticationData",
            pushed_driver(
                {"QRCodeIdentification": {"EvcoID": "DE-DCB-C12345678-X", "HashedPIN": HASH | {"Value": "0123456789"}}}
            ),
            "accept-with-warning",
            id="Bcrypt without a bcrypt hash: a node refuses it",
        ),
    ],
)
def test_d27_d32_d46_the_language(operation, value, expected):
    assert Verdict.from_findings(findings_of(operation, value)) == expected
