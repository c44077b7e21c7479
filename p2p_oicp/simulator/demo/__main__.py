"""``python -m p2p_oicp.simulator.demo``: the program behind ``./scripts/demo``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from p2p_oicp.simulator.demo import JsonTimeline, RichTimeline, run_demo

_EXIT_PASSED, _EXIT_FAILED, _EXIT_USAGE, _EXIT_INTERRUPTED, _EXIT_SIGPIPE = 0, 1, 2, 130, 141
_NON_TTY_WIDTH = 120


def main() -> int:
    """Play the day; return 0 if every check held, 1 if not, 2 if the options cannot be used."""
    options = _parser().parse_args()
    timeline = JsonTimeline(sys.stdout) if options.json else RichTimeline(_console())
    if options.keep is None:
        with tempfile.TemporaryDirectory(prefix="p2p-oicp-demo-") as directory:
            report = asyncio.run(run_demo(Path(directory), timeline))
    else:
        if options.keep.exists() and (not options.keep.is_dir() or any(options.keep.iterdir())):
            sys.stderr.write(f"demo: {options.keep}: is not an empty folder; choose another\n")
            return _EXIT_USAGE
        report = asyncio.run(run_demo(options.keep.absolute(), timeline))
        sys.stderr.write(f"The nodes' files and logs are in {options.keep}\n")
    return _EXIT_PASSED if report.held else _EXIT_FAILED


def _console() -> Console:
    # Rich takes a pipe or a log for 80 columns, where the timeline needs more to tell all.
    return Console(highlight=False, width=None if sys.stdout.isatty() else _NON_TTY_WIDTH)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="A complete roaming day between two nodes: who says what to whom, and what was checked.",
    )
    parser.add_argument("--json", action="store_true", help="write JSON lines instead of a timeline for people")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the nodes' files and logs in DIR for a look")
    return parser


def _main_handling_signals() -> int:
    """Run the program; nobody who stops watching sees a stack trace, and no node is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main()
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_SIGPIPE


if __name__ == "__main__":
    sys.exit(_main_handling_signals())
