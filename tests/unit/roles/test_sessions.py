"""Starts over a store, without a node: what is new, what is a duplicate, and whose SessionID it is (H4, B2)."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from p2p_oicp.errors import Refusal
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.roles.sessions import (
    IdempotencyKey,
    SessionService,
    StartOutcome,
    begin_start,
    find_start,
    record_decided_start,
)
from p2p_oicp.storage import sessions
from p2p_oicp.storage.sessions import IDEMPOTENCY_WINDOW_SECONDS, Session, SessionState

NOW = 1_000_000.0
ID, OTHER_ID = "f98efba4-02d8-4fa0-b810-9a9d50d2c527", "0d9f7a4e-11aa-4bbb-8ccc-000000000001"
KEY = IdempotencyKey("AuthorizeStart", "DE*GEF", b"one")
DRAFT = Session(
    role="cpo",
    session_key=ID,
    session_id=ID.upper(),
    kind="authorize",
    state=SessionState.REQUESTED,
    peer="",
    request_digest=b"one",
    created_at=NOW,
    updated_at=NOW,
)
AUTHORIZED = replace(DRAFT, state=SessionState.AUTHORIZED, peer="node b", start_response=b"yes")
REFUSED = replace(DRAFT, state=SessionState.REFUSED, start_response=b"no")


async def begin(store, draft: Session, key: IdempotencyKey | None) -> StartOutcome:
    return await store.write(lambda tx: begin_start(tx, draft, key=key))


async def find(store, draft: Session, key: IdempotencyKey | None) -> StartOutcome:
    return await find_start(store, draft, key=key) or StartOutcome(draft)


async def stored(store, *existing: Session) -> None:
    for session in existing:
        await store.write(lambda tx, session=session: sessions.insert_or_get(tx, session))


def generated(session: Session, *, session_key: str = ID, age: float = 0.0) -> Session:
    """The same session with an id that this node generated for a request without one."""
    created_at = session.created_at - age
    return replace(session, session_key=session_key, id_generated_here=1, created_at=created_at)


EARLIER = {
    "nothing": (None, DRAFT, StartOutcome(DRAFT)),
    "the same request, answered": (AUTHORIZED, DRAFT, StartOutcome(AUTHORIZED, OperationResponse(b"yes"))),
    "the same request, refused": (REFUSED, DRAFT, StartOutcome(REFUSED, OperationResponse(b"no"))),
    "the same request before a crash": (DRAFT, DRAFT, StartOutcome(DRAFT, crashed_before_answer=True)),
    "the same request, refused long ago": (
        replace(REFUSED, created_at=NOW - IDEMPOTENCY_WINDOW_SECONDS - 1),
        DRAFT,
        StartOutcome(DRAFT),
    ),
    "another request, refused": (replace(REFUSED, request_digest=b"two"), DRAFT, StartOutcome(DRAFT)),
    "the same request, which had no SessionID": (
        generated(AUTHORIZED, session_key=OTHER_ID),
        generated(DRAFT),
        StartOutcome(generated(AUTHORIZED, session_key=OTHER_ID), OperationResponse(b"yes")),
    ),
    "the same request without a SessionID, before the window": (
        generated(AUTHORIZED, session_key=OTHER_ID, age=IDEMPOTENCY_WINDOW_SECONDS + 1),
        generated(DRAFT),
        StartOutcome(generated(DRAFT)),
    ),
}
BOTH = pytest.mark.parametrize("function", [begin, find])


@BOTH
@pytest.mark.parametrize(("earlier", "draft", "outcome"), EARLIER.values(), ids=EARLIER)
async def test_a_start_finds_what_the_same_request_opened(store, function, earlier, draft, outcome):
    await stored(store, *([earlier] if earlier else []))
    assert await function(store, draft, KEY) == outcome


@BOTH
async def test_a_session_id_of_another_request_is_refused_with_400(store, function):
    await stored(store, replace(AUTHORIZED, request_digest=b"two"))
    with pytest.raises(Refusal, match="belongs to another process") as refusal:
        await function(store, DRAFT, KEY)
    assert refusal.value.code == "400"


@BOTH
async def test_a_request_without_an_id_of_the_process_is_never_a_duplicate(store, function):
    await stored(store, generated(AUTHORIZED, session_key=OTHER_ID))
    assert await function(store, generated(DRAFT), None) == StartOutcome(generated(DRAFT))


async def test_a_start_of_the_other_role_has_a_session_of_its_own(store):
    await stored(store, AUTHORIZED)
    emp = replace(DRAFT, role="emp")
    assert await begin(store, emp, KEY) == StartOutcome(emp)


async def test_the_id_of_a_refused_start_goes_to_the_next_request(store):
    await stored(store, replace(REFUSED, request_digest=b"two"))
    await begin(store, DRAFT, KEY)
    assert await sessions.get_now(store, "cpo", ID) == DRAFT


async def test_finding_a_start_stores_nothing(store):
    await find(store, DRAFT, KEY)
    assert await sessions.get_now(store, "cpo", ID) is None


DECIDED = {
    "nothing": ((), b"new", b"new"),
    "answered": ((AUTHORIZED,), b"yes", b"yes"),
    "crashed": ((DRAFT,), b"new", b"new"),
}


@pytest.mark.parametrize(("earlier", "answer", "stored_answer"), DECIDED.values(), ids=DECIDED)
async def test_a_decided_start_is_stored_once_with_its_first_response(store, earlier, answer, stored_answer):
    await stored(store, *earlier)
    decided = replace(AUTHORIZED, start_response=b"new")
    response = await store.write(lambda tx: record_decided_start(tx, decided, OperationResponse(b"new"), key=KEY))
    session = await sessions.get_now(store, "cpo", ID)
    assert (response.body, session.start_response, session.state) == (answer, stored_answer, "authorized")


async def test_the_event_of_a_start_is_that_of_the_session_under_the_id_that_the_responder_gave(store):
    await stored(store, DRAFT)
    services = SimpleNamespace(store=store, now=lambda: NOW, registry=SimpleNamespace(by_id=lambda _: None))
    own = {"session_key": OTHER_ID, "session_id": OTHER_ID}
    service = SessionService("cpo", services, None)
    await service.complete_start(DRAFT, SessionState.AUTHORIZED, OperationResponse(b"yes"), **own)
    for key, events in ((ID, []), (OTHER_ID, ["authorized"])):
        rows = await store.query(sessions.EVENTS, role_="cpo", key_=key)
        assert [row["event"] for row in rows] == events
