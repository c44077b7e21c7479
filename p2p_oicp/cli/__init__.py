"""The ``p2p-oicp`` command: thin, one module a group of commands, loaded when one of them is called.

Exit codes: 0 done, 1 the answer is a refusal, 2 something must be changed first (one line on standard error says what),
130 interrupted. A stack trace is never shown; ``python -X dev -m p2p_oicp …`` shows that of a bug.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import MappingProxyType
from typing import cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from p2p_oicp.errors import P2pOicpError

# Each command's module and what the list of all says of it, so that the list loads none of them.
_COMMANDS = MappingProxyType(
    {
        "init": (
            "init",
            "Write node.toml, peers.toml and a key pair for a new node. Nothing that exists is overwritten.",
        ),
        "run": (
            "run",
            "Run one node until SIGTERM or SIGINT (Ctrl-C); then finish what is in flight and end with code 0.",
        ),
        "send": ("send", "Send one OICP message to any OICP endpoint and print the answer."),
        "history": (
            "data",
            (
                "Show every version of an EVSE's data, status and prices; the node may be down. "
                "Exit code 1: nothing is known."
            ),
        ),
        "backup": ("run", "Copy the database, while the node runs or not."),
        "scenarios": (
            "scenarios",
            (
                "Play the classic onboarding sequences against any two OICP endpoints, and print PASS or FAIL "
                "with the reason."
            ),
        ),
        "validate": (
            "messages",
            "Say what is wrong with an OICP message: each finding with severity, JSON pointer and code.",
        ),
        "cdr": (
            "messages",
            "Look over a charge detail record before it is sent: errors first, exit code 1 if there is one.",
        ),
        "id": (
            "messages",
            (
                "Say what an identifier is: every kind that it can be read as, and what it means. "
                "Exit code 1 if it is none."
            ),
        ),
        "endpoints": ("messages", "List all operations: who sends them to whom, and where."),
        "errata": ("messages", "List where the documents of OICP 2.3 disagree, and what is done about it."),
        "schema": ("messages", "Print the JSON Schema of every message."),
        "openapi": ("messages", "Print an OpenAPI 3.1 document."),
        "peers": ("peers", "The peers that this node knows, and how they come to trust each other."),
        "keys": ("keys", "The keys that this node proves its identity with."),
        "certs": ("init", "Certificates for TLS with peers."),
        "evidence": ("evidence", "What was signed: proof of who said what when."),
        "outbox": ("outbox", "Messages owed to peers and to our own backend; dead letters."),
        "quarantine": ("data", "Records of peers that cannot be used, and why."),
        "sessions": ("sessions", "The charging sessions that this node knows."),
        "cdrs": ("cdrs", "Charge detail records."),
        "tokens": ("tokens", "The drivers of an EMP that has no contract system."),
    }
)


def load_command(name: str) -> TyperCommand | TyperGroup:
    """Return a command with its options and commands of its own."""
    module, _ = _COMMANDS[name]
    loaded = typer.Typer()
    import_module(f"p2p_oicp.cli.{module}").register(loaded)
    return cast("TyperCommand | TyperGroup", get_group(loaded).commands[name])


class _LazyGroup(TyperGroup):
    """Has of each command what the list says; loads the one that is called."""

    def resolve_command(
        self,
        ctx: typer.Context,  # type: ignore[override]  # its base, which Typer does not export
        args: list[str],
    ) -> tuple[str | None, TyperCommand | TyperGroup | None, list[str]]:
        """Return the command that the arguments name."""
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
for _name, (_, _overview) in _COMMANDS.items():
    app.command(_name, help=_overview)(lambda: None)

_EXIT_ERROR = 2
_EXIT_SOFTWARE = 70  # EX_SOFTWARE of sysexits.h
_EXIT_SIGPIPE = 141  # what a shell reports of a program that SIGPIPE ended


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app()
    except P2pOicpError as exc:
        _exit_with_error(str(exc), _EXIT_ERROR)
    except BrokenPipeError:
        # Python would complain once more when it flushes on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_EXIT_SIGPIPE)
    except Exception as exc:
        if sys.flags.dev_mode:
            raise
        _exit_with_error(
            f"this is a bug, please report it: {type(exc).__name__}: {exc} (-X dev shows where)", _EXIT_SOFTWARE
        )


def _exit_with_error(message: str, exit_code: int) -> None:
    one_line = " ".join(message.split())
    sys.stderr.write(f"p2p-oicp: {one_line}\n")
    sys.exit(exit_code)
