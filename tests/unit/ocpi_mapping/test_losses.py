"""What cannot be carried is reported, once and with its place in the source."""

from __future__ import annotations

from decimal import Decimal

import pytest

from p2p_oicp.ocpi_mapping import cdrs, commands, identifications, locations, prices, sessions
from p2p_oicp.ocpi_mapping.losses import Losses
from tests.support.ocpi_objects import cdr, connector, element, evse, location, period, record, session, tariff, token
from tests.support.ocpi_vectors import NEW_SESSION_ID, TERMS

KNOWN = {"SessionID": NEW_SESSION_ID, "EvseID": "DE*GEF*E1"}


def pointers(losses):
    return [loss.pointer for loss in losses]


@pytest.mark.parametrize(
    ("written", "pointer"),
    [
        (location(owner={"name": "Owner"}), "/owner"),
        (location(operator={"name": "Other"}), "/operator/name"),
        (
            location(opening_times={"twentyfourseven": True, "exceptional_closings": [{}]}),
            "/opening_times/exceptional_closings",
        ),
        (location(energy_mix={"is_green_energy": True, "supplier_name": "S"}), "/energy_mix/supplier_name"),
        (
            location(
                energy_mix={"is_green_energy": True, "energy_sources": [{"source": "GENERAL_GREEN", "percentage": 1}]}
            ),
            "/energy_mix/energy_sources/0/source",
        ),
        (location(parking_type="ON_DRIVEWAY"), "/parking_type"),
        (location(name="N" * 151), "/name"),
        (location(images=[{"url": "https://x/l.png", "category": "NETWORK", "type": "png"}]), "/images/0"),
        (location(evses=[evse(capabilities=["UNLOCK_CAPABLE"])]), "/evses/0/capabilities"),
        (location(evses=[evse(physical_reference="7")]), "/evses/0/physical_reference"),
        (location(evses=[evse(parking_restrictions=["EV_ONLY"])]), "/evses/0/parking_restrictions/0"),
        (
            location(evses=[evse(connectors=[connector(), connector(standard="GBT_AC")])]),
            "/evses/0/connectors/1/standard",
        ),
        (location(evses=[evse(connectors=[connector(max_voltage=1000)])]), "/evses/0/connectors/0/max_voltage"),
        (location(evses=[evse(connectors=[connector(max_amperage=500)])]), "/evses/0/connectors/0/max_amperage"),
        (
            location(evses=[evse(connectors=[connector(max_electric_power=2_000_000)])]),
            "/evses/0/connectors/0/max_electric_power",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_location_loses_is_reported_once(written, pointer):
    assert pointers(locations.to_records(written, TERMS).losses).count(pointer) == 1


def test_a_loss_of_the_location_is_reported_once_for_all_its_evses():
    evses = [evse(), evse(uid="cp2", evse_id="DE*GEF*E2")]
    losses = locations.to_records(location(owner={"name": "O"}, evses=evses), TERMS).losses
    assert pointers(losses).count("/owner") == 1
    assert pointers(losses).count("/time_zone") == 1


def test_a_location_without_anything_special_loses_only_its_daylight_saving_time():
    assert [loss.code for loss in locations.to_records(location(), TERMS).losses] == ["daylight-saving"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"AuthenticationModes": ["REMOTE", "PnC"]}, "/0/AuthenticationModes/1"),
        ({"ValueAddedServices": ["RoofProvided"]}, "/0/ValueAddedServices/0"),
        (
            {"ChargingStationNames": [{"lang": "de", "value": "a"}, {"lang": "en", "value": "b"}]},
            "/0/ChargingStationNames/1",
        ),
        ({"Accessibility": "Restricted access"}, "/0/Accessibility"),
        ({"EnergySource": [{"Energy": "Solar"}]}, "/0/EnergySource/0"),
        ({"Plugs": ["AVCON Connector", "CHAdeMO"]}, "/0/Plugs/0"),
        ({"ChargingStationID": "S1"}, "/0/ChargingStationID"),
        ({"DynamicPowerLevel": True}, "/0/DynamicPowerLevel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_record_loses_is_reported_once(changes, pointer):
    losses = locations.to_locations([record(**changes)], {}, {}, TERMS).losses
    assert pointers(losses).count(pointer) == 1


def test_an_evse_that_differs_from_its_location_says_in_what():
    second = record(EvseID="DE*ABC*E77*2", ChargingStationNames=[{"lang": "de", "value": "Anders"}])
    losses = locations.to_locations([record(), second], {}, {}, TERMS).losses
    assert ("/1", "other-name") in [(loss.pointer, loss.code) for loss in losses]


@pytest.mark.parametrize(
    ("written", "pointer"),
    [
        (token(group_id="G"), "/group_id"),
        (token(contract_id="Kunde 17"), "/contract_id"),
        (token(whitelist="ALLOWED_OFFLINE"), "/whitelist"),
    ],
    ids=["group", "contract", "offline"],
)
def test_what_a_token_loses_is_reported(written, pointer):
    assert pointer in pointers(identifications.to_authentication(written, TERMS).losses)


def test_what_money_loses_is_reported():
    losses = cdrs.to_record(cdr(remark="thanks", meter_id="M"), {"SessionID": NEW_SESSION_ID}).losses
    assert {"/currency", "/total_cost", "/remark", "/meter_id"} <= set(pointers(losses))


def test_parking_that_is_only_counted_is_reported_as_moved_to_the_end():
    losses = cdrs.to_record(cdr(total_parking_time=1), {"SessionID": NEW_SESSION_ID}).losses
    assert "/total_parking_time" in pointers(losses)


def test_a_second_tariff_of_a_cdr_is_reported():
    periods = [
        period(time, ENERGY=1) | {"tariff_id": name}
        for time, name in (("2026-11-10T09:00:00Z", "T1"), ("2026-11-10T10:00:00Z", "T2"))
    ]
    losses = cdrs.to_record(cdr(charging_periods=periods), {"SessionID": NEW_SESSION_ID}).losses
    assert "/charging_periods/1/tariff_id" in pointers(losses)


def test_signed_values_that_are_too_long_are_left_out_whole_and_reported():
    values = [{"nature": "Start", "plain_data": "p", "signed_data": "S" * 3001}]
    signed = {"encoding_method": "OCMF", "signed_values": values}
    losses = cdrs.to_record(cdr(signed_data=signed), {"SessionID": NEW_SESSION_ID}).losses
    assert "/signed_data/signed_values/0/signed_data" in pointers(losses)
    assert "/signed_data/signed_values/0/plain_data" in pointers(losses)


def test_what_a_tariff_loses_is_reported():
    written = tariff(element(), tariff_alt_url="https://x")
    written["elements"][0]["price_components"][0]["vat"] = 19
    losses = prices.to_products(written, Decimal(22), TERMS).losses
    assert {"/tariff_alt_url", "/elements/0/price_components/0/vat"} <= set(pointers(losses))


def test_what_a_session_loses_is_reported():
    losses = sessions.to_notifications(session(total_cost={"excl_vat": 1}), None, KNOWN, TERMS).losses
    assert {"/total_cost", "/start_date_time"} <= set(pointers(losses))


def test_the_product_of_a_remote_start_is_reported():
    driver = {"RemoteIdentification": {"EvcoID": "DE-DCB-C12345678-9"}}
    request = {"SessionID": NEW_SESSION_ID, "ProviderID": "DE-DCB", "Identification": driver, "PartnerProductID": "AC"}
    place = {"location_id": "L", "uid": "cp1", "connectors": ["1"], "capabilities": []}
    command = commands.from_remote_request("START_SESSION", request, place, None, "https://x", TERMS)
    assert pointers(command.losses) == ["/PartnerProductID"]


def test_the_same_loss_is_reported_once():
    losses = Losses()
    losses.add("/a", "cut", "first")
    losses.add("/a", "cut", "second")
    losses.add("/b", "cut", "other")
    assert [loss.message for loss in losses.all] == ["first", "other"]


def test_what_is_empty_is_no_loss():
    losses = Losses()
    losses.add_members({"a": [], "b": None, "c": "", "d": {}, "e/f": 0}, "", ("a", "b", "c", "d", "e/f"))
    assert pointers(losses.all) == ["/e~1f"]
