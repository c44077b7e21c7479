"""``p2p-oicp ocpi convert``: an object of either protocol, what becomes of it, and what is lost."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from p2p_oicp.cli import ocpi
from p2p_oicp.errors import ConfigurationError
from tests.support.ocpi_objects import cdr, connector, element, evse, location, record, session, tariff, token
from tests.support.ocpi_vectors import NEW_SESSION_ID

REFERENCE = {"authorization_reference": NEW_SESSION_ID}
PRODUCT = {
    "ProductID": "AC-1",
    "ReferenceUnit": "KILOWATT_HOUR",
    "ProductPriceCurrency": "CHF",
    "PricePerReferenceUnit": 0.45,
    "MaximumProductChargingPower": 22,
    "IsValid24hours": True,
    "ProductAvailabilityTimes": [],
}
RECORD = {
    "SessionID": NEW_SESSION_ID,
    "EvseID": "DE*ABC*E77*1",
    "Identification": {"RemoteIdentification": {"EvcoID": "DE-DCB-C12345678-9"}},
    "SessionStart": "2026-11-12T18:00:00+01:00",
    "ChargingStart": "2026-11-12T18:01:00+01:00",
    "ChargingEnd": "2026-11-12T19:01:00+01:00",
    "SessionEnd": "2026-11-12T19:01:00+01:00",
    "ConsumedEnergy": 11.5,
}


NOTIFICATION = {
    "Type": "Progress",
    "SessionID": NEW_SESSION_ID,
    "EvseID": "DE*ABC*E77*1",
    "Identification": RECORD["Identification"],
    "ChargingStart": "2026-11-12T18:01:00+01:00",
    "EventOccurred": "2026-11-12T18:11:00+01:00",
    "ChargingDuration": 600000,
}


def convert(*arguments, given):
    app = typer.Typer()
    ocpi.register(app)
    text = given if isinstance(given, str) else json.dumps(given)
    return CliRunner().invoke(app, ["ocpi", "convert", *map(str, arguments)], input=text)


def document(*arguments, given):
    result = convert(*arguments, "--json", given=given)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return json.loads(result.stdout)


def file_with(folder, value):
    path = folder / "given.json"
    path.write_text(json.dumps(value))
    return path


def test_a_location_becomes_records_and_its_losses_stand_beside_them():
    result = convert("location", given=location(facilities=["WIFI"]))
    assert result.exit_code == 0
    assert json.loads(result.stdout)["records"][0]["EvseID"] == "DE*GEF*E0001*1"
    assert result.stderr.count("/facilities  [no-counterpart]") == 1


@pytest.mark.parametrize(
    ("kind", "given", "member"),
    [
        ("tariff", tariff(), "products"),
        ("token", token(), "record"),
        ("session", session(**REFERENCE), "notifications"),
        ("cdr", cdr(**REFERENCE), "record"),
    ],
)
def test_each_kind_becomes_its_counterpart(kind, given, member):
    assert document(kind, given=given)["result"][member]


def test_numbers_are_written_as_numbers():
    assert '"ConsumedEnergy": 18' in convert("cdr", given=cdr(**REFERENCE)).stdout


def test_an_object_that_cannot_be_read_is_named_with_its_path():
    broken = location(evses=[evse(connectors=[connector(max_voltage="many")])])
    result = convert("location", given=broken)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "/evses/0/connectors/0/max_voltage  [wrong-type]" in result.stderr


def test_findings_of_an_object_that_can_be_read_do_not_hinder_it():
    result = convert("location", given=location(id="x" * 40))
    assert result.exit_code == 0
    assert "/id  [too-long]" in result.stderr


def test_nothing_that_can_be_carried_is_exit_code_1():
    result = convert("location", given=location(publish=False))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["dropped"] == [{"evse_uid": "cp1", "reason": "not_published"}]


@pytest.mark.parametrize(
    ("arguments", "given", "reason"),
    [
        (["tariff"], tariff(element(1, start_time="noon")), "element 0: restriction:start_time"),
        (["tariff"], tariff(end_date_time="2020-01-01T00:00:00Z"), "object: not_active"),
        (["tariff", "--to", "ocpi", "--operator", "+49*810"], PRODUCT, "ProductID AC-1: operator_without_ocpi_party"),
        (
            ["tariff", "--to", "ocpi", "--operator", "DE*ABC"],
            PRODUCT | {"IsValid24hours": False},
            "ProductID AC-1: times",
        ),
        (["session"], session(), "all of it: unknown"),
        (["session"], session(status="PENDING", **REFERENCE), "all of it: status:PENDING"),
        (["session", "--to", "ocpi", "--operator", "DE*ABC"], NOTIFICATION, "all of it: no_energy"),
        (["cdr"], cdr(), "all of it: uncorrelated"),
        (["location"], location(publish=False), "evse_uid cp1: not_published"),
    ],
    ids=["hours", "over", "operator", "times", "unknown", "pending", "progress", "cdr", "location"],
)
def test_what_is_left_out_is_printed_with_its_reason(arguments, given, reason):
    result = convert(*arguments, given=given)
    assert result.exit_code == 1
    assert f"Left out:\n  {reason}\n" in result.stderr


def test_a_cdr_without_a_known_session_is_held_until_one_is_given():
    assert document("cdr", given=cdr())["result"] == {"parked": "uncorrelated"}
    assert (
        document("cdr", "--session-id", NEW_SESSION_ID, given=cdr())["result"]["record"]["SessionID"] == NEW_SESSION_ID
    )


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        (record(), "/HotlinePhoneNumber"),
        (
            {
                "ActionType": "fullLoad",
                "OperatorEvseData": {
                    "OperatorID": "DE*ABC",
                    "OperatorName": "ABC",
                    "EvseDataRecord": [
                        {name: value for name, value in record().items() if not name.startswith("Operator")}
                    ],
                },
            },
            "/OperatorEvseData/EvseDataRecord/0/HotlinePhoneNumber",
        ),
    ],
    ids=["record", "push"],
)
def test_evse_records_become_locations(given, pointer):
    answer = document("location", "--to", "ocpi", given=given)
    assert answer["result"]["locations"][0]["evses"][0]["uid"] == "DEABCE771"
    assert pointer in [loss["pointer"] for loss in answer["losses"]]


def test_a_record_is_priced_by_its_product_at_its_evse(tmp_path):
    evse_file = file_with(tmp_path, {name: value for name, value in record().items() if "Operator" not in name})
    product_file = tmp_path / "product.json"
    product_file.write_text(json.dumps(PRODUCT))
    answer = document("cdr", "--to", "ocpi", "--evse", evse_file, "--product", product_file, given=RECORD)
    body = answer["result"]["body"]
    assert (body["total_cost"], body["currency"]) == ({"excl_vat": 5.175}, "CHF")
    assert body["cdr_location"]["evse_uid"] == "DEABCE771"


@pytest.mark.parametrize(
    ("arguments", "given", "hint"),
    [
        (("cdr", "--to", "ocpi"), RECORD, "--evse"),
        (("tariff", "--to", "ocpi"), PRODUCT, "--operator"),
        (
            ("token", "--to", "ocpi"),
            {"Identification": {"RFIDMifareFamilyIdentification": {"UID": "04A1B2C3"}}},
            "--provider",
        ),
        (("token",), "no json", "expected one JSON message"),
    ],
    ids=["place", "operator", "provider", "json"],
)
def test_what_is_missing_beside_an_object_is_named(arguments, given, hint):
    result = convert(*arguments, given=given)
    assert isinstance(result.exception, ConfigurationError)
    assert hint in str(result.exception)


def test_a_token_becomes_the_request_that_tells_a_cpo_of_it():
    given = {"Identification": {"RFIDMifareFamilyIdentification": {"UID": "04A1B2C3"}}}
    (request,) = document("token", "--to", "ocpi", "--provider", "DE-DCB", given=given)["result"]["requests"]
    assert (request["method"], request["path"]) == ("PUT", "/DE/DCB/04A1B2C3")


def test_terms_are_read_from_a_file(tmp_path):
    terms = tmp_path / "terms.toml"
    terms.write_text('hotline = "+4930123456"\nlanguage = "de"\n')
    (own,) = document("location", "--terms", terms, given=location())["result"]["records"]
    assert own["HotlinePhoneNumber"] == "+4930123456"
    assert own["ChargingStationNames"][0]["lang"] == "de"


@pytest.mark.parametrize(
    ("text", "hint"),
    [("hotlin = 1", "hotlin is no term"), ("reservation_minutes = 'x'", "reservation_minutes: input"), ("=", "TOML")],
    ids=["name", "value", "syntax"],
)
def test_a_mistake_in_the_terms_is_named_with_its_file(tmp_path, text, hint):
    terms = tmp_path / "terms.toml"
    terms.write_text(text)
    result = convert("location", "--terms", terms, given=location())
    assert str(terms) in str(result.exception)
    assert hint in str(result.exception)
