"""What holds for any object, not only for those that somebody thought of."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from p2p_oicp.ocpi.base import check_object, encode_json, read_object
from p2p_oicp.ocpi.enumerations import Capability, ConnectorFormat, ConnectorType, ParkingType, PowerType, Status
from p2p_oicp.ocpi.locations import Location
from p2p_oicp.ocpi.sessions import Cdr
from p2p_oicp.ocpi.tariffs import Tariff
from p2p_oicp.ocpi_mapping import cdrs, hours, locations, places, prices
from p2p_oicp.ocpi_mapping.amounts import energy, format_time, rounded, time_of
from p2p_oicp.oicp import ChargeDetailRecord, EvseDataRecord, validate
from p2p_oicp.oicp.enums import Day, Plug
from p2p_oicp.oicp.findings import Severity
from p2p_oicp.oicp.pricing import PricingProductDataRecord
from tests.support.ocpi_objects import cdr, connector, element, evse, location, period, record, tariff
from tests.support.ocpi_vectors import NEW_SESSION_ID, TERMS, canonical

START = time_of("2026-11-10T09:00:00Z")


def texts(length):
    return st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=length)


words = st.text(alphabet=st.characters(codec="ascii", categories=["Lu", "Nd"]), min_size=1, max_size=20)
connectors = st.builds(
    connector,
    standard=st.sampled_from(list(ConnectorType)).map(str) | words,
    format=st.sampled_from(list(ConnectorFormat)).map(str) | words,
    power_type=st.sampled_from(list(PowerType)).map(str) | words,
    max_voltage=st.integers(-10, 10**9),
    max_amperage=st.integers(-10, 10**9),
    max_electric_power=st.none() | st.integers(-10, 10**12),
)
clock_times = st.integers(0, 1439).map(hours.write_clock)
regular_hours = st.fixed_dictionaries(
    {"weekday": st.integers(-1, 9), "period_begin": clock_times | words, "period_end": clock_times | words}
)
degrees = st.tuples(st.integers(-200, 200), st.text("0123456789", max_size=12)).map(
    lambda parts: f"{parts[0]}.{parts[1]}" if parts[1] else str(parts[0])
)
evses = st.builds(
    evse,
    evse_id=st.sampled_from(["DE*GEF*E1", "de-gef-e2", "DE*XYZ*E3", "", "E", "DE GEF E4"]),
    status=st.sampled_from(list(Status)).map(str) | words,
    capabilities=st.lists(st.sampled_from(list(Capability)).map(str) | words, max_size=4),
    connectors=st.lists(connectors, max_size=3),
    coordinates=st.none() | st.fixed_dictionaries({"latitude": degrees, "longitude": degrees}),
)
any_locations = st.builds(
    location,
    id=st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=36),
    publish=st.booleans(),
    name=st.none() | texts(255),
    address=texts(255),
    city=texts(45),
    time_zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "../etc/passwd", ""]),
    parking_type=st.none() | st.sampled_from(list(ParkingType)).map(str) | words,
    coordinates=st.fixed_dictionaries({"latitude": degrees, "longitude": degrees}),
    opening_times=st.none()
    | st.fixed_dictionaries({"twentyfourseven": st.booleans(), "regular_hours": st.lists(regular_hours, max_size=6)}),
    evses=st.lists(evses, max_size=3),
)


def errors_of(model, value):
    findings = validate(model.from_json(encode_json(value)))
    return [finding for finding in findings if finding.severity is Severity.ERROR]


@given(any_locations)
def test_any_location_that_can_be_read_gives_records_that_oicp_allows(written):
    value, _ = read_object(Location, encode_json(written))
    result = locations.to_records(value, TERMS)
    free_texts = {"/Address/City", "/Address/Street"}  # blanks alone are too short for OICP, and are as received
    errors = [error for record_ in result.records for error in errors_of(EvseDataRecord, record_)]
    assert [error for error in errors if error.pointer not in free_texts] == []
    assert len(result.records) + len(result.deleted) + len(result.dropped) == len(value["evses"])


@given(any_locations)
def test_letter_case_of_ids_and_words_changes_nothing_but_the_pool(written):
    value, _ = read_object(Location, encode_json(written))
    lower = deepcopy(value)
    for each in lower["evses"]:
        each["evse_id"], each["status"] = each["evse_id"].lower(), each["status"].lower()
        each["capabilities"] = [word.lower() for word in each["capabilities"]]
    one, other = locations.to_records(value, TERMS), locations.to_records(lower, TERMS)
    assert (one.records, one.statuses, one.deleted) == (other.records, other.statuses, other.deleted)


@given(any_locations)
def test_each_loss_is_reported_once_and_points_into_the_source(written):
    value, _ = read_object(Location, encode_json(written))
    losses = locations.to_records(value, TERMS).losses
    assert len(set(losses)) == len(losses)
    for loss in losses:
        part = value
        for name in loss.pointer.split("/")[1:]:
            part = part[int(name)] if isinstance(part, list) else part[name]


facilities = st.fixed_dictionaries(
    {},
    optional={
        "PowerType": st.sampled_from(["AC_1_PHASE", "AC_3_PHASE", "DC"]),
        "Power": st.decimals(0, 999, places=1) | st.integers(0, 999),
        "Voltage": st.integers(0, 999),
        "Amperage": st.integers(0, 99),
    },
)
any_records = st.builds(
    record,
    EvseID=st.sampled_from(["DE*ABC*E1", "DE*ABC*E2", "DEABCE3", "+49*810*000*1", "de*abc*e4"]),
    ChargingPoolID=st.sampled_from(["DE*ABC*P1", "DE*ABC*P2"]),
    Plugs=st.lists(st.sampled_from(list(Plug)).map(str) | words, max_size=4),
    ChargingFacilities=st.lists(facilities, max_size=4),
    OpeningTimes=st.lists(
        st.fixed_dictionaries(
            {
                "on": st.sampled_from(list(Day)).map(str),
                "Period": st.lists(
                    st.fixed_dictionaries({"begin": clock_times, "end": clock_times | st.just("24:00")}), max_size=2
                ),
            }
        ),
        max_size=3,
    ),
    IsOpen24Hours=st.booleans(),
)


@given(st.lists(any_records, max_size=4))
def test_any_evse_record_gives_locations_that_ocpi_allows(records):
    # Left out as None, a pool is grouped by its address.
    result = locations.to_locations(records, {"DE*ABC*E1": "Occupied"}, {"de*abc*e1": ["P" * 50]}, TERMS)
    assert [finding for each in result.locations for finding in check_object(Location, each)] == []
    served = [each["evse_id"] for location_ in result.locations for each in location_["evses"]]
    assert len(served) + len(result.dropped) == len(records)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1439), st.integers(1, 1440)), max_size=8))
def test_a_week_is_read_back_as_it_was_written(parts):
    week = hours.week_of((day, (begin, end)) for day, begin, end in parts if begin < end)
    written = hours.to_days(week, "Period")
    periods = hours.read_days(written, "", losses=_NoLosses())
    assert hours.week_of((day, span) for days, span in periods for day in days) == week


class _NoLosses:
    def add_value(self, pointer, value, reason):
        raise AssertionError(f"{pointer}: {value} {reason}")


spans = st.tuples(
    st.none() | clock_times,
    st.none() | clock_times,
    st.lists(st.sampled_from(_days := list(prices.DayOfWeek)), max_size=3),
)


@given(st.lists(spans, min_size=1, max_size=5))
def test_the_products_of_a_tariff_share_the_week_without_overlap(elements):
    """Each minute has the price of the first element that fits, or none."""
    names = ("start_time", "end_time", "day_of_week")
    written = tariff(
        *(
            element(price, **{name: value for name, value in zip(names, parts, strict=True) if value})
            for price, parts in enumerate(elements, 1)
        )
    )
    value, _ = read_object(Tariff, encode_json(written))
    result = prices.to_products(value, Decimal(22), TERMS)
    offered = {price: _minutes(product) for product in result.products for price in [product["PricePerReferenceUnit"]]}
    for minute in range(0, 7 * 1440, 97):
        fitting = [price for price, parts in enumerate(elements, 1) if _fits(minute, *parts)]
        assert [price for price, minutes in offered.items() if minute in minutes] == fitting[:1]


def _fits(minute, start, end, days):
    day, time = divmod(minute, 1440)
    begin, last = hours.read_clock(start or "00:00"), hours.read_clock(end or "00:00")
    in_time = (
        begin <= time < last
        if begin < (last or 1440) and last
        else time >= begin
        if not last
        else (time >= begin or time < last)
    )
    return in_time and (not days or _days[day] in days)


def _minutes(product):
    if product["IsValid24hours"]:
        return range(7 * 1440)
    periods = hours.read_days(product["ProductAvailabilityTimes"], "", losses=_NoLosses())
    return {day * 1440 + minute for days, (begin, end) in periods for day in days for minute in range(begin, end)}


@given(st.lists(spans, min_size=1, max_size=4))
def test_the_products_of_any_tariff_are_allowed_by_oicp(elements):
    names = ("start_time", "end_time", "day_of_week")
    written = tariff(
        *(element(1, **{name: value for name, value in zip(names, parts, strict=True) if value}) for parts in elements)
    )
    products = prices.to_products(written, Decimal(22), TERMS).products
    assert [error for product in products for error in errors_of(PricingProductDataRecord, product)] == []
    requests = [prices.from_product(product, "DE*ABC", TERMS) for product in products]
    assert [finding for request in requests for finding in check_object(Tariff, request.body)] == []


minutes = st.integers(-30, 200).map(lambda count: format_time(START + timedelta(minutes=count)))
any_cdrs = st.builds(
    cdr,
    end_date_time=st.integers(0, 180).map(lambda count: format_time(START + timedelta(minutes=count))),
    charging_periods=st.lists(
        st.builds(
            period,
            minutes,
            ENERGY=st.integers(0, 3),
            PARKING_TIME=st.decimals(0, 3, places=2),
        )
        | st.builds(period, minutes, PARKING_TIME=st.decimals(0, 3, places=2)),
        min_size=1,
        max_size=4,
    ),
    total_energy=st.decimals(0, 10**6, places=4),
    total_parking_time=st.none() | st.decimals(-5, 10**30, places=2),
)


@given(any_cdrs)
def test_charging_is_always_within_the_session_and_the_energy_is_that_of_the_cdr(written):
    value, _ = read_object(Cdr, encode_json(written))
    result = cdrs.to_record(value, {"SessionID": NEW_SESSION_ID}).record
    times = [time_of(result[name]) for name in ("SessionStart", "ChargingStart", "ChargingEnd", "SessionEnd")]
    assert times == sorted(times)
    assert result["ConsumedEnergy"] == energy(written["total_energy"])
    assert errors_of(ChargeDetailRecord, result) == []


SERVED = {"id": "L", "address": "Markt 3", "city": "Kassel", "country": "DEU"} | {
    "coordinates": {"latitude": "51.31270", "longitude": "9.49790"},
    "evse": {"uid": "E1", "connectors": [connector()]},
}


@given(any_cdrs)
def test_the_money_of_a_cdr_passes_two_gateways_unchanged_with_the_annex(written):
    value, _ = read_object(Cdr, encode_json(written))
    record_ = cdrs.with_annex(cdrs.to_record(value, {"SessionID": NEW_SESSION_ID}).record, value)
    body = cdrs.from_record(record_, SERVED, {"OperatorID": "DE*GEF"}, None, TERMS).body
    money = [name for name in value if name.startswith("total_") or name in {"currency", "charging_periods", "tariffs"}]
    assert canonical({name: body[name] for name in money}) == canonical({name: value[name] for name in money})


@given(any_cdrs)
def test_the_cdr_of_any_record_is_allowed_by_ocpi(written):
    value, _ = read_object(Cdr, encode_json(written))
    record_ = cdrs.to_record(value, {"SessionID": NEW_SESSION_ID}).record
    assert check_object(Cdr, cdrs.from_record(record_, SERVED, {"OperatorID": "DE*GEF"}, None, TERMS).body) == ()


@given(texts(300), texts(45))
def test_the_words_of_an_address_are_all_there_after_splitting_it(address, city):
    street, house_num = places.split_address(address, city)
    together = street + house_num
    for character in "".join(address.split()).replace(",", ""):
        assert character in together or character == "\u2013"


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40), st.integers(0, 6))
def test_rounding_is_exact_and_leaves_no_trailing_zeros(number, decimals):
    result = rounded(number, decimals)
    assert abs(result - number) <= Decimal(5).scaleb(-decimals - 1)
    assert "E" not in str(result)
