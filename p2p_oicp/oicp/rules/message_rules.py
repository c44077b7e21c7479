"""Rules of messages.

- Responses agree with their status codes, pages with their content (RULES M3, P2).
- Times, meter values and energy of a session agree (RULES M12, C1 to C5).
- There is one identification, and one that the operation allows (RULES T9, M1, M2, M5).

A rule that *requires* reports errors, one that *expects* reports warnings. Numbers D… are those of ``errata``.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from p2p_oicp.oicp.charging import (
    AuthorizationResponse,
    AuthorizationStart,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteStart,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotificationEnd,
    ChargingNotificationProgress,
    ChargingNotificationStart,
)
from p2p_oicp.oicp.common import Acknowledgement, HashedPIN, Identification, QRCodeIdentification
from p2p_oicp.oicp.enums import AuthorizationStatus, HashFunction, MeteringStatus, StatusCodeValue
from p2p_oicp.oicp.findings import NOT_BCRYPT
from p2p_oicp.oicp.numbers import EXACT_CONTEXT
from p2p_oicp.oicp.pulls import AuthenticationDataRecord, ChargeDetailRecordPage, EvseDataPage
from p2p_oicp.oicp.rules.context import RuleContext


def result_matches_code(response: Acknowledgement, context: RuleContext) -> None:
    """Expect Result to be true exactly if the code is 000 (M3)."""
    code = response.status_code.code
    if response.result != (code == StatusCodeValue.SUCCESS):
        text = f"Result is {str(response.result).lower()}, but Code is '{code}'"
        context.warn("contradictory-code", text, "status_code", "code")


def status_matches_code(response: AuthorizationResponse, context: RuleContext) -> None:
    """Expect Authorized exactly with the code 000 (M3), and with a ProviderID (D47)."""
    code, status = response.status_code.code, response.authorization_status
    authorized = status is AuthorizationStatus.AUTHORIZED
    if authorized != (code == StatusCodeValue.SUCCESS):
        context.warn(
            "contradictory-code", f"AuthorizationStatus is {status}, but Code is '{code}'", "status_code", "code"
        )
    if authorized and response.provider_id is None:
        context.warn("authorized-without-provider", "Authorized, but ProviderID is absent", "provider_id")


def authorized_has_session(response: AuthorizationStart, context: RuleContext) -> None:
    """Expect a positive authorization to have a SessionID (CPO-02)."""
    if response.authorization_status is AuthorizationStatus.AUTHORIZED and response.session_id is None:
        context.warn("authorized-without-session", "Authorized, but SessionID is absent", "session_id")


def page_counts(page: EvseDataPage | ChargeDetailRecordPage, context: RuleContext) -> None:
    """Expect the paging members to agree with each other and with the content (P2)."""
    count = len(page.content) if context.scope.record_count is None else context.scope.record_count
    content = context.pointer("content")
    # Records that could not be parsed are not in ``content``, so it cannot be counted.
    skipped = any(finding.pointer.startswith(content) for finding in page.field_findings)
    if page.number_of_elements is not None and page.number_of_elements != count and not skipped:
        text = f"numberOfElements is {page.number_of_elements}, but content has {count}"
        context.warn("contradictory-page", text, "number_of_elements")
    if page.number is None:
        return
    if page.first is not None and page.first != (page.number == 0):
        text = f"first is {str(page.first).lower()}, but number is {page.number}"
        context.warn("contradictory-page", text, "first")
    if page.last is None or page.total_pages is None:
        return
    if page.last != (page.number + 1 >= page.total_pages):
        text = f"last is {str(page.last).lower()}, but number is {page.number} of totalPages {page.total_pages}"
        context.warn("contradictory-page", text, "last")


_TIME_ORDER = ("session_start", "charging_start", "event_occurred", "charging_end", "session_end")
_MILLISECOND = timedelta(milliseconds=1)
#: Milliseconds by which a ChargingDuration may differ from its times (M12).
_DURATION_TOLERANCE_MS = 60_000

#: Each of the three figures is rounded by itself (L7).
_ENERGY_TOLERANCE = Decimal("0.002")

MeteredMessage = ChargeDetailRecord | ChargingNotificationEnd
TimedMessage = MeteredMessage | ChargingNotificationStart | ChargingNotificationProgress


def times_in_order(message: TimedMessage, context: RuleContext) -> None:
    """Expect SessionStart, ChargingStart, ChargingEnd, SessionEnd in this order; published examples break it (D62)."""
    times: list[tuple[str, datetime]] = [
        (attribute, time) for attribute in _TIME_ORDER if (time := message.__dict__.get(attribute)) is not None
    ]
    for (earlier_attribute, earlier), (later_attribute, later) in pairwise(times):
        if later < earlier:
            names = message.reference_token(later_attribute)[1:], message.reference_token(earlier_attribute)[1:]
            text = f"{names[0]} ({later.isoformat()}) is before {names[1]} ({earlier.isoformat()})"
            context.warn("times-out-of-order", text, later_attribute)


def energy_matches_meter(message: MeteredMessage, context: RuleContext) -> None:
    """Expect ConsumedEnergy to be the difference of the meter values (C1), and the meter to run forwards (C2)."""
    start, end, consumed = message.meter_value_start, message.meter_value_end, message.consumed_energy
    if start is None or end is None:
        return
    if end < start:
        context.warn(
            "meter-backwards", f"MeterValueEnd ({end}) is less than MeterValueStart ({start})", "meter_value_end"
        )
    metered_energy = EXACT_CONTEXT.subtract(end, start)
    if consumed is not None and abs(EXACT_CONTEXT.subtract(metered_energy, consumed)) > _ENERGY_TOLERANCE:
        text = f"ConsumedEnergy is {consumed}, but the meter ran from {start} to {end}, by {metered_energy}"
        context.warn("energy-mismatch", text, "consumed_energy")


def meter_values_in_between(message: MeteredMessage | ChargingNotificationProgress, context: RuleContext) -> None:
    """Expect intermediate meter values to rise, and to lie between start and end (C2)."""
    in_between = message.meter_value_in_between
    if in_between is None:
        return
    previous, previous_name = message.meter_value_start, "MeterValueStart"
    end = None if isinstance(message, ChargingNotificationProgress) else message.meter_value_end
    for position, value in enumerate(in_between.meter_values):
        path = ("meter_value_in_between", "meter_values", position)
        if previous is not None and value < previous:
            context.warn("meter-backwards", f"{value} is less than {previous_name} ({previous})", *path)
        if end is not None and value > end:
            context.warn("meter-backwards", f"{value} is more than MeterValueEnd ({end})", *path)
        previous, previous_name = value, "the previous value"


def signed_values_in_order(record: ChargeDetailRecord, context: RuleContext) -> None:
    """Expect signed values in the order Start, Progress, End (C5)."""
    highest_rank = 0
    for position, value in enumerate(record.signed_metering_values):
        rank = _metering_status_rank(value.metering_status or "")
        if rank and rank < highest_rank:
            text = f"{value.metering_status} comes after a later one; the order is Start, Progress, End"
            context.warn("signed-values-out-of-order", text, "signed_metering_values", position, "metering_status")
        highest_rank = max(highest_rank, rank)


def _metering_status_rank(status: str) -> int:
    """Return the rank of a metering status; 0 for an unknown one, which is not compared."""
    if status == MeteringStatus.START:
        return 1
    if status == MeteringStatus.END:
        return 99
    # "Progress", or "Progress1" to "Progress8" (D35).
    number = status.removeprefix(MeteringStatus.PROGRESS)
    if number == status:
        return 0
    return 2 + int(number) if number.isascii() and number.isdigit() else 2


def progress_duration(message: ChargingNotificationProgress, context: RuleContext) -> None:
    """Require a duration or an energy (D45); expect the duration to match the times (E6)."""
    duration = message.charging_duration
    if duration is None:
        if message.consumed_energy_progress is None:
            text = "one of ChargingDuration and ConsumedEnergyProgress is needed, both are absent"
            context.error("no-progress", text)
        return
    elapsed = (message.event_occurred - message.charging_start) // _MILLISECOND
    if abs(elapsed - duration) > _DURATION_TOLERANCE_MS:
        text = f"ChargingDuration is {duration} ms, but EventOccurred is {elapsed} ms after ChargingStart"
        context.warn("duration-mismatch", text, "charging_duration")


_IDENTIFICATION_METHODS = tuple(Identification.model_fields)
_QR_CODE_PATH = ("identification", "qr_code")
_RFID_NOT_ALLOWED_TEXT = (
    "RFIDIdentification is for pushed data, RFIDMifareFamilyIdentification is the one for an authorization"
)


def exactly_one_identification(identification: Identification, context: RuleContext) -> None:
    """Require exactly one of the five options (IdentificationType, D39)."""
    # Counted first, in native code: nearly all have one.
    members = identification.__dict__
    if [*map(members.__getitem__, _IDENTIFICATION_METHODS)].count(None) != len(_IDENTIFICATION_METHODS) - 1:
        present = [method for method in _IDENTIFICATION_METHODS if members[method] is not None]
        names = ", ".join(identification.reference_token(method)[1:] for method in present) or "none"
        context.error(
            "not-one-identification", f"exactly one of five identifications is needed, not {len(present)} ({names})"
        )


def station_identification(request: AuthorizeStart | AuthorizeStop, context: RuleContext) -> None:
    """Require an identification that a station can read, with a PIN in clear text (M1, M2; D41, D42)."""
    identification = request.identification
    if identification.rfid is not None:
        context.error("rfid-in-authorization", _RFID_NOT_ALLOWED_TEXT, "identification", "rfid")
    if identification.remote is not None:
        text = "RemoteIdentification is what a provider sends; a station reads a card, a code or a car"
        context.warn("remote-in-authorization", text, "identification", "remote")
    if identification.qr_code is not None:
        _check_clear_text_pin(identification.qr_code, context)


def _check_clear_text_pin(qr_code: QRCodeIdentification, context: RuleContext) -> None:
    if qr_code.hashed_pin is not None:
        context.error(
            "pin-hashed", "HashedPIN must be absent in an authorization, PIN is the one", *_QR_CODE_PATH, "hashed_pin"
        )
    if qr_code.pin is None:
        context.error(
            "pin-missing", "PIN in clear text is needed in an authorization, and is absent", *_QR_CODE_PATH, "pin"
        )


def remote_identification_required(request: AuthorizeRemoteStart, context: RuleContext) -> None:
    """Require RemoteIdentification for a remote start (IdentificationType note 2, D41)."""
    for method, text in _non_remote_methods(request.identification):
        context.error("not-remote", text, "identification", method)


def remote_identification_expected(request: AuthorizeRemoteReservationStart, context: RuleContext) -> None:
    """Expect RemoteIdentification for a reservation; published examples show others (D41)."""
    for method, text in _non_remote_methods(request.identification):
        context.warn("not-remote", text, "identification", method)


def _non_remote_methods(identification: Identification) -> list[tuple[str, str]]:
    methods = [
        method
        for method in _IDENTIFICATION_METHODS
        if method != "remote" and identification.__dict__[method] is not None
    ]
    text = "{} is given, RemoteIdentification is the one for a remote request"
    return [(method, text.format(identification.reference_token(method)[1:])) for method in methods]


def stop_identifications(response: AuthorizationStart, context: RuleContext) -> None:
    """Expect no RFIDIdentification, which is not for authorization messages (D41)."""
    for position, identification in enumerate(response.authorization_stop_identifications):
        if identification.rfid is not None:
            path = ("authorization_stop_identifications", position, "rfid")
            context.warn("rfid-in-authorization", _RFID_NOT_ALLOWED_TEXT, *path)


def exactly_one_pin(record: AuthenticationDataRecord, context: RuleContext) -> None:
    """Require the PIN or its hash, never both (EMP-02, PIN security; D42)."""
    qr_code = record.identification.qr_code
    if qr_code is not None and (qr_code.pin is None) == (qr_code.hashed_pin is None):
        present = "none" if qr_code.pin is None else "both"
        text = f"exactly one of PIN and HashedPIN is needed, not {present}"
        context.error("not-one-pin", text, *_QR_CODE_PATH)


_BCRYPT_HASH = re.compile(r"\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}", re.ASCII)


def hash_is_of_its_function(hashed_pin: HashedPIN, context: RuleContext) -> None:
    """Expect a bcrypt hash where the function is Bcrypt: no PIN would ever match anything else."""
    if hashed_pin.function == HashFunction.BCRYPT and not _BCRYPT_HASH.fullmatch(hashed_pin.value):
        text = "Function is Bcrypt, but Value is no bcrypt hash, which has 60 characters and begins with $2b$"
        context.warn(NOT_BCRYPT, text, "value")


def foreign_contract(record: AuthenticationDataRecord, context: RuleContext) -> None:
    """Require the contract to be of a provider that the sender is authorized for (M5; 019)."""
    authorized_providers = context.scope.providers
    if authorized_providers is None:
        return
    for method in ("rfid", "qr_code", "plug_and_charge", "remote"):
        contract = getattr(record.identification, method)
        evco_id = contract.evco_id if contract else None
        if evco_id is not None and evco_id.provider not in authorized_providers:
            expected = ", ".join(sorted(map(str, authorized_providers)))
            text = f"{evco_id} is a contract of {evco_id.provider}, not of {expected}"
            context.error("foreign-evco-id", text, "identification", method, "evco_id")
