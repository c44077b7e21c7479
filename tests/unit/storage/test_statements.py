"""What a helper of statements makes is valid for both databases, and costs SQLite nothing."""

import sqlite3
from contextlib import closing

from sqlalchemy import Column, MetaData, Table, Text

from p2p_oicp.storage.statements import inserting, inserting_named

PARTS = Table("parts", MetaData(), Column("key", Text, primary_key=True), Column("text", Text))
CREATE = "CREATE TABLE parts (key TEXT PRIMARY KEY, text TEXT)"
IN_SQLITES_WORDS = "INSERT OR IGNORE INTO parts (key, text) VALUES (?, ?)"


def test_a_row_that_exists_already_stays_as_it_is():
    by_name = inserting_named(PARTS, "key", "text", instead="OR IGNORE")
    by_place = inserting(PARTS, ["key", "text"], instead="OR IGNORE")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(CREATE)
        counts = [connection.execute(by_name.text, {"key": "a", "text": text}).rowcount for text in "12"]
        counts += [connection.execute(by_place.text, ("a", text)).rowcount for text in "34"]
        assert (counts, connection.execute("SELECT * FROM parts").fetchall()) == ([1, 0, 0, 0], [("a", "1")])


def test_on_conflict_do_nothing_is_the_same_program_in_sqlite_as_or_ignore():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(CREATE)
        statement = inserting(PARTS, ["key", "text"], instead="OR IGNORE").text
        programs = [connection.execute(f"EXPLAIN {text}", "ab").fetchall() for text in (statement, IN_SQLITES_WORDS)]
        assert "OR IGNORE" not in statement
        assert programs[0] == programs[1]
