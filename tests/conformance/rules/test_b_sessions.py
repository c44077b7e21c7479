"""RULES.md, boxes B: sessions, who may speak of them, and what refuses them."""

import pytest

from p2p_oicp.errors import PeerUnreachable
from tests.support.messages import (
    CDR,
    END_RESERVATION,
    EVSE,
    GET_CDRS,
    NOTIFY,
    OTHER_CPO,
    OTHER_EMP,
    REMOTE_START,
    REMOTE_STOP,
    RESERVE,
    START,
    STOP,
    UNKNOWN_SESSION,
    authorize_start,
    authorize_stop,
    cdr,
    get_cdrs,
    notification,
    remote_start,
    remote_stop,
    reserve,
)
from tests.support.nodes import start_session

CARD_OF_NOBODY = "AABBCCDD"


async def started_remotely(pair) -> str:
    return (await pair.b.post(REMOTE_START, remote_start())).json["SessionID"]


async def test_b2_an_unreachable_emp_counts_as_not_authorized(stopped):
    async with stopped.running("a"):
        answer = await stopped.a.post(START, authorize_start())
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "106")


AFTERWARDS = {
    "a stop": (STOP, authorize_stop(UNKNOWN_SESSION)),
    "a notification": (NOTIFY, notification("Start", UNKNOWN_SESSION)),
    "a record": (CDR, cdr(UNKNOWN_SESSION)),
}


@pytest.mark.parametrize(("path", "message"), AFTERWARDS.values(), ids=AFTERWARDS)
async def test_b2_a_refused_start_has_no_session(pair, path, message):
    refused = await pair.a.post(START, authorize_start(CARD_OF_NOBODY, SessionID=UNKNOWN_SESSION))
    assert "SessionID" not in refused.json
    assert (await pair.a.post(path, message)).code == "400"


async def test_b2_the_id_of_a_refused_start_is_free_again(pair):
    await pair.a.post(START, authorize_start(CARD_OF_NOBODY, SessionID=UNKNOWN_SESSION))
    answer = await pair.a.post(START, authorize_start(SessionID=UNKNOWN_SESSION))
    assert (answer.json["AuthorizationStatus"], answer.json["SessionID"]) == ("Authorized", UNKNOWN_SESSION)


async def test_b2_a_refused_remote_start_has_no_session(pair):
    pair.csms.refuse_with = "501"
    refused = await pair.b.post(REMOTE_START, remote_start(SessionID=UNKNOWN_SESSION))
    assert "SessionID" not in refused.json
    assert (await pair.b.post(REMOTE_STOP, remote_stop(UNKNOWN_SESSION))).code == "400"


@pytest.mark.parametrize("start", [start_session, started_remotely], ids=["by card", "by app"])
async def test_b3_only_the_sessions_own_provider_may_stop_it_remotely(three, start):
    session = await start(three)
    path = REMOTE_STOP.replace("DE-GDF", OTHER_EMP)
    answer = await three.a_peer.post(path, {**remote_stop(session), "ProviderID": OTHER_EMP})
    assert (answer.json["Result"], answer.code) == (False, "400")
    assert three.csms.stops == []


@pytest.mark.parametrize("start", [start_session, started_remotely], ids=["by card", "by app"])
async def test_b3_only_the_sessions_own_operator_may_send_its_record(three, start):
    session = await start(three)
    path = CDR.replace("DE*GEF", OTHER_CPO)
    answer = await three.b_peer.post(path, cdr(session, EvseID=f"{OTHER_CPO}*E1"))
    assert (answer.json["Result"], answer.code) == (False, "400")


async def test_b3_only_the_sessions_own_operator_may_notify(three):
    session = await start_session(three)
    foreign = notification("Start", session, OperatorID=OTHER_CPO, EvseID=f"{OTHER_CPO}*E1")
    assert (await three.b_peer.post(NOTIFY, foreign)).code == "400"


async def test_b3_only_the_sessions_own_operator_may_stop_it(three):
    session = await start_session(three)
    foreign = authorize_stop(session, OperatorID=OTHER_CPO)
    answer = await three.b_peer.post(STOP.replace("DE*GEF", OTHER_CPO), foreign)
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "400")


