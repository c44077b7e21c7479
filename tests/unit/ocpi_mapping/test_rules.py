"""Rules of the mapping that the shared vectors show no case of."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from p2p_oicp.ocpi_mapping import (
    authorizations,
    cdrs,
    commands,
    identifications,
    ids,
    locations,
    places,
    prices,
    sessions,
)
from p2p_oicp.ocpi_mapping.amounts import duration_of, time_of
from p2p_oicp.ocpi_mapping.costs import Usage, costs_of
from p2p_oicp.ocpi_mapping.losses import Losses
from p2p_oicp.ocpi_mapping.plugs import connector_kind, to_plug
from tests.support.ocpi_objects import cdr, connector, element, evse, location, record, session, tariff
from tests.support.ocpi_vectors import NEW_SESSION_ID, TERMS

KNOWN = {"SessionID": NEW_SESSION_ID, "EvseID": "DE*GEF*E1"}


@pytest.mark.parametrize(
    ("address", "street", "house_num"),
    [
        ("Hafenstraße 12 a", "Hafenstraße", "12a"),
        ("Wiener Straße 12/3", "Wiener Straße", "12/3"),
        ("12, Rue de la Paix", "Rue de la Paix", "12"),
        ("Rue de la Paix 12-14", "Rue de la Paix", "12-14"),
        ("  Hafenstraße   5 ", "Hafenstraße", "5"),
        ("17. Juni Allee", "17. Juni Allee", "-"),
    ],
)
def test_a_house_number_is_separated(address, street, house_num):
    assert places.split_address(address, "Ort") == (street, house_num)


def test_a_long_address_takes_no_long_time():
    street, _ = places.split_address("1 ," * 400_000, "Ort")
    assert len(street) < 1000


@pytest.mark.parametrize(
    ("offset", "zone"),
    [
        ("UTC+05:30", "Etc/UTC"),
        ("UTC+00:00", "Etc/UTC"),
        ("UTC+14:00", "Etc/GMT-14"),
        ("UTC-13:00", "Etc/UTC"),
        ("x", "Etc/UTC"),
    ],
)
def test_an_offset_without_a_zone_of_its_own_is_utc(offset, zone):
    assert places.zone_of({"Country": "XXX", "TimeZone": offset}, TERMS, Losses()) == zone


def test_ids_that_are_too_long_become_hashes_that_never_change():
    long = f"+49*810*{'1' * 32}"
    assert ids.evse_uid(long) == "d83be5e769182e4b949e4f6ee83cfc1b2ccb"
    assert len(ids.evse_uid(long)) == 36
    assert len(ids.pool_location_id(f"IT*123*P{'A' * 31}")) == 36


@pytest.mark.parametrize("standard", ["iec_62196_t2_combo", "CHADEMO", "IEC_60309_2_single_16"])
def test_a_standard_is_recognised_in_any_letter_case(standard):
    assert to_plug(standard, "cable") == to_plug(standard.upper(), "CABLE") is not None


@pytest.mark.parametrize(
    ("amperage", "standard"), [(10, "three_16"), (16, "three_16"), (17, "three_32"), (63, "three_64")]
)
def test_a_three_phase_plug_is_that_of_its_amperage(amperage, standard):
    assert connector_kind("IEC 60309 Three Phase", amperage)["standard"] == f"IEC_60309_2_{standard}"


def test_a_period_without_brackets_is_read():
    times = [{"on": "Sunday", "Period": {"begin": "08:00", "end": "10:00"}}]
    served = locations.to_locations([record(IsOpen24Hours=False, OpeningTimes=times)], {}, {}, TERMS).locations
    assert served[0]["opening_times"]["regular_hours"] == [
        {"weekday": 7, "period_begin": "08:00", "period_end": "10:00"}
    ]


def test_the_type_of_an_image_is_that_of_its_ending():
    served = locations.to_locations([record(ChargingStationImage="https://x/a.PNG?v=1")], {}, {}, TERMS).locations
    assert served[0]["evses"][0]["images"][0]["type"] == "png"


def test_a_removed_evse_without_an_id_is_dropped_and_deletes_nothing():
    result = locations.to_records(location(evses=[evse(status="REMOVED", evse_id=None)]), TERMS)
    assert (result.deleted, result.dropped) == ([], [{"evse_uid": "cp1", "reason": "evse_id_missing"}])


def test_records_of_an_operator_in_two_places_are_two_locations():
    other = record(EvseID="DE*ABC*E78", ChargingPoolID="DE*ABC*P78")
    assert [each["id"] for each in locations.to_locations([record(), other], {}, {}, TERMS).locations] == [
        "DEABCP77",
        "DEABCP78",
    ]


def test_a_session_that_is_over_leads_to_nothing_more():
    before = session(status="COMPLETED")
    later = session(status="COMPLETED", last_updated="2026-11-10T12:00:00Z")
    assert sessions.to_notifications(later, before, KNOWN | {"started": True}, TERMS).notifications == []


@pytest.mark.parametrize(
    ("seconds", "kwh", "due"), [(299, 5, False), (300, 5, True), (300, 2, False)], ids=["soon", "due", "nothing-new"]
)
def test_progress_counts_from_the_last_progress(seconds, kwh, due):
    before = session(kwh=4, last_updated="2026-11-10T09:59:00Z")
    known = KNOWN | {"started": True, "last_progress": "2026-11-10T09:55:00Z", "kwh": 2}
    time = time_of("2026-11-10T09:55:00Z") + timedelta(seconds=seconds)
    later = session(kwh=kwh, last_updated=time.isoformat())
    assert bool(sessions.to_notifications(later, before, known, TERMS).notifications) is due


def test_a_session_of_a_bound_id_is_recognised_before_any_other():
    open_sessions = [
        {"SessionID": "other", "uid": "04A1B2C3", "evse_uid": "cp1", "authorized_at": "2026-11-10T09:00:00Z"},
        {"SessionID": NEW_SESSION_ID, "ocpi_id": "s-100"},
    ]
    assert sessions.correlate(session(), open_sessions, "new", TERMS).session_id == NEW_SESSION_ID


def test_a_session_that_is_bound_already_is_no_match_by_time():
    bound = {"SessionID": "other", "uid": "04A1B2C3", "evse_uid": "cp1", "authorized_at": "2026-11-10T09:00:00Z"}
    assert sessions.correlate(session(), [bound | {"ocpi_id": "S-99"}], "new", TERMS).hold == "unknown"


def test_a_session_that_was_authorized_online_never_becomes_an_offline_one():
    assert sessions.correlate(session(), [], "new", TERMS, is_token_pushed=True).hold == "unknown"


@pytest.mark.parametrize(
    ("elements", "left_out"),
    [
        ([element(1), element(2, "TIME")], {"element": 0, "reason": "energy_and_time"}),
        ([element(1, max_power=11), element(2)], {"element": 0, "reason": "restriction:max_power"}),
        ([element(1, start_date="2026-01-01")], {"element": 0, "reason": "restriction:start_date"}),
        ([element(1, "LATER_DIMENSION")], {"element": 0, "reason": "dimension:LATER_DIMENSION"}),
        ([{"price_components": []}], {"element": 0, "reason": "no_price"}),
        ([element(1, start_time="25:00"), element(2)], {"element": 0, "reason": "restriction:start_time"}),
        ([element(1), element(2, end_time="noon")], {"element": 1, "reason": "restriction:end_time"}),
        ([element(1, start_time="")], {"element": 0, "reason": "restriction:start_time"}),
        ([element(1, day_of_week=["HOLIDAY"])], {"element": 0, "reason": "restriction:day_of_week"}),
        ([element(1, day_of_week=["MONDAY", "MO"]), element(2)], {"element": 0, "reason": "restriction:day_of_week"}),
    ],
    ids=["two-bases", "power", "date", "unknown", "nothing", "start", "end", "empty", "day", "days"],
)
def test_a_tariff_of_which_a_part_would_be_wrong_is_left_out_whole(elements, left_out):
    result = prices.to_products(tariff(*elements), Decimal(22), TERMS)
    assert (result.products, result.left_out) == ([], [left_out])


PRODUCT = {
    "ProductID": "P",
    "ReferenceUnit": "HOUR",
    "ProductPriceCurrency": "EUR",
    "PricePerReferenceUnit": 3,
    "IsValid24hours": False,
}
READABLE = {"on": "Monday", "Periods": [{"begin": "08:00", "end": "10:00"}]}


@pytest.mark.parametrize(
    ("times", "code"),
    [
        (None, "no-times"),
        ([], "no-times"),
        ([READABLE | {"on": "Holiday"}], "no-such-value"),
        ([READABLE, READABLE | {"on": "Holiday"}], "no-such-value"),
        ([READABLE, {"on": "Sunday", "Periods": [{"begin": "8 am", "end": "10:00"}]}], "no-such-value"),
    ],
    ids=["absent", "none", "day", "one-day", "hour"],
)
def test_a_product_that_is_not_always_valid_is_left_out_if_its_times_cannot_be_read(times, code):
    request = prices.from_product(PRODUCT | {"ProductAvailabilityTimes": times}, "DE*ABC", TERMS)
    assert (request.method, request.body, request.reason) == ("none", None, "times")
    assert code in [loss.code for loss in request.losses]


def test_a_product_of_an_operator_without_a_party_is_left_out():
    request = prices.from_product(PRODUCT | {"IsValid24hours": True}, "+49*810", TERMS)
    assert (request.method, request.reason) == ("none", "operator_without_ocpi_party")


def test_a_tariff_that_is_over_is_not_offered():
    over = tariff(element(), end_date_time="2026-12-01T10:00:00Z")
    assert prices.to_products(over, Decimal(22), TERMS).left_out == [{"element": None, "reason": "not_active"}]


def test_a_fee_for_starting_and_a_fixed_one_are_one_price():
    fees = [
        {"AdditionalReference": kind, "AdditionalReferenceUnit": "HOUR", "PricePerAdditionalReferenceUnit": price}
        for kind, price in (("START FEE", 1), ("FIXED FEE", 2))
    ]
    product = {"ProductID": "P", "ReferenceUnit": "HOUR", "ProductPriceCurrency": "EUR", "PricePerReferenceUnit": 3}
    request = prices.from_product(product | {"IsValid24hours": True, "AdditionalReferences": fees}, "DE*ABC", TERMS)
    components = request.body["elements"][0]["price_components"]
    assert [(each["type"], each["price"]) for each in components] == [("TIME", 3), ("FLAT", 3)]


def test_a_cost_is_computed_from_exact_times():
    product = {"PricePerReferenceUnit": 3, "ReferenceUnit": "HOUR"}
    usage = Usage(Decimal(1), timedelta(minutes=50), timedelta(0))
    assert costs_of(product, usage, Losses())["total_cost"] == {"excl_vat": Decimal("2.5")}


def test_more_than_ten_signed_values_are_the_first_nine_and_the_last():
    values = [{"nature": "Start", "signed_data": "start", "plain_data": ""}]
    values += [{"nature": "x", "signed_data": str(number), "plain_data": ""} for number in range(20)]
    values += [{"nature": "END", "signed_data": "end", "plain_data": ""}]
    signed = {"encoding_method": "OCMF", "signed_values": values}
    written = cdrs.to_record(cdr(signed_data=signed), KNOWN).record["SignedMeteringValues"]
    assert [value["SignedMeteringValue"] for value in written] == ["start", *"01234567", "end"]


def written_with(annex, **changes):
    """Return the CDR of a record with an annex."""
    served = {"id": "L", "address": "A" * 50, "city": "K", "country": "DEU", "coordinates": {}}
    place = served | {"evse": {"uid": "E1", "connectors": [connector()]}}
    own = cdrs.to_record(cdr(), KNOWN).record | {cdrs.ANNEX: annex} | changes
    return cdrs.from_record(own, place, {"OperatorID": "DE*GEF"}, None, TERMS)


def test_an_annex_that_contradicts_the_record_is_ignored_and_reported():
    result = written_with({"cdr": cdr()}, ConsumedEnergy=Decimal(17))
    assert result.body["total_cost"] == {"excl_vat": 0}
    assert {"annex-ignored", "address-cut"} <= {loss.code for loss in result.losses}


@pytest.mark.parametrize(
    "annex",
    [
        "cdr",
        [cdr()],
        {"cdr": []},
        {"cdr": "CDR-100"},
        {"cdr": {"total_energy": 18}},
        {"cdr": cdr(start_date_time="yesterday")},
        {"cdr": cdr(total_energy="much")},
        {"cdr": cdr(charging_periods={})},
        {"cdr": cdr(total_cost=8)},
    ],
    ids=["text", "list", "cdr-list", "cdr-text", "members", "time", "energy", "periods", "cost"],
)
def test_an_annex_that_is_no_cdr_is_ignored_and_reported(annex):
    result = written_with(annex)
    assert result.body["total_cost"] == {"excl_vat": 0}
    assert [loss.code for loss in result.losses if loss.pointer.startswith("/OCPI")] == ["annex-ignored"]


@pytest.mark.parametrize("annex", [None, {}, {"later": 1}], ids=["null", "empty", "other"])
def test_an_annex_without_a_cdr_loses_nothing(annex):
    assert "annex-ignored" not in [loss.code for loss in written_with(annex).losses]


def test_an_annex_has_the_money_of_its_cdr():
    result = written_with({"cdr": cdr()})
    assert result.body["total_cost"] == {"excl_vat": 8}
    assert "annex-ignored" not in [loss.code for loss in result.losses]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Type": "Progress"}, "no_energy"),
        ({"Type": "End"}, "no_energy"),
        ({"Type": "Error"}, "goes_on"),
        ({"Type": "Start", "Identification": {"QRCodeIdentification": {"EvcoID": "DE-DCB-C1"}}}, "identification"),
        ({"Type": "End", "OperatorID": "+49*810", "ConsumedEnergy": 1}, "operator_without_ocpi_party"),
    ],
    ids=["progress", "end", "error", "driver", "operator"],
)
def test_a_notification_that_leads_to_nothing_has_its_reason(changes, reason):
    row = {"id": "S", "kwh": 2, "location_id": "L", "evse_uid": "E", "connector_id": "1"}
    notification = {"SessionID": NEW_SESSION_ID, "EvseID": "DE*ABC*E1", "ChargingStart": "2026-11-12T18:01:00Z"}
    request = sessions.from_notification(notification | changes, row, TERMS)
    assert (request.method, request.reason) == ("none", reason)


@pytest.mark.parametrize(
    ("http_status", "status_code", "data", "code"),
    [
        (None, None, None, "310"),
        (200, None, {"allowed": "ALLOWED"}, "000"),
        (200, 1000, None, "022"),
        (200, 2003, None, "603"),
        (401, None, None, "017"),
        (429, None, None, "310"),
    ],
)
def test_an_answer_of_an_emsp_has_its_code(http_status, status_code, data, code):
    answer, _ = authorizations.to_authorization_start(NEW_SESSION_ID, http_status, status_code, data, TERMS)
    assert answer["StatusCode"]["Code"] == code


def test_an_unknown_contract_of_a_vehicle_is_105():
    answer, _ = authorizations.to_authorization_start(NEW_SESSION_ID, 404, 2004, None, TERMS, token_type="OTHER")
    assert answer["StatusCode"]["Code"] == "105"


def test_a_partner_of_profile_extrawest_gets_a_question_in_its_own_way():
    request = {"Identification": {"RFIDMifareFamilyIdentification": {"UID": "04A1B2C3"}}}
    call = authorizations.from_authorize_start(request, {}, {}, replace(TERMS, profile="extrawest"))
    assert call.query == {"type": "RFID", "token_type": "RFID"}


def test_the_name_of_a_provider_is_the_issuer_of_its_tokens():
    driver = {"Identification": {"RemoteIdentification": {"EvcoID": "DE-DCB-C12345678-9"}}}
    terms = replace(TERMS, providers={"DE-DCB": "DCB Mobility"})
    assert identifications.from_authentication("insert", "DE-DCB", driver, terms).body["issuer"] == "DCB Mobility"


@pytest.mark.parametrize(
    ("code", "result", "expected"),
    [
        ("000", False, "REJECTED"),
        ("601", False, "EVSE_OCCUPIED"),
        ("300", False, "NOT_SUPPORTED"),
        ("022", False, "REJECTED"),
    ],
)
def test_an_acknowledgement_has_its_result(code, result, expected):
    answer = commands.from_acknowledgement("START_SESSION", {"Result": result, "StatusCode": {"Code": code}})
    assert answer["result"] == expected


def test_a_command_for_a_provider_beside_the_main_one_names_that_provider():
    body = {
        "token": {"country_code": "de", "party_id": "abc", "contract_id": "DE-ABC-C12345678-9"},
        "location_id": "L",
        "evse_uid": "E",
    }
    place = {"L": {"E": {"EvseID": "DE*ABC*E1", "status": "AVAILABLE"}}}
    request = commands.to_remote_request("START_SESSION", body, place, {}, NEW_SESSION_ID, TERMS)
    assert request.message["ProviderID"] == "DE-ABC"


@pytest.mark.parametrize(("hours", "expected"), [(10**30, 2), (-1, 0), (1, 1)])
def test_a_duration_stays_within_the_session(hours, expected):
    assert duration_of(hours, timedelta(hours=2)) == timedelta(hours=expected)
