"""The ``p2p-oicp`` command line.

Overview
    One module for each group of commands. Most of them read a node's database or files directly, so they work while
    the node is down; what needs the running node goes through its admin API (`client.call_admin`).

Loading
    `_COMMANDS` has of each command its module and its summary, so that ``--help`` loads none of the modules;
    `_LazyGroup` loads the one that is called. Measured: 0.3 s of CPU time for ``--help``, 1.9 s with all modules.

Exit codes
    0: done. 1: the answer is a refusal, or a check failed. 2: the operator has to change something first, which one
    line on standard error names. 70: a bug. 130: interrupted. 141: the reader of standard output went away.
    A stack trace is never shown, except for a bug under ``python -X dev -m p2p_oicp …``.

Where to read next
    `client` (HTTP), `common` (shared options, formatting), then any command's module: options first, helpers below.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from p2p_oicp.errors import P2pOicpError

_EXIT_ERROR = 2
_EXIT_SOFTWARE = 70  # EX_SOFTWARE of sysexits.h
_EXIT_SIGPIPE = 141  # 128 + SIGPIPE, as a shell reports a process that the signal ended


class _Command(NamedTuple):
    module: str
    summary: str  # as in the command's own help; a test compares them


_COMMANDS = MappingProxyType(
    {
        "init": _Command(
            "init", "Write node.toml, peers.toml and a key pair for a new node. Nothing that exists is overwritten."
        ),
        "run": _Command(
            "run", "Run one node until SIGTERM or SIGINT (Ctrl-C); then finish what is in flight and end with code 0."
        ),
        "send": _Command("send", "Send one OICP message to any OICP endpoint and print the answer."),
        "history": _Command(
            "data",
            "Show every version of an EVSE's data, status, prices, products. The node may be down; exit code 1: none.",
        ),
        "backup": _Command("run", "Copy the database, while the node runs or not."),
        "demo": _Command(
            "simulation",
            "Play a complete roaming day between two nodes on this machine. Exit code 1: a check failed.",
        ),
        "scenarios": _Command(
            "simulation",
            "Play the classic onboarding sequences against any two OICP endpoints, and print PASS or FAIL with the "
            "reason.",
        ),
        "validate": _Command(
            "messages", "Say what is wrong with an OICP message: each finding with severity, JSON pointer and code."
        ),
        "cdr": _Command(
            "messages", "Check a charge detail record before it is sent: errors first, exit code 1 if there is one."
        ),
        "id": _Command(
            "messages",
            "Say what an identifier is: every type that it can be read as, and its parts. Exit code 1 if it is none.",
        ),
        "endpoints": _Command("messages", "List all operations: who sends them to whom, and where."),
        "errata": _Command("messages", "List where the documents of OICP 2.3 disagree, and the reading used here."),
        "schema": _Command("messages", "Print the JSON Schema of every message."),
        "openapi": _Command("messages", "Print an OpenAPI 3.1 document."),
        "status": _Command(
            "status",
            "Say whether all is well: what is stuck, since when, why, and what to do. Exit code 1: something is stuck.",
        ),
        "retry": _Command(
            "status",
            "Try again now, without waiting for the next try: outbox, datasets, hello and pulls. The node has to run.",
        ),
        "peers": _Command("peers", "The peers of this node, and pairing with new ones."),
        "keys": _Command("keys", "The keys that this node signs with."),
        "certs": _Command("init", "Certificates for TLS with peers."),
        "evidence": _Command("evidence", "The signed requests and answers of a session, as proof."),
        "outbox": _Command("outbox", "Messages that wait for peers and our own backends; held and dead-lettered ones."),
        "quarantine": _Command("data", "Records of peers that were rejected, and why."),
        "sessions": _Command("sessions", "The charging sessions in this node's database."),
        "cdrs": _Command("cdrs", "Charge detail records."),
        "tokens": _Command("tokens", "The token list of an EMP that has no contract system."),
    }
)


def load_command(name: str) -> TyperCommand | TyperGroup:
    """Import a command's module and return the command with its options and subcommands."""
    loaded = typer.Typer()
    import_module(f"p2p_oicp.cli.{_COMMANDS[name].module}").register(loaded)
    return cast("TyperCommand | TyperGroup", get_group(loaded).commands[name])


class _LazyGroup(TyperGroup):
    """Lists commands by their summaries and loads only the one that is called."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # as in resolve_command
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Here and not in main(): Click itself would make it exit code 1, that of a refusal.
            # Python flushes standard output on exit and would fail once more, loudly.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(_EXIT_SIGPIPE)

    def resolve_command(
        self,
        ctx: typer.Context,  # type: ignore[override]  # its base, which Typer does not export
        args: list[str],
    ) -> tuple[str | None, TyperCommand | TyperGroup | None, list[str]]:
        name, _, remaining_args = super().resolve_command(ctx, args)
        return name, None if name is None else load_command(name), remaining_args


app = typer.Typer(
    name="p2p-oicp",
    cls=_LazyGroup,
    help="Electric-vehicle roaming without a middleman: an OICP 2.3 node that talks straight to its peers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Placeholders for the list of commands; _LazyGroup replaces the one that is called.
for _name, _command in _COMMANDS.items():
    app.command(_name, help=_command.summary)(lambda: None)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app()
    except P2pOicpError as exc:
        _exit_with_error(str(exc), _EXIT_ERROR)
    except Exception as exc:
        if sys.flags.dev_mode:
            raise
        _exit_with_error(
            f"this is a bug, please report it: {type(exc).__name__}: {exc} (-X dev shows where)", _EXIT_SOFTWARE
        )


def _exit_with_error(message: str, exit_code: int) -> None:
    from p2p_oicp.logs import printable  # noqa: PLC0415 - `--help` needs no logs

    one_line = printable(" ".join(message.split()))
    sys.stderr.write(f"p2p-oicp: {one_line}\n")
    sys.exit(exit_code)
