"""The dashboard: who may look, who may act, and what a page, a list and an action are."""

import csv
import io
import re
from collections.abc import AsyncIterator
from html import unescape

import pytest
from yarl import URL

from p2p_oicp.cli.init import NodeTemplate, write_node_files
from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.server.dashboard.action_table import ACTIONS
from p2p_oicp.server.openapi.documents import ADMIN_ENDPOINTS
from p2p_oicp.simulator.node_files import free_ports
from tests.support.dashboards import Browser, browser, form_token, until_page
from tests.support.messages import CDR, PUSH_STATUS, cdr, plausible, push_status
from tests.support.nodes import UID, pair, query, start_session, stopped
from tests.support.sessions import until_state

__all__ = ["pair", "stopped"]

READ_ONLY = "only-to-look-at"
PAGES = (
    "/ui", "/ui/topology", "/ui/peers", "/ui/traffic", "/ui/delivery", "/ui/sessions", "/ui/cdrs", "/ui/evses",
    "/ui/map", "/ui/messages/authorize-start", "/ui/messages", "/ui/tokens", "/ui/settings", "/ui/settings/keys",
    "/ui/log",
)  # fmt: skip


@pytest.fixture
async def node(tmp_path, monkeypatch) -> AsyncIterator[tuple[str, str]]:
    """A node as ``init`` makes one; its URL and its token."""
    monkeypatch.setenv("P2P_OICP_DASHBOARD__READ_ONLY_TOKEN", READ_ONLY)
    ports = free_ports(2)
    write_node_files(tmp_path, NodeTemplate("Alpha", ("DE*ALF",), ("DE-ALF",), ("signature",), *ports))
    settings = load_settings(tmp_path / "node.toml")
    async with Node(settings):
        yield f"http://127.0.0.1:{settings.backend_api.port}", (tmp_path / "keys" / "backend.token").read_text().strip()


@pytest.fixture
async def person(node) -> AsyncIterator[Browser]:
    """Somebody who has logged in with the token of the backend API."""
    base, token = node
    async with browser(base) as one:
        await one.log_in(token)
        yield one


@pytest.mark.parametrize("path", PAGES)
async def test_who_has_not_logged_in_sees_only_the_login(node, path):
    async with browser(node[0]) as somebody:
        page = await somebody.open(path)
        assert 'name="token"' in page
        assert somebody.answer.url.path == "/ui/login"
        assert "DE*ALF" not in page


async def test_a_wrong_token_is_refused_and_guessing_ends_after_some_tries(node):
    async with browser(node[0]) as somebody:
        for _ in range(20):
            await somebody.send("/ui/login", 401, token="a-guess-of-mine", person="", next="/ui")
        await somebody.send("/ui/login", 429, token=node[1], person="", next="/ui")


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_opens_loads_nothing_foreign_and_is_shown_in_no_frame(person, path):
    page = await person.open(path)
    assert "<h1" in page
    headers = person.answer.headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    links = re.findall(r'(?:src|href|action)="([^"]*)"', page)
    assert [link for link in links if not link.startswith(("/", "#", "?"))] == []
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", page) == []
    for link in {link for link in links if link.startswith("/ui/static/")}:
        await person.open(link)


async def test_the_cookie_is_for_the_dashboard_alone(person, node):
    cookie = next(iter(person.http.cookie_jar))
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/ui")
    async with person.http.get(f"{node[0]}/admin/v1/status") as answer:
        assert answer.status == 401


async def test_a_changed_cookie_is_none(person, node):
    (cookie,) = person.http.cookie_jar
    value = cookie.value[:-2] + ("AA" if cookie.value[-2:] != "AA" else "BB")
    async with browser(node[0]) as somebody:
        somebody.http.cookie_jar.update_cookies({cookie.key: value}, URL(node[0]))
        assert 'name="token"' in await somebody.open("/ui")


async def test_a_form_without_its_token_or_of_another_page_does_nothing(person):
    fields = {"token": "04A1B2C3D4E5F6", "pin": "", "reason": "none"}
    await person.send("/ui/actions/add-token", 403, csrf="", **fields)
    await person.send("/ui/actions/add-token", 403, csrf="x" * 43, **fields)
    token = form_token(await person.open("/ui/actions/add-token"))
    await person.send("/ui/actions/add-token", 403, origin="http://attacker.example", csrf=token, **fields)
    assert "04A1" not in await person.open("/ui/tokens")


