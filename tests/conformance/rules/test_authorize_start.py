"""CONFORMANCE.md section 4, AuthorizeStart: whom it goes to, in which order, and what becomes of the session."""

import asyncio

import bcrypt
import pytest

from tests.support.dataset_messages import card_record, qr_record
from tests.support.messages import (
    CDR,
    NOTIFY,
    START,
    UNKNOWN_SESSION,
    authorize_start,
    authorize_stop,
    cdr,
    notification,
)
from tests.support.messages import STOP as AUTHORIZE_STOP
from tests.support.nodes import peer_id, query
from tests.support.pulls import pushed

PIN = "4711"
QR = {"QRCodeIdentification": {"EvcoID": "DE-GDF-C12345678-X", "PIN": PIN}}
HASHED = {"Value": bcrypt.hashpw(PIN.encode(), bcrypt.gensalt(4)).decode(), "Function": "Bcrypt"}
CARS = {"PlugAndChargeIdentification": {"EvcoID": "DE-GDF-C12345678-X"}}


async def test_1_a_card_of_pushed_data_is_authorized_offline(pair):
    await pushed(pair, card_record("AABBCCDD"))
    answer = await pair.a.post(START, authorize_start("aabbccdd", CPOPartnerSessionID="csms-9"))
    members = answer.json
    assert (members["AuthorizationStatus"], members["ProviderID"], answer.code) == ("Authorized", "DE-GDF", "000")
    assert members["CPOPartnerSessionID"] == "csms-9"
    assert pair.contracts.starts == []
    assert query(pair, "a", "SELECT offline, identification_key, peer FROM sessions") == [
        (1, "rfid:AABBCCDD", peer_id(pair, "a", "node b"))
    ]


async def test_1_a_qr_code_of_pushed_data_is_authorized_offline_with_its_pin(pair):
    await pushed(pair, qr_record(HashedPIN=HASHED))
    answer = await pair.a.post(START, authorize_start(Identification=QR))
    assert (answer.json["AuthorizationStatus"], pair.contracts.starts) == ("Authorized", [])


async def test_1_a_wrong_pin_is_the_emps_to_refuse(pair):
    await pushed(pair, qr_record(HashedPIN=HASHED))
    pair.contracts.refuse_with = "101"
    wrong = {"QRCodeIdentification": {"EvcoID": "DE-GDF-C12345678-X", "PIN": "0000"}}
    answer = await pair.a.post(START, authorize_start(Identification=wrong))
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "101")
    assert len(pair.contracts.starts) == 1


async def test_1_no_pin_stands_in_the_store_of_either_node(pair):
    await pushed(pair, qr_record(HashedPIN=HASHED))
    session = (await pair.a.post(START, authorize_start(Identification=QR))).json["SessionID"]
    assert (await pair.a.post(AUTHORIZE_STOP, authorize_stop(session, Identification=QR))).code == "000"
    for at in "ab":
        for file in (pair.folder / at / "data").glob("node.sqlite3*"):
            assert f'"PIN":"{PIN}"'.encode() not in file.read_bytes().replace(b" ", b"")


async def test_2_an_evco_id_goes_to_its_own_provider_only(three):
    await three.a.post(START, authorize_start(Identification=CARS))
    await three.a.post(
        START, authorize_start(Identification={"PlugAndChargeIdentification": {"EvcoID": "FR-XYZ-C12345678-X"}})
    )
    assert [start.identification.evco_id.text for start in three.contracts.starts] == ["DE-GDF-C12345678-X"]


async def test_2_a_provider_that_is_no_peer_is_300_in_an_acknowledgement(pair):
    strange = {"PlugAndChargeIdentification": {"EvcoID": "FR-QQQ-C12345678-X"}}
    answer = await pair.a.post(START, authorize_start(Identification=strange, SessionID=UNKNOWN_SESSION))
    assert (answer.json["Result"], answer.code) == (False, "300")


async def test_3_a_card_seen_before_goes_to_the_peer_that_authorized_it(three):
    await three.a.post(START, authorize_start())
    assert query(three, "a", "SELECT uid_key, peer FROM uid_routes") == [("1234ABCD", peer_id(three, "a", "node b"))]
    three.contracts.hold = asyncio.Event()
    start = asyncio.create_task(three.a.post(START, authorize_start()))
    three.contracts.hold.set()
    assert (await start).json["AuthorizationStatus"] == "Authorized"


async def test_3_a_preferred_peer_that_does_not_answer_is_followed_by_the_broadcast(three):
    """The stranger said yes once and is silent now: node B is called as well."""
    three.contracts.uids = frozenset({"1234ABCD"})
    await three.a.post(START, authorize_start("AABBCCDD"))
    query(three, "a", "INSERT INTO uid_routes VALUES ('1234ABCD', 'stranger', 0)")
    answer = await three.a.post(START, authorize_start())
    assert answer.json["AuthorizationStatus"] == "Authorized"
    assert query(three, "a", "SELECT peer FROM uid_routes") == [(peer_id(three, "a", "node b"),)]


