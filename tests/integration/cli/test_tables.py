"""What the listing commands print at terminals of three widths, to a pipe and as JSON, through a pseudo-terminal.

The expected outputs stand in ``tables/``; with UPDATE_TABLES=1 they are written anew, to be looked at before a commit.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2p_oicp.cli.terminal import Column, distance, format_table
from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import load_settings
from p2p_oicp.crypto import keystore
from p2p_oicp.oicp import Finding, Severity
from p2p_oicp.storage import cdrs, open_for_change, open_store, outbox, sessions, tokens
from p2p_oicp.storage.cdrs import CdrRow, CdrState
from p2p_oicp.storage.datasets import quarantine
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.quarantine import QuarantinedRecord
from p2p_oicp.storage.sessions import Session, SessionState
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import push
from tests.support.terminals import Terminal

TABLES = Path(__file__).with_name("tables")
SESSION_IDS = ("f98efba4-02d8-4fa0-b810-9a9d50d2c527", "0190d2b4-7d1c-7a51-8b2e-4f7f4f0e8f11")
WIDTHS = (60, 80, 140)
#: Each with how many columns its table has in a pipe; 0: it is no table.
COMMANDS = {
    "outbox": ("outbox list", 9),
    "outbox-show": ("outbox show 1", 0),
    "cdrs": ("cdrs list", 6),
    "cdrs-show": (f"cdrs show {SESSION_IDS[0]}", 0),
    "reconcile": ("cdrs reconcile", 5),
    "sessions": ("sessions list", 6),
    "sessions-show": (f"sessions show {SESSION_IDS[0]}", 0),
    "tokens": ("tokens list", 3),
    "quarantine": ("quarantine list", 6),
    "history": ("history DE*ALF*E0000000001*1", 0),
    "peers": ("peers list", 9),
    "peers-show": ("peers show Alpha", 0),
    "status": ("status", 0),
    "keys": ("keys show", 4),
    "endpoints": ("endpoints", 5),
    "errata": ("errata D10", 0),
    "id": ("id DE*ALF*E0000000001*1", 0),
}
_REASON = (
    "HTTP 400: the CDR's EvseID DE*ALF*E0000000001*1 is not known here; the last 3 records of it were refused, too"
)
# Runs all commands in one process: starting Python costs more than all of them.
# The node does not run: what it would answer stands in a file beside its settings.
_PROGRAM = """
import json, pathlib, sys
from p2p_oicp import cli
from p2p_oicp.cli import client
config, *commands = sys.argv[1:]
answers = json.loads(pathlib.Path(config).with_name("answers.json").read_text())
client.call_admin = lambda config, method, path, *_, **__: answers[path]
async def send_to_admin(endpoint, method, path, *_, **__):
    return answers[path]
client.send_to_admin = send_to_admin
for command in commands:
    without_node = command.split()[0] in ("endpoints", "errata", "id")
    sys.argv = ["p2p-oicp", *command.split(), *(() if without_node else ("--config", config))]
    try:
        cli.main()
    except SystemExit:
        print("----", flush=True)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    (folder / "peers.toml").write_text("")
    path = folder / "node.toml"
    path.write_text('[node]\nname = "node b"\nproviders = ["DE-GDF"]\n[security]\nrequire = []\n')
    settings = load_settings(path)
    with open_for_change(settings.storage.file) as tx:
        insert_rows(tx, time.time())
    asyncio.run(insert_datasets(settings.storage.file, time.time()))
    keystore.generate(settings.security.keys)
    (folder / "answers.json").write_text(json.dumps(answers(time.time())))
    return path


async def insert_datasets(file, now) -> None:
    async with open_store(file) as store:
        coordinator = DatasetCoordinator(store, lambda: now - 86_400)
        await coordinator.apply(push("insert", "Alpha", DEALFE00000000011="Available"))
        findings = (Finding(Severity.ERROR, "/EvseStatusRecord/17/EvseStatus", "missing", _REASON),)
        record = QuarantinedRecord(b'{"EvseID":"DE*ALF*E0000000001*2"}', findings)
        await quarantine.add(store, "Alpha Charging Deutschland", "PushEvseStatus", [record], now - 7200.5)