SENT_BY_A = {
    "AuthorizeStop": (STOP, authorize_stop),
    "ChargingNotifications": (NOTIFY, lambda session: notification("Start", session)),
    "ChargeDetailRecord": (CDR, cdr),
}
SENT_BY_B = {
    "AuthorizeRemoteStart": (REMOTE_START, lambda _: remote_start()),
    "AuthorizeRemoteStop": (REMOTE_STOP, remote_stop),
    "AuthorizeRemoteReservationStart": (RESERVE, lambda _: reserve()),
    "AuthorizeRemoteReservationStop": (END_RESERVATION, remote_stop),
    "GetChargeDetailRecords": (GET_CDRS, lambda _: get_cdrs()),
}
EVERYTHING = ["AuthorizeStart", *SENT_BY_A, *SENT_BY_B]


def all_but(name: str) -> list[str]:
    return [other for other in EVERYTHING if other != name]


async def test_b4_a_start_without_a_contract_is_not_authorized_with_210_at_the_peer(services):
    pair = services(b=all_but("AuthorizeStart"))
    async with pair.running("b"):
        answer = await pair.b_peer.post(START, authorize_start())
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "210")


async def test_b4_an_emp_without_a_contract_is_not_called(services):
    pair = services(a=all_but("AuthorizeStart"))
    async with pair.running("a"), pair.running("b"):
        answer = await pair.a.post(START, authorize_start())
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "106")
    assert pair.contracts.starts == []


async def test_b4_the_provider_of_an_evco_id_without_a_contract_is_210(services):
    pair = services(a=all_but("AuthorizeStart"))
    contract = {"PlugAndChargeIdentification": {"EvcoID": "DE-GDF-C12345678-X"}}
    async with pair.running("a"):
        answer = await pair.a.post(START, authorize_start(Identification=contract))
    assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "210")


@pytest.mark.parametrize("name", SENT_BY_A)
async def test_b4_what_a_cpo_sends_without_a_contract_is_210_at_the_emps_node(services, name):
    pair = services(b=all_but(name))
    path, make = SENT_BY_A[name]
    async with pair.running("a"), pair.running("b"):
        session = await start_session(pair)
        assert (await pair.b_peer.post(path, make(session))).code == "210"


@pytest.mark.parametrize("name", SENT_BY_B)
async def test_b4_what_an_emp_sends_without_a_contract_is_210_at_the_cpos_node(services, name):
    pair = services(a=all_but(name))
    path, make = SENT_BY_B[name]
    async with pair.running("a"):
        assert (await pair.a_peer.post(path, make(UNKNOWN_SESSION))).code == "210"


@pytest.mark.parametrize("name", ["AuthorizeRemoteStart", "AuthorizeRemoteReservationStart"])
async def test_b4_a_backends_start_without_a_contract_is_210(services, name):
    pair = services(b=all_but(name))
    path, make = SENT_BY_B[name]
    async with pair.running("b"):
        answer = await pair.b.post(path, make(""))
    assert (answer.json["Result"], answer.code) == (False, "210")


async def test_b4_an_unknown_partner_is_300(pair):
    assert (await pair.b.post(REMOTE_START, remote_start("FR*XYZ*E1"))).code == "300"
    strange = {**remote_start(), "ProviderID": "FR-XYZ"}
    assert (await pair.a_peer.post(REMOTE_START.replace("DE-GDF", "FR-XYZ"), strange)).code == "300"


async def test_b4_an_unknown_cpo_is_300_in_an_acknowledgement(pair):
    start = authorize_start(OperatorID="FR*XYZ", EvseID="FR*XYZ*E1")
    answer = await pair.b_peer.post(START.replace("DE*GEF", "FR*XYZ"), start)
    assert (answer.json["Result"], answer.code) == (False, "300")


async def test_b4_a_partner_that_does_not_respond_is_310(stopped):
    async with stopped.running("b"):
        answer = await stopped.b.post(REMOTE_START, remote_start())
    assert (answer.json["Result"], answer.code) == (False, "310")


async def test_b4_a_service_that_is_not_offered_is_320(stopped):
    """Node B has no CPO's role: it is nobody to start charging at."""
    stopped.write_peer("b", "node a", "a", 'operators = ["DE*GEF"]\nproviders = ["DE-QQQ"]')
    async with stopped.running("b"):
        answer = await stopped.b_peer.post(
            REMOTE_START.replace("DE-GDF", "DE-QQQ"), {**remote_start(), "ProviderID": "DE-QQQ"}
        )
    assert (answer.json["Result"], answer.code) == (False, "320")


async def test_b4_a_backend_that_is_down_is_the_partners_trouble(pair):
    pair.csms.fail_with = PeerUnreachable("csms", "connection refused")
    answer = await pair.b.post(REMOTE_START, remote_start(EVSE))
    assert (answer.json["Result"], answer.code) == (False, "021")
