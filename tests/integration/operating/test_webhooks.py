"""Receivers of webhooks get what happens as CloudEvents, signed, each at least once and in their order."""

import asyncio
import re
import time
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from p2p_oicp.crypto import keystore
from p2p_oicp.crypto.http_signatures import verify_request
from p2p_oicp.crypto.keystore import read_own_keys
from p2p_oicp.crypto.signature_base import SignedRequestParts
from p2p_oicp.errors import StoreError
from tests.support.messages import CDR, PUSH_STATUS, cdr, plausible, push_status
from tests.support.nodes import query, start_session, stopped
from tests.support.pairing import Admin
from tests.support.paths import ROOT
from tests.support.receivers import Receiver, receiving
from tests.support.waiting import eventually, eventually_equals

__all__ = ["stopped"]


@pytest.fixture
async def receiver():
    async with receiving(Receiver()) as receiver:
        yield receiver


@asynccontextmanager
async def running(pair, *tables: str):
    pair.extra_config = "".join(f"[[webhooks]]\n{table}\n" for table in tables)
    pair.write()
    # Node B has none: its settings are those of A otherwise.
    b = pair.folder / "b" / "node.toml"
    b.write_text(b.read_text().replace(pair.extra_config, ""))
    async with pair.running("a") as node:
        yield node


def table(receiver: Receiver, name: str = "warehouse", **settings: str) -> str:
    members = {"name": f'"{name}"', "url": f'"{receiver.url}"', "signature": "false", **settings}
    return "\n".join(f"{key} = {value}" for key, value in members.items())


async def push(pair, **statuses: str) -> None:
    await pair.a.post(PUSH_STATUS, push_status("fullLoad", **statuses))


def statuses(receiver: Receiver) -> list[str]:
    return [event["what"] for event in receiver.of_type("evse_status")]


async def test_a_receiver_gets_events_as_cloud_events(stopped, receiver):
    async with running(stopped, table(receiver, types='["session", "cdr.accepted"]')), stopped.running("b"):
        session = await start_session(stopped)
        await stopped.a.post(CDR, cdr(session, **plausible()))
        await eventually(lambda: any(event["type"] == "p2p-oicp.session.settled" for event in receiver.events))
    types = [event["type"] for event in receiver.events]
    assert {each.split(".")[1] for each in types} <= {"session", "cdr"}
    first = receiver.events[0]
    assert first["specversion"] == "1.0"
    assert first["source"] == f"http://127.0.0.1:{stopped.ports['a']}"
    assert (first["subject"], first["data"]["session_id"]) == (session, session)
    assert (first["id"], first["datacontenttype"]) == (first["data"]["id"], "application/json")
    assert datetime.fromisoformat(first["time"]).timestamp() == pytest.approx(first["data"]["at"], abs=0.002)
    assert receiver.requests[0]["headers"]["Content-Type"] == "application/cloudevents-batch+json; charset=utf-8"


async def test_a_receiver_without_lists_gets_one_event_a_request_and_the_token(stopped, receiver):
    async with running(stopped, table(receiver, batch="1", token='"0123456789"', types='["evse_status"]')):
        await push(stopped, E1="Available", E2="Occupied")
        await eventually_equals(lambda: statuses(receiver), ["Available", "Occupied"])
    headers = receiver.requests[0]["headers"]
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["Authorization"] == "Bearer 0123456789"
    assert [each["count"] for each in receiver.requests] == [1, 1]


async def test_requests_are_signed_with_the_key_of_the_node(stopped, receiver):
    keystore.generate(stopped.folder / "a" / "keys")
    async with running(stopped, table(receiver, signature="true")):
        await push(stopped, E1="Available")
        await eventually(lambda: receiver.requests)
    keys = {each.public.key_id: each.public for each in read_own_keys(stopped.folder / "a" / "keys").entries}
    received = receiver.requests[0]
    path, _, path_query = received["path"].partition("?")
    parts = SignedRequestParts(
        "POST", received["headers"]["Host"], path, path_query, received["headers"], received["body"]
    )
    signature = verify_request(parts, keys.get, time.time())
    assert signature.key.key_id in keys


