"""RULES.md, box L25: of several reasons to refuse a message, the first one of the order is given."""

import json

import pytest

from tests.support.dataset_messages import PUSH_AUTHENTICATION, PUSH_DATA, evse, push_data
from tests.support.messages import (
    A_CPO,
    B_EMP,
    CDR,
    END_RESERVATION,
    NOTIFY,
    OTHER_CPO,
    REMOTE_START,
    START,
    UNKNOWN_SESSION,
    authorize_start,
    cdr,
    notification,
    plausible,
    remote_start,
    remote_stop,
)
from tests.support.nodes import start_session
from tests.support.waiting import eventually_equals

FOREIGN_EVSE, OTHER_EVSE = f"{OTHER_CPO}*E1", f"{A_CPO}*E9"
FOREIGN = {"EvseID": FOREIGN_EVSE}
FOREIGN_CONTRACT = {"RemoteIdentification": {"EvcoID": "FR-XYZ-C12345678-X"}}
UNREADABLE = {"SessionID": "no session"}
IN_THE_FUTURE = {"SessionEnd": "2999-03-01T10:41:00+01:00"}


def outcome(answer) -> tuple[int, str | None]:
    return answer.status, answer.json.get("StatusCode", {}).get("Code")


EVERYTHING_WRONG = authorize_start(**UNREADABLE, OperatorID=OTHER_CPO, EvseID=FOREIGN_EVSE)
FOREIGN_CDR = cdr(UNKNOWN_SESSION, EvseID=FOREIGN_EVSE, **IN_THE_FUTURE)
UNKNOWN_CDR = cdr(UNKNOWN_SESSION, EvseID=OTHER_EVSE, **IN_THE_FUTURE)
FROM_CPO = {
    "300 by the path, whatever the body": (CDR.replace(A_CPO, "NL*QQQ"), cdr("x", EvseID="x"), (200, "300")),
    "400, whatever party and id the body has": (START, EVERYTHING_WRONG, (400, None)),
    "017 by the body, whatever its id": (START, authorize_start(OperatorID=OTHER_CPO, **FOREIGN), (401, "017")),
    "018, whatever contract and session": (CDR, FOREIGN_CDR, (200, "018")),
    "018 of a notification": (NOTIFY, notification("Start", UNKNOWN_SESSION, **FOREIGN), (200, "018")),
    "400, the session, whatever EVSE and times": (CDR, UNKNOWN_CDR, (200, "400")),
    "022, the EVSE, whatever the times": (CDR, cdr("SESSION", EvseID=OTHER_EVSE, **IN_THE_FUTURE), (200, "022")),
}


@pytest.mark.parametrize("refuses", [False, True], ids=["report", "refuse"])
@pytest.mark.parametrize(("path", "body", "expected"), FROM_CPO.values(), ids=FROM_CPO)
async def test_l25_what_a_cpo_sends(stopped, path, body, expected, refuses):
    file = stopped.folder / "b" / "node.toml"
    file.write_text(file.read_text() + ('[cdr]\nimplausible = "refuse"\n' if refuses else ""))
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        text = json.dumps(body).replace('"SESSION"', f'"{session}"').encode()
        assert outcome(await stopped.b_peer.post(path, text)) == expected


async def test_l25_a_different_cdr_is_400_whatever_speaks_against_it(stopped):
    file = stopped.folder / "b" / "node.toml"
    file.write_text(file.read_text() + '[cdr]\nimplausible = "refuse"\n')
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        assert (await stopped.b_peer.post(CDR, {**cdr(session), **plausible()})).code == "000"
        assert outcome(await stopped.b_peer.post(CDR, cdr(session, **IN_THE_FUTURE))) == (200, "400")


@pytest.mark.parametrize("without", ["AuthorizeStart", "ChargeDetailRecord", "ChargingNotifications"])
@pytest.mark.parametrize(
    ("evse_id", "code"), [(FOREIGN_EVSE, "018"), (f"{A_CPO}*E1234567*1", "210")], ids=["018", "210"]
)
async def test_l25_an_id_comes_before_the_contract_and_that_before_the_session(services, without, evse_id, code):
    everything = ["AuthorizeStart", "AuthorizeStop", "ChargeDetailRecord", "ChargingNotifications"]
    pair = services(b=[name for name in everything if name != without])
    path, body = {
        "AuthorizeStart": (START, authorize_start(EvseID=evse_id)),
        "ChargeDetailRecord": (CDR, cdr(UNKNOWN_SESSION, EvseID=evse_id)),
        "ChargingNotifications": (NOTIFY, notification("Start", UNKNOWN_SESSION, EvseID=evse_id)),
    }[without]
    async with pair.running("b"):
        assert (await pair.b_peer.post(path, body)).code == code


async def test_l25_what_our_own_emp_backend_sends(services):
    pair = services(b=["AuthorizeRemoteReservationStart"])
    async with pair.running("a"), pair.running("b"):
        foreign = remote_start("NL*QQQ*E1", Identification=FOREIGN_CONTRACT)
        assert (await pair.b.post(REMOTE_START, foreign)).code == "019"
        assert (await pair.b.post(REMOTE_START, remote_start("NL*QQQ*E1"))).code == "300"
        await pair.a.post(PUSH_DATA, push_data(evse("1")))
        # 210 before 603: the operator's data does not have the EVSE.
        assert (await pair.b.post(REMOTE_START, remote_start(f"{A_CPO}*E404"))).code == "210"


async def test_l25_603_and_604_come_before_the_session(pair):
    await pair.a.post(PUSH_DATA, push_data(evse("1"), evse("2", IsHubjectCompatible=False)))
    for evse_id, code in ((f"{A_CPO}*E404", "603"), (f"{A_CPO}*E2", "604"), (f"{A_CPO}*E1", "400")):
        stop = {**remote_stop(UNKNOWN_SESSION), "EvseID": evse_id}

        async def refused(stop=stop) -> str:
            return (await pair.b.post(END_RESERVATION, stop)).code

        await eventually_equals(refused, code)


async def test_l25_the_kind_of_a_session_comes_before_its_evse(pair):
    session = (await pair.b.post(REMOTE_START, remote_start())).json["SessionID"]
    stop = {**remote_stop(session), "EvseID": OTHER_EVSE}
    assert (await pair.b.post(END_RESERVATION, stop)).code == "400"


GOOD = "$2b$10$abcdefghijklmnopqrstuuK8n4b6QdTqY6j4m7cQk0D3m0nQh0q7S"
HASHES = {"MD5": ("d41d8cd98f00b204e9800998ecf8427e", 400), "cut": (GOOD[:-1], 400), "bcrypt": (GOOD, 200)}


@pytest.mark.parametrize(("value", "status"), HASHES.values(), ids=HASHES)
async def test_a_hashed_pin_of_bcrypt_that_is_no_bcrypt_hash_is_refused(pair, value, status):
    contract = {"EvcoID": "DE-GDF-C12345678-X", "HashedPIN": {"Value": value, "Function": "Bcrypt"}}
    records = [{"Identification": {"QRCodeIdentification": contract}}]
    data = {"ProviderID": B_EMP, "AuthenticationDataRecord": records}
    push = {"ActionType": "fullLoad", "ProviderAuthenticationData": data}
    answer = await pair.b.post(PUSH_AUTHENTICATION, push)
    assert answer.status == status
    assert status == 200 or "bcrypt" in str(answer.json["validationErrors"])
