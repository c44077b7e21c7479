"""What replication sends: which parcels bring a peer's copy of a group forward."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Protocol

import orjson

from p2p_oicp.oicp.operation import Operation
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store
from p2p_oicp.storage.state import behind
from p2p_oicp.storage.state.behind import Changed, Copy, GroupBehind
from p2p_oicp.storage.state.model import Kind

# Half of the largest body that a node takes by default; a peer that takes less is sent less.
MOST_BYTES = 16 * 1024 * 1024
_FEWEST_BYTES = 64 * 1024
_MOST_RECORDS = 10_000
_MOST_SINGLE_DELETES = 64


class Action(StrEnum):
    """OICP's ActionType."""

    FULL_LOAD = "fullLoad"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


class StateKind(Protocol):
    """How one kind of state is written on the wire."""

    @property
    def kind(self) -> Kind:
        """Which kind it is."""

    @property
    def operation(self) -> Operation:
        """The push that brings it."""

    @property
    def head_counts(self) -> bool:
        """Whether the object around the records says something itself, so that a change of it must arrive."""

    def audiences_of(self, peer: Peer) -> Sequence[str] | None:
        """Return the audiences that this peer belongs to; None where everybody may see everything."""

    def content(self, head: bytes, records: Sequence[bytes]) -> bytes:
        """Return a push's JSON from its second member to its end."""


@dataclass(slots=True)
class Parcel:
    """One push to send; ``write`` makes the JSON behind the ActionType of its records.

    ``may_have_arrived``: an answer was lost. ``just_in_case``: the peer may well have none of it.
    """

    party: str
    action: Action
    records: Sequence[bytes]
    write: Callable[[Sequence[bytes]], bytes]
    may_have_arrived: bool = False
    just_in_case: bool = False

    def body(self) -> bytes:
        """Return the whole push; the same at every attempt."""
        return b'{"ActionType":"%b",%b' % (self.action.encode(), self.write(self.records))

    def after_contradiction(self) -> list[Parcel] | None:
        """Return what to send where the peer says 009; None where its copy is not what we thought."""
        if self.action is Action.INSERT:
            return [replace(self, action=Action.UPDATE)]
        if self.action is not Action.DELETE or not (self.may_have_arrived or self.just_in_case):
            return None
        if len(self.records) == 1:
            return []  # it is gone, and that is what was wanted
        if len(self.records) > _MOST_SINGLE_DELETES:
            return None
        return [replace(self, records=[record], just_in_case=True) for record in self.records]


@dataclass(slots=True)
class Shipment:
    """Parcels for one group, and where the peer's copy stands afterwards (None: in the middle of a load)."""

    group: str
    parcels: deque[Parcel]
    records: int
    reached: int | None
    is_delta: bool
    begun: bool = False

    @property
    def is_under_way(self) -> bool:
        """Whether the peer has, or may have, some of it."""
        return self.begun or any(parcel.may_have_arrived for parcel in self.parcels)


@dataclass(slots=True)
class Loading:
    """A group on its way to a peer that has nothing of it: the records there were at ``reached``."""

    group: str
    party: str
    head: bytes
    ids: array[int]
    reached: int
    done: int = 0


