"""Commands with their results, and charging profiles (GATEWAY 11, 13.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from p2p_oicp.ocpi.base import ci, format_time
from p2p_oicp.ocpi.enumerations import (
    Capability,
    ChargingProfileResponseType,
    CommandResponseType,
    CommandResultType,
    CommandType,
    Status,
)
from p2p_oicp.ocpi.envelope import OcpiStatus, single_object
from p2p_oicp.ocpi_mapping.amounts import time_of
from p2p_oicp.ocpi_mapping.authorizations import OcpiAnswer, code_of
from p2p_oicp.ocpi_mapping.identifications import TokenIdentity, evco_id_of, identity_of, synthetic_token
from p2p_oicp.ocpi_mapping.ids import same_provider, to_evco_id
from p2p_oicp.ocpi_mapping.losses import Loss, Losses
from p2p_oicp.ocpi_mapping.terms import CITRINEOS, Terms
from p2p_oicp.oicp.enums import StatusCodeValue

_Code = StatusCodeValue
#: Seconds until the result of an accepted command or profile.
RESULT_TIMEOUT: Final = 60
_MIN_MINUTES, _MAX_MINUTES = 1, 99
_MAX_MESSAGE = 512
_PROFILE_PAUSE_SECONDS = 10
_OVER_STATES = frozenset({"ended", "settled", "expired", "refused", "completed", "invalid"})
_PROFILES_EXTENSION = "charging-profiles"

_TO_CODE: Final[Mapping[str, StatusCodeValue]] = MappingProxyType(
    {
        CommandResultType.ACCEPTED: _Code.SUCCESS,
        CommandResultType.EVSE_OCCUPIED: _Code.EVSE_ALREADY_IN_USE,
        CommandResultType.EVSE_INOPERATIVE: _Code.EVSE_OUT_OF_SERVICE,
        CommandResultType.TIMEOUT: _Code.PARTNER_DID_NOT_RESPOND,
        CommandResultType.NOT_SUPPORTED: _Code.SERVICE_NOT_AVAILABLE,
        CommandResultType.REJECTED: _Code.NO_POSITIVE_AUTHENTICATION,
        CommandResultType.UNKNOWN_RESERVATION: _Code.SESSION_INVALID,
        CommandResultType.CANCELED_RESERVATION: _Code.SESSION_INVALID,
        CommandResponseType.UNKNOWN_SESSION: _Code.SESSION_INVALID,
    }
)
_FROM_CODE: Final[Mapping[str, CommandResultType]] = MappingProxyType(
    {
        _Code.SUCCESS: CommandResultType.ACCEPTED,
        _Code.EVSE_ALREADY_RESERVED: CommandResultType.EVSE_OCCUPIED,
        _Code.EVSE_ALREADY_IN_USE: CommandResultType.EVSE_OCCUPIED,
        _Code.EVSE_OUT_OF_SERVICE: CommandResultType.EVSE_INOPERATIVE,
        _Code.EVSE_COMMUNICATION_FAILED: CommandResultType.FAILED,
        _Code.NO_EV_CONNECTED: CommandResultType.FAILED,
        _Code.PARTNER_DID_NOT_RESPOND: CommandResultType.TIMEOUT,
        _Code.PARTNER_NOT_FOUND: CommandResultType.NOT_SUPPORTED,
        _Code.SERVICE_NOT_AVAILABLE: CommandResultType.NOT_SUPPORTED,
    }
)


@dataclass(frozen=True)
class OicpRequest:
    """An OICP request: the name of its operation, the message, and what of the command could not be carried."""

    operation: str
    message: dict[str, Any]
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class OcpiCommand:
    """What a remote operation is in OCPI: a command with its body, or an Acknowledgement of our own."""

    command: str | None = None
    body: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class ProfileOutcome:
    """The answer to a request about a charging profile, and what is forwarded to the CPO's node."""

    data: dict[str, Any]
    forward: dict[str, Any] | None = None


def command_response(result: str) -> dict[str, Any]:
    """Return a CommandResponse or ChargingProfileResponse: its result follows only if it was accepted."""
    return {"result": str(result), "timeout": RESULT_TIMEOUT if result == CommandResponseType.ACCEPTED else 0}


