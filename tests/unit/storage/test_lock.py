"""One node on one database, whatever becomes of the lock file."""

import subprocess
import sys
from pathlib import Path

import pytest

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage import open_store
from tests.support.paths import ROOT

pytestmark = pytest.mark.sqlite

OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage import open_store

async def main():
    async with open_store(Path(sys.argv[1])):
        pass

try:
    asyncio.run(main())
except StoreUnavailable as error:
    print(error)
"""


def opened_by_another_process(file: Path) -> str:
    command = (sys.executable, "-c", OTHER_PROCESS, str(file))
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


async def test_a_second_node_is_refused_in_this_process_and_in_another(database):
    async with open_store(database):
        with pytest.raises(StoreUnavailable, match="another node uses it"):
            async with open_store(database):
                pass
        assert "another node uses it" in opened_by_another_process(database)
    assert opened_by_another_process(database) == ""


async def test_a_second_node_is_refused_though_the_lock_file_was_deleted(database, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    async with open_store(database):
        for _ in range(2):
            database.with_name(f"{database.name}.lock").unlink(missing_ok=True)
            assert "another node uses it" in opened_by_another_process(database)
            assert "another node uses it" in opened_by_another_process(tmp_path / "link" / database.name)
        with pytest.raises(StoreUnavailable, match="another node uses it"):
            async with open_store(database):
                pass
    async with open_store(database):
        pass


async def test_nodes_in_folders_of_their_own_do_not_disturb_each_other(tmp_path):
    async with open_store(tmp_path / "a" / "node.sqlite3"), open_store(tmp_path / "b" / "node.sqlite3"):
        pass
