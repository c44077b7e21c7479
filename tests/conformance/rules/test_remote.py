"""CONFORMANCE.md section 4, AuthorizeRemoteStart and Stop, AuthorizeRemoteReservationStart and Stop."""

import pytest

from p2p_oicp.errors import PeerTimeout
from tests.support.dataset_messages import PUSH_DATA, evse, push_data
from tests.support.messages import (
    CDR,
    END_RESERVATION,
    NOTIFY,
    REMOTE_START,
    REMOTE_STOP,
    RESERVE,
    UNKNOWN_SESSION,
    cdr,
    notification,
    remote_start,
    remote_stop,
    reserve,
)
from tests.support.nodes import query
from tests.support.sessions import states, until_state

CONTRACT = {"RemoteIdentification": {"EvcoID": "DE-GDF-C12345678-X"}}
STARTS = {"charging": (REMOTE_START, remote_start), "a reservation": (RESERVE, reserve)}
BOTH = {"charging": (REMOTE_START, REMOTE_STOP, remote_start), "a reservation": (RESERVE, END_RESERVATION, reserve)}


def refused(answer, code: str) -> bool:
    return (answer.status, answer.json["Result"], answer.code) == (200, False, code)


@pytest.mark.parametrize(("path", "make"), STARTS.values(), ids=STARTS)
async def test_a_start_gets_a_session_and_all_three_ids(pair, path, make):
    answer = await pair.b.post(path, make(EMPPartnerSessionID="app-7"))
    assert (answer.json["Result"], answer.code) == (True, "000")
    assert (answer.json["CPOPartnerSessionID"], answer.json["EMPPartnerSessionID"]) == ("csms-1", "app-7")
    assert answer.json["SessionID"]


@pytest.mark.parametrize("code", ["501", "510", "601", "602", "700", "106", "320"])
@pytest.mark.parametrize(("path", "make"), STARTS.values(), ids=STARTS)
async def test_the_cpos_own_code_comes_back_and_there_is_no_session(pair, path, make, code):
    pair.csms.refuse_with = code
    answer = await pair.b.post(path, make())
    assert refused(answer, code)
    assert "SessionID" not in answer.json
    assert states(pair, "b") == ["refused"]


@pytest.mark.parametrize(("path", "make"), STARTS.values(), ids=STARTS)
async def test_an_evse_of_nobody_is_300(pair, path, make):
    assert refused(await pair.b.post(path, make("FR*XYZ*E1")), "300")


KNOWN = {
    "not among the data": ([evse("1")], "DE*GEF*E2", "603"),
    "not compatible": ([evse("1", IsHubjectCompatible=False)], "DE*GEF*E1", "604"),
}