def _refusal(result: CommandResponseType, status_code: OcpiStatus = OcpiStatus.SUCCESS) -> OcpiAnswer:
    return OcpiAnswer(HTTPStatus.OK, status_code, command_response(result))


def to_remote_request(
    command: str,
    body: dict[str, Any],
    locations: Mapping[str, Mapping[str, dict[str, Any]]],
    sessions: Mapping[str, dict[str, Any]],
    session_id: str,
    terms: Terms,
) -> OicpRequest | OcpiAnswer:
    """Return the OICP request of an eMSP's command, or the refusal that can be decided here.

    Args:
        command, body: The command.
        locations: By location id and uid: ``EvseID`` and ``status`` of the EVSEs.
        sessions: By OCPI session id or reservation id: ``SessionID`` and ``EvseID``.
        session_id: A new SessionID.
        terms: Those of the eMSP.
    """
    match command.upper():
        case CommandType.START_SESSION | CommandType.RESERVE_NOW:
            return _start(command.upper(), body, locations, session_id, terms)
        case CommandType.STOP_SESSION:
            return _stop(
                "AuthorizeRemoteStop", body["session_id"], sessions, CommandResponseType.UNKNOWN_SESSION, terms
            )
        case CommandType.CANCEL_RESERVATION:
            unknown = CommandResponseType.REJECTED
            return _stop("AuthorizeRemoteReservationStop", body["reservation_id"], sessions, unknown, terms)
    return _refusal(CommandResponseType.NOT_SUPPORTED)


