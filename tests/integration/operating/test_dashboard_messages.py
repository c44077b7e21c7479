"""The editor of messages: samples, findings at their place, sending as one of our own systems would, and who may."""

import json
import re
from html import unescape

import pytest

from p2p_oicp.oicp.operations import OPERATIONS, Party
from tests.integration.operating.test_dashboard import READ_ONLY, Browser, browser, form_token, node, until_page
from tests.support.messages import A_CPO, B_EMP
from tests.support.nodes import UID, pair, query, stopped

__all__ = ["node", "pair", "stopped"]

COMMANDS = {party: [each.command for each in OPERATIONS if each.sender is party] for party in Party}


def url_of(pair, name: str) -> str:
    return f"http://127.0.0.1:{pair.ports[name + ' backend']}"


async def sample(person: Browser, command: str) -> dict:
    return json.loads(await person.open(f"/ui/messages/{command}?format=json"))


async def submit(person: Browser, command: str, text: str, action: str, status: int = 200, **fields: str) -> str:
    page = await person.open(f"/ui/messages/{command}")
    once = re.search(r'name="once" value="([^"]+)"', page)[1]
    fields = {"csrf": form_token(page), "once": once, "text": text, "action": action, **fields}
    return unescape(await person.send(f"/ui/messages/{command}", status, **fields))


@pytest.mark.parametrize("command", [*COMMANDS[Party.CPO], *COMMANDS[Party.EMP]])
async def test_the_sample_of_every_operation_is_faultless_and_has_a_schema(pair, command):
    async with browser(url_of(pair, "a" if command in COMMANDS[Party.CPO] else "b")) as person:
        found = await sample(person, command)
        assert all(schema["$schema"].startswith("https://json-schema.org/") for schema in found["schemas"])
        assert "Nothing speaks against" in await submit(person, command, found["sample"], "check")


async def test_what_the_other_role_sends_is_not_offered(pair):
    async with browser(url_of(pair, "a")) as person:
        page = await person.open("/ui/messages")
        assert "/ui/messages/authorize-start" in page
        assert "/ui/messages/authorize-remote-start" not in page
        await person.open("/ui/messages/authorize-remote-start", 404)
        await person.open("/ui/messages/no-operation", 404)


FAULTS = {
    "no JSON": ("{", "the whole message"),
    "no object": ("[]", "the whole message"),
    "a member that is absent": ('{"Identification": {}}', "/OperatorID"),
    "a value that is no id": (
        json.dumps({"OperatorID": "DE*GEF", "Identification": {"RFIDMifareFamilyIdentification": {"UID": "<b>"}}}),
        "/Identification/RFIDMifareFamilyIdentification/UID",
    ),
    "a surrogate": ('{"OperatorID": "\\ud800"}', "the whole message"),
    "nested too deeply": ("[" * 2000, "the whole message"),
}


@pytest.mark.parametrize(("text", "pointer"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("action", ["check", "send", "confirmed"])
async def test_a_faulty_message_is_not_sent_and_its_findings_say_where(pair, text, pointer, action):
    async with browser(url_of(pair, "a")) as person:
        page = await submit(person, "authorize-start", text, action, reason="a try")
        assert pointer in page
        assert "It cannot be sent like this" in page
        assert 'id="answer"' not in page
        assert "<b>" not in page.replace("'<b>'", "").replace('"<b>"', "")
    assert query(pair, "a", "SELECT count(*) FROM sessions")[0][0] == 0


def start() -> str:
    return json.dumps({"OperatorID": A_CPO, "Identification": {"RFIDMifareFamilyIdentification": {"UID": UID}}})


async def test_what_starts_a_session_asks_first_wants_a_reason_and_is_sent_once(stopped):
    stopped.extra_config = '[exchanges]\nrecord = "memory"\n'
    stopped.write()
    async with stopped.running("a"), stopped.running("b"), browser(url_of(stopped, "a")) as person:
        await until_page(person, "/ui/peers", ">up<")
        page = await submit(person, "authorize-start", start(), "send")
        assert "What it leads to" in page
        assert query(stopped, "a", "SELECT count(*) FROM sessions")[0][0] == 0
        fields = {
            "csrf": form_token(page), "once": re.search(r'name="once" value="([^"]+)"', page)[1], "text": start(),
            "action": "confirmed", "sender": A_CPO,
        }  # fmt: skip
        assert "Please fill in: Reason" in await person.send("/ui/messages/authorize-start", 400, **fields, reason=" ")
        page = await person.send("/ui/messages/authorize-start", **fields, reason="a test")
        session = re.search(r"/ui/sessions/([\w-]{36})", page)[1]
        assert '"AuthorizationStatus": "Authorized"' in unescape(page)
        await person.send("/ui/messages/authorize-start", 409, **fields, reason="a test")
        assert query(stopped, "a", "SELECT session_id FROM sessions")[0][0] == session
        log = unescape(await person.open("/ui/log?type=action"))
        assert log.count("somebody with the token: a test") == 1
        assert UID not in log
        rows = await until_page(person, f"/ui/traffic?operation=AuthorizeStart&session={session}", "node b")
        assert rows.count("/ui/traffic/") >= 2


async def test_what_only_reads_is_sent_without_asking(pair):
    async with browser(url_of(pair, "b")) as person:
        text = json.dumps({"ProviderID": B_EMP, "GeoCoordinatesResponseFormat": "Google"})
        page = await submit(person, "pull-evse-data", text, "send")
        assert 'id="answer"' in page
        assert '"StatusCode"' in page


async def test_what_the_node_refuses_of_our_own_system_it_refuses_of_a_person(pair):
    async with browser(url_of(pair, "a")) as person:
        text = start().replace(A_CPO, "DE*XYZ")
        page = await submit(person, "authorize-start", text, "confirmed", reason="a try", sender=A_CPO)
        assert "DE*XYZ in the body" in page
        assert "/ui/sessions/" not in page.partition('id="answer"')[2]


async def test_the_call_as_curl_has_no_token(pair):
    async with browser(url_of(pair, "a")) as person:
        page = await submit(person, "authorize-start", start().replace(UID, "it's"), "check")
        assert "Bearer $TOKEN" in page
        assert f"curl -X POST '{url_of(pair, 'a')}/api/oicp/charging/v21/operators/{A_CPO}/authorize/start'" in page
        assert "it'\"'\"'s" in page


async def test_who_may_only_look_checks_and_does_not_send(node):
    async with browser(node[0]) as reader:
        await reader.log_in(READ_ONLY)
        found = await sample(reader, "pull-evse-data")
        assert "Nothing speaks against" in await submit(reader, "pull-evse-data", found["sample"], "check")
        await submit(reader, "pull-evse-data", found["sample"], "send", 403)
        found = await sample(reader, "authorize-start")
        await submit(reader, "authorize-start", found["sample"], "confirmed", 403, reason="curious")
        assert "send-message" not in await reader.open("/ui/log?type=action")
