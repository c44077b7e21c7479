"""The ``p2p-oicp`` command line.

Overview
    One module for each group of commands. Most of them read a node's database or files directly, so they work while
    the node is down; what needs the running node goes through its admin API (`client.call_admin`).

Loading
    `_COMMANDS` has of each command its module and its summary, so that ``--help`` loads none of the modules;
    `_LazyGroup` loads the one that is called. Measured: 0.3 s of CPU time for ``--help``, 1.9 s with all modules.

Exit codes
    0: done. 1: the answer is a refusal, or a check failed. 2: the operator has to change something first, which one
    line on standard error names. 70: a bug. 130: interrupted (Ctrl-C). 141: the reader of standard output went away.
    A stack trace is never shown, except for a bug under ``python -X dev -m p2p_oicp …``.

Errors
    Typer raises what it finds wrong with options and arguments; `usage` has our words for it, and for what the
    system refuses, such as a full disk.

Where to read next
    `client` (HTTP), `common` (shared options, formatting), then any command's module: options first, helpers below.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_group

from p2p_oicp.errors import P2pOicpError
from p2p_oicp.version import VERSION

_HELP_OPTIONS = ["-h", "--help"]
_EXIT_ERROR = 2
_EXIT_SOFTWARE = 70  # EX_SOFTWARE of sysexits.h
_EXIT_INTERRUPTED = 130  # 128 + SIGINT
_EXIT_SIGPIPE = 141  # 128 + SIGPIPE, as a shell reports a process that the signal ended


class _Command(NamedTuple):
    module: str
    panel: str  # the part of ``--help`` in which it is listed
    summary: str  # as in the command's own help; a test compares them


_RUN, _PEERS, _TRAFFIC, _RECORDS, _LANGUAGE = "Run", "Peers and trust", "Traffic", "Records", "The language alone"


_COMMANDS = MappingProxyType(
    {
        "init": _Command(
            "init",
            _RUN,
            "Write node.toml, peers.toml and a key pair for a new node. Nothing that exists is overwritten.",
        ),
        "run": _Command(
            "run",
            _RUN,
            "Run one node until SIGTERM or SIGINT (Ctrl-C); then finish what is in flight and end with code 0.",
        ),
        "status": _Command(
            "status",
            _RUN,
            "Say whether all is well: what is stuck, since when, why, and what to do. Exit code 1: something is stuck.",
        ),
        "doctor": _Command(
            "doctor",
            _RUN,
            "Try everything that has to work: peers in both directions, TLS, clocks, proxies, backends, files, ports.",
        ),
        "backup": _Command(
            "run", _RUN, "Write one archive of the database, keys and settings, while the node runs or not."
        ),
        "restore": _Command("run", _RUN, "Put a node back from an archive; the node must not run."),
        "demo": _Command(
            "simulation",
            _RUN,
            "Play a complete roaming day between two nodes on this machine. Exit code 1: a check failed.",
        ),
        "hub": _Command(
            "hub",
            _RUN,
            "Run a clearing house for tests, for any number of CPO and EMP backends, until SIGTERM or Ctrl-C.",
        ),
        "cluster": _Command("cluster", _RUN, "Several nodes on this machine, paired with each other, for tests."),
        "peers": _Command("peers", _PEERS, "The peers of this node, and pairing with new ones."),
        "keys": _Command("keys", _PEERS, "The keys that this node signs with."),
        "certs": _Command("init", _PEERS, "Certificates for TLS with peers."),
        "send": _Command("send", _TRAFFIC, "Send one OICP message to any OICP endpoint and print the answer."),
        "pull": _Command(
            "pull",
            _TRAFFIC,
            "Pull EVSE data, statuses and prices into a folder, and print what has changed since the last pull.",
        ),
        "retry": _Command(
            "status",
            _TRAFFIC,
            "Try again now, without waiting for the next try: outbox, datasets, hello and pulls. The node has to run.",
        ),
        "outbox": _Command(
            "outbox", _TRAFFIC, "Messages that wait for peers and our own backends; held and dead-lettered ones."
        ),
        "quarantine": _Command("data", _TRAFFIC, "Records of peers that were rejected, and why."),
        "tokens": _Command("tokens", _TRAFFIC, "The token list of an EMP that has no contract system."),
        "scenarios": _Command(
            "simulation",
            _TRAFFIC,
            "Play the classic onboarding sequences against any two OICP endpoints, and print PASS or FAIL with the "
            "reason.",
        ),
        "history": _Command(
            "data",
            _RECORDS,
            "Show every version of an EVSE's data, status, prices, products. The node may be down; exit code 1: none.",
        ),
        "exchanges": _Command(
            "exchanges", _TRAFFIC, "What was said to whom: requests and answers, masked, as far as recorded."
        ),
        "flow": _Command(
            "flow",
            _TRAFFIC,
            "Show who has said what to whom: OICP between a node, its peers and the company's own systems.",
        ),
        "webhooks": _Command(
            "webhooks", _TRAFFIC, "Who is sent events, as CloudEvents: receivers, and how far each is."
        ),
        "events": _Command(
            "events",
            _TRAFFIC,
            "Show what has happened at this node: sessions, CDRs, statuses, peers, refusals; with --json one a line.",
        ),
        "evidence": _Command("evidence", _RECORDS, "The signed requests and answers of a session, as proof."),
        "sessions": _Command("sessions", _RECORDS, "The charging sessions in this node's database."),
        "cdrs": _Command("cdrs", _RECORDS, "Charge detail records."),
        "validate": _Command(
            "validation",
            _LANGUAGE,
            "Say what is wrong with an OICP message: each finding with severity, JSON pointer and code.",
        ),
        "cdr": _Command(
            "validation",
            _LANGUAGE,
            "Check a charge detail record before it is sent: errors first, exit code 1 if there is one.",
        ),
        "id": _Command(
            "reference",
            _LANGUAGE,
            "Say what an identifier is: every type that it can be read as, and its parts. Exit code 1 if it is none.",
        ),
        "endpoints": _Command("reference", _LANGUAGE, "List all operations: who sends them to whom, and where (POST)."),
        "errata": _Command(
            "reference", _LANGUAGE, "List where the documents of OICP 2.3 disagree, and the reading used here."
        ),
        "schema": _Command("reference", _LANGUAGE, "Print the JSON Schema of every message."),
        "openapi": _Command(
            "reference", _LANGUAGE, "Print the OpenAPI 3.1 document of what a node serves, as its /openapi.json."
        ),
        "asyncapi": _Command(
            "reference", _LANGUAGE, "Print the AsyncAPI 3.0 document of the events of a node, as its /asyncapi.json."
        ),
        "ocpi": _Command("ocpi", _LANGUAGE, "Systems that roam by OCPI 2.2.1, and what becomes of their objects."),
    }
)


def load_command(name: str) -> TyperCommand | TyperGroup:
    """Import a command's module and return the command with its options and subcommands."""
    loaded = typer.Typer()
    import_module(f"p2p_oicp.cli.{_COMMANDS[name].module}").register(loaded)
    command = cast("TyperCommand | TyperGroup", get_group(loaded).commands[name])
    _simplify_types(command)
    return command


