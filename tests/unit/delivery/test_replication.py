"""Replication converges: with a strict peer, lost answers, silence and refusals, and by the least traffic."""

import asyncio
import json
import random
from contextlib import asynccontextmanager, suppress

import pytest

from p2p_oicp.client import HttpResponse, read_reply
from p2p_oicp.delivery import DatasetReplicator, ExponentialBackoff, PeerDatasetTarget, WakeupRegistry, change_batches
from p2p_oicp.errors import PeerRejected, PeerTimeout, PeerUnreachable
from p2p_oicp.oicp import ProviderID
from p2p_oicp.peering.agreements import PartyAgreements
from p2p_oicp.peers import Peer
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.storage.datasets.change_feed import ReplicaScope
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.peer_state import Destination
from p2p_oicp.storage.retention import purge_datasets
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import push

PEER = Peer("emp", "http://emp", providers=(ProviderID("DE-GDF"),))
LIVING = Statement("SELECT key, filter_value FROM dataset_records WHERE deleted = 0", {})


class StrictPeer:
    """Another implementation: all or nothing, 009 for every conflict, and no detection of duplicates."""

    def __init__(self) -> None:
        self.state: dict[str, str] = {}
        self.actions: list[tuple[str, int]] = []
        self.failure = lambda: None

    async def call(self, peer, operation, party, body, *, deadline, query=None):  # noqa: ARG002 - as a PeerClient has it
        message = json.loads(body)
        records = {
            record["EvseID"]: record["EvseStatus"].lower()
            for record in message["OperatorEvseStatus"]["EvseStatusRecord"]
        }
        failure = self.failure()
        if isinstance(failure, (PeerUnreachable, PeerRejected)):
            raise failure
        code = self._apply(message["ActionType"], records)
        self.actions.append((message["ActionType"], len(records)))
        if failure:
            raise failure
        answer = {"Result": code == "000", "StatusCode": {"Code": code}}
        headers = {"Content-Type": "application/json"}
        return read_reply(HttpResponse("emp", 200, headers, json.dumps(answer).encode()), operation, now=0.0)

    def _apply(self, action: str, records: dict[str, str]) -> str:
        known = records.keys() & self.state.keys()
        if (action == "insert" and known) or (action in {"update", "delete"} and len(known) < len(records)):
            return "009"
        if action == "fullLoad":
            self.state = {}
        for key, status in records.items():
            if action == "delete":
                del self.state[key]
            else:
                self.state[key] = status
        return "000"


@pytest.fixture
def peer() -> StrictPeer:
    return StrictPeer()


@pytest.fixture
def coordinator(store, clock) -> DatasetCoordinator:
    return DatasetCoordinator(store, clock.time)


@asynccontextmanager
async def running(work):
    task = asyncio.create_task(work)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def work(store, clock, peer):
    """Run rounds until nothing is behind, or something is in the way; the replicator lives on between calls."""
    wakeup = WakeupRegistry().register(Destination("emp", "evse status"))
    backoff = ExponentialBackoff(1.0, 5.0, lambda: 0.0)
    dataset_type = DATASET_TYPES[DatasetKind.EVSE_STATUS]
    replicator = DatasetReplicator(
        ReplicaScope(PEER.id, DatasetKind.EVSE_STATUS, None),
        dataset_type,
        store=store,
        target=PeerDatasetTarget(PEER, peer, PartyAgreements(PEER)),
        wakeup=wakeup,
        clock=clock,
        backoff=backoff,
    )

    async def run(rounds: int = 100) -> list[tuple[str, int]]:
        peer.actions.clear()
        for _ in range(rounds):
            pause = await replicator._replicate_once()
            if pause is None:
                break
            clock.now += pause
        return list(peer.actions)

    return run


