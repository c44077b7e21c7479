"""The status codes of OICP (OICP 2.3, 03 Data Types, CodeType)."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """A status code, with the text that the documents give it; 401, 404 and 500 stand only in Hubject's guide."""

    description: str

    def __new__(cls, code: str, description: str) -> Self:
        """Return the code ``code``, with its description beside it."""
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
