"""CONFORMANCE.md section 4, AuthorizeStop: every refusal is an eRoamingAuthorizationStop."""

import bcrypt
import pytest

from tests.support.dataset_messages import card_record, qr_record
from tests.support.messages import CDR, START, STOP, UNKNOWN_SESSION, authorize_start, authorize_stop, cdr
from tests.support.pulls import pushed

PIN = "4711"
HASHED = {"Value": bcrypt.hashpw(PIN.encode(), bcrypt.gensalt(4)).decode(), "Function": "Bcrypt"}
CARD = {"RFIDMifareFamilyIdentification": {"UID": "AABBCCDD"}}
OTHER_CARD = {"RFIDMifareFamilyIdentification": {"UID": "DDDDDDDD"}}
EVCO = "DE-GDF-C12345678-X"
CAR = {"PlugAndChargeIdentification": {"EvcoID": EVCO}}


def code(pin: str) -> dict:
    return {"QRCodeIdentification": {"EvcoID": EVCO, "PIN": pin}}


def is_refused(answer, with_code: str) -> bool:
    return (answer.status, answer.json["AuthorizationStatus"], answer.code) == (200, "NotAuthorized", with_code)


async def offline(pair, identification: dict) -> str:
    await pushed(pair, card_record("AABBCCDD"), qr_record(HashedPIN=HASHED))
    answer = await pair.a.post(START, authorize_start(Identification=identification))
    assert answer.json["AuthorizationStatus"] == "Authorized"
    assert pair.contracts.starts == []
    return answer.json["SessionID"]


async def test_an_unknown_session_is_400(pair):
    assert is_refused(await pair.a.post(STOP, authorize_stop(UNKNOWN_SESSION)), "400")


async def test_the_session_of_another_cpo_is_400(three):
    session = (await three.a.post(START, authorize_start())).json["SessionID"]
    answer = await three.b_peer.post(STOP.replace("DE*GEF", "FR*XYZ"), authorize_stop(session, OperatorID="FR*XYZ"))
    assert is_refused(answer, "400")


async def test_an_unknown_cpo_is_300(pair):
    stop = authorize_stop(UNKNOWN_SESSION, OperatorID="FR*XYZ")
    assert is_refused(await pair.b_peer.post(STOP.replace("DE*GEF", "FR*XYZ"), stop), "300")


async def test_an_id_that_is_not_the_senders_is_017(pair):
    answer = await pair.a.post(STOP, authorize_stop(UNKNOWN_SESSION, OperatorID="FR*XYZ"))
    assert (answer.status, answer.json["AuthorizationStatus"], answer.code) == (401, "NotAuthorized", "017")


MEDIA = {
    "the card that started it": (CARD, CARD, "000"),
    "another card": (CARD, OTHER_CARD, "102"),
    "a QR code for a card": (CARD, code(PIN), "101"),
    "a car for a card": (CARD, CAR, "105"),
    "the code that started it": (code(PIN), code(PIN), "000"),
    "the code with another PIN": (code(PIN), code("0000"), "101"),
    "the car with the contract of the code": (code(PIN), CAR, "105"),
}


@pytest.mark.parametrize(("start", "stop", "expected"), MEDIA.values(), ids=MEDIA)
async def test_an_offline_session_is_stopped_by_the_medium_that_started_it(pair, start, stop, expected):
    session = await offline(pair, start)
    answer = await pair.a.post(STOP, authorize_stop(session, Identification=stop))
    if expected == "000":
        assert (answer.json["AuthorizationStatus"], answer.json["ProviderID"]) == ("Authorized", "DE-GDF")
    else:
        assert is_refused(answer, expected)
    assert pair.contracts.stops == []


async def test_an_online_session_is_the_emps_to_stop(pair):
    session = (await pair.a.post(START, authorize_start())).json["SessionID"]
    assert (await pair.a.post(STOP, authorize_stop(session, Identification=OTHER_CARD))).code == "000"
    assert len(pair.contracts.stops) == 1


async def test_a_session_that_has_its_record_cannot_be_stopped(pair):
    session = (await pair.a.post(START, authorize_start())).json["SessionID"]
    await pair.a.post(CDR, cdr(session))
    assert is_refused(await pair.a.post(STOP, authorize_stop(session)), "400")
