"""What this node knows of its own databases and of its peers': told in hello, asked by whoever doubts a message.

**Hello** carries ``epoch`` (the id of the sender's database), ``copied_from`` and ``gap`` (`storage.epochs`), and
``earlier``, the same members of the epochs before it: a peer may have been down while a node was restored twice.

A peer's new epoch means that its database was replaced: our datasets are sent to it again. Its gaps are believed only
if it names an epoch that we had recorded of it before, so that nobody can invent a restore. Our own gaps are known
from our own files, never from what a peer says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import structlog

from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.concurrency import offload, periodic
from p2p_oicp.delivery.wakeup import Wakeup, WakeupRegistry
from p2p_oicp.errors import StoreUnavailable
from p2p_oicp.peers import Peer
from p2p_oicp.peers.models import EXTENSIONS
from p2p_oicp.storage import Store, Transaction, epochs, event_log, job_keys, peer_state
from p2p_oicp.storage.epochs import (
    MAX_CLOCK_ERROR_SECONDS,
    EpochFile,
    Gap,
    PeerEpoch,
    Position,
    PositionFile,
    StoreEpoch,
)
from p2p_oicp.storage.event_log import Event, EventType, emit

log = structlog.get_logger(__name__)

#: In the folder of the keys: what a lost database does not take along.
EPOCHS_FILE, POSITION_FILE = "epochs.jsonl", "position"
# That a copy is older is noticed if it lacks more than this.
_POSITION_INTERVAL_SECONDS = 0.2
# A node that is restored once a week for years; and what one hello may make us store.
_MAX_EARLIER_EPOCHS = 100
_MAX_EXTENSIONS = 50
# Larger integers do not fit into SQLite's.
_MAX_EPOCH_ID = 1 << 62


class StoreEpochs:
    """The epochs of this node's databases and of its peers'.

    Args:
        store: has what peers have said.
        file: ``epochs.jsonl``, which outlives the database.
        position_file: ``position``, beside it.
        own: this node's epochs, that of the present database last.
        clock: the time.
    """

    def __init__(
        self, store: Store, file: EpochFile, position_file: PositionFile, own: Sequence[StoreEpoch], clock: Clock
    ) -> None:
        self._store = store
        self._file = file
        self._position_file = position_file
        self._position: Position | None = None
        self._position_failed = False
        self._clock = clock
        self._own = own
        self.current = own[-1]
        #: Is set by each hello of a peer: what it knows can be asked for now.
        self.hello_received = Wakeup("hello received")
        self._earlier = own[:-1][-_MAX_EARLIER_EPOCHS:]
        self.gaps = tuple(epoch.gap for epoch in own if epoch.gap is not None)

    async def run(self) -> None:
        """Write how far the database has got whenever something has happened, and once more when cancelled."""
        try:
            await periodic("store position", _POSITION_INTERVAL_SECONDS, self.write_position)
        finally:
            # Without an await: a node that stops has no time for one.
            self._write_position(await epochs.position_now(self._store, self.current.epoch_id))

    async def write_position(self) -> None:
        """Write it now, if the file has another."""
        position = await epochs.position_now(self._store, self.current.epoch_id)
        if position != self._position:
            await offload(self._write_position, position)

    def _write_position(self, position: Position) -> None:
        self._position = position
        try:
            self._position_file.write(position)
            self._position_failed = False
        except StoreUnavailable as error:
            if not self._position_failed:  # once: it is tried again and again
                log.warning("epochs.write_failed", reason=str(error))
            self._position_failed = True

    def lost(self, at: float) -> bool:
        """Return whether this node's databases may have lost a session that began at ``at``."""
        return any(gap.covers(at) for gap in self.gaps)

    def may_have_lost(self, at: float) -> bool:
        """Return the same, where the clock that ``at`` is of may be wrong by an hour."""
        return any(gap.covers(at, MAX_CLOCK_ERROR_SECONDS) for gap in self.gaps)

    async def lost_by(self, peer: Peer, at: float) -> bool:
        """Return whether a peer's databases have, as it has proved."""
        known = await epochs.peer_epochs_now(self._store, peer.id)
        return any(epoch.proved and epoch.gap is not None and epoch.gap.covers(at) for epoch in known)

    async def has_named(self, peer: Peer) -> bool:
        """Return whether a peer has told this database of its own: before, none of its gaps is proved."""
        return await peer_state.peer_epoch_now(self._store, peer.id) is not None

    async def lost_since(self, role: str, peer: Peer) -> float | None:
        """Return since when a peer is to be asked for what was lost (seconds since the epoch); None: not at all."""
        missing = [
            epoch.lost_since
            for epoch in self._own
            if epoch.lost_since is not None
            and not await epochs.is_recovered(self._store, role, peer.id, epoch.epoch_id)
        ]
        return min(missing, default=None)

    def complete_recovery(self, tx: Transaction, role: str, peer: Peer) -> None:
        """Record that a peer has told all that it knows."""
        for epoch in self._own:
            if epoch.lost_since is not None:
                epochs.complete_recovery(tx, role, peer.id, epoch.epoch_id, self._clock.time())

    def hello_members(self) -> dict[str, object]:
        """Return the members of a hello that speak of our databases."""
        return {
            **_members(self.current),
            "earlier": [_members(epoch) for epoch in reversed(self._earlier)],
            "extensions": list(EXTENSIONS),
        }

    async def record_hello(self, peer: Peer, members: Mapping[str, Any], wakeups: WakeupRegistry) -> None:
        """Record what a peer's hello says of its databases; members that are missing or malformed are ignored."""
        named = _parse_epochs(members)
        extensions = _parse_extensions(members.get("extensions"))
        recorded = frozenset(epoch.epoch_id for epoch in await epochs.peer_epochs_now(self._store, peer.id))
        job = partial(self._record, peer=peer, named=named, recorded=recorded, extensions=extensions)
        if await self._store.write(job, about=(job_keys.destination(peer.id),)):
            log.warning(
                "peer.store_epoch_changed",
                peer=peer.name,
                meaning="its database was replaced: it gets all our datasets again",
            )
            wakeups.notify_all(peer.id)
        # Order: after the commit; what a crash leaves out is written at the next hello.
        await offload(self._record_in_file, peer, named)
        self.hello_received.set()

    async def record_answer(self, peer: Peer, members: Mapping[str, Any], wakeups: WakeupRegistry) -> None:
        """Record what a peer says of its databases beside an answer, if its hello has not come yet."""
        epoch_id = members.get("epoch")
        if _is_epoch_id(epoch_id) and epoch_id != await peer_state.peer_epoch_now(self._store, peer.id):
            await self.record_hello(peer, members, wakeups)

    def _record(
        self, tx: Transaction, peer: Peer, named: list[PeerEpoch], recorded: frozenset[int], extensions: Iterable[str]
    ) -> bool:
        peer_state.set_extensions(tx, peer.id, extensions)
        if not named:
            return False
        claimed = {epoch.copied_from for epoch in named} | {epoch.epoch_id for epoch in named[1:]}
        is_proved = not claimed.isdisjoint(recorded | self._file.epochs_of(peer.party_keys))
        named = [PeerEpoch(epoch.epoch_id, epoch.copied_from, epoch.gap, is_proved) for epoch in named]
        has_changed = epochs.record_peer_epochs(tx, peer.id, named)
        if has_changed:
            now = self._clock.time()
            emit(tx, Event(EventType.PEER, "restored", now, peer.id, peer=peer.id, text=peer.name))
        return has_changed

    def _record_in_file(self, peer: Peer, named: list[PeerEpoch]) -> None:
        try:
            for epoch in named[:1]:
                self._file.add_peer(peer.name, peer.party_keys, epoch.epoch_id, self._clock.time())
        except StoreUnavailable as error:
            log.warning("epochs.write_failed", peer=peer.name, reason=str(error))