async def test_a_receiver_that_was_away_gets_everything_in_order_and_delays_no_other(stopped, receiver):
    away = Receiver(answer=lambda _: 503)
    async with (
        receiving(away),
        running(stopped, table(away, types='["evse_status"]'), table(receiver, "other", types='["evse_status"]')),
    ):
        for status in ("Available", "Occupied", "Reserved"):
            await push(stopped, E1=status)
        await eventually_equals(lambda: statuses(receiver), ["Available", "Occupied", "Reserved"])
        [problem] = [each for each in await problems(stopped) if each["name"] == "webhook:warehouse"]
        assert (problem["channels"], problem["severity"]) == (["events"], "error")
        away.answer = lambda _: 200
        await eventually_equals(lambda: statuses(away), ["Available", "Occupied", "Reserved"])
        assert [each for each in await problems(stopped) if each["name"] == "webhook:warehouse"] == []
    events = [event for event in await log_of(stopped) if event["type"] == "webhook"]
    assert [(event["what"], event["webhook"]) for event in events] == [("down", "warehouse"), ("up", "warehouse")]


async def problems(pair) -> list[dict]:
    return (await Admin(pair, "a").ask("GET", "/status"))["problems"]


async def log_of(pair) -> list[dict]:
    async with pair.running("a"):
        return (await Admin(pair, "a").ask("GET", "/events?limit=1000"))["events"]


async def test_after_a_restart_a_receiver_goes_on_where_it_was(stopped, receiver):
    async with running(stopped, table(receiver, types='["evse_status"]')):
        await push(stopped, E1="Available")
        await eventually_equals(lambda: statuses(receiver), ["Available"])
    async with running(stopped):
        # Without its table, its position is deleted: it is not sent what happens meanwhile.
        await push(stopped, E1="OutOfService")
    async with running(stopped, table(receiver, types='["evse_status"]')):
        await push(stopped, E1="Occupied")
        await eventually_equals(lambda: statuses(receiver), ["Available", "Occupied"])
        receiver.answer = lambda _: 500
        await push(stopped, E1="Reserved")
        await eventually(lambda: len(receiver.requests) > 2)
    receiver.answer = lambda _: 200
    async with running(stopped, table(receiver, types='["evse_status"]')):
        await eventually_equals(lambda: statuses(receiver), ["Available", "Occupied", "Reserved"])
    assert len(receiver.ids) == len(set(receiver.ids))


async def test_an_event_that_is_refused_for_good_is_a_dead_letter_and_costs_no_other(stopped, receiver):
    def answer(events: list[dict]) -> int:
        return 422 if any(event["data"]["what"] == "Reserved" for event in events) else 200

    receiver.answer = answer
    async with running(stopped, table(receiver, types='["evse_status"]')):
        changed = {f"E{number}": "Available" for number in range(20)} | {"E7": "Reserved"}
        await push(stopped, **changed)
        await eventually(lambda: len(receiver.events) == 19)
        [dead] = (await Admin(stopped, "a").ask("GET", "/outbox?state=dead"))["messages"]
        assert (dead["destination"], dead["operation"], dead["state"]) == ("webhook:warehouse", "Event", "dead")
        assert "422" in dead["last_error"]
        [problem] = [each for each in await problems(stopped) if each["name"] == "webhook:warehouse"]
        assert "dead letters" in problem["cause"]
        receiver.answer = lambda _: 200
        await Admin(stopped, "a").ask("POST", f"/outbox/{dead['id']}/retry")
        await eventually(lambda: len(receiver.events) == 20)
        await eventually_equals(lambda: query(stopped, "a", "SELECT count(*) FROM outbox")[0][0], 0)
    assert len(set(receiver.ids)) == 20


async def test_a_redirect_is_not_followed_and_is_shown(stopped, receiver):
    receiver.answer = lambda _: 307
    async with running(stopped, table(receiver)):
        await push(stopped, E1="Available")
        await eventually(lambda: receiver.requests)

        async def shown() -> list[str]:
            return [each["error"] for each in await problems(stopped) if each["name"] == "webhook:warehouse"]

        assert "redirect" in (await eventually(shown))[0]
    assert all(each["path"].startswith("/events") for each in receiver.requests)


