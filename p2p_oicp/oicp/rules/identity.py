"""Who wants to charge: one identification, and the one that fits the operation (RULES T9, M1, M2)."""

from __future__ import annotations

from p2p_oicp.oicp.common import Identification, QRCodeIdentification
from p2p_oicp.oicp.pulls import AuthenticationDataRecord
from p2p_oicp.oicp.rules.here import Here
from p2p_oicp.oicp.sessions import (
    AuthorizationStart,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteStart,
    AuthorizeStart,
    AuthorizeStop,
)

_METHODS = tuple(Identification.model_fields)
_QR_CODE = ("identification", "qr_code")
_NOT_FOR_AUTHORIZATION = (
    "RFIDIdentification is for pushed data, RFIDMifareFamilyIdentification is the one for an authorization"
)


def one_identification(identification: Identification, here: Here) -> None:
    """Require exactly one of the five options (IdentificationType, CONFORMANCE D39)."""
    given = [method for method in _METHODS if identification.__dict__[method] is not None]
    if len(given) != 1:
        named = ", ".join(identification.token(method)[1:] for method in given) or "none"
        here.error(
            "not-one-identification", f"exactly one of five identifications is needed, not {len(given)} ({named})"
        )


def medium_at_the_station(request: AuthorizeStart | AuthorizeStop, here: Here) -> None:
    """Refuse what no station can tell, and a PIN that is not in clear text (IdentificationType note 1; D41, D42)."""
    found = request.identification
    if found.rfid is not None:
        here.error("rfid-in-authorization", _NOT_FOR_AUTHORIZATION, "identification", "rfid")
    if found.remote is not None:
        said = "RemoteIdentification comes from a provider, a station tells a card, a code or a car"
        here.warn("remote-in-authorization", said, "identification", "remote")
    if found.qr_code is not None:
        _clear_pin(found.qr_code, here)


def _clear_pin(code: QRCodeIdentification, here: Here) -> None:
    if code.hashed_pin is not None:
        here.error(
            "pin-hashed", "HashedPIN must be absent in an authorization, PIN is the one", *_QR_CODE, "hashed_pin"
        )
    if code.pin is None:
        here.error("pin-missing", "PIN in clear text is needed in an authorization, and is absent", *_QR_CODE, "pin")


def remote_only(request: AuthorizeRemoteStart, here: Here) -> None:
    """Require RemoteIdentification for a remote start (IdentificationType note 2, D41)."""
    for method, said in _not_remote(request.identification):
        here.error("not-remote", said, "identification", method)


def remote_preferred(request: AuthorizeRemoteReservationStart, here: Here) -> None:
    """Expect RemoteIdentification for a reservation; published examples show others (D41)."""
    for method, said in _not_remote(request.identification):
        here.warn("not-remote", said, "identification", method)


def _not_remote(found: Identification) -> list[tuple[str, str]]:
    return [
        (method, f"{found.token(method)[1:]} is given, RemoteIdentification is the one for a remote request")
        for method in _METHODS
        if method != "remote" and found.__dict__[method] is not None
    ]


def media_that_may_stop(answer: AuthorizationStart, here: Here) -> None:
    """Report RFIDIdentification, which is not for authorization messages; an answer that has it is read (D41)."""
    for position, found in enumerate(answer.authorization_stop_identifications):
        if found.rfid is not None:
            way = ("authorization_stop_identifications", position, "rfid")
            here.warn("rfid-in-authorization", _NOT_FOR_AUTHORIZATION, *way)


def one_pin(record: AuthenticationDataRecord, here: Here) -> None:
    """Require the PIN or its hash, never both (EMP-02, PIN security; D42)."""
    code = record.identification.qr_code
    if code is not None and (code.pin is None) == (code.hashed_pin is None):
        found = "none" if code.pin is None else "both"
        said = f"exactly one of PIN and HashedPIN is needed, not {found}"
        here.error("not-one-pin", said, *_QR_CODE)


def foreign_contract(record: AuthenticationDataRecord, here: Here) -> None:
    """Refuse a contract of another provider than those the sender speaks for (EMP-02, EVCO consistency; 019)."""
    spoken = here.scope.providers
    if spoken is None:
        return
    for method in ("rfid", "qr_code", "plug_and_charge", "remote"):
        holder = getattr(record.identification, method)
        evco_id = holder.evco_id if holder else None
        if evco_id is not None and evco_id.provider not in spoken:
            said = f"{evco_id} is a contract of {evco_id.provider}, not of {', '.join(sorted(map(str, spoken)))}"
            here.error("foreign-evco-id", said, "identification", method, "evco_id")
