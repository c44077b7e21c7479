"""The admin API shows what is stored, with filters, in pages, as JSON."""

import asyncio
import json

import pytest

from p2p_oicp.cli.cdrs import cdrs_of_session
from p2p_oicp.config import load_settings
from p2p_oicp.errors import PeerUnreachable
from p2p_oicp.node import Node
from p2p_oicp.storage import open_for_change, tokens
from p2p_oicp.storage.tokens import Token
from tests.support.dataset_messages import PUSH_DATA, evse
from tests.support.messages import A_CPO, CDR, PUSH_STATUS, cdr, plausible, push_status
from tests.support.nodes import configured, query, start_session
from tests.support.pairing import Admin
from tests.support.signed_nodes import SignedPair
from tests.support.waiting import eventually


@pytest.fixture
async def pair(tmp_path):
    async with configured(SignedPair, tmp_path) as pair, pair.running("a"), pair.running("b"):
        yield pair


async def pages(admin: Admin, path: str) -> list[list[dict]]:
    """Return all pages of a list."""
    name, found, cursor = path.partition("?")[0].strip("/"), [], ""
    while cursor is not None:
        answer = await admin.ask("GET", f"{path}{'&' if '?' in path else '?'}cursor={cursor}")
        found.append(answer[name])
        cursor = answer["cursor"]
    return found


async def test_sessions_come_in_pages_the_newest_first(pair):
    opened = [await start_session(pair) for _ in range(5)]
    found = await pages(Admin(pair, "a"), "/sessions?limit=2")
    assert [len(page) for page in found] == [2, 2, 1]
    assert [each["session_id"] for page in found for each in page] == opened[::-1]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state=authorized&role=cpo&peer=node%20b", 1),
        ("state=settled", 0),
        ("peer=nobody", 0),
        ("role=emp", 0),
        ("since=2000-01-01T00:00:00Z", 1),
        ("since=2100-01-01T00:00:00%2B01:00", 0),
    ],
)
async def test_sessions_are_filtered(pair, query, count):
    await start_session(pair)
    assert len((await Admin(pair, "a").ask("GET", f"/sessions?{query}"))["sessions"]) == count


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/sessions?state=gone", "state: expected"),
        ("/sessions?sate=settled", "sate: no filter of this list; expected state"),
        ("/sessions?since=yesterday", "since: "),
        ("/sessions?since=2026-01-01T00:00:00", "needs its offset"),
        ("/cdrs?doubtful=perhaps", "expected true or false"),
        ("/cdrs?cursor=nonsense", "expected the cursor of the page before"),
        ("/cdrs?cursor=WyJhIl0=", "expected the cursor of the page before"),
        ("/tokens?limit=many", "expected a whole number"),
        ("/settings?source=heaven", "source: expected file"),
    ],
)
async def test_a_wrong_filter_is_400_and_says_what_is_expected(pair, path, words):
    answer = await Admin(pair, "a").ask("GET", path, 400)
    assert words in answer["StatusCode"]["AdditionalInfo"]


async def test_a_cdr_that_waits_says_for_whom_since_when_and_why(pair):
    session = await start_session(pair)
    pair.contracts.fail_with = PeerUnreachable("backend:emp", "the contract system is away")
    assert (await pair.a.post(CDR, cdr(session, **plausible()))).code == "000"
    await eventually(lambda: query(pair, "b", "SELECT 1 FROM cdrs"))
    admin = Admin(pair, "b")

    async def tried() -> dict | None:
        (found,) = (await admin.ask("GET", f"/cdrs/{session}"))["cdrs"]
        return found if found["messages"] and found["messages"][0]["tries"] else None

    record = await eventually(tried)
    (message,) = record["messages"]
    assert (record["state"], message["destination"], message["state"]) == ("waiting", "backend:emp", "waiting")
    assert "the contract system is away" in message["last_error"]
    assert message["next_try"] >= message["waiting_since"]
    assert record["record"]["SessionID"] == session
    (by_command,) = await asyncio.to_thread(cdrs_of_session, pair.database("b"), session)
    assert by_command["messages"][0]["destination"] == "backend:emp"
    (shown,) = (await admin.ask("GET", f"/sessions/{session.upper()}"))["sessions"]
    assert [each["state"] for each in shown["records"]] == ["waiting"]
    assert shown["messages"][0]["operation"] == "ChargeDetailRecord"
    assert any(each["message"] for each in shown["events"])


