"""After a restore a node fetches from its peers what it does not have, and nothing else (`roles.recovery`)."""

import time

import pytest

from p2p_oicp.delivery.node_protocol import HttpNodeClient
from p2p_oicp.errors import PeerUnreachable
from p2p_oicp.roles import recovery, session_export
from p2p_oicp.roles.delivery_targets import PeerDeliveryTarget
from p2p_oicp.roles.recovery import RecoveryJob
from p2p_oicp.roles.session_export import SessionExport
from p2p_oicp.storage.sqlite.backup import back_up
from tests.support.messages import CDR
from tests.support.nodes import query, start_session
from tests.support.restores import back_up_all, record, restore_all, timestamp
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    """Two sessions, or CDRs, are a page."""
    monkeypatch.setattr(session_export, "_SESSIONS_PER_PAGE", 2)
    monkeypatch.setattr(session_export, "_CDRS_PER_PAGE", 2)


class Requests:
    """The pages that a recovery fetches whole, by their cursors, and how many it lists; ``fail_at`` interrupts it."""

    def __init__(self, monkeypatch) -> None:
        self.whole: dict[str, list[str]] = {"sessions": [], "cdrs": []}
        self.listed = 0
        self.fail_at: tuple[str, int] | None = None
        for what, parameter in (("sessions", "with_evidence"), ("cdrs", "with_records")):
            self._count(monkeypatch, what, parameter)

    def _count(self, monkeypatch, what: str, parameter: str) -> None:
        export = getattr(HttpNodeClient, f"export_{what}")

        async def counted(client, peer, party, since, cursor, **options):
            if self.fail_at == (what, len(self.whole[what])):
                self.fail_at = None
                raise PeerUnreachable(peer.name, "down")
            page = await export(client, peer, party, since, cursor, **options)
            if options[parameter]:
                self.whole[what].append(cursor)
            else:
                self.listed += 1
            return page

        monkeypatch.setattr(HttpNodeClient, f"export_{what}", counted)


async def settle_sessions(pair, count: int) -> list[str]:
    sessions = [await start_session(pair) for _ in range(count)]
    for session in sessions:
        assert (await pair.a.post(CDR, record(session))).json["Result"] is True
    await eventually(lambda: query(pair, "a", "SELECT 1 FROM cdrs WHERE state != 'accepted'") == [])
    return sessions


async def restore_with_four_of_seven_sessions(pair, name: str) -> None:
    """Restore a node from a backup of when it had four sessions with their CDRs; the other one has seven."""
    backup = pair.folder / "backup"
    async with pair.running("a"), pair.running("b"):
        await settle_sessions(pair, 4)
        back_up(pair.database(name), backup, time.time())
        await settle_sessions(pair, 3)
    await restore_all(pair, {name: backup}, {name: "old"})


@pytest.mark.parametrize("name", ["a", "b"])
async def test_what_a_backup_has_is_not_fetched_again(signed, monkeypatch, name):
    await restore_with_four_of_seven_sessions(signed, name)
    requests = Requests(monkeypatch)
    async with signed.running("a"), signed.running("b"):
        await eventually(lambda: query(signed, name, "SELECT count(*) FROM recoveries") == [(1,)])
    assert query(signed, name, "SELECT count(*) FROM cdrs") == [(7,)]
    assert (len(requests.whole["sessions"]), len(requests.whole["cdrs"]), requests.listed) == (2, 2, 8)
    assert "" not in requests.whole["sessions"] + requests.whole["cdrs"]
    exchanges = query(signed, name, "SELECT count(*), count(DISTINCT exchange) FROM evidence")
    assert exchanges == [(14, 14)]


@pytest.mark.parametrize("at", [("sessions", 1), ("cdrs", 1)], ids=["in the sessions", "in the CDRs"])
async def test_a_recovery_that_was_interrupted_fetches_nothing_twice(signed, monkeypatch, at):
    await restore_with_four_of_seven_sessions(signed, "a")
    monkeypatch.setattr(recovery, "_INTERVAL_SECONDS", 0.05)
    requests = Requests(monkeypatch)
    requests.fail_at = at
    async with signed.running("a"), signed.running("b"):
        await eventually(lambda: query(signed, "a", "SELECT count(*) FROM recoveries") == [(1,)])
    assert requests.fail_at is None
    assert query(signed, "a", "SELECT count(*) FROM cdrs") == [(7,)]
    for cursors in requests.whole.values():
        assert len(cursors) == len(set(cursors)) == 2


async def test_a_node_that_lists_nothing_and_sends_everything_is_understood(signed, monkeypatch):
    await restore_with_four_of_seven_sessions(signed, "a")
    for name, parameter in (("export_sessions", "with_evidence"), ("export_cdrs", "with_records")):
        export = getattr(SessionExport, name)

        def send_everything(*args, _export=export, _parameter=parameter, **_):
            return _export(*args, **{_parameter: True})

        monkeypatch.setattr(SessionExport, name, send_everything)
    async with signed.running("a"), signed.running("b"):
        await eventually(lambda: query(signed, "a", "SELECT state FROM cdrs") == [("accepted",)] * 7)


