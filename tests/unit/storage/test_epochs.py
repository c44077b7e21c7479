"""Store epochs: a new, a restored and an emptied database, and the file that outlives them all."""

import orjson
import pytest

from p2p_oicp.storage import epochs, sessions
from p2p_oicp.storage.epochs import (
    MAX_CLOCK_ERROR_SECONDS,
    EpochFile,
    Gap,
    PeerEpoch,
    Position,
    PositionFile,
    StoreEpoch,
)

NOW, DAY = 1_800_000_000.0, 86_400.0
A, B, C = 11, 12, 13


async def begin(store, new_id: int, now: float, *earlier: StoreEpoch) -> list[StoreEpoch]:
    return await store.write(lambda tx: epochs.begin_epoch(tx, now, new_id, earlier))


async def test_the_first_database_of_a_node_has_lost_nothing(store):
    (epoch,) = await begin(store, A, NOW)
    assert (epoch.epoch_id, epoch.gap) == (A, None)


async def test_a_database_that_is_opened_again_goes_on_with_its_epoch(store):
    await begin(store, A, NOW)
    assert await begin(store, B, NOW + DAY) == [StoreEpoch(A, NOW)]


async def test_a_restored_backup_has_lost_the_time_since_it_was_made(store):
    await begin(store, A, NOW)
    await store.write(lambda tx: epochs.end_epoch(tx, NOW + DAY))  # as `backup` does it in the copy
    first, restored = await begin(store, B, NOW + 3 * DAY)
    assert first.epoch_id == A
    assert (restored.copied_from, restored.gap) == (A, Gap(NOW + DAY, NOW + 3 * DAY))


@pytest.mark.parametrize(("last_event", "since"), [(NOW - 500, NOW - 500), (NOW + 500, NOW)])
async def test_a_backup_has_nothing_after_its_last_event_by_the_nodes_own_clock(store, last_event, since):
    await begin(store, A, NOW - DAY)
    await store.write(lambda tx: sessions.add_event(tx, "cpo", "f98efba4", last_event, "authorized"))
    await store.write(lambda tx: epochs.end_epoch(tx, NOW))
    assert (await begin(store, B, NOW + DAY))[-1].lost_since == since


async def test_a_backup_that_is_restored_twice_names_the_same_origin_each_time(store):
    await begin(store, A, NOW)
    await store.write(lambda tx: epochs.end_epoch(tx, NOW + DAY))
    lost = StoreEpoch(B, NOW + 2 * DAY, A, NOW + DAY)  # the first restore, of which only the file knows
    *_, restored = await begin(store, C, NOW + 3 * DAY, StoreEpoch(A, NOW), lost)
    assert (restored.epoch_id, restored.copied_from, restored.lost_since) == (C, A, NOW + DAY)


async def test_an_empty_database_in_the_place_of_a_lost_one_has_lost_everything(store):
    *_, empty = await begin(store, C, NOW + 3 * DAY, StoreEpoch(A, NOW), StoreEpoch(B, NOW + DAY, A, NOW + 5))
    assert (empty.copied_from, empty.gap) == (B, Gap(NOW, NOW + 3 * DAY))


async def begin_at(store, position: Position | None) -> list[StoreEpoch]:
    """Begin an epoch a day later, unless the database is the one of that position."""
    return await store.write(lambda tx: epochs.begin_epoch(tx, NOW + DAY, B, [], position))


async def test_a_database_that_has_got_as_far_as_the_file_says_goes_on_with_its_epoch(store):
    await begin(store, A, NOW)
    position = await epochs.position_now(store, A)
    await store.write(lambda tx: sessions.add_event(tx, "cpo", "f98efba4", NOW + 7, "authorized"))
    assert await epochs.position_now(store, A) == Position(A, position.event + 1, position.change)
    for reached in (None, position, await epochs.position_now(store, A)):
        assert await begin_at(store, reached) == [StoreEpoch(A, NOW)]


@pytest.mark.parametrize(("events", "changes"), [(1, 0), (0, 1)], ids=["of a session", "of a dataset"])
async def test_a_database_that_has_not_is_an_older_copy_and_begins_one(store, events, changes):
    await begin(store, A, NOW)
    await store.write(lambda tx: sessions.add_event(tx, "cpo", "f98efba4", NOW + 7, "authorized"))
    position = await epochs.position_now(store, A)
    begun = await begin_at(store, Position(A, position.event + events, position.change + changes))
    assert begun == [StoreEpoch(A, NOW), StoreEpoch(B, NOW + DAY, A, NOW + 7)]


async def test_an_older_copy_without_any_event_has_lost_all_of_its_epoch(store):
    await begin(store, A, NOW)
    assert (await begin_at(store, Position(A, 1, 0)))[-1].lost_since == NOW


async def test_a_copy_of_an_earlier_epoch_is_an_older_one_however_far_it_has_got(store):
    await begin(store, A, NOW)
    assert (await begin_at(store, Position(C, 0, 0)))[-1].copied_from == A


