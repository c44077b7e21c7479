"""Records that many messages share: status codes, identifications, acknowledgements (OICP 2.3, 03 Data Types)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field

from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.codes import Code
from p2p_oicp.oicp.enumerations import HashFunction, LegacyHashFunction, RfidType
from p2p_oicp.oicp.findings import Finding, Severity
from p2p_oicp.oicp.identifiers import UID, EvcoID, ProviderID, SessionID
from p2p_oicp.oicp.kinds import CodeText, Flag, Matching, OneOf, Text
from p2p_oicp.oicp.members import Owed
from p2p_oicp.oicp.quantities import Instant

PartnerSessionID = Annotated[str, Text(250)]
ProductID = Annotated[str, Text(50)]
OperatorName = Annotated[str, Text(100)]
Boolean = Annotated[bool, Flag()]


class StatusCode(Message):
    """Why something succeeded or failed (StatusCodeType)."""

    code: Annotated[str, CodeText(Code)] = Field(alias="Code")
    description: Annotated[str, Text(200)] | None = Field(None, alias="Description")
    additional_info: Annotated[str, Text(1000)] | None = Field(None, alias="AdditionalInfo")

    @classmethod
    def of(cls, code: Code, info: str | None = None) -> Self:
        """Return a status code with the documents' own description."""
        return cls(code=code, description=code.description, additional_info=info)


class LegacyHashData(Message):
    """A PIN hash of OICP 2.1 (LegacyHashDataType)."""

    function: Annotated[str, OneOf(LegacyHashFunction)] = Field(alias="Function")
    salt: Annotated[str, Text(100, secret=True)] | None = Field(None, alias="Salt", repr=False)
    value: Annotated[str, Text(20, secret=True)] | None = Field(None, alias="Value", repr=False)


class HashedPIN(Message):
    """A PIN that is not told (HashedPINType)."""

    # CPO-03 and both OpenAPI documents; EMP-03 would refuse every bcrypt hash (CONFORMANCE D25).
    value: Annotated[
        str,
        Matching(
            r"[0-9A-Za-z\\.+/=$]{10,100}", "a hash has 10 to 100 characters of 0-9 A-Z a-z . + / = $", secret=True
        ),
    ] = Field(alias="Value", repr=False)
    function: Annotated[str, OneOf(HashFunction)] = Field(alias="Function")
    legacy_hash_data: LegacyHashData | None = Field(None, alias="LegacyHashData")


class RFIDMifareFamilyIdentification(Message):
    """A card at a reader (RFIDmifarefamilyIdentificationType)."""

    uid: UID = Field(alias="UID")


class RFIDIdentification(Message):
    """A card in full, for pushed authentication data (RFIDIdentificationType)."""

    uid: UID = Field(alias="UID")
    evco_id: EvcoID | None = Field(None, alias="EvcoID")
    rfid: Annotated[str, OneOf(RfidType)] = Field(alias="RFID")
    printed_number: Annotated[str, Text(150)] | None = Field(None, alias="PrintedNumber")
    expiry_date: Instant | None = Field(None, alias="ExpiryDate")


class QRCodeIdentification(Message):
    """A contract and its PIN (QRCodeIdentificationType)."""

    evco_id: EvcoID = Field(alias="EvcoID")
    hashed_pin: HashedPIN | None = Field(None, alias="HashedPIN")
    pin: Annotated[str, Text(20, secret=True)] | None = Field(None, alias="PIN", repr=False)


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
        holder = self.qr_code or self.plug_and_charge or self.remote or self.rfid
        return holder.evco_id if holder else None

    @property
    def provider(self) -> ProviderID | None:
        """The provider of the contract, if one is told."""
        evco_id = self.evco_id
        return evco_id.provider if evco_id else None


class MayNameSession(Message):
    """Base of messages that may name their session, by the ids of all who take part in it."""

    session_id: SessionID | None = Field(None, alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")


class NamesSession(Message):
    """Base of messages that name their session."""

    session_id: SessionID = Field(alias="SessionID")
    cpo_partner_session_id: PartnerSessionID | None = Field(None, alias="CPOPartnerSessionID")
    emp_partner_session_id: PartnerSessionID | None = Field(None, alias="EMPPartnerSessionID")


class Acknowledgement(MayNameSession):
    """The answer to most requests (eRoamingAcknowledgement).

    ``result`` is False where a refusal left it out, as Hubject does beside HTTP 401, 403 and 404 (CONFORMANCE D56).
    """

    result: Annotated[bool, Flag(), Owed(absent=False)] = Field(alias="Result")
    status_code: StatusCode = Field(alias="StatusCode")

    @classmethod
    def _read_tolerantly(cls, value: object, *, pulled: bool) -> tuple[Self, tuple[Finding, ...]]:
        message, findings = super()._read_tolerantly(value, pulled=pulled)
        if message.status_code.code == Code.SUCCESS:
            return message, findings
        left_out = "'Result' is mandatory; beside a refusal's code it is read as false"
        excused = Finding(Severity.WARNING, "/Result", "result-left-out", left_out)
        return message, tuple(excused if found.pointer == "/Result" else found for found in findings)
