"""The operations of OICP 2.3: one row each. Everything that has to do with an operation is drawn from this table.

A path is looked up whole, in a dictionary; only the id of the sending party is cut out of it first.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from operator import attrgetter
from types import MappingProxyType
from urllib.parse import unquote

from p2p_oicp.oicp import evse, notifications, pricing, pulls, sessions
from p2p_oicp.oicp.base import Message, top_level
from p2p_oicp.oicp.common import Acknowledgement
from p2p_oicp.oicp.findings import InvalidMessage
from p2p_oicp.oicp.identifiers import OperatorID, ProviderID
from p2p_oicp.oicp.operation import Operation, Party, Retry, Route, Routing

# The driver waits at the station: best practice is 10 s over all (CPO-02), WWCP gives up after 60 s (WIRE.md).
_AT_THE_STATION = 10.0
# "MUST answer within 60 s" (integration guide); best practice is 10 s including the network (CPO-02, D58).
_REMOTE = 10.0
# "should not take longer than ten seconds" for a CDR (CPO-02); twice that before it is tried again.
_RECORD = 20.0
# Bulk data: what WWCP's client waits for (WIRE.md).
_BULK = 60.0

_CHARGING = "charging/v21"
_RESERVED = f"{_CHARGING}/providers/{{providerID}}/authorize-remote-reservation"
_STATUS = "evsepull/v21/providers/{providerID}/status-records"

_at_the_station = partial(Operation, sender=Party.CPO, retry=Retry.SAME_SESSION, deadline=_AT_THE_STATION)
_about_a_session = partial(Operation, sender=Party.CPO, routed_by=Routing.SESSION, deadline=_RECORD)
_push = partial(Operation, routed_by=Routing.PARTIES, deadline=_BULK)
_pull = partial(Operation, sender=Party.EMP, routed_by=Routing.STORE, deadline=_BULK, senders=("provider_id",))
_remote = partial(
    Operation,
    sender=Party.EMP,
    routed_by=Routing.EVSE,
    retry=Retry.NEVER,
    deadline=_REMOTE,
    senders=("provider_id",),
)

OPERATIONS: tuple[Operation, ...] = (
    _at_the_station(
        name="AuthorizeStart",
        method="authorize_start",
        path=f"{_CHARGING}/operators/{{operatorID}}/authorize/start",
        request=sessions.AuthorizeStart,
        response=sessions.AuthorizationStart,
        routed_by=Routing.IDENTIFICATION,
        senders=("operator_id",),
    ),
    _at_the_station(
        name="AuthorizeStop",
        method="authorize_stop",
        path=f"{_CHARGING}/operators/{{operatorID}}/authorize/stop",
        request=sessions.AuthorizeStop,
        response=sessions.AuthorizationStop,
        routed_by=Routing.SESSION,
        senders=("operator_id",),
    ),
    _about_a_session(
        name="ChargingNotifications",
        method="charging_notifications",
        path="notificationmgmt/v11/charging-notifications",
        request=notifications.ChargingNotification,
        senders=("operator_id", "evse_id.operator"),
    ),
    _about_a_session(
        name="ChargeDetailRecord",
        method="charge_detail_record",
        path="cdrmgmt/v22/operators/{operatorID}/charge-detail-record",
        request=sessions.ChargeDetailRecord,
        senders=("evse_id.operator",),
    ),
    _push(
        name="PushEvseData",
        method="push_evse_data",
        path="evsepush/v23/operators/{operatorID}/data-records",
        request=evse.PushEvseData,
        sender=Party.CPO,
        senders=("operator_evse_data.operator_id",),
    ),
    _push(
        name="PushEvseStatus",
        method="push_evse_status",
        path="evsepush/v21/operators/{operatorID}/status-records",
        request=evse.PushEvseStatus,
        sender=Party.CPO,
        senders=("operator_evse_status.operator_id",),
    ),
    _push(
        name="PushPricingProductData",
        method="push_pricing_product_data",
        path="dynamicpricing/v10/operators/{operatorID}/pricing-products",
        request=pricing.PushPricingProductData,
        sender=Party.CPO,
        senders=("pricing_product_data.operator_id",),
    ),
    _push(
        name="PushEVSEPricing",
        method="push_evse_pricing",
        path="dynamicpricing/v10/operators/{operatorID}/evse-pricing",
        request=pricing.PushEVSEPricing,
        sender=Party.CPO,
    ),
    Operation(
        name="PullAuthenticationData",
        method="pull_authentication_data",
        path="authdata/v21/operators/{operatorID}/pull-request",
        request=pulls.PullAuthenticationData,
        response=pulls.AuthenticationData,
        sender=Party.CPO,
        routed_by=Routing.STORE,
        deadline=_BULK,
        senders=("operator_id",),
    ),
    _remote(
        name="AuthorizeRemoteStart",
        method="authorize_remote_start",
        path=f"{_CHARGING}/providers/{{providerID}}/authorize-remote/start",
        request=sessions.AuthorizeRemoteStart,
    ),
    _remote(
        name="AuthorizeRemoteStop",
        method="authorize_remote_stop",
        path=f"{_CHARGING}/providers/{{providerID}}/authorize-remote/stop",
        request=sessions.AuthorizeRemoteStop,
    ),
    _remote(
        name="AuthorizeRemoteReservationStart",
        method="authorize_remote_reservation_start",
        path="reservation/v11/providers/{providerID}/reservation-start-request",
        aliases=(f"{_RESERVED}/start",),
        request=sessions.AuthorizeRemoteReservationStart,
    ),
    _remote(
        name="AuthorizeRemoteReservationStop",
        method="authorize_remote_reservation_stop",
        path="reservation/v11/providers/{providerID}/reservation-stop-request",
        aliases=(f"{_RESERVED}/stop",),
        request=sessions.AuthorizeRemoteReservationStop,
    ),
    _pull(
        name="PullEvseData",
        method="pull_evse_data",
        path="evsepull/v23/providers/{providerID}/data-records",
        request=pulls.PullEvseData,
        response=pulls.EvseDataPage,
        paged=True,
    ),
    _pull(
        name="PullEvseStatus",
        method="pull_evse_status",
        path=_STATUS,
        request=pulls.PullEvseStatus,
        response=pulls.EvseStatuses,
    ),
    _pull(
        name="PullEvseStatusByID",
        method="pull_evse_status_by_id",
        path=_STATUS,
        aliases=(f"{_STATUS}-by-id",),
        request=pulls.PullEvseStatusById,
        response=pulls.EvseStatusesById,
    ),
    _pull(
        name="PullEvseStatusByOperatorID",
        method="pull_evse_status_by_operator_id",
        path=_STATUS,
        aliases=(f"{_STATUS}-by-operator-id",),
        request=pulls.PullEvseStatusByOperatorId,
        response=pulls.EvseStatuses,
    ),
    _pull(
        name="PullPricingProductData",
        method="pull_pricing_product_data",
        path="dynamicpricing/v10/providers/{providerID}/pricing-products",
        request=pulls.PullPricingProductData,
        response=pulls.PricingProducts,
        senders=(),
    ),
    _pull(
        name="PullEVSEPricing",
        method="pull_evse_pricing",
        path="dynamicpricing/v10/providers/{providerID}/evse-pricing",
        request=pulls.PullEVSEPricing,
        response=pulls.EvsePricings,
    ),
    _push(
        name="PushAuthenticationData",
        method="push_authentication_data",
        path="authdata/v21/providers/{providerID}/push-request",
        request=pulls.PushAuthenticationData,
        sender=Party.EMP,
        senders=("provider_authentication_data.provider_id",),
    ),
    _pull(
        name="GetChargeDetailRecords",
        method="get_charge_detail_records",
        path="cdrmgmt/v22/providers/{providerID}/get-charge-detail-records-request",
        request=pulls.GetChargeDetailRecords,
        response=pulls.ChargeDetailRecordPage,
        paged=True,
    ),
)

OPERATION_BY_NAME: Mapping[str, Operation] = MappingProxyType({row.name: row for row in OPERATIONS})
OPERATION_BY_COMMAND: Mapping[str, Operation] = MappingProxyType({row.command: row for row in OPERATIONS})

_ROLES = frozenset({"operators", "providers"})
_ANY_PARTY = "{}"


def _key(path: str) -> tuple[str, str | None]:
    """Return a path without its party, and the party as it stands there."""
    segments = path.strip("/").split("/")
    for position, segment in enumerate(segments[:-1]):
        if segment in _ROLES:
            party, segments[position + 1] = segments[position + 1], _ANY_PARTY
            return "/".join(segments), party
    return "/".join(segments), None


def _by_path() -> dict[str, tuple[Operation, ...]]:
    rows: dict[str, tuple[Operation, ...]] = {}
    for operation in OPERATIONS:
        for path in (operation.path, *operation.aliases):
            key, _ = _key(path)
            rows[key] = (*rows.get(key, ()), operation)
    return rows


_BY_PATH: Mapping[str, tuple[Operation, ...]] = MappingProxyType(_by_path())


# Partners send few different paths: looking one up costs a fifth of taking it apart. Bounded, for strangers send any.
@lru_cache(maxsize=1024)
def find(path: str) -> Route | None:
    """Return what a path below ``/api/oicp/`` stands for; a ``+`` in it stays a ``+``."""
    key, party = _key(path.partition("?")[0])
    candidates = _BY_PATH.get(key)
    return Route(candidates, None if party is None else unquote(party)) if candidates else None


def sender_party(operation: Operation, message: Message) -> OperatorID | ProviderID | None:
    """Return the sending party that the message itself names; None if it names none."""
    for attribute in operation.senders:
        try:
            found = attrgetter(attribute)(message)
        except AttributeError:  # an optional part of the way is absent
            continue
        if isinstance(found, (OperatorID, ProviderID)):
            return found
    return None


def response_model(operation: Operation, body: bytes) -> type[Message]:
    """Return what answers ``operation`` in ``body``; any answer may be an Acknowledgement instead (CONFORMANCE D57)."""
    try:
        members = top_level(body)
    except InvalidMessage:
        return operation.response
    own = _names(operation.response) - _names(Acknowledgement)
    return Acknowledgement if "Result" in members and not own & members.keys() else operation.response


def _names(model: type[Message]) -> set[str]:
    return {info.alias or "" for info in model.model_fields.values()}
