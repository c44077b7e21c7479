"""Brings a database file to the tables of this version (Alembic), before anything else touches it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from p2p_oicp.errors import StoreUnusable

_SCRIPTS = Path(__file__).with_name("migrations")


def migrate(file: Path) -> None:
    """Create or upgrade ``file``.

    Raises StoreUnusable where it is damaged, foreign or newer, and changes nothing then.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    newest = ScriptDirectory.from_config(config).get_current_head()
    present = _present_revision(file)
    if present == newest:
        return
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        raise StoreUnusable(
            f"{file}: was written by a newer version of p2p-oicp (its format is {present}, this program knows up to "
            f"{newest}); install that version or restore a backup. Nothing was changed."
        )
    _upgrade(file, config)


def uri_of(file: Path, mode: str) -> str:
    """Return SQLite's URI for ``file``, whatever characters its folders have."""
    return f"{file.absolute().as_uri()}?mode={mode}"


def _present_revision(file: Path) -> str | None:
    """Return the format of ``file``, None for a new one."""
    try:
        if not file.exists() or file.stat().st_size == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
            return None
        # Not read-only: what a crash in the middle of a migration left behind is rolled back by whoever opens the file.
        with closing(sqlite3.connect(uri_of(file, "rw"), uri=True)) as connection:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except OSError as error:
        raise StoreUnusable(f"{file}: cannot be opened or created: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise StoreUnusable(
            f"{file}: is not a database of p2p-oicp, or it is damaged ({error}); restore a backup, or move the file "
            "away to start with an empty one. Nothing was changed."
        ) from error
    return str(row[0]) if row else None


def _upgrade(file: Path, config: Config) -> None:
    engine = create_engine(URL.create("sqlite", database=str(file)), poolclass=NullPool)
    event.listen(engine, "connect", _no_implicit_transactions)
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise StoreUnusable(f"{file}: cannot be created or upgraded: {error.__cause__ or error}") from error
    finally:
        engine.dispose()


def _no_implicit_transactions(connection: DBAPIConnection, _record: object) -> None:
    """Stop the driver from committing between two statements: a migration is done whole or not at all."""
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