@pytest.mark.parametrize(("data", "evse_id", "code"), KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize(("path", "make"), STARTS.values(), ids=STARTS)
async def test_b1_the_emps_node_refuses_by_the_data_it_has(pair, path, make, data, evse_id, code):
    assert (await pair.b_peer.post(PUSH_DATA, push_data(*data))).json["Result"] is True
    assert refused(await pair.b.post(path, make(evse_id)), code)
    assert pair.csms.starts + pair.csms.reservations == []


@pytest.mark.parametrize(("data", "evse_id", "code"), KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize(("path", "make"), STARTS.values(), ids=STARTS)
async def test_b1_the_cpos_node_refuses_by_its_own_data(stopped, path, make, data, evse_id, code):
    async with stopped.running("a"):
        assert (await stopped.a.post(PUSH_DATA, push_data(*data))).json["Result"] is True
        assert refused(await stopped.a_peer.post(path, make(evse_id)), code)
    assert stopped.csms.starts + stopped.csms.reservations == []


@pytest.mark.parametrize(("path", "make"), STARTS.values(), ids=STARTS)
async def test_b1_a_cpo_without_any_data_is_called(pair, path, make):
    assert (await pair.b.post(path, make("DE*GEF*E99"))).code == "000"


@pytest.mark.parametrize(("data", "evse_id", "code"), KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("path", [REMOTE_STOP, END_RESERVATION], ids=BOTH)
async def test_b1_a_stop_of_no_session_says_what_is_wrong_with_the_evse(pair, path, data, evse_id, code):
    await pair.b_peer.post(PUSH_DATA, push_data(*data))
    assert refused(await pair.b.post(path, {**remote_stop(UNKNOWN_SESSION), "EvseID": evse_id}), code)


async def test_b1_a_session_can_be_stopped_though_its_evse_was_withdrawn(pair):
    session = (await pair.b.post(REMOTE_START, remote_start())).json["SessionID"]
    await pair.b_peer.post(PUSH_DATA, push_data(evse("1")))
    assert (await pair.b.post(REMOTE_STOP, remote_stop(session))).code == "000"


@pytest.mark.parametrize("path", [REMOTE_STOP, END_RESERVATION], ids=BOTH)
async def test_a_stop_of_an_unknown_session_is_400(pair, path):
    assert refused(await pair.b.post(path, remote_stop(UNKNOWN_SESSION)), "400")


@pytest.mark.parametrize(("start", "stop", "make"), BOTH.values(), ids=BOTH)
async def test_a_stop_reaches_the_csms_and_a_record_follows(pair, start, stop, make):
    session = (await pair.b.post(start, make())).json["SessionID"]
    assert (await pair.b.post(stop, remote_stop(session))).code == "000"
    stopped = pair.csms.stops if start == REMOTE_START else pair.csms.reservation_stops
    assert [request.session_id.text for request in stopped] == [session]
    assert (await pair.a.post(CDR, cdr(session, Identification=CONTRACT))).json["Result"] is True
    await pair.contracts.until(lambda book: book.records)


async def test_m6_a_reservation_that_ends_without_charging_gets_its_record(pair):
    session = (await pair.b.post(RESERVE, reserve())).json["SessionID"]
    times = dict.fromkeys(("SessionStart", "ChargingStart", "ChargingEnd", "SessionEnd"), "2026-03-01T10:00:00+01:00")
    nothing = {"MeterValueStart": 1000, "MeterValueEnd": 1000, "ConsumedEnergy": 0}
    record = cdr(session, Identification=CONTRACT, PartnerProductID="Reservation", **times, **nothing)
    assert (await pair.a.post(CDR, record)).json["Result"] is True
    await pair.contracts.until(lambda book: book.records)
    assert pair.contracts.records[0].partner_product_id == "Reservation"


DURATIONS = {"nothing": (0, 400), "a minute": (1, 200), "ninety-nine": (99, 200), "a hundred": (100, 400)}


@pytest.mark.parametrize(("minutes", "status"), DURATIONS.values(), ids=DURATIONS)
async def test_m6_a_reservation_lasts_1_to_99_minutes(pair, minutes, status):
    answer = await pair.b.post(RESERVE, reserve(Duration=minutes))
    assert answer.status == status
    assert [request.duration for request in pair.csms.reservations] == ([minutes] if status == 200 else [])


async def test_m6_a_reservation_at_the_path_of_other_implementations_is_the_same(pair):
    alias = "charging/v21/providers/DE-GDF/authorize-remote-reservation"
    session = (await pair.b.post(f"{alias}/start", reserve())).json["SessionID"]
    assert (await pair.b.post(f"{alias}/stop", remote_stop(session))).code == "000"


async def test_a_csms_without_reservations_is_320(stopped):
    class Plain:
        authorize_remote_start = stopped.csms.authorize_remote_start
        authorize_remote_stop = stopped.csms.authorize_remote_stop

    stopped.csms = Plain()
    async with stopped.running("a"), stopped.running("b"):
        assert refused(await stopped.b.post(RESERVE, reserve()), "320")


async def test_m1_a_remote_start_carries_remote_identification_only(pair):
    card = {"RFIDMifareFamilyIdentification": {"UID": "1234ABCD"}}
    answer = await pair.b.post(REMOTE_START, remote_start(Identification=card))
    assert (answer.status, pair.csms.starts) == (400, [])


async def test_i8_a_start_in_lower_case_reaches_the_station_in_upper_case(pair):
    contract = {"RemoteIdentification": {"EvcoID": "de-gdf-c12345678-x"}}
    request = remote_start("de*gef*e1234567*1", Identification=contract)
    first, again = [await pair.b.post(REMOTE_START, request | {"EMPPartnerSessionID": "app-7"}) for _ in range(2)]
    assert (first.code, again.json) == ("000", first.json)
    (start,) = pair.csms.starts
    assert (start.evse_id.text, start.identification.evco_id.text) == ("DE*GEF*E1234567*1", "DE-GDF-C12345678-X")
    assert query(pair, "b", "SELECT evse_id FROM sessions") == [("DE*GEF*E1234567*1",)]


async def uncertain(pair) -> str:
    """Let a start reach the station, and its answer be lost on the way back."""
    pair.csms.fail_with = PeerTimeout("csms", "no answer in time")
    answer = await pair.b.post(REMOTE_START, remote_start())
    assert answer.json["Result"] is False
    assert states(pair, "b") == ["uncertain"]
    pair.csms.fail_with = None
    return answer.json["SessionID"]


@pytest.fixture
async def quick(stopped):
    """Two running nodes; uncertain sessions are resolved all the time."""
    stopped.extra_config = "[sessions]\nclarify_interval = 0.05\n"
    stopped.write()
    async with stopped.running("a"), stopped.running("b"):
        yield stopped


async def test_a_start_whose_answer_was_lost_loses_no_money(quick):
    session = await uncertain(quick)
    assert (await quick.a.post(NOTIFY, notification("Start", session))).json["Result"] is True
    await until_state(quick, "b", "charging")
    assert (await quick.a.post(CDR, cdr(session, Identification=CONTRACT))).json["Result"] is True
    await quick.contracts.until(lambda book: book.records)
    await until_state(quick, "b", "settled")


async def test_a_start_whose_answer_was_lost_can_be_stopped(quick):
    session = await uncertain(quick)
    assert (await quick.b.post(REMOTE_STOP, remote_stop(session))).code == "000"


def set_state(pair, at: str, value: str) -> None:
    query(pair, at, "UPDATE sessions SET state = ?", value)


VERDICTS = {
    "charges": ("charging", "charging"),
    "was authorized": ("authorized", "authorized"),
    "is over": ("settled", "ended"),
    "was refused": ("refused", "refused"),
}


@pytest.mark.parametrize(("there", "here"), VERDICTS.values(), ids=VERDICTS)
async def test_the_cpos_node_resolves_an_uncertain_session(quick, there, here):
    await uncertain(quick)
    set_state(quick, "a", there)
    await until_state(quick, "b", here)


async def test_a_session_report_is_for_its_two_parties_only(three):
    session = (await three.b.post(REMOTE_START, remote_start())).json["SessionID"]
    report = await three.a_peer.get(f"/p2p/v1/sessions/{session.upper()}?provider=DE-GDF")
    assert (report.status, report.json["state"], report.json["SessionID"]) == (200, "authorized", session)
    assert report.json["CPOPartnerSessionID"] == "csms-1"
    stranger = await three.a_peer.get(f"/p2p/v1/sessions/{session}?provider=FR-XYZ")
    assert (stranger.status, stranger.code) == (404, "400")
    nobody = await three.a_peer.get(f"/p2p/v1/sessions/{session}?provider=DE-QQQ")
    assert nobody.code == "300"
    other_side = await three.b_peer.get(f"/p2p/v1/sessions/{session}?operator=DE*GEF")
    assert other_side.json["state"] == "authorized"
    assert (await three.a_peer.get(f"/p2p/v1/sessions/{session}")).status == 400
