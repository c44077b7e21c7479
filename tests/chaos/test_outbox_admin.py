"""What a person does: look into the outbox, mend a dead letter, back a node up and restore it, while it runs."""

import asyncio
import json
import shutil

import pytest
from typer.testing import CliRunner

from p2p_oicp.cli import app
from p2p_oicp.errors import P2pOicpError
from tests.chaos import ledger
from tests.support.database import read
from tests.support.waiting import eventually

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
    found = await eventually(lambda: letters(on.b, "--dead"), timeout=20)
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
    events = ledger.rows(on.b, f"SELECT event FROM session_events WHERE session_key = '{second['session_key']}'")
    assert ("ChargeDetailRecord for backend emp discarded",) in events
    session = next(key for key in on.csms.records if key.lower() == second["session_key"])
    on.contracts.records[session] = [on.csms.records[session]]  # the person told the backend
    ledger.write(on.b, f"UPDATE sessions SET state = 'settled' WHERE session_key = '{second['session_key']}'")
    await on.balances()


@pytest.mark.parametrize("arguments", [("show", "999"), ("retry", "999"), ("drop", "999"), ("retry",)])
async def test_what_is_not_there_is_said_in_one_line(on, arguments):
    with pytest.raises(P2pOicpError, match=r"no (message|letter) 999|name one"):
        await command(on.b, "outbox", *arguments)


@pytest.mark.parametrize("path", ["?state=lost", "?limit=many", "/abc", "/-1", "/99999999999999999999999"])
async def test_the_admin_api_refuses_what_it_cannot_read(on, path):
    async with on.http.get(f"{on.a.backend_url}/admin/v1/outbox{path}") as response:
        assert response.status == 400
        assert (await response.json())["StatusCode"]["Code"] == "022"


async def test_a_backup_is_not_overwritten(on, tmp_path):
    (tmp_path / "a.sqlite3").write_text("yesterday's")
    with pytest.raises(P2pOicpError, match="not overwritten"):
        await command(on.a, "backup", str(tmp_path / "a.sqlite3"))
    assert (tmp_path / "a.sqlite3").read_text() == "yesterday's"


async def backed_up_under_load(on, node, file) -> None:
    """Back a node up while drivers charge; the copy is whole, and a CPO's has what was acknowledged before it began."""
    enough, before = asyncio.Event(), set(on.csms.records)
    driving = asyncio.create_task(on.csms.keep_busy(enough))
    await eventually(lambda: on.csms.records.keys() - before, timeout=20)
    acknowledged = {session.lower(): body for session, body in on.csms.records.items()}
    said = await command(node, "backup", str(file))
    enough.set()
    await driving
    assert str(file) in said
    assert read(file, "PRAGMA integrity_check") == [("ok",)]
    assert node is on.b or acknowledged.items() <= ledger.records_in(file, "cpo").items()


async def restore(node, file) -> None:
    """Do what the README says."""
    await node.stop()
    for each in (node.directory / "data").glob("node.sqlite3-*"):
        each.unlink()
    shutil.copy(file, ledger.database(node))
    await node.start()


async def test_a_node_of_an_emp_restored_from_a_backup_gets_from_its_peers_what_came_after_it(on, tmp_path):
    await backed_up_under_load(on, on.b, tmp_path / "b.sqlite3")
    await on.csms.drive(3)
    await on.csms.set_status(on.csms.evses[0], "Reserved")
    for each in on.csms_told:
        await each.change()
    await on.balances()
    await restore(on.b, tmp_path / "b.sqlite3")
    await on.balances()


# The last test of this module: the CPO's node has lost the sessions after the backup, and the books stay uneven.
async def test_a_node_of_a_cpo_restored_from_a_backup_brings_its_peers_to_the_state_it_has_then(on, tmp_path):
    await backed_up_under_load(on, on.a, tmp_path / "a.sqlite3")
    backed_up = ledger.state_in(tmp_path / "a.sqlite3")
    await on.csms.set_status(on.csms.evses[-1], "OutOfService")
    for each in on.csms_told:
        await each.change()
    await on.balances()
    assert ledger.state_in(ledger.database(on.b), "node a") != backed_up
    await restore(on.a, tmp_path / "a.sqlite3")
    await eventually(lambda: ledger.state_in(ledger.database(on.b), "node a") == backed_up, timeout=20)
    assert (await on.contracts.pull())[on.csms.evses[-1]] == "Available"
    await on.push()  # what a CSMS does after its node was restored
    await on.state_becomes_equal()