async def test_a_json_body_is_no_form_and_a_form_is_no_json(person, node):
    async with person.http.post(f"{node[0]}/ui/actions/reload", json={"csrf": "x"}) as answer:
        assert answer.status == 415
    headers = {"Authorization": f"Bearer {node[1]}"}
    async with person.http.post(f"{node[0]}/admin/v1/reload", data={"a": "b"}, headers=headers) as answer:
        assert answer.status == 415


async def test_the_read_only_token_shows_everything_and_changes_nothing(node):
    async with browser(node[0]) as reader:
        await reader.log_in(READ_ONLY)
        for path in PAGES:
            assert "/ui/actions/" not in await reader.open(path), path
        await reader.open("/ui/actions/rotate-key", 403)
        await reader.open("/ui/reveal?target=/ui/tokens", 403)
        page = await reader.open("/ui")
        await reader.send("/ui/actions/rotate-key", 403, csrf=form_token(page), reason="curious")


async def test_an_action_needs_a_reason_is_done_and_stands_in_the_log_with_who_and_why(person):
    page = await person.open("/ui/actions/add-token")
    fields = {"token": "04A1B2C3D4E5F6", "pin": "", "csrf": form_token(page)}
    assert "Please fill in: Reason" in await person.send("/ui/actions/add-token", 400, **fields, reason=" ")
    page = await person.send("/ui/actions/add-token", **fields, reason="new <driver>")
    assert person.answer.url.path == "/ui/tokens"
    assert "04A1B2C3D4E5F6" not in page
    log = unescape(await person.open("/ui/log?type=action"))
    assert "Kim: new <driver>" in log
    assert "04A1B2C3D4E5F6" not in log


async def test_an_action_that_is_not_possible_gives_its_reason_on_its_page(person):
    page = await person.open("/ui/actions/add-token")
    fields = {"token": "no token", "pin": "", "reason": "x", "csrf": form_token(page)}
    assert "no token" in unescape(await person.send("/ui/actions/add-token", 400, **fields))
    await person.open("/ui/actions/such-an-action", 404)
    await person.open("/ui/sessions/none-such", 404)


async def test_what_identifies_a_driver_is_masked_until_somebody_says_why(person):
    await person.act("add-token", token="04A1B2C3D4E5F6", pin="")
    assert "04A1B2C3D4E5F6" not in await person.open("/ui/tokens")
    page = await person.open("/ui/reveal?target=/ui/tokens")
    unmasked = await person.send("/ui/reveal", csrf=form_token(page), target="/ui/tokens", reason="a complaint")
    assert "04A1B2C3D4E5F6" in unmasked
    assert "a complaint" in await person.open("/ui/log?type=action")
    assert "04A1B2C3D4E5F6" not in await person.open("/ui/tokens?reveal=forged")
    await person.send("/ui/reveal", 400, csrf=form_token(page), target="https://elsewhere.example", reason="x")


async def test_a_key_is_rotated_and_an_invitation_has_a_link_and_a_qr_code(person):
    before = set(re.findall(r"[\w+/=-]{40,}", await person.open("/ui/settings/keys?format=json")))
    await person.act("rotate-key")
    assert set(re.findall(r"[\w+/=-]{40,}", await person.open("/ui/settings/keys?format=json"))) > before
    invited = await person.act("invite", hours="1")
    assert "/p2p/v1/pairings#" in unescape(invited)
    assert "<svg" in invited


@pytest.mark.parametrize("name", ACTIONS)
async def test_an_action_is_a_call_of_the_administration_and_asks_first(person, name):
    action = ACTIONS[name]
    assert (action.method, f"/admin/v1{action.path}") in {(each.method, each.path) for each in ADMIN_ENDPOINTS}
    page = await person.open(f"/ui/actions/{name}")
    assert action.title in unescape(page)
    assert ('name="reason"' in page) == action.changes


async def test_who_logs_out_is_out(person):
    page = await person.open("/ui")
    await person.send("/ui/logout", csrf=form_token(page))
    assert 'name="token"' in await person.open("/ui/peers")


