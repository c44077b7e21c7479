"""The ``p2p-oicp`` command: thin, one module a command, each importing what it needs only when it runs.

Exit codes: 0 done, 1 the answer is a refusal, 2 something must be changed first (one line on standard error says what),
130 interrupted. A stack trace is never shown; ``python -X dev -m p2p_oicp …`` shows that of a bug.
"""

from __future__ import annotations

import os
import sys

import typer

from p2p_oicp.cli import (
    backup,
    cdrs,
    certs,
    evidence,
    init,
    keys,
    language,
    outbox,
    peers,
    run,
    scenarios,
    send,
    sessions,
    state,
    tokens,
)
from p2p_oicp.errors import P2pOicpError

app = typer.Typer(
    name="p2p-oicp",
    help="Electric-vehicle roaming without a middleman: an OICP 2.3 node that talks straight to its peers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
init.register(app)
run.register(app)
peers.register(app)
keys.register(app)
certs.register(app)
evidence.register(app)
send.register(app)
outbox.register(app)
state.register(app)
backup.register(app)
sessions.register(app)
cdrs.register(app)
tokens.register(app)
scenarios.register(app)
language.register(app)

_UNUSABLE = 2
_BUG = 70  # EX_SOFTWARE of sysexits.h
_CLOSED_PIPE = 141  # what a shell reports of a program that SIGPIPE ended


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app()
    except P2pOicpError as exc:
        _end(str(exc), _UNUSABLE)
    except BrokenPipeError:
        # Python would complain once more when it flushes on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_CLOSED_PIPE)
    except Exception as exc:
        if sys.flags.dev_mode:
            raise
        _end(f"this is a bug, please report it: {type(exc).__name__}: {exc} (-X dev shows where)", _BUG)


def _end(text: str, code: int) -> None:
    one_line = " ".join(text.split())
    sys.stderr.write(f"p2p-oicp: {one_line}\n")
    sys.exit(code)
