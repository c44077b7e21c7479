"""Which rules hold for which message. A rule of a base model holds for its subclasses too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from p2p_oicp.oicp import common, evse, notifications, places, pricing, pulls, sessions
from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.rules import answers, charging, identity, spots, tariffs
from p2p_oicp.oicp.rules.here import Here
from p2p_oicp.oicp.rules.once import once

#: A rule looks at a message, and reports from where it stands.
Rule = Callable[[Any, Here], None]

RULES: Mapping[type[Message], tuple[Rule, ...]] = MappingProxyType(
    {
        common.Acknowledgement: (answers.result_and_code,),
        common.Identification: (identity.one_identification,),
        sessions.AuthorizeStart: (identity.medium_at_the_station,),
        sessions.AuthorizeStop: (identity.medium_at_the_station,),
        sessions.Authorization: (answers.status_and_code,),
        sessions.AuthorizationStart: (answers.session_of_authorization, identity.media_that_may_stop),
        sessions.AuthorizeRemoteStart: (identity.remote_only,),
        sessions.AuthorizeRemoteReservationStart: (identity.remote_preferred,),
        sessions.ChargeDetailRecord: (
            charging.times_in_order,
            charging.energy_of_meter,
            charging.values_in_between,
            charging.signed_values_in_order,
        ),
        notifications.ChargingNotificationStart: (charging.times_in_order,),
        notifications.ChargingNotificationProgress: (
            charging.times_in_order,
            charging.progress,
            charging.values_in_between,
        ),
        notifications.ChargingNotificationEnd: (
            charging.times_in_order,
            charging.energy_of_meter,
            charging.values_in_between,
        ),
        places.GeoCoordinates: (spots.one_notation,),
        evse.EvseDataRecord: (spots.payment_alone, spots.opening_times, spots.foreign_evse),
        evse.EvseStatusRecord: (spots.foreign_evse,),
        evse.PushEvseData: (once("operator_evse_data", "evse_data_record"),),
        evse.PushEvseStatus: (once("operator_evse_status", "evse_status_records"),),
        pricing.PricingProductData: (tariffs.no_negative_default, once("pricing_product_data_records")),
        pricing.PricingProductDataRecord: (tariffs.no_negative_price, tariffs.availability, tariffs.fees),
        pricing.EvsePricing: (spots.foreign_evse,),
        pricing.PushEVSEPricing: (once("evse_pricing"),),
        pulls.PullEvseData: (spots.filters_beside_last_call,),
        pulls.GetChargeDetailRecords: (spots.span_of_time,),
        pulls.EvseDataPage: (answers.page_counts,),
        pulls.ChargeDetailRecordPage: (answers.page_counts,),
        pulls.AuthenticationDataRecord: (identity.one_pin, identity.foreign_contract),
    }
)
