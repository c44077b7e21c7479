from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import ValidationError

from p2p_oicp.oicp import (
    AuthorizeStart,
    ChargeDetailRecord,
    ChargingNotification,
    ChargingNotificationError,
    ChargingNotificationStart,
    Identification,
    InvalidMessage,
    RFIDMifareFamilyIdentification,
    read,
    validate,
)
from tests.support.oicp_examples import AUTHORIZE_START, CDR, SESSION, body

NOTIFICATION = {"SessionID": SESSION, "EvseID": "DE*ABC*E1"}


def test_received_bytes_are_written_back_unchanged():
    received = (
        b'{ "y" :[1.50],"OperatorID":"deabc", "Identification":{"RFIDIdentification":{"UID":"?", "RFID":"nfc"}} }'
    )
    assert AuthorizeStart.from_json(received).to_json() == received


def test_replace_patches_single_members_and_leaves_the_rest_byte_for_byte():
    identification = b'"Identification":{"RFIDMifareFamilyIdentification": {"UID":"CAFEBABE"}}'
    received = b'{"OperatorID":"DEABC",' + identification + b',"CustomData":{"a":1.50}}'
    changed = AuthorizeStart.from_json(received).replace(session_id=SESSION, operator_id="DE*XYZ")
    assert str(changed.session_id) == SESSION
    assert changed.to_json() == (
        b'{"OperatorID":"DE*XYZ",' + identification + b',"CustomData":{"a":1.50},'
        b'"SessionID":"' + SESSION.encode() + b'"}'
    )


def test_replace_with_none_removes_a_member_and_an_unknown_one_is_refused():
    message = AuthorizeStart.from_json(body(AUTHORIZE_START))
    assert b"EvseID" not in message.replace(evse_id=None).to_json()
    with pytest.raises(TypeError, match="no_such_member"):
        message.replace(no_such_member=1)


def test_unknown_members_are_preserved_at_every_depth():
    message = AuthorizeStart.from_json(body(AUTHORIZE_START | {"session_id": "unknown", "CustomData": {"deep": [1]}}))
    assert message.model_extra == {"session_id": "unknown", "CustomData": {"deep": [1]}}
    assert message.session_id is None


def test_null_is_the_same_as_absent():
    message = AuthorizeStart.from_json(body(AUTHORIZE_START | {"SessionID": None, "PartnerProductID": None}))
    assert message.session_id is None
    assert validate(message) == []


def test_decimals_are_exact_and_times_keep_their_offset():
    received = body(CDR).replace(b"10.25", b"10.2500000000000000000000001")
    message = ChargeDetailRecord.from_json(received)
    assert message.consumed_energy == Decimal("10.2500000000000000000000001")
    assert message.charging_start.utcoffset() == timedelta(hours=2)


def test_a_message_built_in_python_is_written_in_the_strict_form():
    message = AuthorizeStart(
        operator_id="DE*ABC",
        identification=Identification(rfid_mifare_family=RFIDMifareFamilyIdentification(uid="CAFEBABE")),
    )
    assert message.to_json() == (
        b'{"OperatorID":"DE*ABC","Identification":{"RFIDMifareFamilyIdentification":{"UID":"CAFEBABE"}}}'
    )
    assert validate(message) == []


def test_an_invalid_message_cannot_be_built_in_python():
    with pytest.raises(ValidationError):
        RFIDMifareFamilyIdentification(uid="no hex digits")


def test_messages_are_immutable():
    message = AuthorizeStart.from_json(body(AUTHORIZE_START))
    with pytest.raises(ValidationError):
        message.operator_id = "DE*XYZ"


def test_a_malformed_id_is_read_and_reported_and_its_text_unchanged():
    received = body(AUTHORIZE_START | {"EvseID": "nonsense"})
    message = AuthorizeStart.from_json(received)
    (finding,) = validate(message)
    assert (str(message.evse_id), finding.pointer, finding.severity) == ("nonsense", "/EvseID", "error")
    assert message.to_json() == received
    with pytest.raises(InvalidMessage):
        read(AuthorizeStart, received)


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        pytest.param(b"", "", id="nothing"),
        pytest.param(b"{", "", id="half"),
        pytest.param(b"[" * 100_000, "", id="too deep"),
        pytest.param(b'"\xff"', "", id="not UTF-8"),
        pytest.param(b'{"x": NaN}', "", id="NaN"),
        pytest.param(b"[]", "", id="an array"),
        pytest.param(b"null", "", id="null"),
        pytest.param(body(AUTHORIZE_START | {"OperatorID": 7}), "/OperatorID", id="wrong type"),
        pytest.param(body(AUTHORIZE_START | {"OperatorID": None}), "/OperatorID", id="mandatory member is null"),
        pytest.param(body({"OperatorID": "DE*ABC"}), "/Identification", id="mandatory member is missing"),
    ],
)
def test_a_body_without_a_message_is_refused_with_a_pointer(text, pointer):
    with pytest.raises(InvalidMessage) as refused:
        AuthorizeStart.from_json(text)
    assert [finding.pointer for finding in refused.value.findings] == [pointer]


@pytest.mark.parametrize(
    ("members", "model"),
    [
        pytest.param({"Type": "Start", "ChargingStart": "2024-05-01T10:00:00Z"}, ChargingNotificationStart, id="start"),
        pytest.param({"Type": "Error", "ErrorClass": "Connector Error"}, ChargingNotificationError, id="error"),
    ],
)
def test_a_charging_notification_has_the_class_of_its_type(members, model):
    assert type(ChargingNotification.from_json(body(NOTIFICATION | members))) is model


@pytest.mark.parametrize("members", [{}, {"Type": None}, {"Type": "Pause"}, {"Type": ["Start"]}])
def test_a_charging_notification_without_a_known_type_is_refused(members):
    with pytest.raises(InvalidMessage) as refused:
        ChargingNotification.from_json(body(NOTIFICATION | members))
    assert refused.value.findings[0].pointer == "/Type"


def test_signed_values_beyond_the_documented_limits_are_reported_and_accepted():
    signed = [{"SignedMeteringValue": "x" * 3001}] * 11
    received = body(CDR | {"SignedMeteringValues": signed})
    message, findings = read(ChargeDetailRecord, received)
    assert {finding.severity for finding in findings} == {"known-defect"}
    assert {finding.severity for finding in validate(message)} == {"error"}
    assert message.to_json() == received


@pytest.mark.parametrize("pin", ["9876" * 9, 9876, ["9876"]])
def test_a_pin_is_in_no_finding_and_no_representation(pin):
    code = {"EvcoID": "DE-DCB-C12345678-X", "PIN": pin, "HashedPIN": {"Value": "9876", "Function": "Bcrypt"}}
    received = body(AUTHORIZE_START | {"Identification": {"QRCodeIdentification": code}})
    with pytest.raises(InvalidMessage) as refused:
        read(AuthorizeStart, received)
    assert "9876" not in str(refused.value.findings)
    assert "9876" not in repr(refused.value)
    assert refused.value.__context__ is None
