"""Who wants to charge: one identification, and the one that fits the operation (RULES T9, M1, M2)."""

from __future__ import annotations

from p2p_oicp.oicp.common import Identification, QRCodeIdentification
from p2p_oicp.oicp.kinds import Notes
from p2p_oicp.oicp.pulls import AuthenticationDataRecord, PushAuthenticationData
from p2p_oicp.oicp.rules.scope import Scope
from p2p_oicp.oicp.sessions import (
    AuthorizationStart,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteStart,
    AuthorizeStart,
    AuthorizeStop,
)

_METHODS = tuple(Identification.model_fields)


def one_identification(identification: Identification, at: str, notes: Notes, _: Scope) -> None:
    """Require exactly one of the five options (IdentificationType, CONFORMANCE D39)."""
    given = [method for method in _METHODS if identification.__dict__[method] is not None]
    if len(given) != 1:
        named = ", ".join(identification.token(method)[1:] for method in given) or "none"
        notes.error(
            at, "not-one-identification", f"exactly one of five identifications is needed, not {len(given)} ({named})"
        )


def medium_at_the_station(request: AuthorizeStart | AuthorizeStop, at: str, notes: Notes, _: Scope) -> None:
    """Refuse what no station can tell, and a PIN that is not in clear text (IdentificationType note 1; D41, D42)."""
    found, at = request.identification, at + request.token("identification")
    if found.rfid is not None:
        wanted = "RFIDMifareFamilyIdentification is the one for an authorization"
        notes.error(
            at + found.token("rfid"), "rfid-in-authorization", f"RFIDIdentification is for pushed data; {wanted}"
        )
    if found.remote is not None:
        wanted = "a station tells a card, a code or a car"
        notes.warn(
            at + found.token("remote"),
            "remote-in-authorization",
            f"RemoteIdentification comes from a provider; {wanted}",
        )
    if found.qr_code is not None:
        _clear_pin(found.qr_code, at + found.token("qr_code"), notes)


def _clear_pin(code: QRCodeIdentification, at: str, notes: Notes) -> None:
    if code.hashed_pin is not None:
        notes.error(
            at + code.token("hashed_pin"), "pin-hashed", "HashedPIN must be absent in an authorization, PIN is the one"
        )
    if code.pin is None:
        notes.error(
            at + code.token("pin"), "pin-missing", "PIN in clear text is needed in an authorization, and is absent"
        )


def remote_only(request: AuthorizeRemoteStart, at: str, notes: Notes, _: Scope) -> None:
    """Require RemoteIdentification for a remote start (IdentificationType note 2, D41)."""
    for pointer, message in _not_remote(request, at):
        notes.error(pointer, "not-remote", message)


def remote_preferred(request: AuthorizeRemoteReservationStart, at: str, notes: Notes, _: Scope) -> None:
    """Expect RemoteIdentification for a reservation; published examples show others (D41)."""
    for pointer, message in _not_remote(request, at):
        notes.warn(pointer, "not-remote", message)


def _not_remote(request: AuthorizeRemoteStart | AuthorizeRemoteReservationStart, at: str) -> list[tuple[str, str]]:
    found, at = request.identification, at + request.token("identification")
    return [
        (
            at + found.token(method),
            f"{found.token(method)[1:]} is given, RemoteIdentification is the one for a remote request",
        )
        for method in _METHODS
        if method != "remote" and found.__dict__[method] is not None
    ]


def media_that_may_stop(answer: AuthorizationStart, at: str, notes: Notes, _: Scope) -> None:
    """Report RFIDIdentification, which is not for authorization messages; an answer that has it is read (D41)."""
    for position, found in enumerate(answer.authorization_stop_identifications):
        if found.rfid is not None:
            pointer = f"{at}{answer.token('authorization_stop_identifications')}/{position}{found.token('rfid')}"
            wanted = "RFIDMifareFamilyIdentification is the one for an authorization"
            notes.warn(pointer, "rfid-in-authorization", f"RFIDIdentification is for pushed data; {wanted}")


def one_pin(record: AuthenticationDataRecord, at: str, notes: Notes, _: Scope) -> None:
    """Require the PIN or its hash, never both (EMP-02, PIN security; D42)."""
    code = record.identification.qr_code
    if code is not None and (code.pin is None) == (code.hashed_pin is None):
        found = "none" if code.pin is None else "both"
        pointer = at + record.token("identification") + record.identification.token("qr_code")
        notes.error(pointer, "not-one-pin", f"exactly one of PIN and HashedPIN is needed, not {found}")


def own_contracts(push: PushAuthenticationData, at: str, notes: Notes, scope: Scope) -> None:
    """Require contracts of the sender or one of its sub-providers (EMP-02, EVCO consistency; 019)."""
    if scope.providers is None:
        return
    data = push.provider_authentication_data
    below = at + push.token("provider_authentication_data") + data.token("authentication_data_record")
    for position, record in enumerate(data.authentication_data_record):
        foreign_contract(record, f"{below}/{position}", notes, scope)


def foreign_contract(record: AuthenticationDataRecord, at: str, notes: Notes, scope: Scope) -> None:
    """Report a contract of another provider than those the sender speaks for."""
    found = record.identification
    for method in ("rfid", "qr_code", "plug_and_charge", "remote"):
        holder = getattr(found, method)
        evco_id = holder.evco_id if holder else None
        if evco_id is None or scope.providers is None or evco_id.provider in scope.providers:
            continue
        pointer = at + record.token("identification") + found.token(method) + holder.token("evco_id")
        spoken = ", ".join(sorted(map(str, scope.providers)))
        notes.error(pointer, "foreign-evco-id", f"{evco_id} is a contract of {evco_id.provider}, not of {spoken}")