async def test_a_cdr_that_was_accepted_says_when_it_was_delivered(pair):
    session = await start_session(pair)
    assert (await pair.a.post(CDR, cdr(session, **plausible()))).code == "000"
    await pair.at_rest("a")
    (record,) = (await Admin(pair, "a").ask("GET", "/cdrs?peer=node%20b&state=accepted"))["cdrs"]
    assert record["session_id"] == session
    assert record["delivered_at"]
    assert record["verdict_at"]
    assert (await Admin(pair, "a").ask("GET", "/cdrs?doubtful=true"))["cdrs"] == []
    assert len((await Admin(pair, "a").ask("GET", "/cdrs?doubtful=false&unconfirmed=false"))["cdrs"]) == 1


async def test_evses_are_shown_with_their_status_and_found_by_their_id(pair):
    data = {"OperatorID": A_CPO, "OperatorName": "GEF", "EvseDataRecord": [evse(name) for name in ("X", "X2", "Y")]}
    assert (await pair.a.post(PUSH_DATA, {"ActionType": "fullLoad", "OperatorEvseData": data})).code == "000"
    await pair.a.post(PUSH_STATUS, push_status(X="Occupied"))
    admin = Admin(pair, "a")
    assert [len(page) for page in await pages(admin, "/evses?limit=2&operator=DEGEF&peer=own")] == [2, 1]
    (found,) = (await admin.ask("GET", "/evses/DE*GEF*EX"))["evses"]
    assert (found["source"], found["status"], found["record"]["EvseID"]) == ("own", "Occupied", "DE*GEF*EX")
    assert len((await admin.ask("GET", "/evses?evse=DE*GEF*EX"))["evses"]) == 2
    assert [(await admin.ask("GET", f"/evses?{none}"))["evses"] for none in ("country=FRA", "evse=%25")] == [[], []]
    await admin.ask("GET", "/evses/DE*GEF*EZ", 404)


async def test_tokens_are_listed_without_their_pins(pair):
    with open_for_change(pair.database("b")) as tx:
        for number in range(3):
            tokens.upsert_token(tx, Token(f"1234ABC{number}", f"1234abc{number}", b"a hash" if number else None), 5.0)
    found = await pages(Admin(pair, "b"), "/tokens?limit=2&token=1234")
    assert [[each["token"] for each in page] for page in found] == [["1234abc0", "1234abc1"], ["1234abc2"]]
    assert [each["pin"] for page in found for each in page] == [False, True, True]
    assert "hash" not in json.dumps(found)


async def test_quarantine_is_listed(pair):
    assert (await Admin(pair, "b").ask("GET", "/quarantine?peer=node%20a&operation=PushEvseData"))["quarantine"] == []


async def test_keys_are_listed_with_their_owners(pair):
    admin = Admin(pair, "a")
    found = (await admin.ask("GET", "/keys"))["keys"]
    assert [(each["owner"], each["key_id"], each["signs"], each["is_valid"]) for each in found] == [
        ("node a", pair.key("a").key_id, True, True),
        ("node b", pair.key("b").key_id, False, True),
    ]
    assert len((await admin.ask("GET", "/keys?owner=node%20b"))["keys"]) == 1


async def test_settings_say_where_they_come_from_and_tell_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("P2P_OICP_LIMITS__PUSHES", "5")
    async with configured(SignedPair, tmp_path) as pair:
        file = pair.folder / "a" / "node.toml"
        lines = '[[backends]]\nname = "csms"\nrole = "cpo"\nurl = "http://127.0.0.1:1"\ntoken = "swordfish1"\n'
        file.write_text(file.read_text() + lines)
        async with Node(load_settings(file)):
            shown = (await Admin(pair, "a").ask("GET", "/settings"))["settings"]
            by_table = (await Admin(pair, "a").ask("GET", "/settings?table=limits&source=environment"))["settings"]
    found = {(each["table"], each["key"]): (each["value"], each["source"]) for each in shown}
    assert found["node", "name"] == ("node a", "file")
    assert found["node", "operators"] == ([A_CPO], "file")
    assert found["limits", "requests"] == (256, "default")
    assert found["node", "data_dir"] == (str(pair.folder / "a" / "data"), "default")
    assert found["backends[0]", "token"] == ("********", "file")
    assert found["backends[0]", "path"][1] == "default"
    assert found["", "peers_file"][1] == "file"
    assert [(each["key"], each["value"]) for each in by_table] == [("pushes", 5)]
    assert "swordfish" not in json.dumps(shown)
