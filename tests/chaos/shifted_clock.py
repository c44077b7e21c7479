"""Runs a node whose wall clock is wrong by the seconds in the file ``clock`` beside its node.toml.

``python -m tests.chaos.shifted_clock node.toml`` replaces ``p2p-oicp run``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from p2p_oicp import runner
from p2p_oicp.clock import SystemClock
from p2p_oicp.config import load_settings


def main() -> None:
    config = Path(sys.argv[-1])
    offset = config.parent / "clock"

    def shifted(_: SystemClock) -> float:
        return time.time() + (float(offset.read_text() or 0) if offset.exists() else 0.0)

    SystemClock.time = shifted
    sys.exit(runner.run(load_settings(config)))


if __name__ == "__main__":
    main()