async def open_store_epochs(store: Store, folder: Path, clock: Clock, new_id: int) -> StoreEpochs:
    """Return what this node knows of its databases; a new or restored one begins an epoch.

    Args:
        store: the database.
        folder: of the keys: what is there is not lost with the database.
        clock: the time.
        new_id: the id of a new epoch.

    Raises:
        StoreUnavailable: the file of the epochs cannot be read or written.
    """
    file, now = await offload(EpochFile.read, folder / EPOCHS_FILE), clock.time()
    position_file = PositionFile(folder / POSITION_FILE)
    position = await offload(position_file.read)
    _warn_of_foreign_keys({row["epoch_id"] for row in await store.query(epochs.ALL_OWN)}, file.own)

    def begin(tx: Transaction) -> list[StoreEpoch]:
        own = epochs.begin_epoch(tx, now, new_id, file.own.values(), position)
        event_log.begin_epoch(tx, own[-1].epoch_id)
        return own

    own = await store.write(begin, about=(job_keys.PEERS,))
    # Order: after the commit. What a crash in between leaves out is written at the next start.
    await offload(file.add_own, own)
    store_epochs = StoreEpochs(store, file, position_file, own, clock)
    await store_epochs.write_position()
    if store_epochs.current.created_at == now and store_epochs.current.gap is not None:
        since = format_timestamp(store_epochs.current.gap.since)
        log.warning("store.restored", lost_since=since, meaning="the database is an old copy, or new; peers are asked")
    return store_epochs