async def test_a_change_after_a_silence_is_sent_at_once_and_a_burst_behind_it_in_one_request(
    store, coordinator, peer, clock
):
    wakeups, burst, over = WakeupRegistry(), [f"R{number}" for number in range(20)], asyncio.Event()
    dataset_type = DATASET_TYPES[DatasetKind.EVSE_STATUS]
    wakeup = wakeups.register(Destination("emp", dataset_type.name))

    async def gather(seconds: float) -> None:
        for status in burst:
            await coordinator.apply(push("update", A=status, B=status))
            wakeups.notify_dataset(dataset_type.name)
        clock.now += seconds
        if not burst:
            over.set()
        burst.clear()

    await coordinator.apply(push("fullLoad", A="Available", B="Available"))
    backoff = ExponentialBackoff(1.0, 5.0, lambda: 0.0)
    replicator = DatasetReplicator(
        ReplicaScope(PEER.id, DatasetKind.EVSE_STATUS, None),
        dataset_type,
        store=store,
        target=PeerDatasetTarget(PEER, peer, PartyAgreements(PEER)),
        wakeup=wakeup,
        clock=clock,
        backoff=backoff,
        sleep=gather,
    )
    async with asyncio.timeout(5), running(replicator.run()):
        while not peer.actions:
            await asyncio.sleep(0)
        await coordinator.apply(push("update", A="Occupied"))
        wakeups.notify_dataset(dataset_type.name)
        await over.wait()
    assert peer.actions == [("fullLoad", 2), ("update", 1), ("update", 2)]
    assert peer.state == {"A": "r19", "B": "r19"}


async def living(store) -> dict[str, str]:
    return {row["key"]: row["filter_value"] for row in await store.query(LIVING)}


def in_turn(*failures):
    left = list(failures)
    return lambda: left.pop(0) if left else None


async def test_a_new_peer_gets_a_full_load_and_then_changes_only(coordinator, peer, work):
    await coordinator.apply(push("fullLoad", A="Available", B="Available", C="Available"))
    assert await work() == [("fullLoad", 3)]
    await coordinator.apply(push("update", A="Occupied"))
    await coordinator.apply(push("update", A="Reserved"))
    await coordinator.apply(push("insert", D="Available"))
    await coordinator.apply(push("insert", E="Available"))
    await coordinator.apply(push("delete", E="Available"))
    await coordinator.apply(push("delete", B="Available"))
    assert sorted(await work()) == [("delete", 1), ("insert", 1), ("update", 1)]
    assert peer.state == {"A": "reserved", "C": "available", "D": "available"}
    assert await work() == []


async def test_an_emptied_group_is_one_empty_full_load_and_no_list_of_deletes(coordinator, peer, work):
    await coordinator.apply(push("fullLoad", A="Available", B="Available", C="Available"))
    await work()
    await coordinator.apply(push("fullLoad"))
    assert await work() == [("fullLoad", 0)]
    assert peer.state == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (push("insert", D="Available"), [("insert", 1), ("insert", 1), ("update", 1)]),
        (push("update", A="Occupied"), [("update", 1), ("update", 1)]),
        (push("delete", A="Available"), [("delete", 1), ("delete", 1)]),
    ],
    ids=["insert", "update", "delete"],
)
async def test_a_push_whose_answer_was_lost_is_repaired_by_itself(store, coordinator, peer, work, change, expected):
    await coordinator.apply(push("fullLoad", A="Available", B="Available"))
    await work()
    await coordinator.apply(change)
    peer.failure = in_turn(PeerTimeout("emp", "no answer"))
    assert await work() == expected
    assert peer.state == await living(store)


async def test_what_changes_while_an_answer_is_lost_comes_next(store, coordinator, peer, work):
    await coordinator.apply(push("fullLoad", A="Available"))
    await work()
    await coordinator.apply(push("insert", B="Available"))
    peer.failure = in_turn(PeerTimeout("emp", "no answer"))
    await work(rounds=1)
    await coordinator.apply(push("update", B="Occupied"))
    await coordinator.apply(push("insert", C="Available"))
    assert "fullLoad" not in dict(await work())
    assert peer.state == await living(store)


async def test_a_peer_that_was_away_for_a_week_gets_only_the_newest_records(coordinator, peer, work):
    await coordinator.apply(push("fullLoad", A="Available", B="Available"))
    await work()
    peer.failure = lambda: PeerUnreachable("emp", "away")
    for status in ("Occupied", "Reserved", "Occupied", "OutOfService"):
        await coordinator.apply(push("update", A=status))
        await work(rounds=2)
    peer.failure = lambda: None
    assert await work() == [("update", 1)]
    assert peer.state == {"A": "outofservice", "B": "available"}


