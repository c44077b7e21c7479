"""Names that are irregular on the wire, pinned so that nobody makes them regular."""

from __future__ import annotations

import pytest

from p2p_oicp.oicp import (
    Address,
    ChargeDetailRecord,
    ChargeDetailRecordPage,
    EnvironmentalImpact,
    EvseDataRecord,
    EvseStatusesById,
    GetChargeDetailRecords,
    InfoText,
    MeterValues,
    OpeningTime,
    OperatorEvsePricing,
    Period,
    PricingProductDataRecord,
    ProductAvailabilityTime,
    PullEvseData,
    PullEVSEPricing,
    PullEvseStatus,
    RFIDMifareFamilyIdentification,
)


@pytest.mark.parametrize(
    ("model", "attribute", "name"),
    [
        (EvseDataRecord, "last_update", "lastUpdate"),
        (EvseDataRecord, "delta_type", "deltaType"),
        (EvseDataRecord, "is_open_24_hours", "IsOpen24Hours"),
        (EvseDataRecord, "charging_station_id", "ChargingStationID"),
        (EvseDataRecord, "clearinghouse_id", "ClearinghouseID"),
        (PricingProductDataRecord, "is_valid_24_hours", "IsValid24hours"),
        (ProductAvailabilityTime, "periods", "Periods"),
        (ProductAvailabilityTime, "on", "on"),
        (OpeningTime, "period", "Period"),
        (OpeningTime, "on", "on"),
        (Period, "begin", "begin"),
        (Period, "end", "end"),
        (InfoText, "lang", "lang"),
        (InfoText, "value", "value"),
        (MeterValues, "meter_values", "meterValues"),
        (EnvironmentalImpact, "co2_emission", "CO2Emission"),
        (Address, "house_num", "HouseNum"),
        (RFIDMifareFamilyIdentification, "uid", "UID"),
        (ChargeDetailRecord, "hub_provider_id", "HubProviderID"),
        (ChargeDetailRecordPage, "number_of_elements", "numberOfElements"),
        (GetChargeDetailRecords, "cdr_forwarded", "CDRForwarded"),
        (GetChargeDetailRecords, "from_", "From"),
        (PullEvseData, "operator_ids", "OperatorIds"),
        (PullEVSEPricing, "operator_ids", "OperatorIDs"),
        (PullEvseStatus, "evse_status", "EVSEStatus"),
        (EvseStatusesById, "evse_status_records", "EVSEStatusRecords"),
        (OperatorEvsePricing, "evse_pricing", "EVSEPricing"),
    ],
)
def test_an_irregular_name_stays_as_it_is(model, attribute, name):
    assert model.model_fields[attribute].alias == name
