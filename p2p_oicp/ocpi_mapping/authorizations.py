"""Real-time authorization, and status codes without a module (GATEWAY 13.2, 13.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from p2p_oicp.ocpi.base import ci
from p2p_oicp.ocpi.enumerations import AllowedType, TokenType
from p2p_oicp.ocpi.envelope import OcpiStatus, single_object
from p2p_oicp.ocpi_mapping.identifications import (
    TokenIdentity,
    evco_id_of,
    identity_of,
    path_segment,
    synthetic_token,
    to_identification,
)
from p2p_oicp.ocpi_mapping.ids import evse_uid, to_evco_id, to_uid
from p2p_oicp.ocpi_mapping.losses import Loss, Losses
from p2p_oicp.ocpi_mapping.terms import EXTRAWEST, Terms
from p2p_oicp.oicp.enums import AuthorizationStatus, StatusCodeValue
from p2p_oicp.oicp.identifiers import EvseID

_Code = StatusCodeValue
_TO_OCPI: Final[Mapping[str, OcpiStatus]] = MappingProxyType(
    {
        _Code.SUCCESS: OcpiStatus.SUCCESS,
        _Code.SYSTEM_ERROR: OcpiStatus.SERVER_ERROR,
        _Code.SYSTEM_ERROR_OF_HUB: OcpiStatus.SERVER_ERROR,
        _Code.DATABASE_ERROR_OF_HUB: OcpiStatus.SERVER_ERROR,
        _Code.DATA_TRANSACTION_ERROR: OcpiStatus.SERVER_ERROR,
        _Code.DATA_ERROR: OcpiStatus.INVALID_PARAMETERS,
        _Code.INCONSISTENT_EVSE_ID: OcpiStatus.INVALID_PARAMETERS,
        _Code.INCONSISTENT_EVCO_ID: OcpiStatus.INVALID_PARAMETERS,
        _Code.SESSION_INVALID: OcpiStatus.INVALID_PARAMETERS,
        _Code.UNKNOWN_EVSE_ID: OcpiStatus.UNKNOWN_LOCATION,
        _Code.EVSE_NOT_COMPATIBLE: OcpiStatus.UNKNOWN_LOCATION,
        _Code.QR_CODE_INVALID: OcpiStatus.UNKNOWN_TOKEN,
        _Code.RFID_INVALID: OcpiStatus.UNKNOWN_TOKEN,
        _Code.PLC_INVALID: OcpiStatus.UNKNOWN_TOKEN,
        _Code.PARTNER_NOT_FOUND: OcpiStatus.CANNOT_USE_CLIENT_API,
        _Code.PARTNER_DID_NOT_RESPOND: OcpiStatus.CANNOT_USE_CLIENT_API,
        _Code.SERVICE_NOT_AVAILABLE: OcpiStatus.CANNOT_USE_CLIENT_API,
    }
)
#: No verdict of a provider, towards a CPO: it may then use its offline rules.
_NO_VERDICT: Final[Mapping[str, tuple[HTTPStatus, OcpiStatus]]] = MappingProxyType(
    {
        _Code.RFID_INVALID: (HTTPStatus.NOT_FOUND, OcpiStatus.UNKNOWN_TOKEN),
        _Code.PLC_INVALID: (HTTPStatus.NOT_FOUND, OcpiStatus.UNKNOWN_TOKEN),
        _Code.PARTNER_NOT_FOUND: (HTTPStatus.OK, OcpiStatus.CANNOT_USE_CLIENT_API),
        _Code.PARTNER_DID_NOT_RESPOND: (HTTPStatus.OK, OcpiStatus.CANNOT_USE_CLIENT_API),
        _Code.SERVICE_NOT_AVAILABLE: (HTTPStatus.OK, OcpiStatus.CANNOT_USE_CLIENT_API),
        _Code.SYSTEM_ERROR_OF_HUB: (HTTPStatus.OK, OcpiStatus.SERVER_ERROR),
        _Code.DATABASE_ERROR_OF_HUB: (HTTPStatus.OK, OcpiStatus.SERVER_ERROR),
        _Code.DATA_TRANSACTION_ERROR: (HTTPStatus.OK, OcpiStatus.SERVER_ERROR),
        _Code.SYSTEM_ERROR: (HTTPStatus.OK, OcpiStatus.SERVER_ERROR),
        _Code.PROCESSING_ERROR: (HTTPStatus.OK, OcpiStatus.SERVER_ERROR),
    }
)
_REFUSALS: Final[Mapping[str, AllowedType]] = MappingProxyType(
    {_Code.EVCO_ID_LOCKED: AllowedType.BLOCKED, _Code.NO_VALID_CONTRACT: AllowedType.EXPIRED}
)
_VERDICTS: Final[Mapping[str, StatusCodeValue]] = MappingProxyType(
    {
        AllowedType.ALLOWED: _Code.SUCCESS,
        AllowedType.BLOCKED: _Code.EVCO_ID_LOCKED,
        AllowedType.EXPIRED: _Code.NO_VALID_CONTRACT,
        AllowedType.NO_CREDIT: _Code.NO_VALID_CONTRACT,
    }
)
_CLIENT_ERRORS: Final[Mapping[int, StatusCodeValue]] = MappingProxyType(
    {OcpiStatus.UNKNOWN_LOCATION: _Code.UNKNOWN_EVSE_ID, OcpiStatus.UNKNOWN_TOKEN: _Code.RFID_INVALID}
)


@dataclass(frozen=True)
class OcpiAnswer:
    """An answer in OCPI: HTTP status, status code, data; and what of OICP's answer it could not carry."""

    http_status: int
    status_code: int
    data: dict[str, Any] | None = None
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class AuthorizeCall:
    """What an AuthorizeStart is in OCPI: a POST to the eMSP, or an answer of our own."""

    path: str | None = None
    query: Mapping[str, str] | None = None
    body: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None


