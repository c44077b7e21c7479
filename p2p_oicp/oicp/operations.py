"""The table of the operations of OICP 2.3, one row each (decision 0003).

A row says who sends an operation, at which path, what routes it, its deadline, and whether it may be sent again. The
routes of both listeners, the peer client, the command line, the OpenAPI documents and the labels of metrics all come
from this table.

``find(path)`` returns the route of an incoming request: a dictionary lookup of the path without its party.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache, partial
from operator import attrgetter
from types import MappingProxyType
from urllib.parse import quote, unquote

from p2p_oicp.oicp import charging, evse, pricing, pulls
from p2p_oicp.oicp.common import Acknowledgement
from p2p_oicp.oicp.findings import InvalidMessage
from p2p_oicp.oicp.identifiers import OperatorID, ProviderID
from p2p_oicp.oicp.message import Message, split_members

BASE_PATH = "/api/oicp"


def api_root(base: str) -> str:
    """Return the root URL of a node; ``base`` may end in ``/api/oicp`` or not."""
    return base.rstrip("/").removesuffix(BASE_PATH)


class Party(StrEnum):
    """The two roles of roaming."""

    CPO = "CPO"
    EMP = "EMP"


class Routing(StrEnum):
    """What determines the destination of a request."""

    EVSE = "evse"
    """The operator of its EvseID."""
    IDENTIFICATION = "identification"
    """The provider of its contract; without a contract, all providers."""
    SESSION = "session"
    """The other party of its session."""
    PARTIES = "parties"
    """All peers in the other role; delivered by replication."""
    STORE = "store"
    """No peer: the node answers from its own store."""


class Retry(StrEnum):
    """Whether a request may be sent again after a failure (RULES H2, H4)."""

    NEVER = "never"
    """The first one may have started a session."""
    SAME_SESSION = "same-session"
    """Only with the same SessionID, by which the server recognizes it."""
    SAFE = "safe"
    """The server is idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of OICP.

    Attributes:
        name: Its name in the documents, without "eRoaming".
        method: The name of the method that handles it, in roles and in backends.
        path: Its path below ``/api/oicp/``, with a placeholder for the sending party.
        aliases: Further paths at which it is served; sent to where the profile of a peer says so.
        response: The model of the response; a refusal may be an Acknowledgement instead (D57).
        deadline: Seconds until the client gives up.
        sender_path: Where a request names its sending party: an attribute path.
        id_path: Where it has the party of the EvseID or EvcoID that has to be its sender's (RULES L10).
        paged: Whether the query may have ``page`` and ``size``.
    """

    name: str
    method: str
    path: str
    aliases: tuple[str, ...] = ()
    request: type[Message]
    response: type[Message] = Acknowledgement
    sender: Party
    routed_by: Routing
    retry: Retry = Retry.SAFE
    deadline: float
    sender_path: str = ""
    id_path: str = ""
    paged: bool = False

    @property
    def server(self) -> Party:
        return Party.EMP if self.sender is Party.CPO else Party.CPO

    @property
    def is_push(self) -> bool:
        """Whether it carries records with an ActionType."""
        return self.name.startswith("Push")

    @property
    def is_remote(self) -> bool:
        """Whether an EMP asks for something at a station, which may take most of a minute."""
        return self.name.startswith("AuthorizeRemote")

    @property
    def command(self) -> str:
        return self.method.replace("_", "-")

    def url(self, base: str, party: str | None, *, prefix: str = BASE_PATH, path: str | None = None) -> str:
        """Return the URL at a system; ``prefix`` and ``path`` stand in the place of those of the documents (L22)."""
        return f"{base.rstrip('/').removesuffix(prefix)}{prefix}/{self.path_for(party, path)}"

    def path_for(self, party: str | None, path: str | None = None) -> str:
        """Return the path below ``/api/oicp/`` for the sending party; ``path`` in place of that of the documents."""
        prefix, brace, suffix = (self.path if path is None else path).partition("{")
        if not brace:
            return prefix
        if party is None:
            raise ValueError(f"{self.name}: the path names the sender, {self.path}")
        # "*" stays as it is: partners compare the id in the path as text (RULES I11).
        return prefix + quote(party, safe="*-") + suffix.partition("}")[2]


@dataclass(frozen=True, slots=True)
class Route:
    """The operations at a path, and the party in it."""

    candidates: tuple[Operation, ...]
    party: str | None

    def choose(self, body: bytes) -> Operation:
        """Return the operation that ``body`` requests, where several share a path (the three status pulls, D50).

        PullEvseStatus needs a ProviderID only, so each of the other two would pass for it: their filter decides.
        """
        if len(self.candidates) == 1:
            return self.candidates[0]
        try:
            members = split_members(body)
        except InvalidMessage:  # parsing the body will report what is wrong with it
            return self.candidates[0]
        name = "EvseID" if "EvseID" in members else "OperatorID"
        matches = (each for each in self.candidates if name in members and _requires_member(each, name))
        return next(matches, self.candidates[0])


def _requires_member(operation: Operation, member: str) -> bool:
    return any(info.alias == member and info.is_required() for info in operation.request.model_fields.values())


# The driver waits at the station: best practice is 10 s over all (CPO-02), WWCP gives up after 60 s (WIRE.md).
_INTERACTIVE_TIMEOUT = 10.0
# "MUST answer within 60 s" (integration guide, D58): stations take their time. The nodes in between take less.
_REMOTE_TIMEOUT = 60.0
# "should not take longer than ten seconds" for a CDR (CPO-02); the client waits twice that before it tries again.
_SETTLEMENT_TIMEOUT = 20.0
# Bulk data: what WWCP's client waits for (WIRE.md).
_BULK_TIMEOUT = 60.0

_CHARGING_PATH = "charging/v21"
_RESERVATION_PATH = f"{_CHARGING_PATH}/providers/{{providerID}}/authorize-remote-reservation"
_STATUS_PATH = "evsepull/v21/providers/{providerID}/status-records"

_authorize_operation = partial(
    Operation, sender=Party.CPO, retry=Retry.SAME_SESSION, deadline=_INTERACTIVE_TIMEOUT, sender_path="operator_id"
)
_session_operation = partial(
    Operation, sender=Party.CPO, routed_by=Routing.SESSION, deadline=_SETTLEMENT_TIMEOUT, id_path="evse_id.operator"
)
_push_operation = partial(Operation, routed_by=Routing.PARTIES, deadline=_BULK_TIMEOUT)
_provider_operation = partial(Operation, sender=Party.EMP, sender_path="provider_id")
_pull_operation = partial(_provider_operation, routed_by=Routing.STORE, deadline=_BULK_TIMEOUT)
_remote_operation = partial(_provider_operation, routed_by=Routing.EVSE, retry=Retry.NEVER, deadline=_REMOTE_TIMEOUT)

OPERATIONS: tuple[Operation, ...] = (
    _authorize_operation(
        name="AuthorizeStart",
        method="authorize_start",
        path=f"{_CHARGING_PATH}/operators/{{operatorID}}/authorize/start",
        request=charging.AuthorizeStart,
        response=charging.AuthorizationStart,
        routed_by=Routing.IDENTIFICATION,
        id_path="evse_id.operator",
    ),
    _authorize_operation(
        name="AuthorizeStop",
        method="authorize_stop",
        path=f"{_CHARGING_PATH}/operators/{{operatorID}}/authorize/stop",
        request=charging.AuthorizeStop,
        response=charging.AuthorizationStop,
        routed_by=Routing.SESSION,
    ),
    _session_operation(
        name="ChargingNotifications",
        method="charging_notifications",
        path="notificationmgmt/v11/charging-notifications",
        request=charging.ChargingNotification,
        sender_path="operator_id",  # optional (D37)
    ),
    _session_operation(
        name="ChargeDetailRecord",
        method="charge_detail_record",
        path="cdrmgmt/v22/operators/{operatorID}/charge-detail-record",
        request=charging.ChargeDetailRecord,
    ),
    _push_operation(
        name="PushEvseData",
        method="push_evse_data",
        path="evsepush/v23/operators/{operatorID}/data-records",
        request=evse.PushEvseData,
        sender=Party.CPO,
        sender_path="operator_evse_data.operator_id",
    ),
    _push_operation(
        name="PushEvseStatus",
        method="push_evse_status",
        path="evsepush/v21/operators/{operatorID}/status-records",
        request=evse.PushEvseStatus,
        sender=Party.CPO,
        sender_path="operator_evse_status.operator_id",
    ),
    _push_operation(
        name="PushPricingProductData",
        method="push_pricing_product_data",
        path="dynamicpricing/v10/operators/{operatorID}/pricing-products",
        request=pricing.PushPricingProductData,
        sender=Party.CPO,
        sender_path="pricing_product_data.operator_id",
    ),
    _push_operation(
        name="PushEVSEPricing",
        method="push_evse_pricing",
        path="dynamicpricing/v10/operators/{operatorID}/evse-pricing",
        request=pricing.PushEVSEPricing,
        sender=Party.CPO,  # its body names no operator (D67)
    ),
    Operation(
        name="PullAuthenticationData",
        method="pull_authentication_data",
        path="authdata/v21/operators/{operatorID}/pull-request",
        request=pulls.PullAuthenticationData,
        response=pulls.AuthenticationData,
        sender=Party.CPO,
        routed_by=Routing.STORE,
        deadline=_BULK_TIMEOUT,
        sender_path="operator_id",
    ),
    _remote_operation(
        name="AuthorizeRemoteStart",
        method="authorize_remote_start",
        path=f"{_CHARGING_PATH}/providers/{{providerID}}/authorize-remote/start",
        request=charging.AuthorizeRemoteStart,
        id_path="identification.provider",
    ),
    _remote_operation(
        name="AuthorizeRemoteStop",
        method="authorize_remote_stop",
        path=f"{_CHARGING_PATH}/providers/{{providerID}}/authorize-remote/stop",
        request=charging.AuthorizeRemoteStop,
    ),
    _remote_operation(
        name="AuthorizeRemoteReservationStart",
        method="authorize_remote_reservation_start",
        # D52: the documented path is sent to; WWCP's is served as well.
        path="reservation/v11/providers/{providerID}/reservation-start-request",
        aliases=(f"{_RESERVATION_PATH}/start",),
        request=charging.AuthorizeRemoteReservationStart,
        id_path="identification.provider",
    ),
    _remote_operation(
        name="AuthorizeRemoteReservationStop",
        method="authorize_remote_reservation_stop",
        path="reservation/v11/providers/{providerID}/reservation-stop-request",
        aliases=(f"{_RESERVATION_PATH}/stop",),
        request=charging.AuthorizeRemoteReservationStop,
    ),
    _pull_operation(
        name="PullEvseData",
        method="pull_evse_data",
        path="evsepull/v23/providers/{providerID}/data-records",
        request=pulls.PullEvseData,
        response=pulls.EvseDataPage,
        paged=True,
    ),
    _pull_operation(
        name="PullEvseStatus",
        method="pull_evse_status",
        path=_STATUS_PATH,
        request=pulls.PullEvseStatus,
        response=pulls.EvseStatuses,
    ),
    _pull_operation(
        name="PullEvseStatusByID",
        method="pull_evse_status_by_id",
        path=_STATUS_PATH,
        aliases=(f"{_STATUS_PATH}-by-id",),
        request=pulls.PullEvseStatusById,
        response=pulls.EvseStatusesById,
    ),
    _pull_operation(
        name="PullEvseStatusByOperatorID",
        method="pull_evse_status_by_operator_id",
        path=_STATUS_PATH,
        aliases=(f"{_STATUS_PATH}-by-operator-id",),
        request=pulls.PullEvseStatusByOperatorId,
        response=pulls.EvseStatuses,
    ),
    _pull_operation(
        name="PullPricingProductData",
        method="pull_pricing_product_data",
        path="dynamicpricing/v10/providers/{providerID}/pricing-products",
        request=pulls.PullPricingProductData,
        response=pulls.PricingProducts,
        sender_path="",  # the one pull without a ProviderID in its body (D67)
    ),
    _pull_operation(
        name="PullEVSEPricing",
        method="pull_evse_pricing",
        path="dynamicpricing/v10/providers/{providerID}/evse-pricing",
        request=pulls.PullEVSEPricing,
        response=pulls.EvsePricings,
    ),
    _push_operation(
        name="PushAuthenticationData",
        method="push_authentication_data",
        path="authdata/v21/providers/{providerID}/push-request",
        request=pulls.PushAuthenticationData,
        sender=Party.EMP,
        sender_path="provider_authentication_data.provider_id",
    ),
    _pull_operation(
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

_ROLE_SEGMENTS = frozenset({"operators", "providers"})
_PARTY_PLACEHOLDER = "{}"


def _path_key(path: str) -> tuple[str, str | None]:
    """Return a path with a placeholder for its party, and the party, still percent-encoded."""
    segments = path.strip("/").split("/")
    for position, segment in enumerate(segments[:-1]):
        if segment in _ROLE_SEGMENTS:
            party, segments[position + 1] = segments[position + 1], _PARTY_PLACEHOLDER
            return "/".join(segments), party
    return "/".join(segments), None


def _index_by_path() -> dict[str, tuple[Operation, ...]]:
    index: dict[str, tuple[Operation, ...]] = {}
    for operation in OPERATIONS:
        for path in (operation.path, *operation.aliases):
            key, _ = _path_key(path)
            index[key] = (*index.get(key, ()), operation)
    return index


_BY_PATH: Mapping[str, tuple[Operation, ...]] = MappingProxyType(_index_by_path())
_getter = cache(attrgetter)


# Partners send few different paths, and a cached one costs a fifth. Bounded: unauthenticated clients send any path.
@lru_cache(maxsize=1024)
def find(path: str) -> Route | None:
    """Return the route of a path below ``/api/oicp/``, None if there is none; a ``+`` in it stays a ``+``."""
    key, party = _path_key(path.partition("?")[0])
    candidates = _BY_PATH.get(key)
    return Route(candidates, None if party is None else unquote(party)) if candidates else None


def sender_party(operation: Operation, message: Message) -> OperatorID | ProviderID | None:
    """Return the sending party in the body of a message: the one it names, else the one of its id; None without."""
    return party_at(operation.sender_path, message) or party_at(operation.id_path, message)


def party_at(path: str, message: Message) -> OperatorID | ProviderID | None:
    """Return the party at an attribute path of an operation; None if the message has none there."""
    try:
        party = _getter(path)(message) if path else None
    except AttributeError:  # an optional member of the path is absent
        return None
    return party if isinstance(party, (OperatorID, ProviderID)) else None
