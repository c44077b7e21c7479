"""One object of either protocol, read and mapped: for people who want to see what becomes of it, without a node.

What a node knows beside the object is derived from it as far as that goes: the operator of an EVSE, the provider of a
contract, the SessionID that is the ``authorization_reference``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.ocpi.base import OcpiObject, read_object
from p2p_oicp.ocpi.locations import Location
from p2p_oicp.ocpi.sessions import Cdr, Session
from p2p_oicp.ocpi.tariffs import Tariff
from p2p_oicp.ocpi.tokens import Token
from p2p_oicp.ocpi_mapping import cdrs, identifications, locations, prices, sessions
from p2p_oicp.ocpi_mapping.ids import operator_of, own_party, party_of, provider_of
from p2p_oicp.ocpi_mapping.losses import Loss
from p2p_oicp.ocpi_mapping.plugs import strongest_kilowatt
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp.charging import ChargeDetailRecord, ChargingNotification
from p2p_oicp.oicp.evse import EvseDataRecord, PullEvseDataRecord, PushEvseData
from p2p_oicp.oicp.findings import Finding
from p2p_oicp.oicp.identifiers import SessionID
from p2p_oicp.oicp.message import Message, decode, encode
from p2p_oicp.oicp.pricing import PricingProductDataRecord, PushPricingProductData
from p2p_oicp.oicp.pulls import AuthenticationDataRecord, EvseDataPage, PushAuthenticationData


class Kind(StrEnum):
    """A kind of object that both protocols have."""

    LOCATION = "location"
    TARIFF = "tariff"
    TOKEN = "token"  # noqa: S105 - the word for a card
    SESSION = "session"
    CDR = "cdr"


class Protocol(StrEnum):
    """Where an object is to be carried."""

    OICP = "oicp"
    OCPI = "ocpi"


@dataclass(frozen=True)
class Context:
    """What is known beside the object.

    Attributes:
        terms: Empty ids are derived from the object.
        session_id: SessionID of a session or CDR of OCPI.
        location: Location of OCPI (one EVSE) where a CDR of OICP was made.
        product: Product by which it is priced.
    """

    terms: Terms
    session_id: str | None = None
    location: dict[str, Any] | None = None
    product: dict[str, Any] | None = None


@dataclass(frozen=True)
class Converted:
    """The other protocol's form, what is wrong with the object itself, and what could not be carried."""

    result: dict[str, Any]
    is_empty: bool
    findings: tuple[Finding, ...]
    losses: tuple[Loss, ...]

    @property
    def left_out(self) -> list[str]:
        """What of the object is not in the result, each with its reason."""
        parts = [part for name in ("left_out", "dropped", "requests") for part in self.result.get(name, ())]
        reasons = [f"{_place_of(part)}: {part['reason']}" for part in parts if part.get("reason")]
        return reasons + [f"all of it: {reason}" for name in _WHY_NOTHING if (reason := self.result.get(name))]


# A result with one of these has nothing else.
_WHY_NOTHING: Final = ("reason", "held", "parked")
_PLACES: Final = ("element", "evse_uid", "EvseID", "ProductID")


def _place_of(part: Mapping[str, Any]) -> str:
    return next((f"{name} {part[name]}" for name in _PLACES if part.get(name) is not None), "object")


#: What a mapping of one kind returns: the result, whether nothing is in it, and its losses.
_Outcome = tuple[dict[str, Any], bool, tuple[Loss, ...]]
_OCPI_MODELS: Final[Mapping[Kind, type[OcpiObject]]] = MappingProxyType(
    {Kind.LOCATION: Location, Kind.TARIFF: Tariff, Kind.TOKEN: Token, Kind.SESSION: Session, Kind.CDR: Cdr}
)
#: What OICP's form may be: the first model whose member (empty: any) is there.
_OICP_MODELS: Final[Mapping[Kind, tuple[tuple[str, type[Message]], ...]]] = MappingProxyType(
    {
        Kind.LOCATION: (
            ("OperatorEvseData", PushEvseData),
            ("OperatorEVSEData", PushEvseData),
            ("content", EvseDataPage),
            ("OperatorName", PullEvseDataRecord),
            ("", EvseDataRecord),
        ),
        Kind.TARIFF: (("PricingProductData", PushPricingProductData), ("", PricingProductDataRecord)),
        Kind.TOKEN: (("ProviderAuthenticationData", PushAuthenticationData), ("", AuthenticationDataRecord)),
        Kind.SESSION: (("", ChargingNotification),),
        Kind.CDR: (("", ChargeDetailRecord),),
    }
)