@pytest.mark.parametrize(
    ("column", "value"), [("peer", "peer:99"), ("digest", b"?")], ids=["a record of another EMP", "another record"]
)
async def test_an_export_decides_only_on_the_very_record_that_the_peer_has(stopped, column, value):
    backup = stopped.folder / "backup"
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        stopped.contracts.fail_with = PeerUnreachable("contracts", "down")
        await stopped.a.post(CDR, record(session))
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("delivered",)])
        back_up(stopped.database("a"), backup, time.time())
        stopped.contracts.fail_with = None
        await eventually(lambda: query(stopped, "a", "SELECT state FROM cdrs") == [("accepted",)])
    await restore_all(stopped, {"a": backup}, {"a": "old"})
    query(stopped, "a", f"UPDATE cdrs SET {column} = ?", value)
    if column == "peer":
        query(stopped, "a", "UPDATE sessions SET peer = ?", value)
    else:
        query(stopped, "a", "UPDATE cdrs SET body = CAST(replace(body, '\"SessionEnd', '\"Other') AS BLOB)")
    async with stopped.running("a"), stopped.running("b"):
        await eventually(lambda: query(stopped, "a", "SELECT count(*) FROM recoveries") == [(1,)])
    assert query(stopped, "a", "SELECT state FROM cdrs") == [("delivered",)]


@pytest.mark.parametrize("state", ["waiting", "delivered"])
async def test_an_unconfirmed_record_without_a_verdict_is_delivered_after_another_restore(stopped, monkeypatch, state):
    """Either the EMP's node has never had it, or it was lost before our backend had it."""
    backups = await back_up_all(stopped)
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
    await restore_all(stopped, backups, {"a": "old", "b": "old"})

    async def fail(_target, _message):
        raise PeerUnreachable("node b", "down")

    with monkeypatch.context() as patch:
        if state == "waiting":
            patch.setattr(PeerDeliveryTarget, "send", fail)
        async with stopped.running("a"), stopped.running("b"):
            await eventually(lambda: query(stopped, "a", "SELECT 1 FROM peer_epochs WHERE proved = 1"))
            stopped.contracts.fail_with = PeerUnreachable("contracts", "down")
            assert (await stopped.a.post(CDR, record(session))).json["Result"] is True
            await eventually(lambda: query(stopped, "a", "SELECT state, unconfirmed FROM cdrs") == [(state, 1)])
        stopped.contracts.fail_with = None
        await restore_all(stopped, backups, {"b": "old"})
        async with stopped.running("a"), stopped.running("b"):
            await eventually(lambda: query(stopped, "b", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 1)])
    async with stopped.running("a"), stopped.running("b"):
        await eventually(lambda: query(stopped, "a", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 1)])
    assert len(stopped.contracts.records) == 1


@pytest.fixture
def without_recovery(monkeypatch):
    """What a node knows after a restore it has by asking about a session, not by the export."""

    async def do_nothing(_job):
        return None

    monkeypatch.setattr(RecoveryJob, "run", do_nothing)


@pytest.mark.usefixtures("without_recovery")
@pytest.mark.parametrize("name", ["a", "b"])
async def test_a_session_goes_on_though_the_charging_systems_clock_is_half_an_hour_behind(signed, name):
    backup = signed.folder / "backup"
    async with signed.running("a"), signed.running("b"):
        back_up(signed.database(name), backup, time.time())
        session = await start_session(signed)
    await restore_all(signed, {name: backup}, {name: "old"})
    async with signed.running("a"), signed.running("b"):
        assert (await signed.a.post(CDR, record(session) | {"SessionStart": timestamp(-1800)})).json["Result"] is True
        await eventually(lambda: query(signed, "a", "SELECT state, unconfirmed FROM cdrs") == [("accepted", 0)])


@pytest.mark.usefixtures("without_recovery")
async def test_a_session_that_nobody_knows_and_that_seems_to_be_older_than_the_gap_is_refused(signed):
    backups = {name: signed.folder / f"{name}.backup" for name in "ab"}
    async with signed.running("a"), signed.running("b"):
        await eventually(lambda: query(signed, "a", "SELECT 1 FROM destinations WHERE store_epoch IS NOT NULL"))
        for name in "ab":
            back_up(signed.database(name), backups[name], time.time())
        session = await start_session(signed)
    await restore_all(signed, backups, {"a": "old", "b": "old"})
    async with signed.running("a"), signed.running("b"):
        answer = await signed.a.post(CDR, record(session) | {"SessionStart": timestamp(-1800)})
        assert (answer.json["Result"], answer.code) == (False, "400")
    assert signed.contracts.records == []