async def test_receivers_are_added_tried_listed_and_removed_while_the_node_runs(stopped, receiver):
    async with running(stopped):
        admin = Admin(stopped, "a")
        await admin.ask("POST", "/webhooks", name="added", url=receiver.url, types=["evse_status"], token="12345678")
        await push(stopped, E1="Available")
        await eventually_equals(lambda: statuses(receiver), ["Available"])
    other = Receiver()
    async with receiving(other), running(stopped, table(other, "other", types='["evse_status"]')):
        assert (await admin.ask("POST", "/webhooks/added/test"))["taken"] is True
        assert receiver.events[-1]["type"] == "p2p-oicp.webhook.test"
        receiver.answer = lambda _: 500
        assert "500" in (await admin.ask("POST", "/webhooks/added/test"))["error"]
        receiver.answer = lambda _: 200
        [listed, _] = (await admin.ask("GET", "/webhooks"))["webhooks"]
        assert (listed["name"], listed["source"], listed["has_token"]) == ("added", "added", True)
        assert "12345678" not in str(listed)
        await push(stopped, E1="Occupied")
        await eventually_equals(lambda: statuses(receiver), ["Available", "Occupied"])
        await admin.ask("DELETE", "/webhooks/added")
        await push(stopped, E1="Reserved")
        await push(stopped, E1="Available")
        await eventually_equals(lambda: statuses(other), ["Occupied", "Reserved", "Available"])
        assert [each["name"] for each in (await admin.ask("GET", "/webhooks"))["webhooks"]] == ["other"]
    assert statuses(receiver) == ["Available", "Occupied"]


async def test_of_two_receivers_that_are_added_under_one_name_at_once_one_is_refused(stopped, receiver):
    async with running(stopped):
        url = f"http://127.0.0.1:{stopped.ports['a backend']}/admin/v1/webhooks"

        async def add(path: str) -> int:
            async with stopped.http.post(url, json={"name": "added", "url": f"{receiver.url}&by={path}"}) as answer:
                return answer.status

        assert sorted(await asyncio.gather(*(add(each) for each in "abcde"))) == [200, 400, 400, 400, 400]
        await push(stopped, E1="Available")
        await eventually_equals(lambda: statuses(receiver), ["Available"])
    assert {each["path"] for each in receiver.requests} == {receiver.requests[0]["path"]}


async def test_a_receiver_that_cannot_be_removed_goes_on(stopped, receiver, monkeypatch):
    def fail(_tx, name, destination):
        raise StoreError(f"disk I/O error at {name}, {destination}")

    async with running(stopped):
        admin = Admin(stopped, "a")
        await admin.ask("POST", "/webhooks", name="added", url=receiver.url, types=["evse_status"])
        await push(stopped, E1="Available")
        await eventually_equals(lambda: statuses(receiver), ["Available"])
        with monkeypatch.context() as patch:
            patch.setattr("p2p_oicp.delivery.webhook_pool.webhooks.remove", fail)
            await admin.ask("DELETE", "/webhooks/added", 503)
        await push(stopped, E1="Occupied")
        await eventually_equals(lambda: statuses(receiver), ["Available", "Occupied"])
        await admin.ask("DELETE", "/webhooks/added")
        assert (await admin.ask("GET", "/webhooks"))["webhooks"] == []


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"name": "x", "url": "ftp://x"}, "url"),
        ({"name": "x", "url": "http://x", "types": ["cdrs"]}, "no type of event"),
        ({"name": "x:y", "url": "http://x"}, "colon"),
        ({"name": "x", "url": "http://x", "token_file": "/etc/passwd"}, "token itself"),
        ({"name": "there", "url": "http://x"}, "already"),
        ({"url": "http://x"}, "name"),
    ],
)
async def test_a_wrong_receiver_is_refused_with_the_reason(stopped, receiver, members, reason):
    async with running(stopped, table(receiver, "there")):
        assert reason in str(await Admin(stopped, "a").ask("POST", "/webhooks", 400, **members))
        assert "node.toml" in str(await Admin(stopped, "a").ask("DELETE", "/webhooks/there", 404))


async def test_the_receiver_of_the_guide_verifies_who_sends_and_refuses_others(stopped):
    guide = (ROOT / "docs" / "guides" / "receive-events.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", guide, re.DOTALL)[1]
    names: dict = {}
    exec(compile(program, "receive-events.md", "exec"), names)  # noqa: S102 - our own page
    keystore.generate(stopped.folder / "a" / "keys")
    example = names["Receiver"]((stopped.folder / "a" / "keys" / "node.pub").read_bytes())
    async with receiving(Receiver(), handle=example.handle) as served:
        async with running(stopped, table(served, signature="true", types='["evse_status"]')):
            await push(stopped, E1="Available", E2="Occupied")
            await eventually(lambda: len(example.seen) == 2)
        async with stopped.http.post(served.url, json=[]) as unsigned:
            assert unsigned.status == 401
    assert [each["what"] for each in example.seen.values()] == ["Available", "Occupied"]
