"""``p2p-oicp events`` and ``webhooks`` at a running node."""

import asyncio
import json
import signal
import sys

import pytest

from tests.support.messages import PUSH_STATUS, push_status
from tests.support.nodes import stopped
from tests.support.receivers import Receiver, receiving
from tests.support.waiting import eventually

__all__ = ["stopped"]


async def push(pair, **statuses: str) -> None:
    await pair.a.post(PUSH_STATUS, push_status("fullLoad", **statuses))


def config(pair):
    return pair.folder / "a" / "node.toml"


async def test_the_newest_events_that_are_selected_are_shown(stopped, p2p_oicp):
    async with stopped.running("a"):
        for number in range(4):
            await push(stopped, E1="Available" if number % 2 else "Occupied", E2="Reserved")

        async def run(*options: str):
            return await asyncio.to_thread(p2p_oicp, "events", "--config", config(stopped), *options)

        shown = await run("--json", "--type", "evse_status", "--evse", "DE*GEF*EE1", "--limit", "2")
        events = [json.loads(line) for line in shown.out.splitlines()]
        assert [(event["evse"], event["what"]) for event in events] == [
            ("DEGEFEE1", "Occupied"),
            ("DEGEFEE1", "Available"),
        ]
        everything = await run("--json", "--after", "0", "--type", "evse_status")
        assert len(everything.out.splitlines()) == 5
        after = await run("--json", "--after", events[0]["id"], "--type", "evse_status")
        assert [json.loads(line)["id"] for line in after.out.splitlines()] == [events[1]["id"]]
        piped = (await run("--type", "evse_status", "--limit", "1")).out.splitlines()
        assert [len(line.split("\t")) for line in piped] == [9, 9]
        assert "No events" in (await run("--type", "certificate")).err
        assert "no type of event" in (await run("--type", "cdrs")).err


async def test_who_follows_comes_back_when_the_node_does(stopped):
    async with stopped.running("a"):
        await push(stopped, E1="Available")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "p2p_oicp", "events", "--config", str(config(stopped))),
            *("--follow", "--json", "--after", "0", "--type", "evse_status"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert await next_status(process) == "Available"
        await push(stopped, E1="Occupied")
        assert await next_status(process) == "Occupied"
    async with stopped.running("a"):
        await push(stopped, E1="Reserved")
        assert await next_status(process) == "Reserved"
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, b"trying again" in err) == (130, True)


async def next_status(process) -> str:
    async with asyncio.timeout(30):
        return json.loads(await process.stdout.readline())["what"]


async def test_a_receiver_is_added_tried_listed_and_removed(stopped, p2p_oicp):
    async with receiving(Receiver()) as receiver, stopped.running("a"):

        async def run(*arguments: str):
            return await asyncio.to_thread(p2p_oicp, "webhooks", *arguments, "--config", config(stopped))

        assert (await run("add", "crm", receiver.url, "--type", "evse_status", "--unsigned")).code == 0
        assert "has taken event" in (await run("test", "crm")).out
        await push(stopped, E1="Available")
        await eventually(lambda: receiver.of_type("evse_status"))
        assert "crm" in (await run("list")).out
        receiver.answer = lambda _: 500
        refused = await run("test", "crm")
        assert (refused.code, "500" in refused.err) == (1, True)
        assert (await run("remove", "crm")).code == 0
        assert "no webhook crm" in (await run("remove", "crm")).err


@pytest.mark.parametrize("arguments", [("add", "x", "ftp://x"), ("add", "x:y", "http://x"), ("test", "nothing")])
async def test_what_is_wrong_with_a_receiver_is_one_line(stopped, p2p_oicp, arguments):
    async with stopped.running("a"):
        failed = await asyncio.to_thread(p2p_oicp, "webhooks", *arguments, "--config", config(stopped))
    assert (failed.code, failed.err.count("\n")) == (2, 1)
