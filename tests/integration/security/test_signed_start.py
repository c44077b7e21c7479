"""AuthorizeStart at the CPO's node, signed: the outcome and the signed exchange that proves it are one transaction."""

from tests.support.database import HandlersWrites
from tests.support.messages import START, authorize_start
from tests.support.nodes import query


async def test_a_signed_start_and_its_evidence_are_one_transaction(stopped):
    async with stopped.running("a") as a, stopped.running("b"):
        writes = HandlersWrites(a.store)
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        assert writes.count == 1
    assert query(stopped, "a", "SELECT session_id, state FROM sessions") == [(session, "authorized")]
    assert query(stopped, "a", "SELECT session_key FROM evidence") == [(session.lower(),)]
