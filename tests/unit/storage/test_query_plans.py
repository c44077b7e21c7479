"""The queries that a request waits for use an index, so that they do not slow down as tables grow."""

import sqlite3
from contextlib import closing

import pytest

from p2p_oicp.storage import cdrs, outbox, sessions

HOT_QUERIES = {
    "the session of a SessionID": (sessions.GET, "sqlite_autoindex_sessions_1 (role=? AND session_key=?)"),
    "the session that the same request opened": (
        sessions._BY_REQUEST,
        "sessions_by_request (request_digest=? AND created_at>?)",
    ),
    "what is due for a destination": (outbox.DUE, "outbox_by_session (destination=? AND state=?"),
}
# What Prometheus is shown: an index is read, and of the doubtful CDRs the rows.
COUNTS = {
    "sessions by state": (sessions.COUNT_BY_STATE, "COVERING INDEX sessions_by_state"),
    "CDRs by state": (cdrs.COUNT_BY_STATE, "COVERING INDEX cdrs_by_state"),
    "doubtful CDRs": (cdrs.DOUBTFUL, "INDEX cdrs_doubtful"),
}
# All pages together read the table once, and sort nothing.
PAGES = {
    "sessions for a peer": (sessions.OPENED_SINCE, "sqlite_autoindex_sessions_1 (role=? AND session_key>?)"),
    "CDRs for a peer": (cdrs.RECEIVED_SINCE, "INTEGER PRIMARY KEY (rowid>?)"),
}


@pytest.mark.parametrize(("statement", "index"), HOT_QUERIES.values(), ids=HOT_QUERIES)
@pytest.mark.usefixtures("store")
async def test_a_query_that_a_request_waits_for_uses_its_index(database, statement, index):
    plan = _plan(database, statement)
    assert any(index in step for step in plan), plan
    assert not [step for step in plan if step.startswith("SCAN")], plan


@pytest.mark.parametrize(("statement", "index"), COUNTS.values(), ids=COUNTS)
@pytest.mark.usefixtures("store")
async def test_rows_are_counted_by_an_index(database, statement, index):
    (step,) = _plan(database, statement)
    assert index in step


@pytest.mark.parametrize(("statement", "index"), PAGES.values(), ids=PAGES)
@pytest.mark.usefixtures("store")
async def test_a_page_of_an_export_begins_where_the_last_one_has_ended(database, statement, index):
    (step,) = _plan(database, statement)
    assert index in step


def _plan(database, statement) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        names = {**dict.fromkeys(_parameters(statement.text), ""), **statement.fixed}
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", names)]


def _parameters(text: str) -> list[str]:
    return [word.strip("(),").removeprefix(":") for word in text.split() if word.strip("(").startswith(":")]
