"""What an operator does while a node runs: inspect the outbox, retry a dead letter, back up and restore."""

import asyncio
import json
import shutil

import pytest
from typer.testing import CliRunner

from p2p_oicp.cli import app
from p2p_oicp.config import load_settings
from p2p_oicp.errors import P2pOicpError
from tests.chaos import ledger
from tests.support.database import read
from tests.support.waiting import eventually

NOTIFICATION = "ChargingNotifications"
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def command(node, *arguments: str) -> str:
    """Run ``p2p-oicp`` with a node's configuration; return what it prints."""
    config = str(node.directory / "node.toml")
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--config", config])
    if result.exception is not None:
        raise result.exception
    return result.output


async def outbox_messages(node, *arguments: str) -> list[dict]:
    return json.loads(await command(node, "outbox", "list", "--json", *arguments))


async def make_dead_letter(testbed) -> dict:
    """Let the EMP's backend refuse one notification for good; a CDR that it refuses is disputed, and no dead letter."""
    refusals = iter(["refuse"])
    testbed.contracts.fault_for = lambda operation: next(refusals, "") if operation == NOTIFICATION else ""
    await testbed.csms.charge(testbed.csms.evses[0])
    found = await eventually(lambda: outbox_messages(testbed.b, "--dead"), timeout=20)
    testbed.contracts.fault_for = lambda _: ""
    return found[0]


async def until_arrived(testbed, message: dict) -> None:
    """Wait until the backend has the late notification, which came out of order, and order its ledger."""
    session = next(key for key in testbed.csms.notified if key.lower() == message["session_key"])
    sent, received = testbed.csms.notified[session], testbed.contracts.notified
    await eventually(lambda: not ledger.rows(testbed.b, "SELECT 1 FROM outbox"), timeout=20)
    order = [_canonical(body) for body in sent]
    received[session].sort(key=lambda body: order.index(_canonical(body)))


def _canonical(body: bytes) -> str:
    return json.dumps(json.loads(body), sort_keys=True)


async def test_a_dead_letter_says_why_is_shown_with_its_message_and_arrives_when_retried(testbed):
    message = await make_dead_letter(testbed)
    assert (message["operation"], message["destination"], message["attempts"]) == (
        NOTIFICATION,
        "backend:emp",
        1,
    )
    assert "022 the backend's refuse" in message["last_error"]
    shown = json.loads(await command(testbed.b, "outbox", "show", str(message["id"]), "--json"))
    assert shown["body"]["SessionID"].lower() == message["session_key"]
    assert "022" in await command(testbed.b, "outbox", "list")
    assert "1 to be sent" in await command(testbed.b, "outbox", "retry", str(message["id"]))
    await until_arrived(testbed, message)
    await testbed.check_ledger()


async def test_all_dead_letters_are_retried_at_once_and_a_discarded_one_is_deleted(testbed):
    first = await make_dead_letter(testbed)
    assert "1 to be sent" in await command(testbed.b, "outbox", "retry", "--dead", "--to", "backend:emp")
    await until_arrived(testbed, first)
    await testbed.check_ledger()
    second = await make_dead_letter(testbed)
    assert second["id"] > first["id"]
    await command(testbed.b, "outbox", "drop", str(second["id"]))
    # The CDR that was behind it may be under way.
    await eventually(lambda: not ledger.rows(testbed.b, "SELECT 1 FROM outbox"), timeout=20)
    events = ledger.rows(testbed.b, f"SELECT event FROM session_events WHERE session_key = '{second['session_key']}'")
    assert (f"{NOTIFICATION} for backend:emp discarded",) in events
    session = next(key for key in testbed.csms.notified if key.lower() == second["session_key"])
    testbed.contracts.notified[session] = testbed.csms.notified[session]  # the operator reported it to the backend
    await testbed.check_ledger()


@pytest.mark.parametrize("arguments", [("show", "999"), ("retry", "999"), ("drop", "999"), ("retry",)])
async def test_an_unknown_message_is_reported_in_one_line(testbed, arguments):
    with pytest.raises(P2pOicpError, match=r"no message 999|name one"):
        await command(testbed.b, "outbox", *arguments)


@pytest.mark.parametrize("path", ["?state=lost", "?limit=many", "/abc", "/-1", "/99999999999999999999999"])
async def test_the_admin_api_refuses_what_it_cannot_read(testbed, path):
    token = load_settings(testbed.a.directory / "node.toml").backend_api.token.get_secret_value()
    url, headers = f"{testbed.a.backend_url}/admin/v1/outbox{path}", {"Authorization": f"Bearer {token}"}
    async with testbed.http.get(url, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["StatusCode"]["Code"] == "022"


async def test_a_backup_is_not_overwritten(testbed, tmp_path):
    (tmp_path / "a.sqlite3").write_text("yesterday's")
    with pytest.raises(P2pOicpError, match="not overwritten"):
        await command(testbed.a, "backup", "--database-only", str(tmp_path / "a.sqlite3"))
    assert (tmp_path / "a.sqlite3").read_text() == "yesterday's"


async def back_up_under_load(testbed, node, file) -> None:
    """Back a node up under load; the copy is intact, and a CPO's has all that was acknowledged before it began."""
    stop, before = asyncio.Event(), set(testbed.csms.records)
    driving = asyncio.create_task(testbed.csms.charge_until(stop))
    await eventually(lambda: testbed.csms.records.keys() - before, timeout=20)
    acknowledged = {session.lower(): body for session, body in testbed.csms.records.items()}
    output = await command(node, "backup", "--database-only", str(file))
    stop.set()
    await driving
    assert str(file) in output
    assert read(file, "PRAGMA integrity_check") == [("ok",)]
    assert node is testbed.b or acknowledged.items() <= ledger.stored_cdrs(file, "cpo").items()


async def restore(node, file) -> None:
    """Restore a backup as the README describes."""
    await node.stop()
    for each in (node.directory / "data").glob("node.sqlite3-*"):
        each.unlink()
    shutil.copy(file, ledger.database(node))
    await node.start()


async def test_a_node_of_an_emp_restored_from_a_backup_gets_what_is_newer_from_its_peers(testbed, tmp_path):
    await back_up_under_load(testbed, testbed.b, tmp_path / "b.sqlite3")
    await testbed.csms.run_sessions(3)
    await testbed.csms.set_status(testbed.csms.evses[0], "Reserved")
    for each in testbed.cpo_datasets:
        await each.change()
    await testbed.check_ledger()
    await restore(testbed.b, tmp_path / "b.sqlite3")
    await testbed.check_ledger()


# The last test of this module: the CPO's node has lost the sessions after the backup, so ledgers and databases differ.
async def test_a_node_of_a_cpo_restored_from_a_backup_brings_its_peers_to_its_datasets(testbed, tmp_path):
    await back_up_under_load(testbed, testbed.a, tmp_path / "a.sqlite3")
    backed_up = ledger.stored_datasets(tmp_path / "a.sqlite3")
    await testbed.csms.set_status(testbed.csms.evses[-1], "OutOfService")
    for each in testbed.cpo_datasets:
        await each.change()
    await testbed.check_ledger()
    assert ledger.stored_datasets(ledger.database(testbed.b), "node a") != backed_up
    await restore(testbed.a, tmp_path / "a.sqlite3")
    await eventually(lambda: ledger.stored_datasets(ledger.database(testbed.b), "node a") == backed_up, timeout=20)
    assert (await testbed.contracts.pull())[testbed.csms.evses[-1]] == "Available"
    await testbed.push()  # what a CSMS does after its node was restored
    await testbed.wait_until_datasets_agree()
