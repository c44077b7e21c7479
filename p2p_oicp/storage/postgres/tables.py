"""Making the tables of a new database, and refusing one that is another's or of another version."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage.postgres.compiler import create_statements
from p2p_oicp.storage.postgres.connections import FAILURES, Connection, connect
from p2p_oicp.storage.postgres.spool import CREATE_TABLE
from p2p_oicp.storage.schema import LATEST_REVISION, differences
from p2p_oicp.storage.statements import NumberedText

# One process makes the tables; others that start at the same time wait for it.
_BEGIN: Final = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('p2p-oicp ' || current_schema(), 0))"
_EXISTS = NumberedText("SELECT to_regclass('alembic_version') IS NOT NULL AS known")
_REVISION = NumberedText("SELECT version_num FROM alembic_version")
_COLUMNS = NumberedText(
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() "
    "AND table_name NOT IN ('alembic_version', 'import_frames')"
)


def shown(url: str) -> str:
    """Return the URL without its password, for people."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    user = f"{parts.username}@" if parts.username else ""
    return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{parts.path}"


async def open_checked(url: str) -> Connection:
    """Connect to a database with the tables of this program, which are made where there are none.

    Raises StoreUnavailable; then nothing was changed.
    """
    try:
        connection = await connect(url)
    except (*FAILURES, ValueError) as error:
        raise StoreUnavailable(f"{shown(url)}: cannot be reached: {error or type(error).__name__}") from error
    try:
        await _make_tables(connection, shown(url))
    except FAILURES as error:
        connection.terminate()
        raise StoreUnavailable(f"{shown(url)}: the tables cannot be made or read: {error}") from error
    except StoreUnavailable:
        connection.terminate()
        raise
    return connection


async def _make_tables(connection: Connection, name: str) -> None:
    await connection.execute(_BEGIN)
    (row,) = await connection.fetch(_EXISTS, [])
    if row["known"]:
        await _check(connection, name)
    else:
        for text in (*create_statements(), CREATE_TABLE, "CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY)"):
            await connection.execute(text)
        await connection.execute(f"INSERT INTO alembic_version (version_num) VALUES ('{LATEST_REVISION}')")
    await connection.execute("COMMIT")


async def _check(connection: Connection, name: str) -> None:
    rows = await connection.fetch(_REVISION, [])
    if (found := rows[0]["version_num"] if rows else "none") != LATEST_REVISION:
        raise StoreUnavailable(
            f"{name}: was written by another version of p2p-oicp (its format is {found}, this program's is "
            f"{LATEST_REVISION}); install that version. Nothing was changed."
        )
    if others := differences({(row["table_name"], row["column_name"]) for row in await connection.fetch(_COLUMNS, [])}):
        raise StoreUnavailable(
            f"{name}: was written by an unreleased state of p2p-oicp ({others}). Nothing was changed."
        )
