"""What is stored is listed as its filters say, and as it came."""

import msgspec
import pytest

from p2p_oicp.storage import cdrs, evse_lists, listings, tokens
from p2p_oicp.storage.cdrs import CdrRow
from p2p_oicp.storage.paging import ANY
from p2p_oicp.storage.tokens import Token


def record(session: str, *, unconfirmed: bool, doubts: str | None) -> CdrRow:
    keys = {"operator_key": "DEGEF", "provider_key": "DEGDF"}
    return CdrRow(
        role="emp", session_key=session, peer="p", session_end=1.0, body=b"{}", unconfirmed=unconfirmed, doubts=doubts,
        **keys,
    )  # fmt: skip


@pytest.fixture
async def records(store):
    rows = [
        record("fine", unconfirmed=False, doubts=None),
        record("unconfirmed", unconfirmed=True, doubts=None),
        record("doubtful", unconfirmed=False, doubts="too much"),
        record("both", unconfirmed=True, doubts="too much"),
    ]
    await store.write(lambda tx: [cdrs.insert(tx, each, 1.0) for each in rows])


@pytest.mark.parametrize(
    ("marks", "sessions"),
    [
        ((ANY, ANY), "both doubtful fine unconfirmed"),
        ((1, ANY), "both unconfirmed"),
        ((0, ANY), "doubtful fine"),
        ((ANY, 1), "both doubtful"),
        ((ANY, 0), "fine unconfirmed"),
        ((0, 1), "doubtful"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("records")
async def test_cdrs_are_listed_with_a_mark_or_without_it(store, marks, sessions):
    page, parameters = listings.CDRS.page(unconfirmed_=marks[0], doubtful_=marks[1], limit=9)
    rows = await store.query(page.statement, **parameters)
    assert sorted(row["session_key"] for row in rows) == sessions.split()


@pytest.mark.parametrize(("begin", "count"), [("", 2), ("04E8", 1), ("04E8960A", 1), ("04E8960AA", 0), ("%", 0)])
async def test_tokens_are_listed_by_how_they_begin_and_wildcards_are_none(store, begin, count):
    for uid in ("04E8960A", "FFFFFFFF"):
        await store.write(lambda tx, uid=uid: tokens.upsert_token(tx, Token(uid, uid, None), 5.0))
    page, parameters = listings.TOKENS.page(token_=begin, limit=9)
    assert len(await store.query(page.statement, **parameters)) == count


def test_the_record_of_an_evse_has_its_numbers_as_they_were_written():
    row = {"source": "", "changed_at": 1.0, "status": None, "status_changed_at": None, "raw": b'{"Power":22.150}'}
    assert b'"record":{"Power":22.150}' in msgspec.json.encode(evse_lists.evse_to_json(row))