class Packer:
    """Finds what lies behind, and packs it."""

    def __init__(self, peer: Peer, kind: StateKind, store: Store) -> None:
        audiences = kind.audiences_of(peer)
        seen = None if audiences is None else orjson.dumps(list(audiences)).decode()
        self._copy = Copy(peer.name, kind.kind, seen)
        self._kind = kind
        self._store = store
        self._most_bytes = MOST_BYTES
        self._to_load: set[str] = set()
        self._certain: set[str] = set()

    def pack_less(self) -> bool:
        """Make smaller parcels from now on; False where they are small already."""
        if self._most_bytes // 2 < _FEWEST_BYTES:
            return False
        self._most_bytes //= 2
        return True

    def arrived(self, group: str) -> None:
        """Remember that the peer has what its cursor says, and nothing else."""
        self._certain.add(group)
        self._to_load.discard(group)

    def doubt(self, group: str) -> None:
        """Remember that the peer may have more than its cursor says; so it is after every start of this node."""
        self._certain.discard(group)

    def load_next(self, group: str) -> None:
        """Remember that the peer's copy of a group is not what we thought."""
        self._to_load.add(group)

    async def next(self, but_not: Collection[str] = ()) -> Shipment | Loading | None:
        """Return what to send next, or a group that must be loaded; None if nothing is behind."""
        for group in behind.groups(self._store, self._copy):
            if group.group_key in but_not:
                continue
            if self._must_be_loaded(group):
                ids = await behind.living(self._store, self._copy, group.group_key, group.newest)
                return Loading(group.group_key, group.party, group.head, ids, group.newest)
            return await self._delta(group, group.cursor or 0)
        return None

    def _must_be_loaded(self, group: GroupBehind) -> bool:
        cursor = group.cursor
        return (
            cursor is None
            or cursor < group.swept
            or cursor > group.newest
            or group.group_key in self._to_load
            or (self._kind.head_counts and group.head_change > cursor)
        )

    async def slice(self, loading: Loading) -> Shipment:
        """Return the next shipment of a load: the first one is a fullLoad, the others are inserts."""
        ids = loading.ids[loading.done : loading.done + _MOST_RECORDS]
        rows = await behind.raws(self._store, ids)
        sent = self._fitting([raw for _, raw in rows])
        if len(sent) < len(rows):
            ids = ids[: ids.index(rows[len(sent)][0])]
        action = Action.INSERT if loading.done else Action.FULL_LOAD
        parcels = [Parcel(loading.party, action, sent, partial(self._kind.content, loading.head))]
        is_last = loading.done + len(ids) >= len(loading.ids)
        reached = loading.reached if is_last else None
        parcels = parcels if sent or not loading.done else []
        return Shipment(loading.group, deque(parcels), len(ids), reached, is_delta=False)

    def _fitting(self, raws: Sequence[bytes]) -> Sequence[bytes]:
        """Return as many records as go into one parcel, at least one."""
        size = 0
        for count, raw in enumerate(raws):
            size += len(raw) + 1
            if count and size > self._most_bytes:
                return raws[:count]
        return raws

    async def _delta(self, group: GroupBehind, cursor: int) -> Shipment:
        rows = await behind.changed(self._store, self._copy, group.group_key, cursor, _MOST_RECORDS)
        sent = rows[: len(self._fitting([row.raw for row in rows]))]
        is_all = len(sent) == len(rows) < _MOST_RECORDS
        passing = [row.raw for row in sent if row.deleted and not row.had]
        by_action: dict[Action, list[bytes]] = {}
        for row in sent:
            if row.had or not row.deleted:
                by_action.setdefault(_action(row), []).append(row.raw)
        if by_action.keys() == {Action.DELETE} and is_all and await self._is_emptied(group, by_action):
            by_action, passing = {Action.FULL_LOAD: []}, []
        write = partial(self._kind.content, group.head)
        parcels = deque(Parcel(group.party, action, records, write) for action, records in by_action.items())
        parcels.extend(self._just_in_case(group, passing))
        last = sent[-1].change if sent else cursor
        reached = max(last, group.newest) if is_all else last
        return Shipment(group.group_key, parcels, len(sent), reached, is_delta=True)

    def _just_in_case(self, group: GroupBehind, passing: Sequence[bytes]) -> list[Parcel]:
        """Return deletes of what came and went behind the cursor, where it may have been sent: one a parcel.

        A peer that never had one of them may refuse its delete, and that is as good.
        """
        if group.group_key in self._certain:
            return []
        return [
            Parcel(group.party, Action.DELETE, [raw], partial(self._kind.content, group.head), just_in_case=True)
            for raw in passing
        ]

    async def _is_emptied(self, group: GroupBehind, deletes: Mapping[Action, Sequence[bytes]]) -> bool:
        """Say whether one empty fullLoad tells the same as many deletes."""
        return len(deletes[Action.DELETE]) > 1 and await behind.is_empty(self._store, self._copy, group.group_key)


def _action(row: Changed) -> Action:
    """Return what tells a peer of a record's newest state, by whether it had the record before."""
    if row.deleted:
        return Action.DELETE
    return Action.UPDATE if row.had else Action.INSERT
