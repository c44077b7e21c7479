"""Migrations of the database with Alembic, each in ``versions/``; a released one is never changed.

Only `storage.sqlite.migrate` imports this package, and only for a file that is new or of another revision.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from p2p_oicp.errors import StoreUnavailable


def known_revisions() -> list[str]:
    """Return the revisions that this program knows, the newest one first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def upgrade(file: Path) -> None:
    """Bring ``file`` to the newest revision, all or nothing; raises StoreUnavailable."""
    engine = create_engine(URL.create("sqlite", database=str(file)), poolclass=NullPool)
    event.listen(engine, "connect", _disable_implicit_transactions)
    event.listen(engine, "begin", _begin_immediate)
    try:
        with engine.begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"{file}: cannot be created or upgraded: {error.__cause__ or error}") from error
    finally:
        engine.dispose()


def _disable_implicit_transactions(connection: DBAPIConnection, _record: object) -> None:
    """Stop the driver from committing between two statements: a migration is done whole or not at all."""
    connection.isolation_level = None


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
