"""A faultless request and answer of every operation: JSON objects, as on the wire, invented.

The documents of a node show them, and `p2p_oicp.testing.samples` makes them for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from p2p_oicp.oicp.sample_fleets import Json, evse_id_of, fleet, products_of

OPERATOR, PROVIDER = "DE*ABC", "DE-DCB"

# Short: more than 10 minutes before its authorization no session has begun, for a clearing house.
_SESSION = timedelta(minutes=9)
# What 11 kW give in that time, so that it fits any EVSE.
ENERGY = 1.25


def evco_id_of(provider: str = PROVIDER) -> str:
    """Return the EvcoID of a provider's contract."""
    return f"{provider}-C12345678-X"


@dataclass(frozen=True, slots=True)
class SampleContext:
    """Who a message is about, and when."""

    operator: str
    provider: str
    evse_id: str
    uid: str
    session_id: str
    now: float

    def card(self) -> Json:
        return {"RFIDMifareFamilyIdentification": {"UID": self.uid}}

    def app(self) -> Json:
        return {"RemoteIdentification": {"EvcoID": evco_id_of(self.provider)}}

    def ago(self, part: float) -> str:
        """Return the time at which so much of the sample's session was still to come."""
        at = datetime.fromtimestamp(self.now, UTC) - part * _SESSION
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def session_of_emp(self) -> Json:
        return {"SessionID": self.session_id, "ProviderID": self.provider, "EvseID": self.evse_id}


def _authorize_start(context: SampleContext) -> Json:
    return {"OperatorID": context.operator, "EvseID": context.evse_id, "Identification": context.card()}


def _remote_start(context: SampleContext) -> Json:
    # A request that opens a session: its id is made by who answers.
    return {"ProviderID": context.provider, "EvseID": context.evse_id, "Identification": context.app()}


def _progress(context: SampleContext) -> Json:
    return {
        "Type": "Progress",
        "SessionID": context.session_id,
        "EvseID": context.evse_id,
        "OperatorID": context.operator,
        "Identification": context.card(),
        "ChargingStart": context.ago(0.9),
        "EventOccurred": context.ago(0.1),
        "ConsumedEnergyProgress": 0.625,
    }


def _charge_detail_record(context: SampleContext) -> Json:
    return {
        "SessionID": context.session_id,
        "EvseID": context.evse_id,
        "Identification": context.card(),
        "SessionStart": context.ago(1.0),
        "ChargingStart": context.ago(0.9),
        "ChargingEnd": context.ago(0.1),
        "SessionEnd": context.ago(0.0),
        "MeterValueStart": 100.5,
        "MeterValueEnd": 101.75,
        "ConsumedEnergy": ENERGY,
    }


def _authentication_data(context: SampleContext) -> Json:
    return {"ProviderID": context.provider, "AuthenticationDataRecord": [{"Identification": context.card()}]}


def _cdr_query(context: SampleContext) -> Json:
    return {"ProviderID": context.provider, "From": context.ago(48), "To": context.ago(0.0)}


def _page(context: SampleContext) -> Json:
    records = [_charge_detail_record(context)]
    numbers = {"number": 0, "size": 20, "totalElements": 1, "totalPages": 1, "numberOfElements": 1}
    return {"content": records, "first": True, "last": True, "StatusCode": {"Code": "000"}} | numbers


REQUESTS: Mapping[str, Callable[[SampleContext], Json]] = MappingProxyType(
    {
        "AuthorizeStart": _authorize_start,
        "AuthorizeStop": lambda context: _authorize_start(context) | {"SessionID": context.session_id},
        "AuthorizeRemoteStart": _remote_start,
        "AuthorizeRemoteStop": SampleContext.session_of_emp,
        "AuthorizeRemoteReservationStart": lambda context: _remote_start(context) | {"Duration": 15},
        "AuthorizeRemoteReservationStop": SampleContext.session_of_emp,
        "ChargingNotifications": _progress,
        "ChargeDetailRecord": _charge_detail_record,
        "PushEvseData": lambda context: fleet(1, operator=context.operator).push_evse_data(),
        "PushEvseStatus": lambda context: fleet(1, operator=context.operator).push_evse_status(),
        "PushPricingProductData": lambda context: products_of(context.operator, context.provider),
        "PushEVSEPricing": lambda context: fleet(1, operator=context.operator).push_evse_pricing(),
        "PushAuthenticationData": lambda context: {
            "ActionType": "fullLoad",
            "ProviderAuthenticationData": _authentication_data(context),
        },
        "PullAuthenticationData": lambda context: {"OperatorID": context.operator},
        "PullEvseData": lambda context: {"ProviderID": context.provider, "GeoCoordinatesResponseFormat": "Google"},
        "PullEvseStatus": lambda context: {"ProviderID": context.provider},
        "PullEvseStatusByID": lambda context: {"ProviderID": context.provider, "EvseID": [context.evse_id]},
        "PullEvseStatusByOperatorID": lambda context: {
            "ProviderID": context.provider,
            "OperatorID": [context.operator],
        },
        "PullPricingProductData": lambda context: {"OperatorIDs": [context.operator]},
        "PullEVSEPricing": lambda context: {"ProviderID": context.provider, "OperatorIDs": [context.operator]},
        "GetChargeDetailRecords": _cdr_query,
    }
)

#: What is no Acknowledgement.
RESPONSES: Mapping[str, Callable[[SampleContext], Json]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("AuthorizeStart", "AuthorizeStop"),
            lambda context: {
                "AuthorizationStatus": "Authorized",
                "SessionID": context.session_id,
                "ProviderID": context.provider,
                "StatusCode": {"Code": "000"},
            },
        ),
        "PullEvseData": lambda context: fleet(1, operator=context.operator).page(),
        "PullEvseStatus": lambda context: fleet(1, operator=context.operator).pulled_statuses(),
        "PullEvseStatusByOperatorID": lambda context: fleet(1, operator=context.operator).pulled_statuses(),
        "PullEvseStatusByID": lambda context: {
            "EVSEStatusRecords": {"EvseStatusRecord": fleet(1, operator=context.operator).statuses()}
        },
        "PullPricingProductData": lambda context: {
            "PricingProductData": [products_of(context.operator, context.provider)["PricingProductData"]]
        },
        "PullEVSEPricing": lambda context: fleet(1, operator=context.operator).pulled_pricing(),
        "PullAuthenticationData": lambda context: {"ProviderAuthenticationData": [_authentication_data(context)]},
        "GetChargeDetailRecords": _page,
    }
)


def response_of(operation: str, context: SampleContext) -> Json:
    """Return a positive answer to an operation, by its name in OICP."""
    make = RESPONSES.get(operation)
    return {"Result": True, "StatusCode": {"Code": "000"}} if make is None else make(context)


def documented_context() -> SampleContext:
    """Return the context of the samples in documents, which are always the same."""
    return SampleContext(
        operator=OPERATOR,
        provider=PROVIDER,
        evse_id=evse_id_of(OPERATOR),
        uid="04A1B2C3D4E5F6",
        session_id="0f3ae0ba-5c1f-4c8e-9d6a-2b7c4a1e9f10",
        now=datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp(),
    )