def convert(kind: Kind, to: Protocol, body: bytes, context: Context) -> Converted:
    """Return an object in the other protocol; raise `InvalidMessage` with JSON pointers if ``body`` holds none.

    Towards OCPI a location may be an EVSE record, a push or a page of some; a tariff or a token a record or a push.
    """
    if to is Protocol.OICP:
        value, findings = read_object(_OCPI_MODELS[kind], body)
        terms = _terms_of_object(value, context.terms)
        result, is_empty, losses = _TO_OICP[kind](value, replace(context, terms=terms))
    else:
        value, findings = read_message(_oicp_model(kind, decode(body)), body)
        result, is_empty, losses = _TO_OCPI[kind](value, context)
    return Converted(result, is_empty, findings, losses)


def read_message(model: type[Message], body: bytes) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Return a message of OICP as JSON with the preferred names of its members, and its findings."""
    message = model.from_json(body)
    value: Any = decode(encode(message))
    return value, message.field_findings


def _oicp_model(kind: Kind, value: object) -> type[Message]:
    members = value if isinstance(value, dict) else {}
    return next(model for name, model in _OICP_MODELS[kind] if not name or name in members)


def _terms_of_object(value: dict[str, Any], terms: Terms) -> Terms:
    """Return terms with the operator that owns an object of OCPI, unless it is configured."""
    owner = f"{value['country_code']}*{value['party_id']}".upper()
    return replace(terms, operator_id=terms.operator_id or owner)


def _location_to_oicp(value: dict[str, Any], context: Context) -> _Outcome:
    result = locations.to_records(value, context.terms)
    members = {"records": result.records, "statuses": result.statuses}
    return members | {"deleted": result.deleted, "dropped": result.dropped}, not result.records, result.losses


def _tariff_to_oicp(value: dict[str, Any], context: Context) -> _Outcome:
    connectors = list(locations.connectors_of(context.location)) if context.location else []
    result = prices.to_products(value, strongest_kilowatt(connectors), context.terms)
    return {"products": result.products, "left_out": result.left_out}, not result.products, result.losses


def _token_to_oicp(value: dict[str, Any], context: Context) -> _Outcome:
    result = identifications.to_authentication(value, context.terms)
    members = {"action": result.action, "record": result.record, "reason": result.reason}
    return _present(members), result.record is None, result.losses


def _known(value: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """Return the OICP session of an object; None: neither the object nor the context has its SessionID."""
    session_id = context.session_id or value.get("authorization_reference") or ""
    return {"SessionID": session_id} if SessionID(session_id).is_valid else None


def _session_to_oicp(value: dict[str, Any], context: Context) -> _Outcome:
    known = _known(value, context)
    if known is None:
        return {"held": "unknown"}, True, ()
    if context.location:
        known["EvseID"] = context.location["evses"][0].get("evse_id")
    result = sessions.to_notifications(value, None, known, context.terms)
    # Of a session that is new, only one that has not begun leads to nothing.
    reason = None if result.notifications else f"status:{value['status']}"
    members = _present({"notifications": result.notifications, "reason": reason})
    return members, not result.notifications, result.losses


def _cdr_to_oicp(value: dict[str, Any], context: Context) -> _Outcome:
    result = cdrs.to_record(value, _known(value, context))
    return _present({"record": result.record, "parked": result.parked}), result.record is None, result.losses


def _location_to_ocpi(value: dict[str, Any], context: Context) -> _Outcome:
    records, pointer, sender = [value], "", {}
    if push := value.get("OperatorEvseData"):
        records, pointer = push["EvseDataRecord"], "/OperatorEvseData/EvseDataRecord"
        sender = {"OperatorID": push["OperatorID"], "OperatorName": push["OperatorName"]}
    elif "content" in value:
        records, pointer = value["content"], "/content"
    result = locations.to_locations([sender | record for record in records], {}, {}, context.terms)
    losses = tuple(_moved(loss, pointer, is_single=records == [value]) for loss in result.losses)
    return {"locations": result.locations, "dropped": result.dropped}, not result.locations, losses


def _moved(loss: Loss, pointer: str, *, is_single: bool = False) -> Loss:
    """Return a loss with the pointer into the whole message; a single record stands for itself."""
    place = loss.pointer.removeprefix("/0") if is_single else pointer + loss.pointer
    return replace(loss, pointer=place)


def _tariff_to_ocpi(value: dict[str, Any], context: Context) -> _Outcome:
    push = value.get("PricingProductData") or {"PricingProductDataRecords": [value]}
    pointer = "/PricingProductData/PricingProductDataRecords" if "PricingProductData" in value else ""
    operator_id = push.get("OperatorID") or context.terms.operator_id
    if not operator_id:
        raise ConfigurationError("whose product is it? A record alone has no OperatorID: give --operator")
    products = push["PricingProductDataRecords"]
    requests = [prices.from_product(product, operator_id, context.terms) for product in products]
    losses = _all_losses(requests, pointer)
    tariffs = [request.body for request in requests if request.body]
    left_out = [
        {"ProductID": product["ProductID"], "reason": request.reason}
        for product, request in zip(products, requests, strict=True)
        if request.reason
    ]
    return {"tariffs": tariffs, "left_out": left_out}, not tariffs, losses


def _all_losses(requests: list[Any], pointer: str) -> tuple[Loss, ...]:
    return tuple(
        _moved(loss, f"{pointer}/{position}" if pointer else "")
        for position, request in enumerate(requests)
        for loss in request.losses
    )


def _token_to_ocpi(value: dict[str, Any], context: Context) -> _Outcome:
    push = value.get("ProviderAuthenticationData") or {"AuthenticationDataRecord": [value]}
    pointer = "/ProviderAuthenticationData/AuthenticationDataRecord" if "ProviderAuthenticationData" in value else ""
    requests = []
    for record in push["AuthenticationDataRecord"]:
        terms = _with_provider(record.get("Identification") or {}, context.terms, push.get("ProviderID"))
        action = value.get("ActionType", "insert")
        requests.append(identifications.from_authentication(action, terms.provider_id, record, terms))
    names = ("method", "path", "query", "body", "reason")
    result = [_present({name: getattr(request, name) for name in names}) for request in requests]
    return {"requests": result}, all(request.body is None for request in requests), _all_losses(requests, pointer)


def _with_provider(identification: dict[str, Any], terms: Terms, provider_id: str | None = None) -> Terms:
    """Return terms with a provider: given, of the push, or of the contract."""
    provider_id = terms.provider_id or provider_id or provider_of(identifications.evco_id_of(identification))
    party = party_of(provider_id) if provider_id else None
    if provider_id is None or party is None:
        raise ConfigurationError("whose token is it? Nothing names its provider: give --provider")
    if all(own_party(terms)):
        return replace(terms, provider_id=provider_id)
    return replace(terms, provider_id=provider_id, emsp_country_code=party.country_code, emsp_party_id=party.party_id)


def _session_to_ocpi(value: dict[str, Any], context: Context) -> _Outcome:
    evse = context.location["evses"][0] if context.location else {"uid": value["EvseID"], "connectors": [{"id": "1"}]}
    row = {
        "id": value["SessionID"],
        "location_id": (context.location or {}).get("id", ""),
        "evse_uid": evse["uid"],
        "connector_id": evse["connectors"][0]["id"],
    }
    terms = _with_provider(value.get("Identification") or {}, context.terms)
    result = sessions.from_notification(value, row, terms)
    members = {"method": result.method, "path": result.path, "body": result.body, "reason": result.reason}
    return _present(members), not result.body, result.losses


def _cdr_to_ocpi(value: dict[str, Any], context: Context) -> _Outcome:
    if context.location is None:
        raise ConfigurationError("where was it? A record of OICP has no location: give --evse")
    location = context.location | {"evse": context.location["evses"][0]}
    terms = _with_provider(value["Identification"], context.terms)
    row = {"OperatorID": terms.operator_id or operator_of(value)}
    result = cdrs.from_record(value, location, row, context.product, terms)
    return _present({"body": result.body, "reason": result.reason}), result.body is None, result.losses


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


_Conversion = Callable[[dict[str, Any], Context], _Outcome]
_TO_OICP: Final[Mapping[Kind, _Conversion]] = MappingProxyType(
    {
        Kind.LOCATION: _location_to_oicp,
        Kind.TARIFF: _tariff_to_oicp,
        Kind.TOKEN: _token_to_oicp,
        Kind.SESSION: _session_to_oicp,
        Kind.CDR: _cdr_to_oicp,
    }
)
_TO_OCPI: Final[Mapping[Kind, _Conversion]] = MappingProxyType(
    {
        Kind.LOCATION: _location_to_ocpi,
        Kind.TARIFF: _tariff_to_ocpi,
        Kind.TOKEN: _token_to_ocpi,
        Kind.SESSION: _session_to_ocpi,
        Kind.CDR: _cdr_to_ocpi,
    }
)