def _start(
    command: str,
    body: dict[str, Any],
    locations: Mapping[str, Mapping[str, dict[str, Any]]],
    session_id: str,
    terms: Terms,
) -> OicpRequest | OcpiAnswer:
    losses = Losses()
    evco_id = to_evco_id(body["token"]["contract_id"])
    if evco_id is None:
        return _refusal(CommandResponseType.REJECTED, OcpiStatus.INVALID_PARAMETERS)
    evse_id = _evse_of(body, locations)
    if isinstance(evse_id, OcpiAnswer):
        return evse_id
    message: dict[str, Any] = {
        "SessionID": session_id,
        "ProviderID": _provider_of(body["token"], terms),
        "EvseID": evse_id,
        "Identification": {"RemoteIdentification": {"EvcoID": evco_id}},
    }
    if reference := body.get("authorization_reference"):
        message["EMPPartnerSessionID"] = reference
    losses.add_members(body, "", ("connector_id",))
    if command == CommandType.START_SESSION:
        return OicpRequest("AuthorizeRemoteStart", message, losses.all)
    # Negated, since // rounds down.
    minutes = -((terms.now - time_of(body["expiry_date"])) // timedelta(minutes=1))
    if not _MIN_MINUTES <= minutes <= _MAX_MINUTES:
        return _refusal(CommandResponseType.REJECTED, OcpiStatus.INVALID_PARAMETERS)
    return OicpRequest("AuthorizeRemoteReservationStart", message | {"Duration": minutes}, losses.all)


def _evse_of(body: dict[str, Any], locations: Mapping[str, Mapping[str, dict[str, Any]]]) -> str | OcpiAnswer:
    """Return the EvseID that a command is about: the one that it names, else the first that is available."""
    location = next((evses for name, evses in locations.items() if ci(name) == ci(body["location_id"])), None)
    if location is None:
        return _refusal(CommandResponseType.REJECTED, OcpiStatus.UNKNOWN_LOCATION)
    if uid := body.get("evse_uid"):
        evse = next((evse for name, evse in location.items() if ci(name) == ci(uid)), None)
        unknown = _refusal(CommandResponseType.REJECTED, OcpiStatus.UNKNOWN_LOCATION)
        return str(evse["EvseID"]) if evse else unknown
    available = (evse for evse in location.values() if evse.get("status") == Status.AVAILABLE)
    evse = next(available, None)
    return str(evse["EvseID"]) if evse else _refusal(CommandResponseType.REJECTED)


def _provider_of(token: dict[str, Any], terms: Terms) -> str:
    provider_id = f"{token['country_code']}-{token['party_id']}".upper()
    return terms.provider_id if same_provider(provider_id, terms.provider_id) else provider_id


def _stop(
    operation: str, own_id: str, sessions: Mapping[str, dict[str, Any]], unknown: CommandResponseType, terms: Terms
) -> OicpRequest | OcpiAnswer:
    session = next((session for name, session in sessions.items() if ci(name) == ci(own_id)), None)
    if session is None:
        return _refusal(unknown)
    message = {"SessionID": session["SessionID"], "ProviderID": terms.provider_id, "EvseID": session["EvseID"]}
    return OicpRequest(operation, message)


def from_remote_request(
    kind: str,
    request: dict[str, Any],
    evse: dict[str, Any] | None,
    ocpi_session_id: str | None,
    response_url: str,
    terms: Terms,
) -> OcpiCommand:
    """Return the command for a CPO of a remote operation, or the answer that can be given here.

    Args:
        kind: The command that the operation is (`CommandType`).
        request: The OICP request.
        evse: ``location_id``, ``uid``, ``connectors`` (their ids) and ``capabilities`` of the EVSE.
        ocpi_session_id: The Session.id of the CPO; None: it has not sent the session.
        response_url: Where the CPO posts the result.
        terms: Those of the CPO.
    """
    session_id = request["SessionID"]
    if kind == CommandType.RESERVE_NOW and terms.profile == CITRINEOS:
        return OcpiCommand(answer=_acknowledgement(_Code.SERVICE_NOT_AVAILABLE, session_id))
    body: dict[str, Any] = {"response_url": response_url}
    if kind == CommandType.STOP_SESSION:
        if not ocpi_session_id:
            return OcpiCommand(answer=_acknowledgement(_Code.SESSION_INVALID, session_id))
        return OcpiCommand(kind, body | {"session_id": ocpi_session_id})
    if kind == CommandType.CANCEL_RESERVATION:
        return OcpiCommand(kind, body | {"reservation_id": session_id})
    identity = _driver(request["Identification"])
    if evse is None or identity is None:
        code = _Code.UNKNOWN_EVSE_ID if evse is None else _Code.DATA_ERROR
        return OcpiCommand(answer=_acknowledgement(code, session_id))
    losses = Losses()
    losses.add_members(request, "", ("PartnerProductID",))
    members = {
        "token": _token_of_command(identity, request["ProviderID"], terms),
        "location_id": evse["location_id"],
        "evse_uid": evse["uid"],
        "authorization_reference": session_id,
        **(_connector(evse) if kind == CommandType.START_SESSION else _reservation(request, terms)),
    }
    return OcpiCommand(kind, body | members, losses=losses.all)


def _driver(identification: dict[str, Any]) -> TokenIdentity | None:
    """Return the token of a driver who is not at the station: that of an app's user, if a contract is known."""
    contract_id = evco_id_of(identification)
    return identity_of({"RemoteIdentification": {"EvcoID": contract_id}} if contract_id else identification)


def _token_of_command(identity: TokenIdentity, provider_id: str, terms: Terms) -> dict[str, Any]:
    token = synthetic_token(identity, provider_id, terms, valid=True)
    return token | ({"visual_number": token["contract_id"]} if terms.profile == CITRINEOS else {})


def _connector(evse: dict[str, Any]) -> dict[str, Any]:
    connectors = evse.get("connectors") or []
    is_required = Capability.START_SESSION_CONNECTOR_REQUIRED in (evse.get("capabilities") or [])
    return {"connector_id": connectors[0]} if len(connectors) == 1 or (connectors and is_required) else {}


def _reservation(request: dict[str, Any], terms: Terms) -> dict[str, Any]:
    minutes = request.get("Duration") or terms.reservation_minutes
    expiry = terms.now + timedelta(minutes=minutes)
    return {"expiry_date": format_time(expiry), "reservation_id": request["SessionID"]}


def _acknowledgement(code: StatusCodeValue, session_id: str) -> dict[str, Any]:
    return {"Result": code is _Code.SUCCESS, "StatusCode": {"Code": str(code)}, "SessionID": session_id}


def to_acknowledgement(
    kind: str,
    session_id: str,
    status_code: int | None,
    response: object,
    result: object,
) -> dict[str, Any]:
    """Return the Acknowledgement of a command's response and result.

    Args:
        kind: The command.
        session_id: That of the request.
        status_code: That of the response's envelope; None: not known.
        response: The CommandResponse; None: the CPO did not answer.
        result: The CommandResult; None: it is outstanding, and an accepted command counts as done.
    """
    own_response, own_result = single_object(response), single_object(result)
    if status_code == OcpiStatus.UNKNOWN_LOCATION:
        return _acknowledgement(_Code.UNKNOWN_EVSE_ID, session_id)
    if own_response is None:
        is_refusal = status_code is not None and status_code >= OcpiStatus.CLIENT_ERROR
        code = code_of(HTTPStatus.OK, status_code) if is_refusal else _Code.PARTNER_DID_NOT_RESPOND
        return _acknowledgement(code, session_id)
    word = str(own_response.get("result", "")).upper()
    if word == CommandResponseType.ACCEPTED and own_result is not None:
        word = str(own_result.get("result", "")).upper()
    if word == CommandResultType.EVSE_OCCUPIED and kind == CommandType.RESERVE_NOW:
        return _acknowledgement(_Code.EVSE_ALREADY_RESERVED, session_id)
    return _acknowledgement(_TO_CODE.get(word, _Code.EVSE_COMMUNICATION_FAILED), session_id)


def from_acknowledgement(command: str, acknowledgement: dict[str, Any]) -> dict[str, Any]:
    """Return the CommandResult of an Acknowledgement; a refusal says why, as far as OICP does."""
    status = acknowledgement["StatusCode"]
    code, description = str(status["Code"]), status.get("Description")
    result = _FROM_CODE.get(code, CommandResultType.REJECTED)
    if code == _Code.SESSION_INVALID and command == CommandType.CANCEL_RESERVATION:
        result = CommandResultType.UNKNOWN_RESERVATION
    if result is CommandResultType.ACCEPTED and not acknowledgement.get("Result", True):
        result = CommandResultType.REJECTED
    if result is CommandResultType.ACCEPTED or not description:
        return {"result": str(result)}
    return {"result": str(result), "message": [{"language": "en", "text": f"{code} {description}"[:_MAX_MESSAGE]}]}


def to_profile_request(
    method: str,
    ocpi_session_id: str,
    sessions: Mapping[str, dict[str, Any]],
    body: dict[str, Any] | None,
    seconds_since_last: float | None = None,
    duration: int | None = None,
) -> ProfileOutcome:
    """Return what an eMSP's request about a charging profile leads to: OICP has none, but nodes of ours pass it on.

    Args:
        method: PUT sets a profile, GET asks for the active one, DELETE clears it.
        ocpi_session_id: The session.
        sessions: By OCPI session id: ``SessionID``, ``state``, ``peer_extensions``.
        body: The SetChargingProfile of a PUT.
        seconds_since_last: Since the last such request of the session; None: it is the first.
        duration: Of a GET, in seconds.
    """
    session = next((session for name, session in sessions.items() if ci(name) == ci(ocpi_session_id)), None)
    if session is None:
        return ProfileOutcome(command_response(ChargingProfileResponseType.UNKNOWN_SESSION))
    if session["state"] in _OVER_STATES:
        return ProfileOutcome(command_response(ChargingProfileResponseType.REJECTED))
    if _PROFILES_EXTENSION not in session["peer_extensions"]:
        return ProfileOutcome(command_response(ChargingProfileResponseType.NOT_SUPPORTED))
    if seconds_since_last is not None and seconds_since_last < _PROFILE_PAUSE_SECONDS:
        return ProfileOutcome(command_response(ChargingProfileResponseType.TOO_OFTEN))
    forward: dict[str, Any] = {"method": method, "SessionID": session["SessionID"]}
    if body and "charging_profile" in body:
        forward["charging_profile"] = body["charging_profile"]
    if duration is not None:
        forward["duration"] = duration
    return ProfileOutcome(command_response(ChargingProfileResponseType.ACCEPTED), forward)
