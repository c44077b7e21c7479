"""A person pauses deliveries to a peer: what is for it waits and is not lost, what a driver waits for goes on."""

import asyncio

import pytest

from p2p_oicp.cli import peer_settings, peers
from p2p_oicp.cli.status import fetch_status, print_status
from tests.integration.operating.test_dashboard import browser
from tests.support.messages import CDR, PUSH_STATUS, cdr, plausible, push_status
from tests.support.nodes import Pair, query, start_session, stopped
from tests.support.pairing import Admin
from tests.support.waiting import eventually

__all__ = ["stopped"]

STATUSES_AT_B = "SELECT filter_value FROM dataset_records WHERE source <> '' AND deleted = 0 ORDER BY key"


async def channels(pair: Pair) -> dict[str, dict]:
    return {each["channel"]: each for each in (await Admin(pair, "a").ask("GET", "/peers/node%20b"))["channels"]}


async def until_behind(pair: Pair, channel: str, count: int) -> None:
    async def is_behind() -> bool:
        return (await channels(pair))[channel]["behind"] == count

    await eventually(is_behind)


async def test_what_is_for_a_paused_peer_waits_over_a_restart_and_is_delivered_when_it_is_resumed(stopped):
    async with stopped.running("b"):
        async with stopped.running("a"):
            session = await start_session(stopped)
            paused = await Admin(stopped, "a").ask("POST", "/peers/node%20b/pause", reason="maintenance")
            await stopped.a.post(CDR, cdr(session, **plausible()))
            await stopped.a.post(PUSH_STATUS, push_status("fullLoad", E1="Available"))
            await until_behind(stopped, "outbox", 1)
            await until_behind(stopped, "evse status", 1)
            # What a driver waits for goes on meanwhile.
            await start_session(stopped)
        async with stopped.running("a"):
            found = await Admin(stopped, "a").ask("GET", "/peers/node%20b")
            assert found["paused"] == {"since": paused["since"], "reason": "maintenance"}
            assert found["up"]
            assert {each["state"] for each in found["channels"] if each["channel"] in {"outbox", "evse status"}} == {
                "paused"
            }
            await start_session(stopped)
            assert query(stopped, "b", "SELECT count(*) FROM cdrs") == [(0,)]
            assert query(stopped, "b", STATUSES_AT_B) == []
            assert query(stopped, "a", "SELECT state, attempts FROM outbox") == [("waiting", 0)]
            resumed = await Admin(stopped, "a").ask("POST", "/peers/node%20b/resume", reason="they are back")
            assert resumed == {"resumed": "node b", "was_paused": True}
            await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])
            await until_behind(stopped, "evse status", 0)
            assert query(stopped, "b", STATUSES_AT_B) == [("available",)]
            assert (await Admin(stopped, "a").ask("GET", "/peers/node%20b"))["paused"] is None
            events = (await Admin(stopped, "a").ask("GET", "/events?type=peer"))["events"]
            about = [(each["what"], each["text"]) for each in events if each["what"] in {"paused", "resumed"}]
            assert about == [("paused", "maintenance"), ("resumed", "they are back")]


async def test_status_doctor_metrics_and_lists_say_that_a_peer_is_paused(stopped, capsys):
    config = stopped.folder / "a" / "node.toml"
    async with stopped.running("a"), stopped.running("b"):
        await asyncio.to_thread(peer_settings.pause, "node b", "a contract is renewed", config)
        print_status(await asyncio.to_thread(fetch_status, config))
        await asyncio.to_thread(peers.list_peers, config)
        await asyncio.to_thread(peers.show, "node b", config)
        text = " ".join(capsys.readouterr().out.split())
        assert "Deliveries to node b are paused since" in text
        assert "paused by a person" in text
        assert "a contract is renewed" in text
        status = await Admin(stopped, "a").ask("GET", "/status")
        assert status["ok"]
        assert [each["severity"] for each in status["problems"] if each["cause"] == "paused"] == ["notice"]
        checks = (await Admin(stopped, "a").ask("POST", "/doctor"))["checks"]
        assert [each["outcome"] for each in checks if each["check"] == "deliveries"] == ["notice"]
        assert 'p2p_oicp_peer_paused{peer="node b"} 1.0' in await metrics(stopped)
        await asyncio.to_thread(peer_settings.resume, "node b", "", config)
        await asyncio.to_thread(peer_settings.resume, "node b", "", config)
        out = capsys.readouterr().out
        assert "Deliveries to node b go on." in out
        assert "Deliveries to node b were not paused." in out
        assert 'p2p_oicp_peer_paused{peer="node b"} 0.0' in await metrics(stopped)


async def metrics(pair: Pair) -> str:
    async with pair.http.get(f"http://127.0.0.1:{pair.ports['a backend']}/metrics") as answer:
        return await answer.text()


async def test_a_pause_that_is_repeated_keeps_its_time_and_has_the_new_reason(stopped):
    async with stopped.running("a"):
        first = await Admin(stopped, "a").ask("POST", "/peers/node%20b/pause", reason="one")
        second = await Admin(stopped, "a").ask("POST", "/peers/node%20b/pause")
        assert second == {**first, "reason": ""}


BAD = {
    "an unknown peer": ("nobody", {}, 404, "no peer nobody"),
    "a system of our own": ("backend:csms", {}, 404, "system of our own"),
    "this node": ("node%20a", {}, 404, "no peer node a"),
    "a reason that is no text": ("node%20b", {"reason": 1}, 400, "reason"),
}


@pytest.mark.parametrize("action", ["pause", "resume"])
@pytest.mark.parametrize(("name", "members", "http_status", "text"), BAD.values(), ids=BAD)
async def test_what_cannot_be_paused_is_refused_with_the_reason(stopped, action, name, members, http_status, text):
    async with stopped.running("a"):
        answer = await Admin(stopped, "a").ask("POST", f"/peers/{name}/{action}", http_status, **members)
        assert text in answer["StatusCode"]["AdditionalInfo"]


async def test_a_person_pauses_and_resumes_by_the_page_of_the_peer(stopped):
    async with stopped.running("a"), browser(f"http://127.0.0.1:{stopped.ports['a backend']}") as person:
        page = await person.open("/ui/peers/node%20b")
        assert "/ui/actions/pause-peer" in page
        page = await person.act("pause-peer", peer="node b")
        assert "Paused by a person" in page
        assert ">paused<" in await person.open("/ui/peers")
        page = await person.act("resume-peer", peer="node b")
        assert "Paused by a person" not in page
        log = await person.open("/ui/log")
        assert "peer: paused" in log
        assert "action: resume-peer" in log
