"""Data types that many messages share: status codes, identifications, acknowledgements (OICP 2.3, 03 Data Types).

``token_key`` turns an identification into one comparable text, such as ``rfid:1234ABCD`` or ``qr:DEGDFC12345678X``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field

from p2p_oicp.oicp.enums import HashFunction, LegacyHashFunction, RfidType, StatusCodeValue
from p2p_oicp.oicp.field_specs import RequiredWithDefault
from p2p_oicp.oicp.field_types import BooleanField, OpenEnumField, PatternField, StatusCodeField, TextField
from p2p_oicp.oicp.findings import Finding, Severity
from p2p_oicp.oicp.identifiers import UID, EvcoID, ProviderID, SessionID
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.numbers import Instant

PartnerSessionID = Annotated[str, TextField(250)]
ProductID = Annotated[str, TextField(50)]
OperatorName = Annotated[str, TextField(100)]
Boolean = Annotated[bool, BooleanField()]


class StatusCode(Message):
    """The outcome of a request (StatusCodeType)."""

    code: Annotated[str, StatusCodeField(StatusCodeValue)] = Field(alias="Code")
    description: Annotated[str, TextField(200)] | None = Field(None, alias="Description")
    additional_info: Annotated[str, TextField(1000)] | None = Field(None, alias="AdditionalInfo")

    @classmethod
    def of(cls, code: StatusCodeValue, info: str | None = None) -> Self:
        """Return a status code with its documented description."""
        return cls(code=code, description=code.description, additional_info=info)


class LegacyHashData(Message):
    """A PIN hash of OICP 2.1 (LegacyHashDataType)."""

    function: Annotated[str, OpenEnumField(LegacyHashFunction)] = Field(alias="Function")
    salt: Annotated[str, TextField(100, secret=True)] | None = Field(None, alias="Salt", repr=False)
    value: Annotated[str, TextField(20, secret=True)] | None = Field(None, alias="Value", repr=False)


class HashedPIN(Message):
    """The hash of a PIN (HashedPINType)."""

    # The expression of CPO-03 and both OpenAPI documents; that of EMP-03 refuses every bcrypt hash (CONFORMANCE D25).
    value: Annotated[
        str,
        PatternField(
            r"[0-9A-Za-z\\.+/=$]{10,100}", "a hash has 10 to 100 characters of 0-9 A-Z a-z . + / = $", secret=True
        ),
    ] = Field(alias="Value", repr=False)
    function: Annotated[str, OpenEnumField(HashFunction)] = Field(alias="Function")
    legacy_hash_data: LegacyHashData | None = Field(None, alias="LegacyHashData")


class RFIDMifareFamilyIdentification(Message):
    """An RFID card at a station (RFIDmifarefamilyIdentificationType)."""

    uid: UID = Field(alias="UID")


class RFIDIdentification(Message):
    """An RFID card with its contract, for pushed authentication data (RFIDIdentificationType)."""

    uid: UID = Field(alias="UID")
    evco_id: EvcoID | None = Field(None, alias="EvcoID")
    rfid: Annotated[str, OpenEnumField(RfidType)] = Field(alias="RFID")
    printed_number: Annotated[str, TextField(150)] | None = Field(None, alias="PrintedNumber")
    expiry_date: Instant | None = Field(None, alias="ExpiryDate")


class QRCodeIdentification(Message):
    """A contract and its PIN (QRCodeIdentificationType)."""

    evco_id: EvcoID = Field(alias="EvcoID")
    hashed_pin: HashedPIN | None = Field(None, alias="HashedPIN")
    pin: Annotated[str, TextField(20, secret=True)] | None = Field(None, alias="PIN", repr=False)


class PlugAndChargeIdentification(Message):
    """A contract, sent by the vehicle (PlugAndChargeIdentificationType, ISO 15118)."""

    evco_id: EvcoID = Field(alias="EvcoID")


class RemoteIdentification(Message):
    """A contract, sent by the provider (RemoteIdentificationType)."""

    evco_id: EvcoID = Field(alias="EvcoID")


class Identification(Message):
    """The identification of a driver: exactly one of five (IdentificationType)."""

    rfid_mifare_family: RFIDMifareFamilyIdentification | None = Field(None, alias="RFIDMifareFamilyIdentification")
    rfid: RFIDIdentification | None = Field(None, alias="RFIDIdentification")
    qr_code: QRCodeIdentification | None = Field(None, alias="QRCodeIdentification")
    plug_and_charge: PlugAndChargeIdentification | None = Field(None, alias="PlugAndChargeIdentification")
    remote: RemoteIdentification | None = Field(None, alias="RemoteIdentification")

    @property
    def uid(self) -> UID | None:
        """The number of the RFID card; None without one."""
        card = self.rfid_mifare_family or self.rfid
        return card.uid if card else None

    @property
    def evco_id(self) -> EvcoID | None:
        """The EvcoID of the contract; None without one."""
        contract = self.qr_code or self.plug_and_charge or self.remote or self.rfid
        return contract.evco_id if contract else None

    @property
    def provider(self) -> ProviderID | None:
        """The provider of the contract; None without one, or if its EvcoID is malformed."""
        evco_id = self.evco_id
        return evco_id.provider if evco_id else None


class WithOptionalSessionID(Message):
    """Base of messages with an optional SessionID, and the ids that the two backends have for the session."""

    session_id: SessionID | None = Field(None, alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")


class WithSessionID(Message):
    """Base of messages with a mandatory SessionID."""

    session_id: SessionID = Field(alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")


class Acknowledgement(WithOptionalSessionID):
    """The response to most requests (eRoamingAcknowledgement, CPO-02)."""

    # A refusal may lack it: Hubject leaves it out beside HTTP 401, 403 and 404 (CONFORMANCE D56).
    result: Annotated[bool, BooleanField(), RequiredWithDefault(default=False)] = Field(alias="Result")
    status_code: StatusCode = Field(alias="StatusCode")

    @classmethod
    def _read_leniently(cls, value: object, *, pulled: bool) -> tuple[Self, tuple[Finding, ...]]:
        message, findings = super()._read_leniently(value, pulled=pulled)
        # Beside 000 an absent Result is a contradiction, and stays an error.
        if message.status_code.code == StatusCodeValue.SUCCESS:
            return message, findings
        text = "'Result' is mandatory; beside a refusal's code it is read as false"
        warning = Finding(Severity.WARNING, "/Result", "result-left-out", text)
        return message, tuple(warning if finding.pointer == "/Result" else finding for finding in findings)


RFID_PREFIX, QR_PREFIX, PNC_PREFIX, REMOTE_PREFIX = "rfid", "qr", "pnc", "remote"
_SEPARATOR = ":"
#: The status code that refuses a kind of token (CONFORMANCE section 4, AuthorizeStop; OICP 2.3, CodeType).
_REJECTION_CODES = {
    RFID_PREFIX: StatusCodeValue.RFID_INVALID,
    QR_PREFIX: StatusCodeValue.QR_CODE_INVALID,
    PNC_PREFIX: StatusCodeValue.PLC_INVALID,
    REMOTE_PREFIX: StatusCodeValue.PLC_INVALID,
}


def token_key(identification: Identification | None) -> str:
    """Return the canonical text of an identification; empty without one."""
    if identification is None:
        return ""
    # An RFID card is one token, in whichever of its two data types it came.
    uid = identification.uid
    if uid is not None:
        return f"{RFID_PREFIX}{_SEPARATOR}{uid.key}"
    for prefix, contract in (
        (QR_PREFIX, identification.qr_code),
        (PNC_PREFIX, identification.plug_and_charge),
        (REMOTE_PREFIX, identification.remote),
    ):
        if contract is not None:
            return f"{prefix}{_SEPARATOR}{contract.evco_id.key}"
    return ""


def token_keys(identifications: Iterable[Identification]) -> str:
    """Return the canonical texts of several identifications, separated by blanks."""
    return " ".join(filter(None, map(token_key, identifications)))


def rejection_code(key: str) -> StatusCodeValue:
    """Return the status code that refuses a token, given its key."""
    return _REJECTION_CODES.get(key.partition(_SEPARATOR)[0], StatusCodeValue.NO_POSITIVE_AUTHENTICATION)
