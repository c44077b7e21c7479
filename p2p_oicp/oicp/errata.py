"""Errata of OICP 2.3: where its documents disagree with each other or with real hardware, and how they are read here.

Comments and tests refer to the numbers. ``p2p-oicp errata`` prints the list.
"""

from __future__ import annotations

from typing import NamedTuple


class Erratum(NamedTuple):
    """One disagreement: its subject, how this package resolves it, and the codes of the findings that report it."""

    number: str
    subject: str
    resolution: str
    codes: tuple[str, ...] = ()


ERRATA: tuple[Erratum, ...] = (
    Erratum("D01", "HubProviderID or HubProviderId", "sends HubProviderID, reads both", ("two-spellings",)),
    Erratum("D02", "ChargingStationID or ChargingStationId", "sends ChargingStationID, reads both", ("two-spellings",)),
    Erratum("D03", "CDRForwarded or CDRForwarder", "sends CDRForwarded, reads both", ("two-spellings",)),
    Erratum("D04", "EMPPartnerSessionId in reservations", "sends EMPPartnerSessionID, reads both", ("two-spellings",)),
    Erratum("D05", "error types with or without a blank", "sends ConnectorError, CriticalError; reads both"),
    Erratum("D06", "ErrorType is called ErrorClass in prose", "sends ErrorType, reads both", ("two-spellings",)),
    Erratum("D07", "on or On in opening times", "sends on, reads both", ("two-spellings",)),
    Erratum("D08", "Period of opening times: a list or a single one", "sends a list, reads both"),
    Erratum("D09", "Periods or Period of a tariff, list or single", "sends the list Periods, reads all four forms"),
    Erratum("D10", "MeterValueInBetween: an object around the list, or the list", "sends the object, reads both"),
    Erratum("D11", "meter values as texts in an example", "sends numbers, reads texts", ("text-for-number",)),
    Erratum("D12", "EVSEPricing or OperatorEVSEPricing in an answer", "sends both names, reads both"),
    Erratum("D13", "PricingProductData or OperatorPricingProducts", "sends both names, reads both"),
    Erratum("D14", "products of an EVSE: texts, or objects around them", "sends texts, reads both"),
    Erratum("D15", "EVSEStatus or EvseStatus as a filter", "sends EVSEStatus, reads both", ("two-spellings",)),
    Erratum("D16", "EvseStatuses: an object around the list, or the list", "sends the object, reads both"),
    Erratum("D17", "OperatorID or OperatorId of a pulled record", "sends OperatorID, reads both", ("two-spellings",)),
    Erratum("D18", "OperatorIds or OperatorIDs", "sends each as its own table says, reads both", ("two-spellings",)),
    Erratum("D19", "OperatorID of a CDR pull: one or a list", "sends one as a text, reads both"),
    Erratum("D20", "'Charging Modes' with a blank", "sends ChargingModes, reads both"),
    Erratum("D21", "Coordinates is misprinted Coordinatea", "sends Coordinates, reads both", ("misprinted-name",)),
    Erratum(
        "D22",
        "Power: an integer below 1000, or any number",
        "sends it as it is, reads any number from 0",
        ("fraction-for-integer", "beyond-the-documents"),
    ),
    Erratum(
        "D23", "lengths of texts, which the OpenAPI documents do not enforce", "refuses longer ones", ("too-long",)
    ),
    Erratum("D24", "lower case in an EvseID", "reads it, compares alike, sends upper case", ("lower-case-identifier",)),
    Erratum("D25", "one document's hash pattern refuses every bcrypt hash", "takes the wide pattern", ("malformed",)),
    Erratum(
        "D26",
        "UID in lower case, and examples that are none",
        "reads lower case, sends upper case",
        ("lower-case-identifier",),
    ),
    Erratum(
        "D27",
        "slips in expressions: '|' in classes, ',' in a time zone, missing anchors",
        "matches whole texts, reads '|' and 31 characters of a pool, refuses the rest",
        ("inexact-identifier", "malformed"),
    ),
    Erratum("D28", "null in optional members", "null is the same as absent"),
    Erratum("D29", "times with Z and fractions", "reads both, sends the offset, refuses none", ("malformed-time",)),
    Erratum(
        "D30",
        "two digits for ampere and per cent, three for volt",
        "reads more and says so; refuses negative ones and more than 100 %",
        ("beyond-the-documents", "too-small", "too-large"),
    ),
    Erratum("D31", "DynamicInfoAvailable is a text", "reads a boolean", ("boolean-for-text",)),
    Erratum(
        "D32",
        "units, currencies and countries: lists, or any text",
        "refuses what is not listed; reads withdrawn codes, and countries in lower case",
        ("unknown-code", "inexact-code", "unknown-value", "misspelt-value"),
    ),
    Erratum(
        "D33", "three status codes stand in the guide only", "knows all 34, keeps others", ("unknown-status-code",)
    ),
    Erratum("D34", "StatusCode of pages: mandatory or null", "always sends it, lets CDR pages lack it", ("missing",)),
    Erratum(
        "D35",
        "Progress1 to Progress8; ten signed values in prose only",
        "reads numbered ones, refuses more than ten",
        ("inexact-value", "more-than-foreseen"),
    ),
    Erratum("D36", "SessionID of a remote start: mandatory or optional", "optional; the receiver generates one"),
    Erratum("D37", "OperatorID of notifications: mandatory or absent", "optional"),
    Erratum(
        "D38",
        "mandatory members that are null in data of OICP 2.1 and 2.2",
        "reads them in pulled data, refuses them in a push",
        ("null-in-pulled-data", "null-element"),
    ),
    Erratum("D39", "examples with all five identifications", "exactly one", ("not-one-identification",)),
    Erratum("D40", "examples with all three notations of coordinates", "exactly one", ("not-one-notation",)),
    Erratum(
        "D41",
        "which identification is for which operation",
        "refuses it in authorizations and remote starts, warns elsewhere",
        ("rfid-in-authorization", "remote-in-authorization", "not-remote"),
    ),
    Erratum("D42", "PIN and HashedPIN", "PIN to authorize, one to push", ("pin-missing", "pin-hashed", "not-one-pin")),
    Erratum("D43", "LastCall beside filters", "refuses it", ("filter-beside-last-call",)),
    Erratum("D44", "OpeningTimes where not always open", "needed in a push only", ("opening-times-missing",)),
    Erratum(
        "D45",
        "duration and energy of a progress, and the formula of the duration",
        "one of both is needed; milliseconds since ChargingStart",
        ("no-progress", "duration-mismatch"),
    ),
    Erratum(
        "D46",
        "'No Payment' with other options, and printed 'No payment'",
        "refuses the former, reads the latter",
        ("no-payment-combined", "inexact-value"),
    ),
    Erratum("D47", "an authorization without ProviderID", "reads it", ("authorized-without-provider",)),
    Erratum(
        "D48", "signed values of EVSEs with calibration data External", "a sender needs them", ("unsigned-values",)
    ),
    Erratum("D49", "the OpenAPI oneOf of notifications refuses the examples", "selects by Type"),
    Erratum("D50", "three status pulls on one path, or on three", "serves all paths, selects by the body"),
    Erratum("D51", "the party of a remote stop's path has three names", "one segment, whatever its name"),
    Erratum("D52", "two paths of reservations", "sends to the documented one, serves both"),
    Erratum("D53", "page and size stand in prose only", "page from 0, size 20 unless asked, at most 2000"),
    Erratum("D54", "018: a foreign or a doubled EvseID", "both", ("foreign-evse-id", "duplicate-evse-id")),
    Erratum("D55", "017 or 320 for a locked partner", "017"),
    Erratum("D56", "responses without Result beside HTTP 4xx", "false if the code refuses", ("result-left-out",)),
    Erratum("D57", "which message carries a refusal", "reads an Acknowledgement in place of any response"),
    Erratum("D58", "10 or 60 seconds for a remote start", "waits 10 seconds"),
    Erratum("D59", "status every minute or every five", "five minutes"),
    Erratum("D60", "PullAuthenticationData is no operation of 2.3", "served, and sent to peers that offer it"),
    Erratum(
        "D61", "a table of the guide has its columns swapped", "knows the six documented states", ("unknown-value",)
    ),
    Erratum(
        "D62", "examples that break the rules", "reads times out of order and wrong counts", ("times-out-of-order",)
    ),
    Erratum("D63", "'*' in pulled prices", "reads it"),
    Erratum("D64", "values of ProductID", "any text of up to 50 characters"),
    Erratum("D65", "'No Authentication Requires' in the release notes", "sends ...Required, reads both"),
    Erratum("D66", "empty lists", "refused where a record needs an element, otherwise reported", ("empty-list",)),
    Erratum("D67", "pricing messages without their sender", "takes the party from the path"),
    Erratum("D68", "which document is leading", "the tables for members, the guide for times and codes"),
)