async def test_after_the_login_only_pages_of_the_dashboard_are_gone_to(node):
    async with browser(node[0]) as somebody:
        for target in (
            "https://elsewhere.example/",
            "//elsewhere.example",
            "/ui\\@elsewhere.example",
            "/admin/v1/status",
        ):
            await somebody.send("/ui/login", token=node[1], person="", next=target)
            assert somebody.answer.url == URL(f"{node[0]}/ui")


NASTY = "<script>alert(1)</script>=cmd|'/c calc'!A1"


async def test_what_a_peer_writes_is_text_in_a_page_and_no_formula_in_a_table(pair):
    session = await start_session(pair, CPOPartnerSessionID=NASTY)
    await pair.a.post(CDR, cdr(session, **plausible()))
    await until_state(pair, "a", "settled")
    async with browser(f"http://127.0.0.1:{pair.ports['a backend']}") as anyone:
        for path in (f"/ui/sessions/{session}", f"/ui/cdrs/{session}", "/ui/sessions", "/ui/cdrs"):
            page = await anyone.open(path)
            assert "<script>alert" not in page, path
        assert NASTY in unescape(await anyone.open(f"/ui/sessions/{session}"))
        table = await anyone.open("/ui/sessions?format=csv")
        assert anyone.answer.headers["Content-Type"].startswith("text/csv")
        rows = list(csv.reader(io.StringIO(table)))
        assert session in {cell for row in rows for cell in row}
        assert [cell for row in rows for cell in row if cell.startswith(("=", "+", "@", "\t"))] == []


async def test_a_list_is_a_page_a_csv_table_or_json_and_goes_on_page_by_page(pair):
    sessions = [await start_session(pair) for _ in range(3)]
    async with browser(f"http://127.0.0.1:{pair.ports['a backend']}") as anyone:
        listed = await anyone.open("/ui/sessions", Accept="application/json")
        assert all(session in listed for session in sessions)
        assert anyone.answer.headers["Content-Type"].startswith("application/json")
        seen, path = [], "/ui/sessions?limit=1"
        while path:
            page = await anyone.open(path)
            seen += re.findall(r'href="/ui/sessions/([0-9a-f-]{36})"', page)
            following = re.search(r'href="([^"]+)">Next page', page)
            path = unescape(following[1]) if following else ""
        assert sorted(seen) == sorted(sessions)
        assert "Nothing matches" in await anyone.open("/ui/sessions?state=uncertain")


async def test_the_page_of_a_session_shows_both_sides_and_its_record(pair):
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session, **plausible()))
    await until_state(pair, "a", "settled")
    async with browser(f"http://127.0.0.1:{pair.ports['a backend']}") as anyone:
        page = await anyone.open(f"/ui/sessions/{session}")
        assert "node b" in page
        assert "Charge detail record" in page
    assert query(pair, "a", "SELECT count(*) AS n FROM sessions")[0][0] == 1


async def test_a_peer_that_fails_is_red_and_green_again_when_it_is_mended(stopped):
    async with stopped.running("a"), browser(f"http://127.0.0.1:{stopped.ports['a backend']}") as anyone:
        await stopped.a.post(PUSH_STATUS, push_status("fullLoad", E1="Available"))
        page = await until_page(anyone, "/ui", "Connection refused")
        assert "All is well" not in page
        async with stopped.running("b"):
            await until_page(anyone, "/ui", "All is well")


async def test_what_was_recorded_is_shown_with_its_bodies_masked(stopped):
    stopped.extra_config = '[exchanges]\nrecord = "memory"\n'
    stopped.write()
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        async with browser(f"http://127.0.0.1:{stopped.ports['a backend']}") as anyone:
            rows = await until_page(anyone, f"/ui/traffic?operation=AuthorizeStart&session={session}", "node b")
            number = re.search(r"/ui/traffic/(\d+)", rows)[1]
            page = unescape(await anyone.open(f"/ui/traffic/{number}"))
            assert '"AuthorizationStatus": "Authorized"' in page
            assert UID not in page
            assert f"/ui/traffic/{number}" in await anyone.open(f"/ui/sessions/{session}")


async def test_the_topology_shows_a_peer_with_the_state_of_its_edge(pair):
    async with browser(f"http://127.0.0.1:{pair.ports['a backend']}") as anyone:
        page = await until_page(anyone, "/ui/topology", 'class="edge good"')
        assert "/ui/peers/node%20b" in page
