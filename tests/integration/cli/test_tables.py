"""What the listing commands print at terminals of three widths, to a pipe and as JSON, through a pseudo-terminal.

The expected outputs stand in ``tables/``; with UPDATE_TABLES=1 they are written anew, to be looked at before a commit.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from p2p_oicp.cli.terminal import Column, distance, format_table
from p2p_oicp.config import load_settings
from p2p_oicp.storage import cdrs, open_for_change, outbox, sessions, tokens
from p2p_oicp.storage.cdrs import CdrRow, CdrState
from p2p_oicp.storage.sessions import Session, SessionState
from p2p_oicp.storage.statements import Statement

TABLES = Path(__file__).with_name("tables")
SESSION_IDS = ("f98efba4-02d8-4fa0-b810-9a9d50d2c527", "0190d2b4-7d1c-7a51-8b2e-4f7f4f0e8f11")
WIDTHS = (60, 80, 140)
COMMANDS = {
    "outbox": ["outbox", "list"],
    "cdrs": ["cdrs", "list"],
    "sessions": ["sessions", "list"],
    "tokens": ["tokens", "list"],
}
_REASON = (
    "HTTP 400: the CDR's EvseID DE*ALF*E0000000001*1 is not known here; the last 3 records of it were refused, too"
)
# Runs all commands in one process: starting Python costs more than all of them.
_PROGRAM = """
import sys
from p2p_oicp import cli
config, *commands = sys.argv[1:]
for command in commands:
    sys.argv = ["p2p-oicp", *command.split(), "--config", config]
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
    with open_for_change(load_settings(path).storage.file) as tx:
        insert_rows(tx, time.time())
    return path


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
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(config), *commands],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment | {"TERM": "xterm"},
        cwd=Path(__file__).parents[3],
    )
    os.close(slave)
    output = b""
    try:
        while block := os.read(master, 4096):
            output += block
    except OSError:  # the terminal's end
        pass
    finally:
        os.close(master)
    assert process.wait() == 0, output
    return output.decode().replace("\r\n", "\n")


def to_pipe(config, *commands) -> str:
    command = [sys.executable, "-c", _PROGRAM, str(config), *commands]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", params=WIDTHS)
def screen(request, config):
    """The width, and what each command prints there."""
    lines = [" ".join(arguments) for arguments in COMMANDS.values()]
    outputs = at_terminal(config, request.param, *lines).split("----\n")
    return request.param, dict(zip(COMMANDS, outputs, strict=False))


def compare(name, output) -> None:
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
    assert _REASON in outputs["outbox"]
    assert _REASON in outputs["cdrs"]
    assert "DE-GDF-C12345678-9" in outputs["tokens"]


def test_a_pipe_gets_one_record_a_line_with_all_that_there_is(config):
    lines = [" ".join(arguments) for arguments in COMMANDS.values()]
    outputs = dict(zip(COMMANDS, to_pipe(config, *lines).split("----\n"), strict=False))
    for name, count in (("outbox", 9), ("cdrs", 6), ("sessions", 6), ("tokens", 3)):
        rows = [line.split("\t") for line in outputs[name].splitlines()]
        assert {len(row) for row in rows} == {count}
        compare(f"{name}-pipe", re.sub(r"20\d\d-\d\d-\d\dT[0-9:.+]{18}", "TIME", outputs[name]))
    (found,) = [line for line in outputs["outbox"].splitlines() if SESSION_IDS[0] in line]  # as grep finds it
    assert _REASON in found


def test_programs_read_the_same_as_json(config):
    lines = [f"{' '.join(arguments)} --json" for arguments in COMMANDS.values()]
    for text in to_pipe(config, *lines).split("----\n")[:-1]:
        assert len(json.loads(text)) == 2


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
    assert list(format_table(columns, rows, 3)) == ["Id: 4711", "Name: Alpha", "Much: xxxxxxxx", "Why: because", ""]


def test_progress_is_shown_at_a_terminal_only(config):
    export = "cdrs export --since 2020-01-01"
    assert to_pipe(config, export).startswith("[\n")
    assert "Exporting" not in to_pipe(config, export)
    assert "Exporting" in at_terminal(config, 100, export)
