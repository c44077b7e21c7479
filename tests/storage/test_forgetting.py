"""What is old and over is forgotten; what is owed, open or money is not."""

import pytest

from p2p_oicp.storage import forgetting, sessions
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.sessions import Session
from p2p_oicp.storage.statements import Statement

LEFT = Statement(
    "SELECT (SELECT count(*) FROM sessions) AS sessions, (SELECT count(*) FROM session_events) AS events", {}
)


async def a_session(store, state: State, at: float) -> None:
    session = Session(
        role="cpo", session_key="s", session_id="S", kind="authorize", state=state, peer="b", request_digest=b"d",
        created_at=at, updated_at=at,
    )  # fmt: skip

    def job(tx) -> None:
        sessions.open_session(tx, session)
        sessions.note(tx, "cpo", "s", at, "began")

    await store.write(job)


CASES = {
    "a refused start that is old": (State.REFUSED, 10.0, (0, 0)),
    "a refused start that may be repeated": (State.REFUSED, 100.0, (1, 1)),
    "the story of a settled session": (State.SETTLED, 10.0, (1, 0)),
    "a settled session of today": (State.SETTLED, 100.0, (1, 1)),
    "a session under way": (State.CHARGING, 10.0, (1, 1)),
    "a session that was given up": (State.EXPIRED, 10.0, (1, 1)),
}


@pytest.mark.parametrize(("state", "at", "left"), CASES.values(), ids=CASES)
async def test_only_what_is_old_and_over_is_forgotten(store, state, at, left):
    await a_session(store, state, at)
    await store.write(lambda tx: forgetting.refusals(tx, before=50.0, most=10))
    await store.write(lambda tx: forgetting.stories(tx, before=50.0, most=10))
    assert tuple((await store.read(LEFT))[0]) == left