def code_of(http_status: int | None, status_code: int | None) -> StatusCodeValue:
    """Return the OICP code of an answer of OCPI.

    Args:
        http_status: None: there was no answer.
        status_code: None: it has no envelope, so that the HTTP status decides.
    """
    if http_status is None:
        return _Code.PARTNER_DID_NOT_RESPOND
    if http_status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return _Code.UNAUTHORIZED_ACCESS
    if status_code is None:
        return _code_of_http(http_status)
    if status_code >= OcpiStatus.SERVER_ERROR:
        return _Code.PARTNER_DID_NOT_RESPOND
    return _CLIENT_ERRORS.get(
        status_code, _Code.DATA_ERROR if status_code >= OcpiStatus.CLIENT_ERROR else _Code.SUCCESS
    )


def _code_of_http(http_status: int) -> StatusCodeValue:
    if http_status >= HTTPStatus.INTERNAL_SERVER_ERROR or http_status == HTTPStatus.TOO_MANY_REQUESTS:
        return _Code.PARTNER_DID_NOT_RESPOND
    if http_status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        return _Code.SERVICE_NOT_AVAILABLE
    return _Code.DATA_ERROR


def status_of(code: str) -> int:
    """Return the OCPI status code of an OICP code."""
    return int(_TO_OCPI.get(code, OcpiStatus.CLIENT_ERROR))


