"""Records that many messages share: status codes, identifications, acknowledgements (OICP 2.3, 03 Data Types).

What a driver holds to a station, as one comparable text: ``rfid:1234ABCD``, ``qr:DEGDFC12345678X``.
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
    """Why something succeeded or failed (StatusCodeType)."""

    code: Annotated[str, StatusCodeField(StatusCodeValue)] = Field(alias="Code")
    description: Annotated[str, TextField(200)] | None = Field(None, alias="Description")
    additional_info: Annotated[str, TextField(1000)] | None = Field(None, alias="AdditionalInfo")

    @classmethod
    def of(cls, code: StatusCodeValue, info: str | None = None) -> Self:
        """Return a status code with the documents' own description."""
        return cls(code=code, description=code.description, additional_info=info)


class LegacyHashData(Message):
    """A PIN hash of OICP 2.1 (LegacyHashDataType)."""

    function: Annotated[str, OpenEnumField(LegacyHashFunction)] = Field(alias="Function")
    salt: Annotated[str, TextField(100, secret=True)] | None = Field(None, alias="Salt", repr=False)
    value: Annotated[str, TextField(20, secret=True)] | None = Field(None, alias="Value", repr=False)


class HashedPIN(Message):
    """A PIN that is not told (HashedPINType)."""

    # CPO-03 and both OpenAPI documents; EMP-03 would refuse every bcrypt hash (CONFORMANCE D25).
    value: Annotated[
        str,
        PatternField(
            r"[0-9A-Za-z\\.+/=$]{10,100}", "a hash has 10 to 100 characters of 0-9 A-Z a-z . + / = $", secret=True
        ),
    ] = Field(alias="Value", repr=False)
    function: Annotated[str, OpenEnumField(HashFunction)] = Field(alias="Function")
    legacy_hash_data: LegacyHashData | None = Field(None, alias="LegacyHashData")


class RFIDMifareFamilyIdentification(Message):
    """A card at a reader (RFIDmifarefamilyIdentificationType)."""

    uid: UID = Field(alias="UID")


class RFIDIdentification(Message):
    """A card in full, for pushed authentication data (RFIDIdentificationType)."""

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
    """A contract told by the car (PlugAndChargeIdentificationType, ISO 15118)."""

    evco_id: EvcoID = Field(alias="EvcoID")


class RemoteIdentification(Message):
    """A contract told by the provider (RemoteIdentificationType)."""

    evco_id: EvcoID = Field(alias="EvcoID")


class Identification(Message):
    """Who wants to charge: exactly one of five (IdentificationType)."""

    rfid_mifare_family: RFIDMifareFamilyIdentification | None = Field(None, alias="RFIDMifareFamilyIdentification")
    rfid: RFIDIdentification | None = Field(None, alias="RFIDIdentification")
    qr_code: QRCodeIdentification | None = Field(None, alias="QRCodeIdentification")
    plug_and_charge: PlugAndChargeIdentification | None = Field(None, alias="PlugAndChargeIdentification")
    remote: RemoteIdentification | None = Field(None, alias="RemoteIdentification")

    @property
    def uid(self) -> UID | None:
        """The card's number, if a card is told."""
        card = self.rfid_mifare_family or self.rfid
        return card.uid if card else None

    @property
    def evco_id(self) -> EvcoID | None:
        """The contract, if one is told."""
        contract = self.qr_code or self.plug_and_charge or self.remote or self.rfid
        return contract.evco_id if contract else None

    @property
    def provider(self) -> ProviderID | None:
        """The provider of the contract, if one is told."""
        evco_id = self.evco_id
        return evco_id.provider if evco_id else None


class WithOptionalSessionID(Message):
    """Base of messages that may name their session, by the ids of all who take part in it."""

    session_id: SessionID | None = Field(None, alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")


class WithSessionID(Message):
    """Base of messages that name their session."""

    session_id: SessionID = Field(alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")


class Acknowledgement(WithOptionalSessionID):
    """The answer to most requests (eRoamingAcknowledgement).

    ``result`` is False where a refusal left it out, as Hubject does beside HTTP 401, 403 and 404 (CONFORMANCE D56).
    """

    result: Annotated[bool, BooleanField(), RequiredWithDefault(default=False)] = Field(alias="Result")
    status_code: StatusCode = Field(alias="StatusCode")

    @classmethod
    def _read_leniently(cls, value: object, *, pulled: bool) -> tuple[Self, tuple[Finding, ...]]:
        message, findings = super()._read_leniently(value, pulled=pulled)
        if message.status_code.code == StatusCodeValue.SUCCESS:
            return message, findings
        text = "'Result' is mandatory; beside a refusal's code it is read as false"
        warning = Finding(Severity.WARNING, "/Result", "result-left-out", text)
        return message, tuple(warning if finding.pointer == "/Result" else finding for finding in findings)


RFID_PREFIX, QR_PREFIX, PNC_PREFIX, REMOTE_PREFIX = "rfid", "qr", "pnc", "remote"
_SEPARATOR = ":"
#: The code that refuses a medium (CONFORMANCE section 4, AuthorizeStop; OICP 2.3, CodeType).
_REJECTION_CODES = {
    RFID_PREFIX: StatusCodeValue.RFID_INVALID,
    QR_PREFIX: StatusCodeValue.QR_CODE_INVALID,
    PNC_PREFIX: StatusCodeValue.PLC_INVALID,
    REMOTE_PREFIX: StatusCodeValue.PLC_INVALID,
}


def token_key(identification: Identification | None) -> str:
    """Return the canonical text of a medium, empty where nothing is told; both kinds of card are one medium."""
    if identification is None:
        return ""
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
    """Return several media in one text, blank-separated."""
    return " ".join(filter(None, map(token_key, identifications)))


def rejection_code(key: str) -> StatusCodeValue:
    """Return the status code that says that this medium is not accepted."""
    return _REJECTION_CODES.get(key.partition(_SEPARATOR)[0], StatusCodeValue.NO_POSITIVE_AUTHENTICATION)
