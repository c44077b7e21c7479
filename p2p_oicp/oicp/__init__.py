"""OICP 2.3 as a library: identifiers, messages, operations and validation. No I/O, and nothing of the node.

>>> from p2p_oicp.oicp import AuthorizeStart, read
>>> message, warnings = read(AuthorizeStart, body)  # doctest: +SKIP

Overview
    Every message and record is a pydantic model (``Message``). Its annotations declare both the strict form, which
    pydantic's core checks, and the lenient form, which is parsed when the strict one fails. A deviation becomes a
    ``Finding``: a JSON pointer, a stable code, a severity and a text for people.

Main modules, in the order in which a request passes them
    - ``operations``: the table of all operations; ``find(path)`` returns the row of an incoming request.
    - ``message``: ``Message.from_json`` parses, ``to_json`` and ``replace`` serialize.
    - ``field_types``, ``numbers``, ``identifiers``, ``field_specs``: what one member may hold, and its spellings;
      ``identifier_problems``: what is wrong with an identifier.
    - ``lenient``: the lenient parser, compiled from the same annotations.
    - ``rules``: constraints between members (times in order, exactly one identification).
    - ``validation``: ``read`` and ``validate``, the entry points that combine fields and rules.
    - ``record_reader`` and ``record_view``: pushes and pages, record by record.
    - ``cdr_checks``: plausibility of a charge detail record; ``schemas``: JSON Schema and OpenAPI; ``errata``: where
      the documents of OICP disagree.

Invariants
    - The received bytes are the record of truth (decision 0001): ``to_json`` of a received message returns them.
    - An identifier is compared by its canonical key and written as it was received.
    - What the strict form accepts has no findings in the lenient form; a test compares the two on every message.
    - No float arithmetic: numbers are ``Decimal`` from the JSON decoder to the encoder.

Failures
    ``InvalidMessage``, with all findings, if there is no message to process. Everything else is returned as findings.

Where to read next
    ``message.Message``, then ``lenient.ModelField.read_members``, then ``validation.read``. ``docs/language.md`` shows
    the library in use.
"""

from __future__ import annotations

from p2p_oicp.oicp.charging import (
    AuthorizationStart,
    AuthorizationStop,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteReservationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    AuthorizeStart,
    AuthorizeStop,
    CalibrationLawVerification,
    ChargeDetailRecord,
    ChargingNotification,
    ChargingNotificationEnd,
    ChargingNotificationError,
    ChargingNotificationProgress,
    ChargingNotificationStart,
    MeterValues,
    NotificationType,
    SignedMeteringValue,
)
from p2p_oicp.oicp.common import (
    Acknowledgement,
    HashedPIN,
    Identification,
    LegacyHashData,
    PlugAndChargeIdentification,
    QRCodeIdentification,
    RemoteIdentification,
    RFIDIdentification,
    RFIDMifareFamilyIdentification,
    StatusCode,
)
from p2p_oicp.oicp.enums import (
    Accessibility,
    AccessibilityLocation,
    ActionType,
    AdditionalReferenceType,
    AuthenticationMode,
    AuthorizationStatus,
    CalibrationLawDataAvailability,
    ChargingMode,
    Day,
    DeltaType,
    DynamicInfo,
    EnergyType,
    ErrorType,
    EvseStatus,
    GeoFormat,
    HashFunction,
    LegacyHashFunction,
    MeteringStatus,
    PaymentOption,
    Plug,
    PowerType,
    ReferenceUnit,
    RfidType,
    StatusCodeValue,
    ValueAddedService,
)
from p2p_oicp.oicp.evse import (
    ChargingFacility,
    EnergySource,
    EnvironmentalImpact,
    EvseDataRecord,
    EvseStatusRecord,
    InfoText,
    OperatorEvseData,
    OperatorEvseStatus,
    PullEvseDataRecord,
    PushEvseData,
    PushEvseStatus,
)
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity, field_reference
from p2p_oicp.oicp.geo import (
    Address,
    DecimalDegreeCoordinates,
    DegreeMinuteSecondsCoordinates,
    GeoCoordinates,
    GoogleCoordinates,
    OpeningTime,
    Period,
    Position,
    SearchCenter,
)
from p2p_oicp.oicp.identifiers import (
    UID,
    ChargingPoolID,
    EvcoID,
    EvseID,
    Identifier,
    OperatorID,
    ProviderID,
    ProviderIDOrAll,
    SessionID,
)
from p2p_oicp.oicp.message import Message, decode, encode
from p2p_oicp.oicp.operations import (
    OPERATION_BY_COMMAND,
    OPERATION_BY_NAME,
    OPERATIONS,
    Operation,
    Party,
    Retry,
    Route,
    Routing,
    find,
    sender_party,
)
from p2p_oicp.oicp.pricing import (
    AdditionalReference,
    EvsePricing,
    OperatorEvsePricing,
    PricingProductData,
    PricingProductDataRecord,
    ProductAvailabilityTime,
    PushEVSEPricing,
    PushPricingProductData,
)
from p2p_oicp.oicp.pulls import (
    AuthenticationData,
    AuthenticationDataRecord,
    ChargeDetailRecordPage,
    EvseDataPage,
    EvsePricings,
    EvseStatuses,
    EvseStatusesById,
    EvseStatusRecords,
    GetChargeDetailRecords,
    OperatorEvseStatuses,
    Page,
    PricingProducts,
    ProviderAuthenticationData,
    PullAuthenticationData,
    PullEvseData,
    PullEVSEPricing,
    PullEvseStatus,
    PullEvseStatusById,
    PullEvseStatusByOperatorId,
    PullPricingProductData,
    PushAuthenticationData,
)
from p2p_oicp.oicp.record_reader import ParsedRecord, RecordStream, read_records
from p2p_oicp.oicp.record_view import AnyRecord, EvseDataLike, RecordView
from p2p_oicp.oicp.rules import SenderScope
from p2p_oicp.oicp.rules import check as check_rules
from p2p_oicp.oicp.validation import read, response_model, validate

