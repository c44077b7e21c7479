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

from p2p_oicp.simulator.demo import JsonTimeline, RichTimeline, play

_HELD, _FAILED, _UNUSABLE, _INTERRUPTED, _CLOSED_PIPE = 0, 1, 2, 130, 141
_WIDTH_WITHOUT_TERMINAL = 120


def main() -> int:
    """Play the day; return 0 if every check held, 1 if not, 2 if the options cannot be used."""
    options = _parser().parse_args()
    timeline = JsonTimeline(sys.stdout) if options.json else RichTimeline(_console())
    if options.keep is None:
        with tempfile.TemporaryDirectory(prefix="p2p-oicp-demo-") as directory:
            report = asyncio.run(play(Path(directory), timeline))
    else:
        if options.keep.exists() and (not options.keep.is_dir() or any(options.keep.iterdir())):
            sys.stderr.write(f"demo: {options.keep}: is not an empty folder; choose another\n")
            return _UNUSABLE
        report = asyncio.run(play(options.keep.absolute(), timeline))
        sys.stderr.write(f"The nodes' files and logs are in {options.keep}\n")
    return _HELD if report.held else _FAILED


def _console() -> Console:
    # Rich takes a pipe or a log for 80 columns, where the timeline needs more to tell all.
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="A complete roaming day between two nodes: who says what to whom, and what was checked.",
    )
    parser.add_argument("--json", action="store_true", help="write JSON lines instead of a timeline for people")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the nodes' files and logs in DIR for a look")
    return parser


def _guarded() -> int:
    """Run the program; nobody who stops watching sees a stack trace, and no node is left behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE


if __name__ == "__main__":
    sys.exit(_guarded())
