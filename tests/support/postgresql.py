"""A PostgreSQL that is thrown away: one for each process of tests, a schema for each database that a test asks for."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.storage import Location, open_store
from tests.support.waiting import eventually_blocking

# Nothing of it is worth a flush: it lives as long as the tests.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
}
PROGRAMS = ("initdb", "postgres", "psql", "pg_isready")
_schemas = itertools.count(1)


def programs() -> Path | None:
    """Return the folder of ``initdb`` and ``postgres``, None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = [
        *([Path(found).parent] if found else []),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    ]
    return next((folder for folder in folders if all((folder / name).exists() for name in PROGRAMS)), None)


def require() -> Path:
    """Return the folder of the programs; skip the test where there is none, or fail it where they are required."""
    folder = programs()
    if folder is None:
        reason = "PostgreSQL is not installed (apt-get install postgresql)"
        if os.environ.get("REQUIRE_POSTGRESQL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


class Cluster:
    """A server that runs."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def new_schema(self) -> str:
        """Return the URL of an empty database: a schema of its own."""
        name = f"node_{next(_schemas)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}?options=-csearch_path%3D{name}"

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let nodes of this process store in a schema instead of their file, the same one for the same file."""
        schemas: dict[Location, str] = {}

        def open_schema(location: Location, **named):
            if isinstance(location, Path):
                location = schemas.get(location) or schemas.setdefault(location, self.new_schema())
            return open_store(location, **named)

        monkeypatch.setattr("p2p_oicp.node.open_store", open_schema)

    def execute(self, text: str, url: str = "") -> None:
        """Execute statements, whether or not an event loop is running."""
        folder = require()
        command = [folder / "psql", "--no-psqlrc", "-q", "-v", "ON_ERROR_STOP=1", "-c", text, url or self.url]
        subprocess.run(command, check=True, timeout=30)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Make a cluster and start its server, as another user where this one is root, as PostgreSQL demands."""
    folder = require()
    root = Path(tempfile.mkdtemp(prefix="p2p-oicp-postgresql-"))
    data, (port,) = root / "data", free_ports(1)
    user: dict = {}
    if os.geteuid() == 0:
        owner = _other_user()
        os.chown(root, owner.pw_uid, owner.pw_gid)
        user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    initdb = [folder / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=root, **user)
    settings = [f"--{name}={value}" for name, value in (SETTINGS | {"port": str(port)}).items()]
    with (root / "log").open("w") as log:
        server = subprocess.Popen(
            [folder / "postgres", "-D", data, *settings], stdout=log, stderr=log, cwd=root, **user
        )
    try:
        cluster = Cluster(port)
        eventually_blocking(lambda: _is_ready(folder, port), 30, (root / "log").read_text())
        yield cluster
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(root, ignore_errors=True)


def _other_user() -> pwd.struct_passwd:
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _is_ready(folder: Path, port: int) -> bool:
    command = [folder / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(command, check=False, timeout=10).returncode == 0
