"""After a restore, a peer's word about a session counts only with a signature of our own (DESIGN section 5)."""

import pytest
from msgspec.structs import replace

from p2p_oicp.delivery.node_protocol import SessionStatus
from p2p_oicp.roles.session_export import SessionExport
from tests.support.messages import CDR, REMOTE_START, UNKNOWN_SESSION, remote_start
from tests.support.nodes import query, start_session
from tests.support.restores import back_up_all, record, restore_all
from tests.support.waiting import eventually

RESTORES = [{"a": "old"}, {"a": "empty"}, {"b": "old"}, {"b": "empty"}]


@pytest.mark.parametrize("how", RESTORES)
@pytest.mark.parametrize("opener", ["csms", "app"])
async def test_a_session_goes_on_if_the_other_side_shows_what_we_have_signed(stopped, how, opener):
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        if opener == "csms":
            session = await start_session(stopped)
        else:
            session = (await stopped.b.post(REMOTE_START, remote_start())).json["SessionID"]
    await restore_all(stopped, backups, how)
    async with stopped.running("a"), stopped.running("b"):
        assert (await stopped.a.post(CDR, record(session))).json["Result"] is True
        await eventually(lambda: query(stopped, "a", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 0)])
        assert query(stopped, "b", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 0)]
    assert len(stopped.contracts.records) == 1


@pytest.mark.parametrize("shown", ["nothing", "another session"])
async def test_a_session_that_a_peer_invents_is_refused(stopped, monkeypatch, shown):
    """The CPO says that it knows the session, and cannot show anything that the EMP has signed."""
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        real = await start_session(stopped)
    await restore_all(stopped, backups, {"b": "old"})
    status = SessionExport._status

    async def invent(export, session, peer, *, with_evidence):
        answer: SessionStatus = await status(export, session, peer, with_evidence=with_evidence)
        evidence = None if shown == "nothing" else (await export._evidence.export(real)).decode()
        return replace(answer, evidence=evidence)

    async with stopped.running("a"), stopped.running("b"):
        await eventually(lambda: query(stopped, "b", "SELECT session_id FROM sessions") == [(real,)])
        monkeypatch.setattr(SessionExport, "_status", invent)
        columns = query(stopped, "a", "SELECT group_concat(name) FROM pragma_table_info('sessions')")[0][0].split(",")
        values = ", ".join(
            {"session_key": f"'{UNKNOWN_SESSION}'", "session_id": f"'{UNKNOWN_SESSION}'"}.get(name, name)
            for name in columns
        )
        query(stopped, "a", f"INSERT INTO sessions ({', '.join(columns)}) SELECT {values} FROM sessions")
        assert (await stopped.a.post(CDR, record(UNKNOWN_SESSION))).json["Result"] is True
        await eventually(lambda: query(stopped, "a", "SELECT state, verdict_code FROM cdrs") == [("dead", "400")])
        assert query(stopped, "b", "SELECT count(*) FROM cdrs") == [(0,)]
    assert not stopped.contracts.records


async def test_a_session_is_proved_again_when_the_other_side_is_restored_next(stopped):
    """The CPO has lost its evidence, and has got it back from the EMP, which then loses its own."""
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])
    for name in ("a", "b"):
        await restore_all(stopped, backups, {name: "empty"})
        async with stopped.running("a"), stopped.running("b"):
            await eventually(
                lambda name=name: query(stopped, name, "SELECT state, unconfirmed FROM cdrs") == [("accepted", 0)]
            )
