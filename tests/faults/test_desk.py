"""What a person does: look into the outbox, mend a dead letter, back a node up and restore it, while it runs."""

import asyncio
import json
import shutil

import pytest
from typer.testing import CliRunner

from p2p_oicp.cli import app
from p2p_oicp.errors import P2pOicpError
from tests.faults import books

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def command(node, *arguments: str) -> str:
    """Run ``p2p-oicp`` with a node's configuration; return what it prints."""
    config = str(node.directory / "node.toml")
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--config", config])
    if result.exception is not None:
        raise result.exception
    return result.output


async def letters(node, *arguments: str) -> list[dict]:
    return json.loads(await command(node, "outbox", "list", "--json", *arguments))


async def a_dead_letter(on) -> dict:
    """Let the EMP's backend refuse a record for good."""
    on.contracts.trouble = lambda operation: "refuse" if operation == "ChargeDetailRecord" else ""
    await on.csms.charge(on.csms.evses[0])
    async with asyncio.timeout(20):
        while not (found := await letters(on.b, "--dead")):
            await asyncio.sleep(0.05)
    on.contracts.trouble = lambda _: ""
    return found[0]


async def test_a_dead_letter_says_why_is_shown_with_its_message_and_arrives_when_retried(on):
    letter = await a_dead_letter(on)
    assert (letter["operation"], letter["destination"], letter["attempts"]) == ("ChargeDetailRecord", "backend emp", 1)
    assert "022 the backend's refuse" in letter["last_error"]
    shown = json.loads(await command(on.b, "outbox", "show", str(letter["id"]), "--json"))
    assert shown["body"]["SessionID"].lower() == letter["session_key"]
    assert "022" in await command(on.b, "outbox", "list")
    assert "1 to be sent" in await command(on.b, "outbox", "retry", str(letter["id"]))
    await on.balances()


async def test_all_dead_letters_are_retried_at_once_and_what_is_thrown_away_is_gone(on):
    first = await a_dead_letter(on)
    assert "1 to be sent" in await command(on.b, "outbox", "retry", "--dead", "--to", "backend emp")
    await on.balances()
    second = await a_dead_letter(on)
    assert second["id"] > first["id"]
    await command(on.b, "outbox", "drop", str(second["id"]))
    assert await letters(on.b) == []
    events = books.rows(on.b, f"SELECT event FROM session_events WHERE session_key = '{second['session_key']}'")
    assert ("ChargeDetailRecord for backend emp thrown away by a person",) in events
    session = next(key for key in on.csms.records if key.lower() == second["session_key"])
    on.contracts.records[session] = [on.csms.records[session]]  # the person told the backend
    books.write(on.b, f"UPDATE sessions SET state = 'settled' WHERE session_key = '{second['session_key']}'")
    await on.balances()


@pytest.mark.parametrize("arguments", [("show", "999"), ("retry", "999"), ("drop", "999"), ("retry",)])
async def test_what_is_not_there_is_said_in_one_line(on, arguments):
    with pytest.raises(P2pOicpError, match=r"no letter 999|name one letter"):
        await command(on.b, "outbox", *arguments)


@pytest.mark.parametrize("path", ["?state=lost", "?limit=many", "/abc", "/-1", "/99999999999999999999999"])
async def test_the_admin_api_refuses_what_it_cannot_read(on, path):
    async with on.http.get(f"{on.a.backend_url}/admin/v1/outbox{path}") as response:
        assert response.status == 400
        assert (await response.json())["StatusCode"]["Code"] == "022"


async def test_a_backup_under_load_is_consistent_and_a_node_restored_from_it_catches_up(on, tmp_path):
    enough, settled = asyncio.Event(), set(on.csms.records)
    driving = asyncio.create_task(on.csms.keep_busy(enough))
    async with asyncio.timeout(20):
        while not on.csms.records.keys() - settled:
            await asyncio.sleep(0.01)
    said = await command(on.a, "backup", str(tmp_path / "a.sqlite3"))
    enough.set()
    await driving
    assert str(tmp_path / "a.sqlite3") in said
    await on.csms.set_status(on.csms.evses[0], "Reserved")
    await on.balances()
    await on.a.stop()
    for file in (on.a.directory / "data").glob("node.sqlite3*"):
        file.unlink()
    shutil.copy(tmp_path / "a.sqlite3", books.database(on.a))
    await on.a.start()
    assert (await on.csms.push_all()).is_yes  # what a CSMS does after its node was restored
    assert await on.statuses_are_equal()
    await on.a.kill()
    await on.replace(on.a)  # the sessions after the backup are gone: the next test begins anew
    await on.b.kill()
    await on.replace(on.b)
    on.forget()
    await on.push()


async def test_a_backup_is_not_overwritten(on, tmp_path):
    (tmp_path / "a.sqlite3").write_text("yesterday's")
    with pytest.raises(P2pOicpError, match="not overwritten"):
        await command(on.a, "backup", str(tmp_path / "a.sqlite3"))
    assert (tmp_path / "a.sqlite3").read_text() == "yesterday's"
