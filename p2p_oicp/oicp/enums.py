"""The enumerations and status codes of OICP 2.3 (03 Data Types).

``ActionType``, ``AuthorizationStatus`` and the notification types are closed: without one of their values there is no
message. All others are open: the attribute of a message is text, and an unlisted text is a finding (RULES T5).

``StatusCodeValue`` is the one enumeration of status codes (CodeType), with their documented descriptions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class ActionType(StrEnum):
    """What a push does with its records."""

    FULL_LOAD = "fullLoad"
    UPDATE = "update"
    INSERT = "insert"
    DELETE = "delete"


class AuthorizationStatus(StrEnum):
    """The outcome of an authorization (AuthorizationStatusType)."""

    AUTHORIZED = "Authorized"
    NOT_AUTHORIZED = "NotAuthorized"


class DeltaType(StrEnum):
    """What happened to a record since the last pull."""

    UPDATE = "update"
    INSERT = "insert"
    DELETE = "delete"


class EvseStatus(StrEnum):
    """The status of an EVSE (EvseStatusType)."""

    AVAILABLE = "Available"
    RESERVED = "Reserved"
    OCCUPIED = "Occupied"
    OUT_OF_SERVICE = "OutOfService"
    EVSE_NOT_FOUND = "EvseNotFound"
    UNKNOWN = "Unknown"


class Plug(StrEnum):
    """A connector (PlugType)."""

    SMALL_PADDLE_INDUCTIVE = "Small Paddle Inductive"
    LARGE_PADDLE_INDUCTIVE = "Large Paddle Inductive"
    AVCON = "AVCON Connector"
    TESLA = "Tesla Connector"
    NEMA_5_20 = "NEMA 5-20"
    TYPE_E_FRENCH = "Type E French Standard"
    TYPE_F_SCHUKO = "Type F Schuko"
    TYPE_G_BRITISH = "Type G British Standard"
    TYPE_J_SWISS = "Type J Swiss Standard"
    TYPE_1 = "Type 1 Connector (Cable Attached)"
    TYPE_2_OUTLET = "Type 2 Outlet"
    TYPE_2 = "Type 2 Connector (Cable Attached)"
    TYPE_3_OUTLET = "Type 3 Outlet"
    IEC_60309_SINGLE_PHASE = "IEC 60309 Single Phase"
    IEC_60309_THREE_PHASE = "IEC 60309 Three Phase"
    CCS_2 = "CCS Combo 2 Plug (Cable Attached)"
    CCS_1 = "CCS Combo 1 Plug (Cable Attached)"
    CHADEMO = "CHAdeMO"


class ChargingMode(StrEnum):
    """A charging mode of IEC 61851-1."""

    MODE_1 = "Mode_1"
    MODE_2 = "Mode_2"
    MODE_3 = "Mode_3"
    MODE_4 = "Mode_4"
    CHADEMO = "CHAdeMO"


class PowerType(StrEnum):
    """Alternating or direct current (PowerType)."""

    AC_1_PHASE = "AC_1_PHASE"
    AC_3_PHASE = "AC_3_PHASE"
    DC = "DC"


class AuthenticationMode(StrEnum):
    """How a driver can identify."""

    RFID_CLASSIC = "NFC RFID Classic"
    RFID_DESFIRE = "NFC RFID DESFire"
    PLUG_AND_CHARGE = "PnC"
    REMOTE = "REMOTE"
    DIRECT_PAYMENT = "Direct Payment"
    NOT_REQUIRED = "No Authentication Required"


class PaymentOption(StrEnum):
    """How a driver can pay; ``NO_PAYMENT`` stands alone."""

    NO_PAYMENT = "No Payment"
    DIRECT = "Direct"
    CONTRACT = "Contract"


class ValueAddedService(StrEnum):
    """A service beside charging (ValueAddedServiceType)."""

    RESERVATION = "Reservation"
    DYNAMIC_PRICING = "DynamicPricing"
    PARKING_SENSORS = "ParkingSensors"
    MAXIMUM_POWER_CHARGING = "MaximumPowerCharging"
    PREDICTIVE_USAGE = "PredictiveChargePointUsage"
    CHARGING_PLANS = "ChargingPlans"
    ROOF_PROVIDED = "RoofProvided"
    NONE = "None"


class Accessibility(StrEnum):
    """Who has access to the charging station (AccessibilityType)."""

    FREE = "Free publicly accessible"
    RESTRICTED = "Restricted access"
    PAYING = "Paying publicly accessible"
    TEST_STATION = "Test Station"


class AccessibilityLocation(StrEnum):
    """The location of the charging station (AccessibilityLocationType)."""

    ON_STREET = "OnStreet"
    PARKING_LOT = "ParkingLot"
    PARKING_GARAGE = "ParkingGarage"
    UNDERGROUND_PARKING_GARAGE = "UndergroundParkingGarage"


class DynamicInfo(StrEnum):
    """Whether EVSE status is provided as well; texts, not booleans (RULES T3)."""

    TRUE = "true"
    FALSE = "false"
    AUTO = "auto"


class EnergyType(StrEnum):
    """A source of energy (EnergyType)."""

    SOLAR = "Solar"
    WIND = "Wind"
    HYDRO_POWER = "HydroPower"
    GEOTHERMAL = "GeothermalEnergy"
    BIOMASS = "Biomass"
    COAL = "Coal"
    NUCLEAR = "NuclearEnergy"
    PETROLEUM = "Petroleum"
    NATURAL_GAS = "NaturalGas"


class CalibrationLawDataAvailability(StrEnum):
    """How calibration law data is provided; ``EXTERNAL``: signed values in the CDR."""

    LOCAL = "Local"
    EXTERNAL = "External"
    NOT_AVAILABLE = "Not Available"


class MeteringStatus(StrEnum):
    """The moment of a session at which a meter value was signed (MeteringStatusType)."""

    START = "Start"
    PROGRESS = "Progress"
    END = "End"


class RfidType(StrEnum):
    """The technology of an RFID card (RFIDType)."""

    MIFARE_CLASSIC = "mifareCls"
    MIFARE_DESFIRE = "mifareDes"
    CALYPSO = "calypso"
    NFC = "nfc"
    MIFARE_FAMILY = "mifareFamily"


class HashFunction(StrEnum):
    """The hash function of a PIN."""

    BCRYPT = "Bcrypt"


class LegacyHashFunction(StrEnum):
    """The hash functions of PINs in OICP 2.1."""

    MD5 = "MD5"
    SHA_1 = "SHA-1"


class ErrorType(StrEnum):
    """The error that a charging notification reports (ErrorClassType)."""

    CONNECTOR_ERROR = "ConnectorError"
    CRITICAL_ERROR = "CriticalError"


class GeoFormat(StrEnum):
    """A notation of coordinates."""

    GOOGLE = "Google"
    DEGREE_MINUTE_SECONDS = "DegreeMinuteSeconds"
    DECIMAL_DEGREE = "DecimalDegree"


class ReferenceUnit(StrEnum):
    """The unit of a price (ReferenceUnitType)."""

    HOUR = "HOUR"
    KILOWATT_HOUR = "KILOWATT_HOUR"
    MINUTE = "MINUTE"


class AdditionalReferenceType(StrEnum):
    """A component of a tariff beside its base price."""

    START_FEE = "START FEE"
    FIXED_FEE = "FIXED FEE"
    PARKING_FEE = "PARKING FEE"
    MINIMUM_FEE = "MINIMUM FEE"
    MAXIMUM_FEE = "MAXIMUM FEE"


class Day(StrEnum):
    """The days of an opening or availability time."""

    EVERYDAY = "Everyday"
    WORKDAYS = "Workdays"
    WEEKEND = "Weekend"
    MONDAY = "Monday"
    TUESDAY = "Tuesday"
    WEDNESDAY = "Wednesday"
    THURSDAY = "Thursday"
    FRIDAY = "Friday"
    SATURDAY = "Saturday"
    SUNDAY = "Sunday"


class StatusCodeValue(StrEnum):
    """A status code with its documented description; 401, 404 and 500 are in Hubject's guide only (D33)."""

    description: str

    # A member is the text of its code, and carries the description: the documented way of an enum with two values.
    def __new__(cls, code: str, description: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.description = description
        return member

    SUCCESS = "000", "Success"
    SYSTEM_ERROR_OF_HUB = "001", "Hubject system error"
    DATABASE_ERROR_OF_HUB = "002", "Hubject database error"
    DATA_TRANSACTION_ERROR = "009", "Data transaction error"
    UNAUTHORIZED_ACCESS = "017", "Unauthorized Access"
    INCONSISTENT_EVSE_ID = "018", "Inconsistent EvseID"
    INCONSISTENT_EVCO_ID = "019", "Inconsistent EvcoID"
    SYSTEM_ERROR = "021", "System error"
    DATA_ERROR = "022", "Data error"
    QR_CODE_INVALID = "101", "QR Code Authentication failed - Invalid Credentials"
    RFID_INVALID = "102", "RFID Authentication failed - invalid UID"
    RFID_NOT_READABLE = "103", "RFID Authentication failed - card not readable"
    PLC_INVALID = "105", "PLC Authentication failed - invalid EvcoID"
    NO_POSITIVE_AUTHENTICATION = "106", "No positive authentication response"
    QR_CODE_TIMEOUT = "110", "QR Code App Authentication failed - time out error"
    PLC_EVCO_ID_INVALID = "120", "PLC (ISO/IEC 15118) Authentication failed - invalid underlying EvcoID"
    PLC_CERTIFICATE_INVALID = "121", "PLC (ISO/IEC 15118) Authentication failed - invalid certificate"
    PLC_TIMEOUT = "122", "PLC (ISO/IEC 15118) Authentication failed - time out error"
    EVCO_ID_LOCKED = "200", "EvcoID locked"
    NO_VALID_CONTRACT = "210", "No valid contract"
    PARTNER_NOT_FOUND = "300", "Partner not found"
    PARTNER_DID_NOT_RESPOND = "310", "Partner did not respond"
    SERVICE_NOT_AVAILABLE = "320", "Service not available"
    SESSION_INVALID = "400", "Session is invalid"
    CALL_NOT_AUTHORIZED = "401", "Call not authorized"
    DATA_NOT_FOUND = "404", "Data not found"
    PROCESSING_ERROR = "500", "Processing error"
    EVSE_COMMUNICATION_FAILED = "501", "Communication to EVSE failed"
    NO_EV_CONNECTED = "510", "No EV connected to EVSE"
    EVSE_ALREADY_RESERVED = "601", "EVSE already reserved"
    EVSE_ALREADY_IN_USE = "602", "EVSE already in use/ wrong token"
    UNKNOWN_EVSE_ID = "603", "Unknown EVSE ID"
    EVSE_NOT_COMPATIBLE = "604", "EVSE ID is not Hubject compatible"
    EVSE_OUT_OF_SERVICE = "700", "EVSE out of service"


#: Codes that report a failure of the other system instead of a decision: the outcome of the request is unknown (L1).
INDETERMINATE_CODES = frozenset(
    {
        StatusCodeValue.SYSTEM_ERROR_OF_HUB,
        StatusCodeValue.DATABASE_ERROR_OF_HUB,
        StatusCodeValue.SYSTEM_ERROR,
        StatusCodeValue.PARTNER_DID_NOT_RESPOND,
    }
)