async def test_3_the_preferred_peer_survives_a_restart(stopped):
    async with stopped.running("a"), stopped.running("b"):
        await stopped.a.post(START, authorize_start())
    async with stopped.running("a"):
        assert query(stopped, "a", "SELECT uid_key, peer FROM uid_routes") == [
            ("1234ABCD", peer_id(stopped, "a", "node b"))
        ]


async def test_4_an_unknown_card_goes_to_every_peer_under_contract(three):
    answer = await three.a.post(START, authorize_start("AABBCCDD"))
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "102")
    info = answer.json["StatusCode"]["AdditionalInfo"]
    assert "node b: 102" in info
    assert "stranger: " in info


async def test_the_receiver_makes_the_session_id_and_an_authorized_carries_all(pair):
    members = (await pair.a.post(START, authorize_start())).json
    assert {"SessionID", "ProviderID", "StatusCode"} <= members.keys()


async def test_the_emps_own_code_is_passed_on(pair):
    for code in ("101", "102", "103", "105", "106", "120", "121", "122", "110", "200"):
        pair.contracts.refuse_with = code
        answer = await pair.a.post(START, authorize_start("AABBCCDD"))
        assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", code)


REFUSED_MEDIA = {
    "RFIDIdentification (M1)": ({"RFIDIdentification": {"UID": "1234ABCD", "RFID": "mifareCls"}}, None),
    "a hashed PIN (M2)": ({"QRCodeIdentification": {"EvcoID": "DE-GDF-C12345678-X", "HashedPIN": HASHED}}, "101"),
    "no PIN (M2)": ({"QRCodeIdentification": {"EvcoID": "DE-GDF-C12345678-X"}}, "101"),
    "two at once": ({**QR, **CARS}, None),
}


@pytest.mark.parametrize(("identification", "code"), REFUSED_MEDIA.values(), ids=REFUSED_MEDIA)
async def test_an_unusable_identification_is_refused_and_no_peer_is_called(pair, identification, code):
    answer = await pair.a.post(START, authorize_start(Identification=identification))
    if code is None:
        assert (answer.status, bool(answer.json["validationErrors"])) == (400, True)
    else:
        assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", code)
    assert pair.contracts.starts == []


async def test_a_card_in_lower_case_is_the_same_card(pair):
    assert (await pair.a.post(START, authorize_start("1234abcd"))).json["AuthorizationStatus"] == "Authorized"


async def test_the_stop_identifications_are_stored_with_the_session_and_passed_on(pair):
    second = {"RFIDMifareFamilyIdentification": {"UID": "AABBCCDD"}}
    pair.contracts.stop_identifications = (second,)
    members = (await pair.a.post(START, authorize_start())).json
    assert members["AuthorizationStopIdentifications"] == [second]
    for at in "ab":
        assert query(pair, at, "SELECT stop_identification_keys FROM sessions") == [("rfid:AABBCCDD",)]


OFFLINE_TELLS_FIRST = {
    "a notification": (NOTIFY, lambda session, card: notification("Start", session, Identification=card)),
    "a record": (CDR, lambda session, card: cdr(session, Identification=card)),
}


@pytest.mark.parametrize(("path", "make"), OFFLINE_TELLS_FIRST.values(), ids=OFFLINE_TELLS_FIRST)
async def test_the_emps_node_hears_of_an_offline_session_by_its_first_message(pair, path, make):
    await pushed(pair, card_record("AABBCCDD"))
    session = (await pair.a.post(START, authorize_start("AABBCCDD"))).json["SessionID"]
    card = {"RFIDMifareFamilyIdentification": {"UID": "AABBCCDD"}}
    assert (await pair.a.post(path, make(session, card))).json["Result"] is True
    await pair.contracts.until(lambda book: book.notifications or book.records)
    assert query(pair, "b", "SELECT session_id, offline, provider_id FROM sessions") == [(session, 1, "DE-GDF")]


@pytest.mark.parametrize(("path", "make"), OFFLINE_TELLS_FIRST.values(), ids=OFFLINE_TELLS_FIRST)
async def test_a_session_of_a_driver_that_was_not_pushed_is_400(pair, path, make):
    await pushed(pair, card_record("AABBCCDD"))
    stranger = {"RFIDMifareFamilyIdentification": {"UID": "DDDDDDDD"}}
    assert (await pair.b_peer.post(path, make(UNKNOWN_SESSION, stranger))).code == "400"
