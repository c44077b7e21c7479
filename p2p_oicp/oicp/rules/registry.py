"""The table of rules by model. A rule of a base model applies to its subclasses too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from p2p_oicp.oicp import charging, common, evse, geo, pricing, pulls
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.rules import message_rules, record_rules
from p2p_oicp.oicp.rules.context import RuleContext, unique

#: A rule reads a message and reports findings to its context; it returns nothing and raises nothing.
Rule = Callable[[Any, RuleContext], None]

RULES: Mapping[type[Message], tuple[Rule, ...]] = MappingProxyType(
    {
        common.Acknowledgement: (message_rules.result_matches_code,),
        common.HashedPIN: (message_rules.hash_is_of_its_function,),
        common.Identification: (message_rules.exactly_one_identification,),
        charging.AuthorizeStart: (message_rules.station_identification,),
        charging.AuthorizeStop: (message_rules.station_identification,),
        charging.AuthorizationResponse: (message_rules.status_matches_code,),
        charging.AuthorizationStart: (message_rules.authorized_has_session, message_rules.stop_identifications),
        charging.AuthorizeRemoteStart: (message_rules.remote_identification_required,),
        charging.AuthorizeRemoteReservationStart: (message_rules.remote_identification_expected,),
        charging.ChargeDetailRecord: (
            message_rules.times_in_order,
            message_rules.energy_matches_meter,
            message_rules.meter_values_in_between,
            message_rules.signed_values_in_order,
        ),
        charging.ChargingNotificationStart: (message_rules.times_in_order,),
        charging.ChargingNotificationProgress: (
            message_rules.times_in_order,
            message_rules.progress_duration,
            message_rules.meter_values_in_between,
        ),
        charging.ChargingNotificationEnd: (
            message_rules.times_in_order,
            message_rules.energy_matches_meter,
            message_rules.meter_values_in_between,
        ),
        geo.GeoCoordinates: (record_rules.exactly_one_notation,),
        evse.EvseDataRecord: (
            record_rules.no_payment_is_exclusive,
            record_rules.opening_times_present,
            record_rules.foreign_evse,
        ),
        evse.EvseStatusRecord: (record_rules.foreign_evse,),
        evse.PushEvseData: (unique("operator_evse_data", "evse_data_record"),),
        evse.PushEvseStatus: (unique("operator_evse_status", "evse_status_records"),),
        pricing.PricingProductData: (record_rules.no_negative_default_price, unique("pricing_product_data_records")),
        pricing.PricingProductDataRecord: (
            record_rules.no_negative_price,
            record_rules.availability_times,
            record_rules.fee_limits,
        ),
        pricing.EvsePricing: (record_rules.foreign_evse,),
        pricing.PushEVSEPricing: (record_rules.at_least_one_price, unique("evse_pricing")),
        pulls.PullEvseData: (record_rules.no_filters_with_last_call,),
        pulls.GetChargeDetailRecords: (record_rules.time_range,),
        pulls.EvseDataPage: (message_rules.page_counts,),
        pulls.ChargeDetailRecordPage: (message_rules.page_counts,),
        pulls.AuthenticationDataRecord: (message_rules.exactly_one_pin, message_rules.foreign_contract),
    }
)
