from __future__ import annotations

import subprocess
import sys


def test_the_language_loads_nothing_that_only_a_node_needs():
    program = "import sys, p2p_oicp.oicp; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"aiohttp", "sqlalchemy", "zeroconf", "aiosqlite", "cryptography", "typer", "uvloop"}
