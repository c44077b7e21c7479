"""The queries that a request waits for use an index, so that they do not slow down as tables grow."""

import itertools
import re
import sqlite3
from contextlib import closing

import pytest

from p2p_oicp.storage import cdrs, event_queries, evse_lists, listings, outbox, outbox_lists, sessions
from p2p_oicp.storage.datasets import replica_lag

pytestmark = pytest.mark.sqlite


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

LISTS = {
    "sessions": (listings.SESSIONS, ("state_", "role_", "peer_", "evse_", "since_")),
    "CDRs": (listings.CDRS, ("state_", "role_", "peer_", "since_", "unconfirmed_", "doubtful_")),
    "EVSEs": (evse_lists.EVSES, ("operator_", "country_", "evse_", "source_")),
    "quarantine": (listings.QUARANTINE, ("source_", "operation_")),
    "tokens": (listings.TOKENS, ("token_",)),
    "messages": (outbox_lists.MESSAGES, ("state_", "destination_")),
}
# What a page of the dashboard asks for beside its lists.
SHOWN = {
    "a session": sessions.BY_KEY,
    "the log of a session": sessions.EVENTS,
    "the CDRs of a session": listings.CDRS_OF_SESSION,
    "the messages of a session": listings.MESSAGES_OF_SESSION,
    "an EVSE": evse_lists.EVSE_BY_KEY,
    "sessions in a state": listings.SESSIONS_IN_STATE,
    "CDRs in a state": listings.CDRS_IN_STATE,
    "the last CDR of yesterday": listings.LAST_CDR_BEFORE,
    "the energy of CDRs": listings.CDR_ENERGY_AFTER,
    "messages by destination": outbox_lists.DEPTHS,
    "failed messages by destination": outbox_lists.TROUBLED,
    "newest events": event_queries._BATCHES_BEFORE,
    "how many changes a copy lags behind": replica_lag._COUNT_CHANGES,
    "since when a copy lags behind": replica_lag._SELECT_FIRST_CHANGE,
}
BIG_TABLES = (
    "sessions", "session_events", "cdrs", "dataset_records", "dataset_versions", "status", "evse_index", "outbox",
    "quarantine", "event_batches", "tokens",
)  # fmt: skip
# An index without the rows, of the messages that wait or have failed: as long as the backlog, and no longer.
BACKLOG = ("COVERING INDEX outbox_by_destination", "INDEX outbox_by_session", "INDEX outbox_troubled")


def _filters(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [each for size in range(len(names) + 1) for each in itertools.combinations(names, size)]


@pytest.mark.parametrize(
    ("name", "filters"), [(name, each) for name, (_, names) in LISTS.items() for each in _filters(names)]
)
@pytest.mark.usefixtures("store")
async def test_no_page_of_a_list_reads_a_big_table_whatever_is_filtered_by(database, name, filters):
    page, _ = LISTS[name][0].page(**dict.fromkeys(filters, "x"), limit=50)
    plan = _plan(database, page.statement)
    _assert_no_scan(plan)
    # What is sorted is a page: all else comes in the order of an index.
    is_page = any(step.startswith("MATERIALIZE") for step in plan)
    assert is_page or "USE TEMP B-TREE FOR ORDER BY" not in plan, plan


@pytest.mark.parametrize("statement", SHOWN.values(), ids=SHOWN)
@pytest.mark.usefixtures("store")
async def test_no_page_of_a_record_or_of_the_node_reads_a_big_table(database, statement):
    _assert_no_scan(_plan(database, statement))


@pytest.mark.parametrize("name", ["sessions", "CDRs"])
@pytest.mark.parametrize("filters", [(), ("role_", "peer_")])
@pytest.mark.usefixtures("store")
async def test_a_state_that_few_rows_have_is_read_by_it(database, name, filters):
    page, _ = LISTS[name][0].page(**dict.fromkeys(("state_", listings.FEW, *filters), "x"), limit=50)
    plan = _plan(database, page.statement)
    assert any(f"SEARCH {name.lower()} USING INDEX {name.lower()}_by_state (state=?" in step for step in plan), plan


def _assert_no_scan(plan: list[str]) -> None:
    scans = [step for step in plan if step.startswith("SCAN") and step.split()[1] in BIG_TABLES]
    assert [step for step in scans if not any(index in step for index in BACKLOG)] == [], plan


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
    return re.findall(r":(\w+)", text)