def answers(now) -> dict[str, object]:
    """Return what the node would answer, by path: a peer that cannot be reached, and one where all is well."""
    trouble = {
        "severity": "error",
        "name": "Alpha",
        "channels": ["outbox"],
        "cause": "cannot connect",
        "text": "Nothing answers at the address of Alpha.",
        "cure": "Check the url of Alpha and the firewalls between you; if both are right, call Alpha's operator.",
        "error": "no connection to roaming.alpha-charging-deutschland.example:8320: Connection refused",
        "since": format_timestamp(now - 7200.5),
        "tries": 12,
        "next_try": format_timestamp(now + 90),
        "count": 0,
    }
    alpha = peer_state("Alpha", now, [trouble])
    alpha |= {"operators": ["DE*ALF", "CH*ALF", "+49*810"], "url": "https://roaming.alpha-charging-deutschland.example"}
    beta = peer_state("Beta", now, []) | {"providers": ["DE-BET"], "url": "http://127.0.0.1:8330"}
    report = {"ok": False, "node": "node b", "problems": [trouble], "peers": [alpha, beta], "backends": []}
    disk = {"disk": {"total_bytes": 2e11, "free_bytes": 1e11}, "database": {"bytes": 1.5e6}}
    reconciled = {"peer": "Alpha", "reported": 3, "imported": 1, "rejected": 1, "error": _REASON}
    return {
        "/admin/v1/peers": {"peers": [alpha, beta], "candidates": []},
        "/admin/v1/peers/Alpha": alpha,
        "/admin/v1/status": report | disk | {"running_since": format_timestamp(now - 7200.5)},
        "/admin/v1/cdrs/reconcile": {"peers": [reconciled]},
    }


def peer_state(name, now, troubles):
    state = "failing" if troubles else "in sync"
    since = format_timestamp(now - 7200.5)
    outbox_state = {"channel": "outbox", "state": state, "behind": 3 * bool(troubles), "behind_since": since}
    channels = [outbox_state, {"channel": "evse data", "state": "in sync", "behind": 0, "behind_since": None}]
    return {
        "name": name,
        "up": not troubles,
        "held": None,
        "last_seen": since,
        "clock_skew_seconds": 0.2,
        "channels": [channel | {"last_success": since, "troubles": []} for channel in channels[1:]]
        + [channels[0] | {"last_success": since, "troubles": troubles}],
        "problem": troubles[0]["text"] if troubles else None,
        "operators": [],
        "providers": [],
        "services": None,
        "trust": "authenticated by signature (paired)",
        "default_route": False,
    }


def insert_rows(tx, now) -> None:
    for number, session_id in enumerate(SESSION_IDS):
        at = now - 3 * 86400 - 3600 - number
        outbox.enqueue(
            tx,
            destination="backend:contracts-of-the-north",
            operation="ChargeDetailRecord",
            sender_id="DE*ALF",
            role="emp",
            session_key=session_id,
            body=b"{}",
            now=at,
        )
        cdrs.insert(tx, cdr_row(session_id), at)
        sessions.insert_or_get(tx, session_row(session_id, at))
    event = {"Type": "Start", "SessionID": SESSION_IDS[0], "EvseID": "DE*ALF*E0000000001*1", "MeterValueStart": 10.5}
    sessions.add_event(tx, "emp", SESSION_IDS[0], now, "notification Start", json.dumps(event).encode())
    failed = Statement("UPDATE outbox SET last_error = :error, next_try_at = :at, attempts = 3 WHERE id = 1", {})
    tx.run(failed, error=_REASON, at=now + 7260)
    tokens.upsert_token(tx, tokens.Token("DEGDFC123456789", "DE-GDF-C12345678-9", b"hash"), now - 7200.5)
    tokens.upsert_token(tx, tokens.Token("1234ABCD", "1234ABCD"), now - 3600.5)


def cdr_row(session_id):
    return CdrRow(
        role="emp",
        session_key=session_id,
        peer="Alpha Charging Deutschland",
        operator_key="",
        provider_key="",
        session_end=1.0,
        body=b"{}",
        state=CdrState.DELIVERED,
        doubts=_REASON if session_id == SESSION_IDS[0] else None,
    )


def session_row(session_id, at):
    return Session(
        role="emp",
        session_key=session_id,
        session_id=session_id,
        kind="remote",
        state=SessionState.CHARGING,
        peer="Alpha Charging Deutschland",
        request_digest=b"one",
        created_at=at,
        updated_at=at,
        provider_id="DE-GDF",
        evse_id="DE*ALF*E0000000001*1",
    )


def at_terminal(config, width, *commands) -> str:
    """Run commands at a pseudo-terminal so wide; return what they print there."""
    terminal = Terminal(str(config), *commands, width=width, program=("-c", _PROGRAM))
    assert terminal.exit_code() == 0, terminal.text
    return terminal.raw


