"""Retention deletes what is old and over, and nothing that is undelivered, open or money."""

from types import SimpleNamespace

import pytest

from p2p_oicp.roles.retention import SessionRetentionJob
from p2p_oicp.storage import evidence, retention, sessions, tokens
from p2p_oicp.storage.sessions import Session, SessionState
from p2p_oicp.storage.statements import Statement

LEFT = Statement(
    "SELECT (SELECT count(*) FROM sessions) AS sessions, (SELECT count(*) FROM session_events) AS events", {}
)


async def a_session(store, state: SessionState, at: float) -> None:
    session = Session(
        role="cpo", session_key="s", session_id="S", kind="authorize", state=state, peer="b", request_digest=b"d",
        created_at=at, updated_at=at,
    )  # fmt: skip

    def job(tx) -> None:
        sessions.insert_or_get(tx, session)
        sessions.add_event(tx, "cpo", "s", at, "began")

    await store.write(job)


CASES = {
    "a refused start that is old": (SessionState.REFUSED, 10.0, (0, 0)),
    "a refused start that may be repeated": (SessionState.REFUSED, 100.0, (1, 1)),
    "the events of a settled session": (SessionState.SETTLED, 10.0, (1, 0)),
    "a settled session of today": (SessionState.SETTLED, 100.0, (1, 1)),
    "a session under way": (SessionState.CHARGING, 10.0, (1, 1)),
    "an expired session": (SessionState.EXPIRED, 10.0, (1, 1)),
}


@pytest.mark.parametrize(("state", "at", "left"), CASES.values(), ids=CASES)
async def test_only_what_is_old_and_over_is_deleted(store, state, at, left):
    await a_session(store, state, at)
    await store.write(lambda tx: retention.purge_refused_sessions(tx, cutoff=50.0, limit=10))
    await store.write(lambda tx: retention.purge_session_events(tx, cutoff=50.0, limit=10))
    assert tuple((await store.query(LEFT))[0]) == left


@pytest.mark.parametrize("cutoff", [0.0, 3.0, 3.5, 8.0, 100.0])
async def test_events_are_deleted_by_age_whatever_ids_are_missing(store, cutoff):
    """Those of a session under way stay between them, and later events are still deleted."""
    opened = Session(
        role="cpo", session_key="open", session_id="OPEN", kind="authorize", state=SessionState.CHARGING, peer="b",
        request_digest=b"d", created_at=0.0, updated_at=0.0,
    )  # fmt: skip
    await store.write(lambda tx: sessions.insert_or_get(tx, opened))
    for at in range(10):
        key = "open" if at in {0, 1, 5} else f"settled {at}"
        await store.write(lambda tx, key=key, at=at: sessions.add_event(tx, "cpo", key, float(at), "began"))
    await store.write(lambda tx: tx.run(Statement("DELETE FROM session_events WHERE at IN (2, 6, 9)", {})))
    deleted = [await store.write(lambda tx: retention.purge_session_events(tx, cutoff, limit=2)) for _ in range(5)]
    left = await store.query(Statement("SELECT at FROM session_events ORDER BY at", {}))
    assert [row["at"] for row in left] == [at for at in (0, 1, 3, 4, 5, 7, 8) if at in {0, 1, 5} or at >= cutoff]
    assert (deleted[-1], sum(deleted)) == (0, 7 - len(left))


DAY = 86_400.0
NOW = 5000 * DAY
BY_AGE = {  # age in days, and whether it is still there, where history is kept for 100 days and evidence for 1000
    "a refused start of yesterday": ("sessions", SessionState.REFUSED, 1, True),
    "a refused start of last week": ("sessions", SessionState.REFUSED, 8, False),
    "a session that expired last month": ("sessions", SessionState.EXPIRED, 30, True),
    "a session that expired long ago": ("sessions", SessionState.EXPIRED, 101, False),
    "a settled session": ("sessions", SessionState.SETTLED, 4000, True),
    "a UID seen last month": ("uid_routes", None, 30, True),
    "a UID not seen for long": ("uid_routes", None, 101, False),
    "an exchange of last year": ("evidence", None, 365, True),
    "an exchange of years ago": ("evidence", None, 1001, False),
    "the key of an exchange of last year": ("evidence_keys", None, 365, True),
    "a key that may verify an exchange that is still there": ("evidence_keys", None, 1000.5, True),
    "the key of an exchange of years ago": ("evidence_keys", None, 1002, False),
    "a CDR refused last year": ("conflicting_cdrs", None, 365, True),
    "a CDR refused years ago": ("conflicting_cdrs", None, 1001, False),
}


def upsert_key(tx, at: float, descriptor: bytes | None = None) -> bool:
    return evidence.upsert_key(tx, key_id="k", public_key="line", owner="b", descriptor=descriptor, now=at)


_CONFLICTING = (
    "INSERT INTO conflicting_cdrs (role, session_key, received_at, digest, body) "
    "VALUES ('cpo', 's', :at, :digest, :digest)"
)
INSERT_AT = {
    "uid_routes": lambda tx, at: tokens.set_preferred_peer(tx, "uid", "b", at),
    "evidence": lambda tx, at: evidence.insert_exchange(tx, "s", "peer:1", at, b"{}"),
    "evidence_keys": upsert_key,
    "conflicting_cdrs": lambda tx, at: tx.run(Statement(_CONFLICTING, {}), at=at, digest=b"\0"),
}


@pytest.mark.parametrize(("table", "state", "days", "stays"), BY_AGE.values(), ids=BY_AGE)
async def test_rows_of_every_growing_table_are_deleted_while_the_node_runs(store, table, state, days, stays):
    at = NOW - days * DAY
    await (a_session(store, state, at) if state else store.write(lambda tx: INSERT_AT[table](tx, at)))
    job = SessionRetentionJob(
        SimpleNamespace(store=store, now=lambda: NOW), history_days=100, evidence_days=1000, event_days=7
    )
    await job.run_once()
    assert (await store.query(Statement(f"SELECT count(*) AS n FROM {table}", {})))[0]["n"] == stays
    assert await job.run_once() == 0


async def test_all_expired_rows_are_deleted_in_several_batches(store):
    def many(tx) -> None:
        for number in range(1200):
            tokens.set_preferred_peer(tx, f"uid{number}", "b", 0.0)
            evidence.insert_exchange(tx, "s", "peer:1", 0.0, b"{}")

    await store.write(many)
    job = SessionRetentionJob(
        SimpleNamespace(store=store, now=lambda: NOW), history_days=100, evidence_days=1000, event_days=7
    )
    assert await job.run_once() == 2400


async def test_a_key_is_stored_once_and_again_before_it_would_be_deleted_too_early(store):
    times = (0.0, 3600.0, DAY - 3600, DAY, 2 * DAY)
    is_written = [await store.write(lambda tx, at=at: upsert_key(tx, at, b"d" if at == 0 else None)) for at in times]
    assert is_written == [True, False, True, False, True]
    (row,) = await store.query(evidence.KEYS)
    assert tuple(row) == ("k", "line", "b", b"d")
