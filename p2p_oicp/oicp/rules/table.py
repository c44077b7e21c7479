"""Which rules hold for which message. A rule of a base model holds for its subclasses too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from p2p_oicp.oicp import common, evse, notifications, places, pricing, pulls, sessions
from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.kinds import Notes
from p2p_oicp.oicp.rules import answers, charging, identity, spots, tariffs
from p2p_oicp.oicp.rules.scope import Scope

#: A rule looks at a message that stands at a pointer, and notes what it finds.
Rule = Callable[[Any, str, Notes, Scope], None]

RULES: Mapping[type[Message], tuple[Rule, ...]] = MappingProxyType(
    {
        common.Acknowledgement: (answers.result_and_code,),
        common.Identification: (identity.one_identification,),
        sessions.AuthorizeStart: (identity.medium_at_the_station,),
        sessions.AuthorizeStop: (identity.medium_at_the_station,),
        sessions.AuthorizationStart: (
            answers.status_and_code,
            answers.session_of_authorization,
            identity.media_that_may_stop,
        ),
        sessions.AuthorizationStop: (answers.status_and_code,),
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
        evse.EvseDataRecord: (spots.payment_alone, spots.opening_times),
        evse.PushEvseData: (spots.evse_data_push,),
        evse.PushEvseStatus: (spots.evse_status_push,),
        pricing.PricingProductData: (tariffs.no_negative_default, tariffs.unique_products),
        pricing.PricingProductDataRecord: (tariffs.no_negative_price, tariffs.availability, tariffs.fees),
        pricing.PushEVSEPricing: (tariffs.evse_pricing_push,),
        pulls.PullEvseData: (spots.filters_beside_last_call,),
        pulls.GetChargeDetailRecords: (spots.span_of_time,),
        pulls.EvseDataPage: (answers.page_counts,),
        pulls.ChargeDetailRecordPage: (answers.page_counts,),
        pulls.AuthenticationDataRecord: (identity.one_pin,),
        pulls.PushAuthenticationData: (identity.own_contracts,),
    }
)
