"""Messages of every operation: JSON objects, as on the wire, invented for tests.

All are faultless. Whatever a test cares about is given by its name in OICP: ``request("AuthorizeStart", EvseID="…")``.
Times are of the last minutes, so that nothing is found against them. `fleet` makes a whole network of stations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from uuid import uuid4

from p2p_oicp.clock import SystemClock, format_timestamp
from p2p_oicp.simulator.day import driver_card
from p2p_oicp.testing.fleets import Fleet, Json, evse_id_of, fleet, products_of

__all__ = [
    "OPERATIONS", "OPERATOR", "PROVIDER", "Fleet", "evco_id_of", "evse_id_of", "fleet", "notification", "request",
    "response", "uid_of",
]  # fmt: skip

OPERATOR, PROVIDER = "DE*ABC", "DE-DCB"

# Short: more than 10 minutes before its authorization no session has begun, for a clearing house.
_SESSION = timedelta(minutes=9)
# What 11 kW give in that time, so that it fits any EVSE.
_ENERGY = 1.25


def uid_of(provider: str = PROVIDER) -> str:
    """Return the UID of a provider's card: another one for each provider."""
    return driver_card(provider).text


def evco_id_of(provider: str = PROVIDER) -> str:
    """Return the EvcoID of a provider's contract."""
    return f"{provider}-C12345678-X"


@dataclass(frozen=True, slots=True)
class _Context:
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
        return format_timestamp(self.now - part * _SESSION.total_seconds())

    def session_of_emp(self) -> Json:
        return {"SessionID": self.session_id, "ProviderID": self.provider, "EvseID": self.evse_id}


def request(
    operation: str,
    *,
    operator: str = OPERATOR,
    provider: str = PROVIDER,
    evse_id: str = "",
    uid: str = "",
    session_id: str = "",
    **members: object,
) -> Json:
    """Return a request of an operation, by its name in OICP.

    Args:
        operation: such as AuthorizeStart; `OPERATIONS` has all.
        operator: the OperatorID, ``provider`` the ProviderID.
        evse_id: by default one of the operator's.
        uid: the card; by default the provider's.
        session_id: by default a new one.
        members: further members, or others in the place of the sample's; None takes one away.
    """
    message = _REQUESTS[operation](_context(operator, provider, evse_id, uid, session_id)) | members
    return {name: value for name, value in message.items() if value is not None}


def notification(kind: str, **options: str) -> Json:
    """Return a charging notification: Start, Progress, End or Error; ``options`` as of `request`."""
    message = request("ChargingNotifications", **options)
    common = {name: message[name] for name in ("SessionID", "EvseID", "OperatorID", "Identification")}
    start, end = message["ChargingStart"], message["EventOccurred"]
    own: Mapping[str, Json] = {
        "Start": {"ChargingStart": start},
        "Progress": {"ChargingStart": start, "EventOccurred": end, "ConsumedEnergyProgress": 0.625},
        "End": {"ChargingEnd": end, "ConsumedEnergy": _ENERGY},
        "Error": {"ErrorType": "ConnectorError"},
    }
    return common | {"Type": kind} | own[kind]


def response(operation: str, **options: str) -> Json:
    """Return a positive answer to an operation; ``options`` as of `request`, without further members."""
    context = _context(*(options.get(name, "") for name in ("operator", "provider", "evse_id", "uid", "session_id")))
    make = _RESPONSES.get(operation)
    return {"Result": True, "StatusCode": {"Code": "000"}} if make is None else make(context)


def _context(operator: str, provider: str, evse_id: str, uid: str, session_id: str) -> _Context:
    operator, provider = operator or OPERATOR, provider or PROVIDER
    evse_id, uid = evse_id or evse_id_of(operator), uid or uid_of(provider)
    return _Context(operator, provider, evse_id, uid, session_id or str(uuid4()), SystemClock().time())


def _authorize_start(context: _Context) -> Json:
    return {"OperatorID": context.operator, "EvseID": context.evse_id, "Identification": context.card()}


def _remote_start(context: _Context) -> Json:
    # A request that opens a session: its id is made by who answers.
    return {"ProviderID": context.provider, "EvseID": context.evse_id, "Identification": context.app()}


def _progress(context: _Context) -> Json:
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


def _charge_detail_record(context: _Context) -> Json:
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
        "ConsumedEnergy": _ENERGY,
    }


def _authentication_data(context: _Context) -> Json:
    return {"ProviderID": context.provider, "AuthenticationDataRecord": [{"Identification": context.card()}]}


def _cdr_query(context: _Context) -> Json:
    return {"ProviderID": context.provider, "From": context.ago(48), "To": context.ago(0.0)}


def _page(context: _Context) -> Json:
    records = [_charge_detail_record(context)]
    numbers = {"number": 0, "size": 20, "totalElements": 1, "totalPages": 1, "numberOfElements": 1}
    return {"content": records, "first": True, "last": True, "StatusCode": {"Code": "000"}} | numbers


_REQUESTS: Mapping[str, Callable[[_Context], Json]] = MappingProxyType(
    {
        "AuthorizeStart": _authorize_start,
        "AuthorizeStop": lambda context: _authorize_start(context) | {"SessionID": context.session_id},
        "AuthorizeRemoteStart": _remote_start,
        "AuthorizeRemoteStop": _Context.session_of_emp,
        "AuthorizeRemoteReservationStart": lambda context: _remote_start(context) | {"Duration": 15},
        "AuthorizeRemoteReservationStop": _Context.session_of_emp,
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
_RESPONSES: Mapping[str, Callable[[_Context], Json]] = MappingProxyType(
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

#: The names of all operations.
OPERATIONS = tuple(_REQUESTS)