def to_pipe(config, *commands) -> str:
    command = [sys.executable, "-c", _PROGRAM, str(config), *commands]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", params=WIDTHS)
def screen(request, config):
    """The width, and what each command prints there."""
    outputs = at_terminal(config, request.param, *(command for command, _ in COMMANDS.values())).split("----\n")
    return request.param, dict(zip(COMMANDS, outputs, strict=False))


def compare(name, output) -> None:
    # A progress bar, which is removed at its end.
    output = re.sub(r"\x1b\[\?25l.*\x1b\[2K", "", output, flags=re.DOTALL)
    output = re.sub(r"20\d\d-\d\d-\d\dT[0-9:.+]{18}", "TIME", output)
    output = re.sub(r"SHA256:[A-Za-z0-9+/]{43}", f"SHA256:{'K' * 43}", output)
    file = TABLES / f"{name}.txt"
    if os.environ.get("UPDATE_TABLES"):
        file.write_text(output)
    assert output == file.read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_table_at_a_terminal_is_as_agreed(screen, name):
    width, outputs = screen
    compare(f"{name}-{width}", outputs[name])


def test_no_id_is_broken_and_no_reason_cut_at_any_width(screen):
    _, outputs = screen
    for name in ("outbox", "cdrs", "sessions"):
        for session_id in SESSION_IDS:
            assert len([line for line in outputs[name].splitlines() if session_id in line]) == 1
    for name in ("outbox", "cdrs", "reconcile", "quarantine"):
        assert _REASON in " ".join(outputs[name].split())
    assert "DE-GDF-C12345678-9" in outputs["tokens"]


def test_a_line_is_longer_than_the_terminal_only_where_it_is_one_word(screen):
    width, outputs = screen
    lines = [line for output in outputs.values() for line in re.sub(r"\x1b.*?[a-zA-Z]", "", output).splitlines()]
    assert not [line for line in lines if len(line) > width and " " in line.strip()]


def test_a_pipe_gets_one_record_a_line_with_all_that_there_is(config):
    outputs = to_pipe(config, *(command for command, _ in COMMANDS.values())).split("----\n")
    for (name, (_, count)), output in zip(COMMANDS.items(), outputs, strict=False):
        if count:
            assert {len(line.split("\t")) for line in output.splitlines()} == {count}
        compare(f"{name}-pipe", output)
    (found,) = [line for line in outputs[0].splitlines() if SESSION_IDS[0] in line]  # as grep finds it
    assert _REASON in found


def test_programs_read_the_same_as_json(config):
    lines = [f"{command} --json" for command, _ in COMMANDS.values()]
    texts = to_pipe(config, *lines).split("----\n")[:-1]
    counts = {name: len(json.loads(text)) for name, text in zip(COMMANDS, texts, strict=True)}
    assert counts.items() >= {"outbox": 2, "cdrs": 2, "sessions": 2, "tokens": 2, "peers": 2, "keys": 1}.items()


def test_times_are_absolute_for_who_wants_them(config):
    assert re.search(r"20\d\d-\d\d-\d\dT", at_terminal(config, 200, "outbox list --utc"))
    assert "3 d ago" in at_terminal(config, 200, "outbox list")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-0.2, "now"), (-61, "1 min ago"), (7260, "in 2 h"), (-3 * 86400, "3 d ago")],
)
def test_a_distance_is_in_its_largest_unit(seconds, expected):
    assert distance(seconds) == expected


def test_columns_are_dropped_in_the_order_of_their_priorities():
    columns = [Column("Id"), Column("Name", 1), Column("Much", 2), Column("Why", is_detail=True)]
    rows = [["4711", "Alpha", "xxxxxxxx", "because"]]
    shown = {width: next(iter(format_table(columns, rows, width))).split() for width in (30, 14, 6)}
    assert shown == {30: ["Id", "Name", "Much"], 14: ["Id", "Name"], 6: ["Id"]}
    assert list(format_table(columns, rows, 3)) == [
        "Id: 4711",
        "Name: Alpha",
        "Much: xxxxxxxx",
        "Why:",
        "  because",
        "",
    ]


def test_progress_is_shown_at_a_terminal_only(config):
    export = "cdrs export --since 2020-01-01"
    assert to_pipe(config, export).startswith("[\n")
    assert "Exporting" not in to_pipe(config, export)
    assert "Exporting" in at_terminal(config, 100, export)
