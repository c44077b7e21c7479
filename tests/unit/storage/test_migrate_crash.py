"""A crash in the middle of the first start leaves nothing that the second start cannot use."""

import sqlite3
from contextlib import closing

import pytest

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage import migrations, open_store
from p2p_oicp.storage.sqlite.migrate import migrate
from p2p_oicp.storage.statements import Statement

pytestmark = pytest.mark.sqlite


def test_a_migration_is_done_whole_or_not_at_all(database, monkeypatch):
    """Power fails when the last statement of the migration runs: no table stands alone."""

    def upgrade_and_die(config, _revision):
        connection = config.attributes["connection"]
        connection.exec_driver_sql("CREATE TABLE sessions (role TEXT)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(migrations.command, "upgrade", upgrade_and_die)
        with pytest.raises(KeyboardInterrupt):
            migrate(database)
    migrate(database)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


@pytest.mark.parametrize("folder", ["100% #1", "what?", "a%20b"])
async def test_any_folder_name_is_one_database(tmp_path, folder):
    async with open_store(tmp_path / folder / "node.sqlite3") as store:
        assert await store.query(Statement("SELECT * FROM sessions", {})) == []
    assert [file.name for file in tmp_path.iterdir()] == [folder]


def test_a_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file: is a file; expected a folder"):
        migrate(tmp_path / "file" / "node.sqlite3")