async def test_a_file_that_a_crash_has_left_with_an_earlier_epoch_means_nothing(store):
    await begin(store, B, NOW, StoreEpoch(A, NOW - DAY))
    assert (await begin_at(store, Position(A, 99, 99)))[-1].epoch_id == B


def test_the_position_is_replaced_and_what_cannot_be_read_is_none(tmp_path):
    file = PositionFile(tmp_path / "position")
    assert file.read() is None
    for position in (Position(A, 5, 0), Position(B, 1, 2)):
        file.write(position)
        assert file.read() == position
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.path.write_text("?")
    assert file.read() is None


@pytest.mark.parametrize(
    ("at", "covered"),
    [(-301, False), (-299, True), (50, True), (100 + 48 * 3600 - 1, True), (100 + 48 * 3600 + 1, False)],
)
def test_a_gap_is_widened_by_wrong_clocks_and_late_records(at, covered):
    assert Gap(0.0, 100.0).covers(at) is covered


@pytest.mark.parametrize(
    ("at", "contained"), [(-3601, False), (-3599, True), (50, True), (3699, True), (3701, False), (100_000, False)]
)
def test_a_session_of_our_own_was_lost_only_if_it_began_in_the_gap_by_clocks_that_differ_by_an_hour(at, contained):
    assert Gap(0.0, 100.0).contains(at) is contained


@pytest.mark.parametrize(("at", "covered"), [(-3601, False), (-3599, True), (100 + 48 * 3600 + 1, False)])
def test_a_session_may_have_been_lost_if_it_began_in_a_gap_by_a_clock_that_is_wrong_by_an_hour(at, covered):
    assert Gap(0.0, 100.0).covers(at, MAX_CLOCK_ERROR_SECONDS) is covered


def test_the_file_has_what_was_added_and_a_line_that_was_cut_off_costs_only_itself(tmp_path):
    path = tmp_path / "keys" / "epochs.jsonl"
    file = EpochFile.read(path)
    file.add_own([StoreEpoch(A, NOW)])
    path.write_bytes(path.read_bytes() + b'{"epoch": 9')
    EpochFile.read(path).add_own([StoreEpoch(A, NOW), StoreEpoch(B, NOW + DAY, A, NOW + 5)])
    file = EpochFile.read(path)
    file.add_peer("beta", frozenset({"DEBET"}), C, NOW)
    file.add_peer("beta", frozenset({"DEBET", "DEBE2"}), C, NOW)
    again = EpochFile.read(path)
    assert again.own == {A: StoreEpoch(A, NOW), B: StoreEpoch(B, NOW + DAY, A, NOW + 5)}
    assert again.epochs_of(frozenset({"DEBET", "other"})) == {C}
    assert again.epochs_of(frozenset({"other"})) == set()
    assert path.stat().st_mode & 0o777 == 0o600
    assert sum(b"peer" in line for line in path.read_bytes().splitlines()) == 1


@pytest.mark.parametrize("line", [b"\xff", b"[]", b"5", b'{"epoch": 1}', orjson.dumps({"peer": 5, "epoch": 1})])
def test_a_line_that_is_no_epoch_is_passed_over(tmp_path, line):
    path = tmp_path / "epochs.jsonl"
    path.write_bytes(line + b"\n")
    file = EpochFile.read(path)
    assert (file.own, file.of_peers) == ({}, [])


async def test_a_peer_with_another_database_starts_again_with_snapshots(store):
    def record(*named: PeerEpoch):
        return store.write(lambda tx: epochs.record_peer_epochs(tx, "peer:1", named))

    assert await record(PeerEpoch(A)) is False
    assert await record(PeerEpoch(A)) is False
    assert await record(PeerEpoch(B, A, Gap(1.0, 2.0), proved=True), PeerEpoch(A)) is True
    known = {epoch.epoch_id: epoch for epoch in await epochs.peer_epochs_now(store, "peer:1")}
    assert known == {A: PeerEpoch(A), B: PeerEpoch(B, A, Gap(1.0, 2.0), proved=True)}


async def test_a_peer_that_names_a_new_database_in_each_hello_does_not_fill_the_disk(store, tmp_path, monkeypatch):
    monkeypatch.setattr(epochs, "_MAX_EPOCHS_PER_PEER", 10)
    file = EpochFile.read(tmp_path / "epochs.jsonl")
    for number in range(6):
        named = [PeerEpoch(3 * number + each) for each in range(3)]
        await store.write(lambda tx, named=named: epochs.record_peer_epochs(tx, "a", named))
        for epoch in named:
            file.add_peer("a", frozenset({"DE*ABC"}), epoch.epoch_id, now=0.0)
    assert len(await epochs.peer_epochs_now(store, "a")) == len(file.path.read_text().splitlines()) == 10
