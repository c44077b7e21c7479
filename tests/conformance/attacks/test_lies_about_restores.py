"""A rogue CPO that invents sessions for an EMP's node that was restored: it lies in its hello and in its answers.

Node B is the EMP's. The rogue has node A's key; what it answers is what B's client returns.
"""

import json
import time

import msgspec
import pytest

from p2p_oicp.delivery.node_protocol import UNKNOWN, ExportedCdr, HttpNodeClient, Page, SessionStatus
from p2p_oicp.storage.sqlite.backup import back_up
from tests.support.messages import CDR, UNKNOWN_SESSION
from tests.support.nodes import query, restore, start_session
from tests.support.pairing import Admin
from tests.support.restores import record, timestamp
from tests.support.waiting import eventually

KNOWN = SessionStatus("authorized", kind="authorize", session_id=UNKNOWN_SESSION, created_at=time.time())
OF_ALL_TIMES = {"copied_from": 10, "gap": [0, 4e9]}


def replaced(**members) -> SessionStatus:
    return SessionStatus(**{name: getattr(KNOWN, name) for name in KNOWN.__struct_fields__} | members)


SIGNED, UNSIGNED = ("signature",), ()
LIES = {
    "it knows the session, and has no proof": (SIGNED, KNOWN),
    "its proof is no evidence file": (SIGNED, replaced(evidence="{}\n{}\n")),
    "its proof is that of another session": (SIGNED, replaced(evidence="of another")),
    "it has lost all times, signed": (SIGNED, SessionStatus(UNKNOWN, hello={"epoch": 9, **OF_ALL_TIMES})),
    "it has lost all times": (UNSIGNED, SessionStatus(UNKNOWN, hello={"epoch": 9, **OF_ALL_TIMES})),
    "a state that is none": (UNSIGNED, replaced(state="paid")),
    "a refused session": (UNSIGNED, replaced(state="refused")),
    "a session that it has made up itself after a restore": (UNSIGNED, replaced(unconfirmed=True)),
    "a session of another operator": (UNSIGNED, replaced(operator_id="FR*XYZ")),
    "a session of another provider": (UNSIGNED, replaced(provider_id="FR-XYZ")),
}


@pytest.fixture(params=[pytest.param(lie, id=name) for name, lie in LIES.items()])
def lie(request):
    return request.param


@pytest.fixture
def require(lie) -> tuple[str, ...]:
    return lie[0]


async def restore_b(pair) -> str:
    """Restore B; return the evidence file of a session that took place before."""
    async with pair.running("a"), pair.running("b"):
        await eventually(lambda: query(pair, "b", "SELECT 1 FROM destinations WHERE store_epoch IS NOT NULL"))
        back_up(pair.database("b"), pair.folder / "backup", time.time())
        session = await start_session(pair)
        evidence = (await Admin(pair, "b").ask("GET", f"/evidence/{session}"))["file"] if pair.require else ""
    restore(pair, "b", pair.folder / "backup")
    return evidence


def answer_with(monkeypatch, status: SessionStatus, cdrs: list[ExportedCdr]) -> None:
    async def get_status(*_, **__):
        return status

    async def export_sessions(*_, **__):
        return Page([status], None)

    async def export_cdrs(*_, **__):
        return Page(cdrs, None)

    monkeypatch.setattr(HttpNodeClient, "get_status", get_status)
    monkeypatch.setattr(HttpNodeClient, "export_sessions", export_sessions)
    monkeypatch.setattr(HttpNodeClient, "export_cdrs", export_cdrs)


async def test_nobody_invents_a_session_because_the_emps_database_was_restored(stopped, lie, monkeypatch):
    evidence, status = await restore_b(stopped), lie[1]
    if status.evidence == "of another":
        assert evidence
        status = replaced(evidence=evidence)
    invented = json.dumps(record(UNKNOWN_SESSION)).encode()
    answer_with(monkeypatch, status, [ExportedCdr("accepted", UNKNOWN_SESSION, record=msgspec.Raw(invented))])
    async with stopped.running("b"):
        await eventually(lambda: query(stopped, "b", "SELECT count(*) FROM recoveries") == [(1,)])
        answer = await stopped.b_peer.post(CDR, record(UNKNOWN_SESSION))
        assert (answer.json["Result"], answer.code) == (False, "400")
        assert query(stopped, "b", "SELECT count(*) FROM cdrs") == [(0,)]
    assert stopped.contracts.records == []


@pytest.mark.parametrize("lie", [(UNSIGNED, replaced(created_at=1.0))], ids=["unsigned"])
async def test_an_export_tells_nothing_of_a_time_that_was_not_lost(stopped, lie, monkeypatch):
    await restore_b(stopped)
    times = {name: timestamp(-9e6) for name in ("SessionStart", "ChargingStart", "ChargingEnd", "SessionEnd")}
    invented = json.dumps(record(UNKNOWN_SESSION) | times).encode()
    answer_with(monkeypatch, lie[1], [ExportedCdr("accepted", UNKNOWN_SESSION, record=msgspec.Raw(invented))])
    async with stopped.running("b"):
        await eventually(lambda: query(stopped, "b", "SELECT count(*) FROM recoveries") == [(1,)])
    assert query(stopped, "b", "SELECT count(*) FROM cdrs") == [(0,)]
    assert stopped.contracts.records == []


@pytest.mark.parametrize("lie", [(SIGNED, SessionStatus(UNKNOWN))], ids=["signed"])
async def test_a_restore_that_was_announced_step_by_step_opens_nothing_without_one_of_our_own(
    stopped, lie, monkeypatch
):
    answer_with(monkeypatch, lie[1], [])
    async with stopped.running("b"):
        for members in ({"epoch": 10}, {"epoch": 11, "copied_from": 10, "gap": [0, 4e9]}):
            hello = json.dumps({"operators": ["DE*GEF"], **members}).encode()
            headers = stopped.b_peer.signed("", hello, path="/p2p/v1/hello")
            async with stopped.http.post(f"{stopped.b_peer.base}/p2p/v1/hello", data=hello, headers=headers) as answer:
                assert (await answer.json())["known"] is True
        assert query(stopped, "b", "SELECT proved FROM peer_epochs WHERE epoch_id = 11") == [(1,)]
        answer = await stopped.b_peer.post(CDR, record(UNKNOWN_SESSION))
        assert (answer.json["Result"], answer.code) == (False, "400")
    assert stopped.contracts.records == []
