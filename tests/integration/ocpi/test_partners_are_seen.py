"""What the operator sees of OCPI partners: status, doctor, events, metrics, dashboard, commands."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from p2p_oicp.errors import PeerUnauthorized
from p2p_oicp.ocpi_gateway.partners import MAX_REFUSALS, NotRegistered
from tests.support.dashboards import browser
from tests.support.ocpi_platform import envelope, lab_with


@pytest.fixture
async def lab(tmp_path):
    async with lab_with(tmp_path) as lab:
        yield lab


async def get(lab, path: str):
    async with lab.platform.http.get(f"{lab.backend_url}{path}") as answer:
        assert answer.status == 200, path
        return await (answer.json() if path.startswith("/admin") else answer.text())


async def problems(lab) -> list[tuple[str, str, str]]:
    status = await get(lab, "/admin/v1/status")
    return [(each["severity"], each["name"], each["cause"]) for each in status["problems"] if "ocpi:" in each["name"]]


async def refuse_credentials(node, lab, times: int = MAX_REFUSALS) -> None:
    """Let the platform refuse our token, as one does that has lost its database."""
    lab.platform.own_tokens.clear()
    for _ in range(times):
        with pytest.raises(PeerUnauthorized):
            await node._ocpi.partners.call("citrine", "GET", ("locations", "SENDER"))


async def test_a_partner_that_is_not_registered_is_a_notice_and_no_failure(lab):
    async with lab.running():
        assert await problems(lab) == [("notice", "ocpi:citrine", "not registered")]
        await lab.register_partner()
        assert await problems(lab) == []


async def test_a_partner_that_refuses_our_credentials_three_times_is_suspended_until_it_is_refreshed(lab):
    async with lab.running() as node:
        await lab.register_partner()
        await refuse_credentials(node, lab, MAX_REFUSALS - 1)
        assert (await lab.partner_state())["state"] == "registered"
        await refuse_credentials(node, lab, 1)
        assert await problems(lab) == [("error", "ocpi:citrine", "suspended")]
        requests = len(lab.platform.requests)
        with pytest.raises(NotRegistered, match="ocpi refresh citrine"):
            await node._ocpi.partners.call("citrine", "GET", ("locations", "SENDER"))
        assert len(lab.platform.requests) == requests
        # It has found our token again.
        lab.platform.own_tokens.add(node._ocpi.partners.connection("citrine").token)
        assert (await lab.admin("POST", "partners/citrine/refresh"))[0] == 200
        assert await problems(lab) == []


async def test_refusals_that_are_not_in_a_row_suspend_nobody(lab):
    async with lab.running() as node:
        await lab.register_partner()
        tokens = set(lab.platform.own_tokens)
        for _ in range(3):
            await refuse_credentials(node, lab, MAX_REFUSALS - 1)
            lab.platform.own_tokens |= tokens
            await node._ocpi.partners.call("citrine", "GET", ("locations", "SENDER"))
        assert (await lab.partner_state())["state"] == "registered"


async def test_a_suspension_outlives_a_restart(lab):
    async with lab.running() as node:
        await lab.register_partner()
        await refuse_credentials(node, lab)
    async with lab.running():
        assert await problems(lab) == [("error", "ocpi:citrine", "suspended")]


async def test_a_partner_whose_requests_fail_is_a_problem_until_one_succeeds(lab):
    async with lab.running() as node:
        await lab.register_partner()
        lab.platform.answers["GET", "/ocpi/2.2.1/locations"] = lambda _: web.Response(status=500)
        with pytest.raises(Exception, match="500"):
            await node._ocpi.partners.call("citrine", "GET", ("locations", "SENDER"))
        assert await problems(lab) == [("error", "ocpi:citrine", "server error")]
        lab.platform.answers["GET", "/ocpi/2.2.1/locations"] = lambda _: web.json_response(envelope([]))
        await node._ocpi.partners.call("citrine", "GET", ("locations", "SENDER"))
        assert await problems(lab) == []


async def test_doctor_tries_the_way_to_a_partner(lab):
    async with lab.running():
        before = await doctor(lab)
        await lab.register_partner()
        after = await doctor(lab)
    assert (before, after) == ("skipped", "ok")


async def doctor(lab) -> str:
    """Return the outcome of the check of the partner."""
    async with lab.platform.http.post(f"{lab.backend_url}/admin/v1/doctor", json={}) as answer:
        checks = (await answer.json())["checks"]
    return next(each["outcome"] for each in checks if each["name"] == "ocpi:citrine")


async def test_registrations_are_events_and_requests_are_counted(lab):
    async with lab.running():
        await lab.register_partner()
        await lab.admin("DELETE", "partners/citrine/registration")
        events = (await get(lab, "/admin/v1/events?after=0"))["events"]
        metrics = await get(lab, "/metrics")
    seen = [(each["backend"], each["what"]) for each in events if each["type"] == "backend"]
    assert [each for each in seen if each[1].endswith("registered")] == [
        ("ocpi:citrine", "registered"),
        ("ocpi:citrine", "unregistered"),
    ]
    labels = 'method="POST",module="credentials",partner="citrine",status="1000"'
    assert f"p2p_oicp_ocpi_requests_total{{{labels}}} 1.0" in metrics


async def test_the_page_of_peers_has_a_section_of_partners(lab, monkeypatch):
    monkeypatch.setenv("P2P_OICP_DASHBOARD__READ_ONLY_TOKEN", "only-to-look-at")
    async with lab.running(), browser(lab.backend_url) as person:
        await lab.register_partner()
        await person.log_in("only-to-look-at")
        page = await person.open("/ui/peers")
    assert "OCPI partners" in page
    assert "/ui/peers/ocpi%3Acitrine" in page


async def test_the_commands_show_and_change_partners(lab, p2p_oicp):
    async with lab.running():
        shown = await asyncio.to_thread(p2p_oicp, "ocpi", "invite", "citrine", "--json", "--config", lab.config)
        answer = await lab.platform.register(json.loads(shown.out))
        assert answer.code == 1000
        refreshed = await asyncio.to_thread(p2p_oicp, "ocpi", "refresh", "citrine", "--config", lab.config)
        assert "citrine has new credentials: OCPI 2.2.1" in refreshed.out
    down = await asyncio.to_thread(p2p_oicp, "ocpi", "partners", "--json", "--config", lab.config)
    (partner,) = json.loads(down.out)
    assert (partner["name"], partner["state"]) == ("citrine", "registered")
    assert "token" not in partner
    table = await asyncio.to_thread(p2p_oicp, "ocpi", "partners", "--config", lab.config)
    assert "citrine" in table.out
    async with lab.running():
        ended = await asyncio.to_thread(p2p_oicp, "ocpi", "unregister", "citrine", "--forget", "--config", lab.config)
        assert "citrine is registered no more, and its objects are deleted" in ended.out
        token_file = lab.folder / "token.txt"
        token_file.write_text(lab.platform.new_token() + "\n")
        registered = await asyncio.to_thread(
            p2p_oicp, "ocpi", "register", "citrine", "--token-file", token_file, "--config", lab.config
        )
        assert "citrine is registered: OCPI 2.2.1" in registered.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("invite", "nobody"), "no [[ocpi.partners]] has this name; there is citrine"),
        (("refresh", "citrine"), "not registered; run: p2p-oicp ocpi invite citrine"),
        (("invite", "citrine", "--ttl", "soon"), "is no duration"),
        (("register", "citrine", "--token-file", "/nowhere"), "cannot be read"),
        (("register", "citrine", "--own-token-file", "x"), "expected --provisioned as well"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_a_command_that_does_not_fit_says_what_does(lab, p2p_oicp, arguments, words):
    async with lab.running():
        done = await asyncio.to_thread(p2p_oicp, "ocpi", *arguments, "--config", lab.config)
    assert done.code != 0
    assert words in done.err