def _simplify_types(command: TyperCommand | TyperGroup) -> None:
    """Let ``--help`` show no type of a flag, which takes no value, and of numbers a word of ours."""
    context = typer.Context(command, help_option_names=_HELP_OPTIONS)
    parameters: list[Any] = [*command.params, command.get_help_option(context)]
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif parameter.metavar is None and parameter.type_descriptor.annotation in {int, float}:
            parameter.metavar = "NUMBER"
    for subcommand in getattr(command, "commands", {}).values():
        _simplify_types(subcommand)


class _LazyGroup(TyperGroup):
    """Lists commands by their summaries and loads only the one that is called."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - Typer exports no type of either
        parameters = super().get_params(ctx)
        for parameter in parameters:  # all of them flags
            parameter.metavar = ""
        return parameters

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
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": _HELP_OPTIONS},
)
# Placeholders for the list of commands; _LazyGroup replaces the one that is called.
for _name, _command in _COMMANDS.items():
    app.command(_name, help=_command.summary, rich_help_panel=_command.panel)(lambda: None)


def _print_version(requested: bool) -> None:
    if requested:
        sys.stdout.write(f"p2p-oicp {VERSION}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, metavar="", help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        # Not standalone: Typer's own words for a wrong option are those of a library.
        exit_code = app(prog_name="p2p-oicp", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk can still be reported
    except KeyboardInterrupt:
        sys.exit(_EXIT_INTERRUPTED)
    except (P2pOicpError, TyperException, typer.Abort, OSError) as exc:
        _exit_with_failure(exc)
    except Exception as exc:
        if sys.flags.dev_mode:
            raise
        _exit_with_error(
            f"this is a bug, please report it: {type(exc).__name__}: {exc} (-X dev shows where)", _EXIT_SOFTWARE
        )
    sys.exit(exit_code)


def _exit_with_failure(exc: Exception) -> None:
    """End with what a person can change: what `usage` has no words for is a bug."""
    if isinstance(exc, P2pOicpError):
        _exit_with_error(str(exc), _EXIT_ERROR)
    from p2p_oicp.cli import usage  # noqa: PLC0415 - only where something is wrong

    if usage.is_interruption(exc):
        sys.exit(_EXIT_INTERRUPTED)
    if usage.is_request_for_help(exc):
        sys.exit(_EXIT_ERROR)
    message = usage.failure_text(exc)
    if isinstance(exc, OSError):
        # Python flushes standard output on exit and would fail once more, loudly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _exit_with_error(message, _EXIT_ERROR)


def _exit_with_error(message: str, exit_code: int) -> None:
    from p2p_oicp.logs import printable  # noqa: PLC0415 - `--help` needs no logs

    one_line = printable(" ".join(message.split()))
    sys.stderr.write(f"p2p-oicp: {one_line}\n")
    sys.exit(exit_code)
