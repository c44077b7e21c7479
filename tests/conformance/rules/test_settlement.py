"""CONFORMANCE.md section 4, ChargingNotifications, ChargeDetailRecord, GetChargeDetailRecords."""

import json

import pytest

from tests.support.messages import (
    A_CPO,
    CDR,
    GET_CDRS,
    NOTIFY,
    UNKNOWN_SESSION,
    cdr,
    get_cdrs,
    notification,
)
from tests.support.nodes import start_session


def without(message: dict, *members: str) -> dict:
    return {name: value for name, value in message.items() if name not in members}


@pytest.mark.parametrize("kind", ["Start", "Progress", "End", "Error"])
async def test_a_notification_of_an_invalid_session_is_400(pair, kind):
    answer = await pair.a.post(NOTIFY, notification(kind, UNKNOWN_SESSION))
    assert (answer.json["Result"], answer.code) == (False, "400")


MANDATORY = [
    ("Start", "EvseID"), ("Start", "ChargingStart"), ("Progress", "ChargingStart"), ("Progress", "EventOccurred"),
    ("End", "ChargingEnd"), ("Error", "ErrorType"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "member"), MANDATORY, ids=[" ".join(pair) for pair in MANDATORY])
async def test_a_notification_without_a_mandatory_member_is_refused_and_names_it(pair, kind, member):
    session = await start_session(pair)
    answer = await pair.a.post(NOTIFY, without(notification(kind, session), member))
    named = [error["fieldReference"] for error in answer.json["validationErrors"]]
    assert (answer.status, named) == (400, [member[0].lower() + member[1:]])


async def test_progress_without_duration_and_energy_is_refused(pair):
    session = await start_session(pair)
    answer = await pair.a.post(NOTIFY, without(notification("Progress", session), "ChargingDuration"))
    assert answer.status == 400


def progress(session: str, minute: int) -> dict:
    at = f"2026-03-01T10:{minute:02}:05+01:00"
    return notification("Progress", session, EventOccurred=at, ChargingDuration=minute * 60_000)


async def test_progress_less_than_five_minutes_after_the_last_is_022(pair):
    session = await start_session(pair)
    answers = [await pair.a.post(NOTIFY, progress(session, minute)) for minute in (10, 14, 15, 19, 20)]
    assert [answer.code for answer in answers] == ["000", "022", "000", "022", "000"]
    await pair.contracts.until(lambda book: book.notifications)


async def test_the_five_minutes_are_each_sessions_own(pair):
    one, other = await start_session(pair), await start_session(pair)
    assert [(await pair.a.post(NOTIFY, progress(session, 10))).code for session in (one, other)] == ["000", "000"]


async def test_the_same_progress_again_is_no_second_one(pair):
    session = await start_session(pair)
    assert [(await pair.a.post(NOTIFY, progress(session, 10))).code for _ in range(3)] == ["000"] * 3


async def test_an_emps_node_takes_progress_as_often_as_it_comes(pair):
    session = await start_session(pair)
    answers = [await pair.b_peer.post(NOTIFY, progress(session, minute)) for minute in (10, 11)]
    assert [answer.code for answer in answers] == ["000", "000"]


async def test_a_record_needs_no_stop_before_it(pair):
    assert (await pair.a.post(CDR, cdr(await start_session(pair)))).json["Result"] is True


async def test_c8_a_record_of_an_unknown_session_is_400(pair):
    assert (await pair.a.post(CDR, cdr(UNKNOWN_SESSION))).code == "400"


async def test_c8_a_second_record_is_400(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    assert (await pair.a.post(CDR, cdr(session, ConsumedEnergy=1, MeterValueEnd=1001.25))).code == "400"


async def test_c8_another_evse_than_the_sessions_is_022(pair):
    assert (await pair.a.post(CDR, cdr(await start_session(pair), EvseID=f"{A_CPO}*E9"))).code == "022"


async def test_a_record_is_forwarded_unchanged_with_its_time_zones_and_signed_values(pair):
    session = await start_session(pair)
    signed = [{"SignedMeteringValue": "OCMF|" + "x" * 4000, "MeteringStatus": status} for status in ("Start", "End")]
    body = json.dumps(cdr(session, SignedMeteringValues=signed, Custom={"a": [1.50]}), indent=2).encode()
    assert (await pair.a.post(CDR, body)).json["Result"] is True
    await pair.contracts.until(lambda book: book.records)
    assert pair.contracts.records[0].to_json() == body


async def test_a_record_is_acknowledged_though_the_emp_is_away(stopped):
    async with stopped.running("a"):
        async with stopped.running("b"):
            session = await start_session(stopped)
        assert (await stopped.a.post(CDR, cdr(session))).json["Result"] is True


@pytest.mark.parametrize("member", ["From", "To"])
async def test_from_and_to_are_mandatory(pair, member):
    answer = await pair.b.post(GET_CDRS, without(get_cdrs(), member))
    assert answer.status == 400


async def test_an_unknown_emp_gets_no_records(pair):
    answer = await pair.a_peer.post(GET_CDRS.replace("DE-GDF", "FR-QQQ"), get_cdrs(ProviderID="FR-QQQ"))
    assert (answer.json["Result"], answer.code) == (False, "300")


async def test_another_emp_gets_none_of_our_records(three):
    session = await start_session(three)
    await three.a.post(CDR, cdr(session))
    theirs = await three.a_peer.post(GET_CDRS.replace("DE-GDF", "FR-XYZ"), get_cdrs(ProviderID="FR-XYZ"))
    assert theirs.json["content"] == []


async def test_a_record_that_was_delivered_is_delivered_again(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session))
    await pair.contracts.until(lambda book: book.records)
    for _ in range(2):
        assert len((await pair.b.post(GET_CDRS, get_cdrs())).json["content"]) == 1
