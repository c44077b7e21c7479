"""Charge detail records: one per session."""

from p2p_oicp.storage import cdrs
from p2p_oicp.storage.cdrs import CdrRow, InsertResult


async def insert(store, body: bytes) -> InsertResult:
    record = CdrRow(
        role="cpo", session_key="s", peer="p", operator_key="DEGEF", provider_key="DEGDF", session_end=1.0, body=body
    )
    return await store.write(lambda tx: cdrs.insert(tx, record, 1.0))


async def test_a_session_has_one_cdr_and_a_different_one_is_a_conflict(store):
    assert [await insert(store, b"a"), await insert(store, b"a"), await insert(store, b"b")] == [
        InsertResult.NEW,
        InsertResult.DUPLICATE,
        InsertResult.CONFLICT,
    ]