async def test_a_peer_that_lost_something_gets_a_full_load_of_that_group_only(coordinator, peer, work):
    await coordinator.apply(push("fullLoad", A="Available", B="Available"))
    await coordinator.apply(push("fullLoad", operator="DEXYZ", X="Available"))
    assert len(await work()) == 2
    peer.state.clear()
    await coordinator.apply(push("update", A="Occupied"))
    assert await work() == [("update", 1), ("fullLoad", 2)]


async def test_a_peer_that_returns_after_the_tombstones_were_purged_gets_a_full_load(
    store, coordinator, peer, work, clock
):
    await coordinator.apply(push("fullLoad", A="Available", B="Available"))
    await work()
    await coordinator.apply(push("delete", B="Available"))
    clock.now += 1000
    await purge_datasets(store, {DatasetKind.EVSE_STATUS: clock.now}, 0.0)
    assert await work() == [("fullLoad", 1)]
    assert peer.state == {"A": "available"}


async def test_a_peer_that_accepts_less_at_a_time_is_sent_less(store, coordinator, peer, work):
    await coordinator.apply(push("fullLoad", **{f"E{number:05}": "Available" for number in range(12_000)}))
    peer.failure = in_turn(PeerRejected("emp", "too large", http_status=413))
    actions = await work()
    assert actions[0][0] == "fullLoad"
    assert {action for action, _ in actions[1:]} == {"insert"}
    assert peer.state == await living(store)


async def test_a_push_that_is_too_large_however_small_leaves_the_later_ones_their_size(coordinator, peer, work):
    await coordinator.apply(push("fullLoad", **{f"E{number:05}": "Available" for number in range(200)}))
    peer.failure = in_turn(*[PeerRejected("emp", "too large", http_status=413)] * 40)
    assert await work() == [("fullLoad", 200)]


async def test_a_record_that_goes_comes_and_goes_between_the_batches_of_a_delta_is_deleted(
    store, coordinator, peer, work, monkeypatch
):
    monkeypatch.setattr(change_batches, "_MAX_BATCH_RECORDS", 4)
    await coordinator.apply(push("fullLoad", A="Available"))
    await work()
    await coordinator.apply(push("insert", X="Available", **{f"B{number}": "Available" for number in range(9)}))
    await work(rounds=1)
    assert "X" in peer.state
    await coordinator.apply(push("delete", X="Available"))
    await coordinator.apply(push("insert", **{f"C{number}": "Available" for number in range(9)}))
    await coordinator.apply(push("insert", X="Available"))
    await coordinator.apply(push("delete", X="Available"))
    await work()
    assert peer.state == await living(store)


@pytest.mark.parametrize("batch_records", [3, 10_000])
@pytest.mark.parametrize("seed", range(8))
async def test_any_sequence_of_changes_and_failures_converges(
    store, coordinator, peer, work, monkeypatch, seed, batch_records
):
    monkeypatch.setattr(change_batches, "_MAX_BATCH_RECORDS", batch_records)
    chance = random.Random(seed)
    failures = [
        None,
        None,
        PeerTimeout("emp", "no answer"),
        PeerUnreachable("emp", "away"),
        PeerRejected("emp", "a bad day", http_status=200, code="021"),
    ]
    peer.failure = lambda: chance.choice(failures)
    for _ in range(60):
        have = await living(store)
        known, new = sorted(have), [f"E{number}" for number in range(12) if f"E{number}" not in have]
        action = chance.choice(["insert", "update", "delete", "fullLoad", "delete", "update"])
        pool = {"insert": new, "fullLoad": known + new}.get(action, known)
        keys = chance.sample(pool, chance.randint(0, min(4, len(pool))))
        await coordinator.apply(push(action, **{key: chance.choice(["Available", "Occupied"]) for key in keys}))
        await work(rounds=chance.randint(0, 3))
    peer.failure = lambda: None
    await work()
    assert peer.state == await living(store)
