"""The dashboard: pages of records, what they hide, and what people do with them."""

import json
import re
from html import unescape

import pytest

from tests.support.dashboards import Browser, browser, form_token, until_page
from tests.support.dataset_messages import PUSH_AUTHENTICATION, PUSH_DATA, card_record, evse, push_authentication
from tests.support.dataset_messages import push_data as push_evses
from tests.support.messages import A_CPO, PUSH_STATUS, push_status
from tests.support.nodes import UID, pair, peer_id, query, start_session, stopped
from tests.support.parties import SUB, operators_at, pair_up, push_of, set_operators
from tests.support.signed_nodes import signed
from tests.support.waiting import eventually_equals

__all__ = ["pair", "signed", "stopped"]


def at(pair, name: str):
    """Return the browser of somebody at a node."""
    return browser(f"http://127.0.0.1:{pair.ports[f'{name} backend']}")


async def reveal(person: Browser, path: str) -> str:
    page = await person.open(f"/ui/reveal?target={path}")
    return await person.send("/ui/reveal", csrf=form_token(page), target=path, reason="a complaint")


SHORT_UID = "04A1B2C"


@pytest.mark.parametrize("query_text", ["", "?format=json", "?format=csv"])
async def test_a_quarantined_record_and_its_findings_are_masked(pair, query_text):
    """A UID that is too short is quarantined, and its finding quotes it."""
    pushed = push_authentication(card_record(SHORT_UID), card_record("1234ABCD"))
    await pair.a_peer.post(PUSH_AUTHENTICATION, pushed)
    async with at(pair, "a") as person:
        shown = await person.open(f"/ui/delivery/quarantine{query_text}")
        assert "UID" in shown
        assert SHORT_UID not in shown
        unmasked = unescape(await reveal(person, "/ui/delivery/quarantine"))
        assert unmasked.count(SHORT_UID) >= 2
        assert "a complaint" in await person.open("/ui/log?type=action")


@pytest.mark.parametrize("path", ["/ui/sessions", "/ui/sessions/{id}"])
async def test_a_session_as_json_does_not_name_its_driver(pair, path):
    session = await start_session(pair)
    async with at(pair, "a") as person:
        shown = await person.open(path.format(id=session) + "?format=json")
        assert json.loads(shown)["sessions"][0]["identification_key"].endswith(f"***{UID[-2:]}")
        assert UID not in shown


@pytest.mark.parametrize(
    "members",
    [
        {"Address": {"Country": "DEU"}, "ChargingStationNames": [{"lang": "de"}], "ChargingFacilities": []},
        {"Address": None, "ChargingStationNames": None, "ChargingFacilities": [{"Voltage": 400}], "Plugs": None},
        {"Address": "Jena", "ChargingStationNames": "Station", "ChargingFacilities": "22 kW", "Plugs": 3},
        {},
    ],
    ids=["incomplete", "null", "of other types", "without"],
)
async def test_the_page_of_an_evse_shows_what_its_record_has(pair, members):
    await pair.a.post(PUSH_DATA, push_evses(evse("1")))
    record = {"EvseID": f"{A_CPO}*E1", **members}
    query(pair, "a", "UPDATE dataset_records SET raw = ? WHERE dataset = 1", json.dumps(record).encode())
    async with at(pair, "a") as person:
        assert "The record as it came" in await person.open(f"/ui/evses/{A_CPO}*E1")
        assert f"{A_CPO}*E1" in await person.open("/ui/evses")


async def test_after_the_login_a_person_is_where_the_address_was_for(pair):
    async with at(pair, "a") as person:
        await person.open("/ui/sessions?peer=A%26B+%2B")
        assert person.answer.url.raw_query_string == "peer=A%26B+%2B"


async def test_a_page_that_shows_unmasked_is_not_fetched_again_masked(pair):
    session = await start_session(pair)
    async with at(pair, "a") as person:
        assert "hx-get" in await person.open(f"/ui/sessions/{session}")
        assert "hx-get" not in await reveal(person, f"/ui/sessions/{session}")


async def test_a_session_of_nobody_known_says_so(pair):
    session = await start_session(pair)
    query(pair, "a", "UPDATE sessions SET peer = ''")
    async with at(pair, "a") as person:
        page = await person.open(f"/ui/sessions/{session}")
        assert "nobody known" in page
        assert 'href="/ui/peers/"' not in page


async def test_evidence_is_a_file_that_a_person_gets_with_a_reason(signed):
    async with signed.running("a"), signed.running("b"), at(signed, "a") as person:
        session = await start_session(signed)
        page = await person.open(f"/ui/sessions/{session}")
        path = unescape(re.search(r'href="(/ui/actions/export-evidence[^"]+)"', page)[1])
        form = await person.open(path)
        assert "action" not in await person.open("/ui/log?type=action&format=csv")
        file = await person.send(
            "/ui/actions/export-evidence", csrf=form_token(form), session=session, reason="dispute"
        )
        assert person.answer.headers["Content-Disposition"] == f'attachment; filename="evidence-{session}.json"'
        assert session in file.splitlines()[0]
        assert "dispute" in await person.open("/ui/log?type=action")


async def test_the_parties_that_a_peer_has_added_are_reviewed_and_agreed_to(stopped):
    await pair_up(stopped)
    set_operators(stopped, A_CPO, SUB)
    async with stopped.running("a"), stopped.running("b"), at(stopped, "b") as person:
        await stopped.a.post(*push_of(SUB, "1"))
        page = await until_page(person, "/ui/peers/node%20a", "Review its parties")
        link = unescape(re.search(r'href="(/ui/actions/review-parties[^"]+)"', page)[1])
        form = await person.open(link)
        url = unescape(re.search(r'name="url" value="([^"]+)"', form)[1])
        shown = await person.send("/ui/actions/review-parties", csrf=form_token(form), peer="node a", url=url)
        assert f"{A_CPO}, {SUB}" in shown
        fields = {"csrf": form_token(shown), "peer": "node a", "reason": "the contract of May"}
        refused = await person.send("/ui/actions/accept-parties", 502, **fields, parties="")
        assert "names other parties now than you agreed to" in refused
        await person.send("/ui/actions/accept-parties", **fields, parties=f"{A_CPO},{SUB}")
        await eventually_equals(lambda: operators_at(stopped.b), [A_CPO, SUB])


async def test_a_peer_that_refuses_one_record_is_up(stopped):
    async with stopped.running("a"), at(stopped, "a") as person:
        await stopped.a.post(PUSH_STATUS, push_status("fullLoad", E1="Available"))
        now = "(SELECT max(updated_at) FROM dataset_groups)"
        query(
            stopped, "a",
            "INSERT INTO refused_groups (peer, dataset, group_key, failures, refused_since, next_try_at, last_error, "
            f"last_cause) VALUES (?, 'evse status', 'DEGEF', 1, {now}, {now} + 1000, '019', 'message refused')",
            peer_id(stopped, "a", "node b"),
        )  # fmt: skip
        async with stopped.running("b"):
            page = await until_page(person, "/ui", "refuses some of what we send")
            assert "<b>1 / 1</b> peers up" in await until_page(person, "/ui", "<b>1 / 1</b>")
            assert "What to do" in page