def _warn_of_foreign_keys(stored: set[int], in_file: Mapping[int, object]) -> None:
    """Warn where the database and the folder of the keys were not used together: one of them was restored alone."""
    if stored and in_file and stored.isdisjoint(in_file):
        log.warning(
            "store.of_another_node",
            meaning="these keys were never used with this database; restore both from one backup (docs/backup.md)",
        )
    elif stored and not in_file:
        log.warning(
            "store.without_epochs_file",
            meaning="keys/epochs.jsonl is missing: if the keys are new, peers refuse this node; pair again",
        )


def _members(epoch: StoreEpoch) -> dict[str, object]:
    return {
        "epoch": epoch.epoch_id,
        "copied_from": epoch.copied_from,
        "gap": None if epoch.gap is None else list(epoch.gap),
    }


def _parse_epochs(members: Mapping[str, Any]) -> list[PeerEpoch]:
    """Return the epochs of a hello, the present one first; none if that is missing."""
    earlier = members.get("earlier")
    parts = [members, *(earlier[:_MAX_EARLIER_EPOCHS] if isinstance(earlier, list) else ())]
    parsed = [_parse_epoch(part) for part in parts if isinstance(part, Mapping)]
    return [epoch for epoch in parsed if epoch is not None] if parsed and parsed[0] is not None else []


def _parse_epoch(members: Mapping[str, Any]) -> PeerEpoch | None:
    epoch_id, copied_from, gap = members.get("epoch"), members.get("copied_from"), members.get("gap")
    if not _is_epoch_id(epoch_id):
        return None
    return PeerEpoch(epoch_id, copied_from if _is_epoch_id(copied_from) else None, _parse_gap(gap))


def _parse_gap(gap: object) -> Gap | None:
    if not isinstance(gap, list) or len(gap) != len(Gap._fields):
        return None
    since, until = gap
    return Gap(float(since), float(until)) if _is_time(since) and _is_time(until) else None


def _parse_extensions(value: object) -> list[str]:
    return [str(name) for name in value[:_MAX_EXTENSIONS]] if isinstance(value, list) else []


def _is_epoch_id(value: object) -> TypeGuard[int]:
    # bool is an int in Python.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_EPOCH_ID


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_EPOCH_ID
