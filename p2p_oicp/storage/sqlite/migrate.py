"""Checking a database file's revision before anything else touches it, and migrating it where it is needed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.storage.schema import LATEST_REVISION, differences
from p2p_oicp.storage.sqlite.connections import create_private, sqlite_uri, unusable_file

_COLUMNS = (
    "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns "
    "WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%' AND tables.name <> 'alembic_version'"
)


def migrate(file: Path) -> None:
    """Create or upgrade the database ``file`` and its folder.

    Raises:
        StoreUnavailable: the file is damaged, no database of this program, of a newer version or of an unreleased
            state; it is unchanged.

    """
    current = _current_revision(file)
    if current == LATEST_REVISION:
        _check_columns(file)
        return
    # Imported here: most starts need no Alembic, which costs 11 MB and a tenth of a second.
    from p2p_oicp.storage.migrations import known_revisions, upgrade  # noqa: PLC0415

    if current is not None and current not in known_revisions():
        raise StoreUnavailable(
            f"{file}: was written by a newer version of p2p-oicp (its format is {current}, this program knows up to "
            f"{LATEST_REVISION}); install that version or restore a backup. Nothing was changed."
        )
    upgrade(file)
    _check_columns(file)


def _check_columns(file: Path) -> None:
    """Raise StoreUnavailable if the tables have other columns than this program's, whatever their revision says.

    Between two releases a revision changes: a database that was written by a state in between has its number only.
    """
    with closing(sqlite3.connect(sqlite_uri(file, "rw"), uri=True)) as connection:
        found = set(connection.execute(_COLUMNS))
    if others := differences(found):
        raise StoreUnavailable(
            f"{file}: was written by an unreleased state of p2p-oicp ({others}); export what "
            "you need with the state that wrote it, then move the file away to start with an empty one. "
            "Nothing was changed."
        )


def _current_revision(file: Path) -> str | None:
    """Return the revision of ``file``, None for a new one."""
    try:
        # A file without content is new: a crash between its creation and the first commit leaves one.
        if not file.exists() or file.stat().st_size == 0:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            create_private(file)
            return None
        # Not read-only: what a crash in the middle of a migration left behind is rolled back when the file is opened.
        with closing(sqlite3.connect(sqlite_uri(file, "rw"), uri=True)) as connection:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except OSError as error:
        raise StoreUnavailable(unusable_file(file, error)) from error
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"{file}: is not a database of p2p-oicp, or it is damaged ({error}); restore a backup, or move the file "
            "away to start with an empty one. Nothing was changed."
        ) from error
    return str(row[0]) if row else None
