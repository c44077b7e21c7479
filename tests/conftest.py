from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.storage import Store, open_store
from tests.support.clocks import ManualClock

pytest_plugins = ["p2p_oicp.testing.plugin", "tests.support.nodes", "tests.support.command_line"]

# The same examples in each run, however slow the machine: a run fails for what was changed, and for nothing else.
# ``scripts/test --hypothesis-profile search`` looks for others.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.register_profile("search", deadline=None, max_examples=1_000)
settings.load_profile("steady")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def unused_tcp_port() -> int:
    """A port nobody else takes: the fixture of this name that comes with aiohttp gives one that anybody may."""
    return free_ports(1)[0]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite3"


@pytest.fixture
async def store(database: Path) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        yield opened