__all__ = [
    "OPERATIONS",
    "OPERATION_BY_COMMAND",
    "OPERATION_BY_NAME",
    "UID",
    "Accessibility",
    "AccessibilityLocation",
    "Acknowledgement",
    "ActionType",
    "AdditionalReference",
    "AdditionalReferenceType",
    "Address",
    "AnyRecord",
    "AuthenticationData",
    "AuthenticationDataRecord",
    "AuthenticationMode",
    "AuthorizationStart",
    "AuthorizationStatus",
    "AuthorizationStop",
    "AuthorizeRemoteReservationStart",
    "AuthorizeRemoteReservationStop",
    "AuthorizeRemoteStart",
    "AuthorizeRemoteStop",
    "AuthorizeStart",
    "AuthorizeStop",
    "CalibrationLawDataAvailability",
    "CalibrationLawVerification",
    "ChargeDetailRecord",
    "ChargeDetailRecordPage",
    "ChargingFacility",
    "ChargingMode",
    "ChargingNotification",
    "ChargingNotificationEnd",
    "ChargingNotificationError",
    "ChargingNotificationProgress",
    "ChargingNotificationStart",
    "ChargingPoolID",
    "Day",
    "DecimalDegreeCoordinates",
    "DegreeMinuteSecondsCoordinates",
    "DeltaType",
    "DynamicInfo",
    "EnergySource",
    "EnergyType",
    "EnvironmentalImpact",
    "ErrorType",
    "EvcoID",
    "EvseDataLike",
    "EvseDataPage",
    "EvseDataRecord",
    "EvseID",
    "EvsePricing",
    "EvsePricings",
    "EvseStatus",
    "EvseStatusRecord",
    "EvseStatusRecords",
    "EvseStatuses",
    "EvseStatusesById",
    "Finding",
    "GeoCoordinates",
    "GeoFormat",
    "GetChargeDetailRecords",
    "GoogleCoordinates",
    "HashFunction",
    "HashedPIN",
    "Identification",
    "Identifier",
    "InfoText",
    "InvalidMessage",
    "LegacyHashData",
    "LegacyHashFunction",
    "Message",
    "MeterValues",
    "MeteringStatus",
    "NotificationType",
    "OpeningTime",
    "Operation",
    "OperatorEvseData",
    "OperatorEvsePricing",
    "OperatorEvseStatus",
    "OperatorEvseStatuses",
    "OperatorID",
    "Page",
    "ParsedRecord",
    "Party",
    "PaymentOption",
    "Period",
    "Plug",
    "PlugAndChargeIdentification",
    "Position",
    "PowerType",
    "PricingProductData",
    "PricingProductDataRecord",
    "PricingProducts",
    "ProductAvailabilityTime",
    "ProviderAuthenticationData",
    "ProviderID",
    "ProviderIDOrAll",
    "PullAuthenticationData",
    "PullEVSEPricing",
    "PullEvseData",
    "PullEvseDataRecord",
    "PullEvseStatus",
    "PullEvseStatusById",
    "PullEvseStatusByOperatorId",
    "PullPricingProductData",
    "PushAuthenticationData",
    "PushEVSEPricing",
    "PushEvseData",
    "PushEvseStatus",
    "PushPricingProductData",
    "QRCodeIdentification",
    "RFIDIdentification",
    "RFIDMifareFamilyIdentification",
    "RecordStream",
    "RecordView",
    "ReferenceUnit",
    "RemoteIdentification",
    "Retry",
    "RfidType",
    "Route",
    "Routing",
    "SearchCenter",
    "SenderScope",
    "SessionID",
    "Severity",
    "SignedMeteringValue",
    "StatusCode",
    "StatusCodeValue",
    "ValueAddedService",
    "check_rules",
    "decode",
    "encode",
    "field_reference",
    "find",
    "read",
    "read_records",
    "response_model",
    "sender_party",
    "validate",
]
