from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.storage import Location, Store, open_store
from tests.support import postgresql, unfair_store
from tests.support.clocks import ManualClock

pytest_plugins = ["p2p_oicp.testing.plugin", "tests.support.nodes", "tests.support.command_line"]

# The same examples in each run, however slow the machine: a run fails for what was changed, and for nothing else.
# ``scripts/test --hypothesis-profile search`` looks for others.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.register_profile("search", deadline=None, max_examples=1_000)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("store")
    group.addoption(
        "--engine",
        choices=("sqlite", "unfair", "postgresql"),
        default="sqlite",
        help="what nodes of this process store with; unfair: jobs of different keys in random order, each run twice; "
        "postgresql: a server that is thrown away",
    )
    group.addoption("--order", type=int, default=0, help="of the unfair store: the number of a random order")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    engine = config.getoption("--engine")
    for item in items:
        if engine != "sqlite" and item.get_closest_marker("one_writer"):
            item.add_marker(pytest.mark.skip(reason="about what only SQLite's one writer promises"))
        if engine == "postgresql" and item.get_closest_marker("sqlite"):
            item.add_marker(pytest.mark.skip(reason="about the file of SQLite"))


@pytest.fixture(autouse=True)
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.config.getoption("--engine") == "unfair":
        unfair_store.use(monkeypatch, request.config.getoption("--order"))
    elif request.config.getoption("--engine") == "postgresql":
        request.getfixturevalue("cluster").use(monkeypatch)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def unused_tcp_port() -> int:
    """A port nobody else takes: the fixture of this name that comes with aiohttp gives one that anybody may."""
    return free_ports(1)[0]


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.config.getoption("--engine") == "postgresql":
        return request.getfixturevalue("cluster").new_schema()
    return tmp_path / "node.sqlite3"


@pytest.fixture
async def store(database: Location) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        yield opened


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """A server of PostgreSQL; without one, the test is skipped."""
    with postgresql.running_cluster() as running:
        yield running