def to_authorize_start(
    token_uid: str,
    token_type: str,
    references: dict[str, Any] | None,
    evses: Mapping[str, str],
    stored_token: dict[str, Any] | None,
    session_id: str,
    terms: Terms,
) -> dict[str, Any] | OcpiAnswer:
    """Return the AuthorizeStart of a CPO's question, or the answer where none is needed or possible.

    Args:
        token_uid, token_type: The token.
        references: The location and EVSEs; None: the CPO names none.
        evses: EvseID by uid.
        stored_token: The token as it was pushed to us; None: it is unknown.
        session_id: A new SessionID.
        terms: Those of the CPO.
    """
    token_type = token_type.upper()
    if token_type in {TokenType.APP_USER, TokenType.AD_HOC_USER}:
        return _answer_from_table(stored_token, references)
    # Of type OTHER, the contract is all there is.
    identification = to_identification(token_uid, token_type, token_uid if token_type == TokenType.OTHER else "")
    if identification is None:
        return OcpiAnswer(HTTPStatus.NOT_FOUND, OcpiStatus.UNKNOWN_TOKEN)
    uids = [ci(uid) for uid in (references or {}).get("evse_uids") or []]
    known = {ci(uid): evse_id for uid, evse_id in evses.items()}
    resolved = [known[uid] for uid in dict.fromkeys(uids) if uid in known]
    if uids and not resolved:
        return OcpiAnswer(HTTPStatus.OK, OcpiStatus.UNKNOWN_LOCATION)
    request = {"SessionID": session_id, "OperatorID": terms.operator_id, "Identification": identification}
    return request | ({"EvseID": resolved[0]} if len(resolved) == 1 else {})


def _answer_from_table(stored_token: dict[str, Any] | None, references: dict[str, Any] | None) -> OcpiAnswer:
    """Answer for users of an app: OICP has no question for them, the app itself starts their sessions."""
    if stored_token is None:
        return OcpiAnswer(HTTPStatus.NOT_FOUND, OcpiStatus.UNKNOWN_TOKEN)
    allowed = AllowedType.ALLOWED if stored_token["valid"] else AllowedType.BLOCKED
    data: dict[str, Any] = {"allowed": str(allowed), "token": stored_token}
    return OcpiAnswer(
        HTTPStatus.OK,
        OcpiStatus.SUCCESS,
        data | ({"location": references} if references and stored_token["valid"] else {}),
    )


def from_authorize_start(
    request: dict[str, Any], evses: Mapping[str, str], token_cache: Mapping[str, str], terms: Terms
) -> AuthorizeCall:
    """Return the call to an eMSP for an AuthorizeStart.

    Args:
        request: The AuthorizeStart.
        evses: Location id by EvseID.
        token_cache: The uid as the eMSP writes it, by UID or EvcoID.
        terms: Those of the eMSP.
    """
    identity = identity_of(request["Identification"])
    if identity is None:
        code = {"Code": str(_Code.QR_CODE_INVALID)}
        return AuthorizeCall(
            answer={"AuthorizationStatus": str(AuthorizationStatus.NOT_AUTHORIZED), "StatusCode": code}
        )
    written = {ci(uid): text for uid, text in token_cache.items()}
    uid = written.get(ci(identity.uid), identity.uid)
    query = {"type": str(identity.type)}
    if terms.profile == EXTRAWEST:
        query["token_type"] = str(identity.type)
    location_ids = {EvseID(evse_id).key: location for evse_id, location in evses.items()}
    evse_id = request.get("EvseID")
    location_id = location_ids.get(EvseID(evse_id).key) if evse_id else None
    body = {"location_id": location_id, "evse_uids": [evse_uid(evse_id)]} if evse_id and location_id else None
    return AuthorizeCall(f"/{path_segment(uid)}/authorize", query, body)


