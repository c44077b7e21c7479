"""RULES.md, boxes L3 and L6 to L9: whose the ProviderID is, and what becomes of a CDR that something speaks against."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support import dataset_messages as data
from tests.support.command_line import p2p_oicp  # noqa: F401 - a fixture
from tests.support.messages import (
    CDR,
    GET_CDRS,
    NOTIFY,
    START,
    STOP,
    authorize_start,
    authorize_stop,
    cdr,
    get_cdrs,
    notification,
)
from tests.support.nodes import OK, query, start_session


def at(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def times(start: dict, end: dict) -> dict:
    """The times of a CDR, given as time before now."""
    return {
        "SessionStart": at(**start),
        "ChargingStart": at(**start),
        "ChargingEnd": at(**end),
        "SessionEnd": at(**end),
    }


METER = {"MeterValueStart": None, "MeterValueEnd": None, "MeterValueInBetween": None}
PLAUSIBLE = {**times({"minutes": 0.05}, {}), **METER, "ConsumedEnergy": 0.01}
OTHER_CARD = {"RFIDMifareFamilyIdentification": {"UID": "DDDDDDDD"}}
DOUBTFUL = {
    "C2 meter values": ({"MeterValueStart": 9, "MeterValueEnd": 1, "ConsumedEnergy": 1}, "MeterValueEnd"),
    "L6 in the future": (times({}, {"hours": -2}), "is in the future"),
    "L6 long ago": (times({"days": 365 * 40}, {"days": 365 * 40 - 1}), "is before 2010"),
    "L6 a week": (times({"days": 9}, {}), "more than 7 days"),
    "L6 before the authorization": (times({"minutes": 30}, {}), "before the authorization"),
    "L7 Wh for kWh": ({"ConsumedEnergy": 22150}, "kWh, not Wh"),
    "L8 another card": ({"Identification": OTHER_CARD}, "another identification"),
}
CASES = pytest.mark.parametrize(("members", "words"), DOUBTFUL.values(), ids=DOUBTFUL)
LISTENERS = pytest.mark.parametrize("listener", ["a", "b_peer"])


def record(session: str, **members) -> dict:
    merged = {**cdr(session), **PLAUSIBLE, **members}
    return {name: value for name, value in merged.items() if value is not None}


def doubts(pair, name: str) -> list[str | None]:
    return [text for (text,) in query(pair, name, "SELECT doubts FROM cdrs")]


@LISTENERS
@CASES
async def test_l9_a_doubtful_cdr_is_taken_and_everybody_hears_why(pair, listener, members, words):
    session = await start_session(pair)
    message = record(session, **members)
    first, again = [await getattr(pair, listener).post(CDR, message) for _ in range(2)]
    assert (first.json["Result"], first.code) == (again.json["Result"], again.code) == (True, "000")
    node = listener[0]
    assert words in first.json["StatusCode"]["AdditionalInfo"]
    assert words in doubts(pair, node)[0]
    events = query(pair, node, "SELECT event FROM session_events WHERE event LIKE '%is doubtful%'")
    assert [words in event for (event,) in events] == [True]
    await pair.contracts.until(lambda book: book.records)
    async with pair.http.get(f"{getattr(pair, node).base}/metrics") as metrics:
        assert f'p2p_oicp_doubtful_cdrs{{role="{"cpo" if node == "a" else "emp"}"}} 1.0' in await metrics.text()


async def test_l9_a_plausible_cdr_says_nothing(pair):
    session = await start_session(pair)
    answer = await pair.a.post(CDR, record(session))
    assert "AdditionalInfo" not in answer.json["StatusCode"]
    await pair.contracts.until(lambda book: book.records)
    assert (doubts(pair, "a"), doubts(pair, "b")) == ([None], [None])


@pytest.fixture
async def strict(stopped):
    """Two running nodes that refuse doubtful CDRs."""
    stopped.extra_config = '[cdr]\nimplausible = "refuse"\n'
    stopped.write()
    async with stopped.running("a"), stopped.running("b"):
        yield stopped


@LISTENERS
@CASES
async def test_l9_refuse_is_022_with_the_same_words_and_stores_nothing(strict, listener, members, words):
    session = await start_session(strict)
    answer = await getattr(strict, listener).post(CDR, record(session, **members))
    assert (answer.status, answer.json["Result"], answer.code) == (200, False, "022")
    assert words in answer.json["StatusCode"]["AdditionalInfo"]
    assert doubts(strict, listener[0]) == []
    assert (await getattr(strict, listener).post(CDR, record(session))).code == "000"


async def test_l25_a_different_second_cdr_is_400_though_something_speaks_against_it(strict):
    session = await start_session(strict)
    await strict.a.post(CDR, record(session))
    assert (await strict.a.post(CDR, record(session, ConsumedEnergy=22150))).code == "400"


async def test_l9_a_negative_energy_stays_an_error(pair):
    session = await start_session(pair)
    assert (await pair.a.post(CDR, record(session, ConsumedEnergy=-1))).status == 400


@LISTENERS
async def test_c6_the_data_of_the_evse_counts_at_both_nodes(pair, listener):
    weak = data.evse("1234567*1", ChargingFacilities=[{"PowerType": "AC_1_PHASE", "Power": 3}])
    await pair.b_peer.post(data.PUSH_DATA, data.push_data(weak))
    await pair.a.post(data.PUSH_DATA, data.push_data(weak))
    session = await start_session(pair)
    answer = await getattr(pair, listener).post(CDR, record(session, ConsumedEnergy=50))
    assert "but 3 kW deliver" in answer.json["StatusCode"]["AdditionalInfo"]


@LISTENERS
@pytest.mark.parametrize(("implausible", "code"), [("report", "000"), ("refuse", "022")])
async def test_l6_a_notification_of_the_future(stopped, listener, implausible, code):
    stopped.extra_config = f'[cdr]\nimplausible = "{implausible}"\n'
    stopped.write()
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        message = notification("Start", session, ChargingStart=at(hours=-3), SessionStart=at())
        answer = await getattr(stopped, listener).post(NOTIFY, message)
    assert answer.code == code
    assert "is in the future" in answer.json["StatusCode"]["AdditionalInfo"]


async def test_l9_doubtful_cdrs_are_listed(pair, p2p_oicp):  # noqa: F811
    doubtful, fine = await start_session(pair), await start_session(pair)
    for session, energy in ((doubtful, 22150), (fine, 0.01)):
        assert (await pair.a.post(CDR, record(session, ConsumedEnergy=energy))).code == "000"
    listing = p2p_oicp("cdrs", "list", "--doubtful", "--config", pair.folder / "a" / "node.toml").out
    assert doubtful in listing
    assert "kWh, not Wh" in listing
    assert fine not in listing


FOREIGN = {"a foreign one": "FR-QQQ", "the own one": "DE-GDF", "none": None}


@pytest.mark.parametrize("named", FOREIGN.values(), ids=FOREIGN)
async def test_l3_a_backend_answers_for_its_own_providers_only(pair, named):
    answer_start, answer_stop = pair.contracts.authorize_start, pair.contracts.authorize_stop

    async def start(request):
        return (await answer_start(request)).model_copy(update={"provider_id": named})

    async def stop(request):
        return (await answer_stop(request)).model_copy(update={"provider_id": named})

    pair.contracts.authorize_start, pair.contracts.authorize_stop = start, stop
    answer = await pair.a.post(START, authorize_start())
    assert answer.json["ProviderID"] == "DE-GDF"
    for name in ("a", "b"):
        assert query(pair, name, "SELECT provider_id FROM sessions") == [("DE-GDF",)]
    stopped = await pair.a.post(STOP, authorize_stop(answer.json["SessionID"]))
    assert (stopped.code, stopped.json["ProviderID"]) == (OK.code, "DE-GDF")


async def test_l3_a_peer_answers_for_its_own_providers_only(stopped):
    """Node B names a provider that node A does not know as B's."""
    config = stopped.folder / "b" / "node.toml"
    config.write_text(config.read_text().replace('["DE-GDF"]', '["DE-NEW", "DE-GDF"]'))
    async with stopped.running("a"), stopped.running("b"):
        answer = await stopped.a.post(START, authorize_start())
        assert answer.json["ProviderID"] == "DE-GDF"
        await stopped.a.post(CDR, record(answer.json["SessionID"]))
        await stopped.contracts.until(lambda book: book.records)


async def test_l3_a_cdr_of_its_session_is_found_under_any_of_the_emps_ids(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, record(session))
    query(pair, "a", "UPDATE cdrs SET provider_key = 'FRQQQ'")
    page = await pair.a_peer.post(GET_CDRS, get_cdrs(From=at(days=1), To=at(days=-1)))
    assert [each["SessionID"] for each in page.json["content"]] == [session]
