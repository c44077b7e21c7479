"""A database that this version cannot use is refused with what to do, and is not touched."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage import listings, migrations, open_store, outbox_lists, peer_state
from p2p_oicp.storage.peer_state import Destination
from p2p_oicp.storage.schema import LATEST_REVISION, metadata
from p2p_oicp.storage.sqlite.migrate import migrate

pytestmark = pytest.mark.sqlite


def execute(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)


def test_the_migrations_lead_to_exactly_the_tables_of_the_code(database):
    migrate(database)
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_newest_format_is_that_of_the_last_migration():
    assert migrations.known_revisions()[0] == LATEST_REVISION


def test_migrating_twice_changes_nothing(database):
    migrate(database)
    before = database.read_bytes()
    migrate(database)
    assert database.read_bytes() == before


def test_a_missing_folder_is_created(tmp_path):
    migrate(tmp_path / "new" / "data" / "node.sqlite3")
    assert (tmp_path / "new" / "data" / "node.sqlite3").exists()


def written_by_a_newer_version(database: Path) -> None:
    migrate(database)
    execute(database, "UPDATE alembic_version SET version_num = '9999'")


def written_by_an_unreleased_state(database: Path) -> None:
    migrate(database)
    execute(database, "ALTER TABLE cdrs DROP COLUMN verdict_text")
    execute(database, "ALTER TABLE cdrs ADD COLUMN opinion TEXT")


def of_another_program(database: Path) -> None:
    execute(database, "CREATE TABLE recipes (name TEXT)")


def damaged(database: Path) -> None:
    database.write_bytes(b"this is not a database, " * 100)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (written_by_a_newer_version, "newer version of p2p-oicp"),
        (
            written_by_an_unreleased_state,
            r"unreleased state .*cdrs\.verdict_text is missing, cdrs\.opinion is not known.*start with an empty one",
        ),
        (of_another_program, "not a database of p2p-oicp"),
        (damaged, "damaged"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_and_unchanged(database, spoil, message):
    spoil(database)
    before = database.read_bytes()
    with pytest.raises(StoreUnavailable, match=message):
        migrate(database)
    assert database.read_bytes() == before


RELEASES = Path(__file__).with_name("releases")
# The digests of released migrations: a database that one of them has made must find it as it was.
FROZEN = {"v0001_first_tables.py": "405b821a21612a052138fdbe8e825a87291ee0f9eb89e18e82c4bf473ccb843b"}


@pytest.mark.parametrize("name", FROZEN)
def test_a_released_migration_is_never_changed(name):
    file = Path(migrations.__file__).with_name("versions") / name
    assert hashlib.sha256(file.read_bytes()).hexdigest() == FROZEN[name]


@pytest.mark.parametrize("release", sorted(RELEASES.glob("*.sql")), ids=lambda file: file.stem)
async def test_a_database_of_a_release_is_opened_with_all_that_it_has(database, release):
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(release.read_text(encoding="utf-8"))
    async with open_store(database) as store:
        page, parameters = listings.CDRS.page(limit=9)
        records = [*await store.query(page.statement, **parameters)]
        assert [row["state"] for row in records] == ["waiting", "disputed", "accepted"]
        assert {row["peer"] for row in records} == {"node b"}
        page, parameters = listings.SESSIONS.page(limit=9)
        states = [row["state"] for row in await store.query(page.statement, **parameters)]
        assert sorted(states) == ["ended", "ended", "settled"]
        page, parameters = outbox_lists.MESSAGES.page(destination_="node b", limit=9, backends="[]")
        (waiting,) = await store.query(page.statement, **parameters)
        assert waiting["operation"] == "ChargeDetailRecord"


async def test_messages_for_the_one_backend_of_0_2_0_wait_for_the_backend_named_emp(database):
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript((RELEASES / "0.2.0.sql").read_text(encoding="utf-8"))
    execute(database, "UPDATE outbox SET destination = 'backend emp'")
    execute(database, "INSERT OR REPLACE INTO destinations (peer, dataset, failures) VALUES ('backend emp', '', 7)")
    async with open_store(database) as store:
        page, parameters = outbox_lists.MESSAGES.page(limit=9, backends='["backend:emp"]')
        rows = await store.query(page.statement, **parameters)
        assert {(row["destination"], row["state"]) for row in rows} == {("backend:emp", "waiting")}
        assert (await peer_state.health_now(store, Destination("backend:emp"))).failures == 7