def to_authorization_start(
    session_id: str,
    http_status: int | None,
    status_code: int | None,
    data: object,
    terms: Terms,
    *,
    token_type: str = TokenType.RFID,
    group: list[str] | None = None,
) -> tuple[dict[str, Any], tuple[Loss, ...]]:
    """Return the AuthorizationStart of an eMSP's answer, and its losses.

    Args:
        session_id: That of the request.
        http_status, status_code, data: The answer, as in `code_of`.
        terms: Those of the eMSP.
        token_type: That of the request.
        group: uids of the tokens that are of the same group; their cards may stop the session.
    """
    losses = Losses()
    info = single_object(data)
    code = _verdict(http_status, status_code, info, token_type, losses)
    is_authorized = code is _Code.SUCCESS
    status = AuthorizationStatus.AUTHORIZED if is_authorized else AuthorizationStatus.NOT_AUTHORIZED
    answer: dict[str, Any] = {
        "SessionID": session_id,
        "ProviderID": terms.provider_id,
        "AuthorizationStatus": str(status),
        "StatusCode": {"Code": str(code)},
    }
    uids = [uid for text in group or [] if (uid := to_uid(text))] if is_authorized else []
    if uids:
        answer["AuthorizationStopIdentifications"] = [
            {"RFIDMifareFamilyIdentification": {"UID": uid}} for uid in dict.fromkeys(uids)
        ]
    losses.add_members(info or {}, "", ("info",))
    return answer, losses.all


def _verdict(
    http_status: int | None, status_code: int | None, info: dict[str, Any] | None, token_type: str, losses: Losses
) -> StatusCodeValue:
    unknown_token = _Code.PLC_INVALID if token_type.upper() == TokenType.OTHER else _Code.RFID_INVALID
    if status_code is None and http_status == HTTPStatus.NOT_FOUND:
        return unknown_token
    # Beside HTTP 200, data without a status code counts as a success.
    has_data = http_status == HTTPStatus.OK and info is not None
    code = _Code.SUCCESS if status_code is None and has_data else code_of(http_status, status_code)
    if code is _Code.RFID_INVALID:
        return unknown_token
    if code is not _Code.SUCCESS:
        return code
    if info is None:
        return _Code.DATA_ERROR
    allowed = str(info.get("allowed", "")).upper()
    if allowed == AllowedType.NO_CREDIT:
        losses.add_value("/allowed", allowed, "is written as an expired contract")
    return _VERDICTS.get(allowed, _Code.NO_POSITIVE_AUTHENTICATION)


def from_authorization_start(
    answer: dict[str, Any],
    token_uid: str,
    token_type: str,
    references: dict[str, Any] | None,
    stored_token: dict[str, Any] | None,
    terms: Terms,
) -> OcpiAnswer:
    """Return the answer to a CPO's question: a verdict on the token, or why there is none."""
    code = str(answer["StatusCode"]["Code"])
    is_authorized = answer["AuthorizationStatus"] == AuthorizationStatus.AUTHORIZED
    if not is_authorized and code in _NO_VERDICT:
        return OcpiAnswer(*_NO_VERDICT[code])
    allowed = AllowedType.ALLOWED if is_authorized else _REFUSALS.get(code, AllowedType.NOT_ALLOWED)
    token = stored_token or _token_of_answer(answer, token_uid, token_type, terms, valid=is_authorized)
    data: dict[str, Any] = {"allowed": str(allowed), "token": token}
    if is_authorized and references:
        data["location"] = references
    if is_authorized and answer.get("SessionID"):
        data["authorization_reference"] = answer["SessionID"]
    losses = Losses()
    losses.add_members(answer, "", ("AuthorizationStopIdentifications",))
    return OcpiAnswer(HTTPStatus.OK, OcpiStatus.SUCCESS, data, losses.all)


def _token_of_answer(
    answer: dict[str, Any], token_uid: str, token_type: str, terms: Terms, *, valid: bool
) -> dict[str, Any]:
    stops = answer.get("AuthorizationStopIdentifications") or []
    contract_id = next((evco_id for stop in stops if (evco_id := evco_id_of(stop))), "")
    if not contract_id and token_type.upper() == TokenType.OTHER:
        contract_id = to_evco_id(token_uid) or token_uid
    identity = TokenIdentity(token_uid, token_type.upper(), contract_id)
    return synthetic_token(identity, answer.get("ProviderID"), terms, valid=valid)
