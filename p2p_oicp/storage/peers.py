"""Peers: their stable ids, the peers that were paired or discovered with their descriptors, and invitations.

**Stable ids.** Rows of other tables (sessions, outbox, cursors, sources of datasets …) refer to a peer by its id. An id
is created when a set of parties is first seen, from the peers file or by pairing, and kept as long as one of the
parties stays with the peer. The name is a label in one row: a rename changes nothing else. Ids never leave the node.

**Peers file and pairings.** The peers file is not stored here: `paired_peers` has what was added otherwise, as entries
of the same form.

An invitation's token is never stored: ``key_id`` is the fingerprint of a key that is derived from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Column, ColumnElement, bindparam, delete, func, select, update

from p2p_oicp.peers.models import OWN_PEER_ID
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.schema import (
    cdrs,
    counters,
    descriptors,
    evidence,
    invitations,
    outbox,
    paired_peers,
    peers,
    sessions,
)
from p2p_oicp.storage.statements import Statement, compiled, inserting_named
from p2p_oicp.storage.transactions import Transaction


class StoredDescriptor(NamedTuple):
    """A peer's id, its descriptor, and what was stored with it: ids of keys, and fingerprints of certificates."""

    peer_id: str
    body: bytes
    endorsed_keys: frozenset[str]
    shown_certificates: frozenset[str]


ALL_PAIRED = compiled(
    select(paired_peers.c.name, paired_peers.c.source, paired_peers.c.entry).order_by(paired_peers.c.name)
)
_ALL_DESCRIPTORS = compiled(
    select(descriptors.c.peer, descriptors.c.endorsed_keys, descriptors.c.shown_certificates, descriptors.c.body)
)
INVITATION = compiled(
    select(invitations.c.services, invitations.c.expires_at, invitations.c.redeemed_by, invitations.c.peer).where(
        invitations.c.key_id == bindparam("key_id_")
    )
)
#: Those that nobody has used yet, and that can still be used.
OPEN_INVITATIONS = compiled(
    select(invitations.c.expires_at)
    .where(invitations.c.expires_at > bindparam("now_"), invitations.c.redeemed_by.is_(None))
    .order_by(invitations.c.expires_at)
)
_UPSERT_PEER = inserting_named(paired_peers, "name", "source", "entry", "paired_at", instead="OR REPLACE")
_UPDATE_ENTRY = compiled(
    update(paired_peers).where(paired_peers.c.name == bindparam("name_")).values(entry=bindparam("entry"))
)
_DELETE_PEER = compiled(delete(paired_peers).where(paired_peers.c.name == bindparam("name_")))
_UPSERT_DESCRIPTOR = inserting_named(
    descriptors,
    "peer",
    "issued_at",
    "received_at",
    "endorsed_keys",
    "shown_certificates",
    "body",
    instead="OR REPLACE",
)
_DELETE_DESCRIPTOR = compiled(delete(descriptors).where(descriptors.c.peer == bindparam("peer_")))
_INSERT_INVITATION = inserting_named(invitations, "key_id", "services", "created_at", "expires_at")
_REDEEM_INVITATION = compiled(
    update(invitations)
    .where(
        invitations.c.key_id == bindparam("key_id_"),
        invitations.c.expires_at > bindparam("now_"),
        invitations.c.redeemed_by.is_(None),
    )
    .values(redeemed_by=bindparam("redeemed_by"), peer=bindparam("peer"))
)
_DELETE_INVITATIONS_OF_PEER = compiled(delete(invitations).where(invitations.c.peer == bindparam("peer_")))
_DELETE_EXPIRED_INVITATIONS = compiled(delete(invitations).where(invitations.c.expires_at <= bindparam("now_")))


def upsert_peer(tx: Transaction, peer_id: str, *, name: str, source: str, entry: bytes, now: float) -> None:
    """Insert or replace the entry of a peer that was paired or discovered."""
    tx.run(_UPSERT_PEER, name=name, source=source, entry=entry, paired_at=now)
    emit(tx, Event(EventType.PEER, "added", now, peer_id, peer=peer_id, text=name))


def update_peer(tx: Transaction, name: str, peer_id: str, *, entry: bytes, text: str, now: float) -> None:
    """Replace the entry of a paired or discovered peer; ``text`` says what of it is another."""
    tx.run(_UPDATE_ENTRY, name_=name, entry=entry)
    emit(tx, Event(EventType.PEER, "changed", now, peer_id, peer=peer_id, text=text))


def delete_peer(tx: Transaction, name: str, peer_id: str, now: float) -> bool:
    """Delete the entry, the descriptor and the invitations of a peer; return whether there was an entry. Its id stays.

    Without them, the peer cannot come back by an invitation that it has redeemed.
    """
    tx.run(_DELETE_DESCRIPTOR, peer_=peer_id)
    tx.run(_DELETE_INVITATIONS_OF_PEER, peer_=peer_id)
    emit(tx, Event(EventType.PEER, "removed", now, peer_id, peer=peer_id, text=name))
    return tx.run(_DELETE_PEER, name_=name) > 0


def upsert_descriptor(tx: Transaction, stored: StoredDescriptor, *, issued_at: float, now: float) -> None:
    """Store the newest descriptor of a peer."""
    tx.run(
        _UPSERT_DESCRIPTOR,
        peer=stored.peer_id,
        issued_at=issued_at,
        received_at=now,
        endorsed_keys=json.dumps(sorted(stored.endorsed_keys)),
        shown_certificates=json.dumps(sorted(stored.shown_certificates)),
        body=stored.body,
    )


def list_descriptors(tx: Transaction) -> Iterator[StoredDescriptor]:
    """Return the newest descriptor of each peer."""
    for row in tx.all(_ALL_DESCRIPTORS):
        keys, certificates = (frozenset(json.loads(row[name])) for name in ("endorsed_keys", "shown_certificates"))
        yield StoredDescriptor(row["peer"], row["body"], keys, certificates)


def insert_invitation(tx: Transaction, *, key_id: str, services: str | None, now: float, expires_at: float) -> None:
    """Store an invitation, and delete those that have expired."""
    tx.run(_DELETE_EXPIRED_INVITATIONS, now_=now)
    tx.run(_INSERT_INVITATION, key_id=key_id, services=services, created_at=now, expires_at=expires_at)


def redeem_invitation(tx: Transaction, *, key_id: str, redeemer: str, peer_id: str, now: float) -> bool:
    """Use an invitation for a peer; return False where it is unknown, expired, or was used."""
    return tx.run(_REDEEM_INVITATION, key_id_=key_id, now_=now, redeemed_by=redeemer, peer=peer_id) > 0


def name_of(peer_id: ColumnElement[str]) -> ColumnElement[str]:
    """Return the name that people see for a column of peers' ids; what is no peer (the own backend) stays as it is."""
    return func.coalesce(select(peers.c.name).where(peers.c.id == peer_id).scalar_subquery(), peer_id)


#: All peers, also those that were removed.
ALL_PEERS = compiled(select(peers.c.id, peers.c.name, peers.c.parties).where(peers.c.id != OWN_PEER_ID))
_INSERT_PEER = inserting_named(peers, "id", "name", "parties")
_UPSERT_OWN = inserting_named(peers, "id", "name", "parties", instead="OR REPLACE")
_UPDATE_PEER = compiled(
    update(peers).where(peers.c.id == bindparam("id_")).values(name=bindparam("name"), parties=bindparam("parties"))
)
_DELETE_PEER_ID = compiled(delete(peers).where(peers.c.id == bindparam("id_")))
_NEXT_NUMBER = Statement(
    f"INSERT INTO {counters.name} (name, value) VALUES ('peer', 1) "
    "ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value",
    {},
)
_COUNT_MESSAGES = compiled(
    select(func.count().label("messages")).select_from(outbox).where(outbox.c.destination == bindparam("id_"))
)
#: What follows a peer that is merged with another: messages to deliver, and what later ones are checked against.
MERGED_COLUMNS: tuple[Column[str], ...] = (
    outbox.c.destination,
    sessions.c.peer,
    cdrs.c.peer,
    evidence.c.peer,
    invitations.c.peer,
)
_MERGE = [
    compiled(update(column.table).where(column == bindparam("old_")).values({column.name: bindparam("new")}))
    for column in MERGED_COLUMNS
]


@dataclass(frozen=True, slots=True)
class PeerIds:
    """Result of `assign_ids`.

    Attributes:
        ids: the id of each peer by its name.
        renamed: new names by old ones.
        orphaned_messages: the number of messages to former peers by their names, if there are any.

    """

    ids: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    orphaned_messages: dict[str, int] = field(default_factory=dict)


class _KnownPeer(NamedTuple):
    name: str
    parties: frozenset[str]

    def is_related(self, other: _KnownPeer) -> bool:
        return not self.parties.isdisjoint(other.parties)

    def is_unrenamed(self, other: _KnownPeer) -> bool:
        # Not by the name alone: a company that gets the name of a former peer must not get its messages.
        return self.name == other.name and self.is_related(other)


def set_own_name(tx: Transaction, name: str) -> None:
    """Store the name of this node, which sessions with itself refer to as a peer (a company with both roles)."""
    tx.run(_UPSERT_OWN, id=OWN_PEER_ID, name=name, parties="[]")


def assign_ids(tx: Transaction, parties_by_name: Mapping[str, Iterable[str]]) -> PeerIds:
    """Return the ids of all peers, and bring the table ``peers`` up to date.

    ``parties_by_name`` has what identifies each peer: the keys of its parties; of a hub, that it is the default route.
    """
    current = [_KnownPeer(name, frozenset(parties)) for name, parties in parties_by_name.items()]
    former = {row["id"]: _KnownPeer(row["name"], frozenset(json.loads(row["parties"]))) for row in tx.all(ALL_PEERS)}
    result = PeerIds()
    # Order: kept names first, so that when a peer is split in two, the part that keeps the name keeps the id.
    for is_same in (_KnownPeer.is_unrenamed, _KnownPeer.is_related):
        for peer in current:
            peer_id = next((key for key, known in former.items() if is_same(known, peer)), None)
            if peer.name not in result.ids and peer_id is not None:
                known = former.pop(peer_id)
                result.ids[peer.name] = peer_id
                _update_peer(tx, peer_id, known, peer)
                if known.name != peer.name:
                    result.renamed[known.name] = peer.name
    for peer in current:
        if peer.name not in result.ids:
            result.ids[peer.name] = _insert_peer(tx, peer)
    for peer_id, known in former.items():
        _retire_peer(tx, peer_id, known, current, result)
    return result


def _retire_peer(
    tx: Transaction, peer_id: str, known: _KnownPeer, current: Iterable[_KnownPeer], result: PeerIds
) -> None:
    # A peer whose party belongs to another one now has been merged with that.
    successor = next((peer for peer in current if known.is_related(peer)), None)
    if successor is not None:
        _merge_peer(tx, peer_id, result.ids[successor.name])
        result.renamed[known.name] = successor.name
        return
    # Any other one may return; until then its messages wait.
    if messages := _count_messages(tx, peer_id):
        result.orphaned_messages[known.name] = messages
    if known.name in result.ids:  # people tell peers apart by name
        _update_peer(tx, peer_id, known, known._replace(name=f"{known.name} (former {peer_id})"))


def _update_peer(tx: Transaction, peer_id: str, known: _KnownPeer, peer: _KnownPeer) -> None:
    if known != peer:
        tx.run(_UPDATE_PEER, id_=peer_id, name=peer.name, parties=json.dumps(sorted(peer.parties)))


def _insert_peer(tx: Transaction, peer: _KnownPeer) -> str:
    # From a counter, which never goes back: the id of a peer that was merged must not be given to another company.
    row = tx.one(_NEXT_NUMBER)
    peer_id = f"peer:{row['value'] if row else 0}"
    tx.run(_INSERT_PEER, id=peer_id, name=peer.name, parties=json.dumps(sorted(peer.parties)))
    return peer_id


def _merge_peer(tx: Transaction, peer_id: str, successor_id: str) -> None:
    for statement in _MERGE:
        tx.run(statement, old_=peer_id, new=successor_id)
    tx.run(_DELETE_PEER_ID, id_=peer_id)


def _count_messages(tx: Transaction, peer_id: str) -> int:
    row = tx.one(_COUNT_MESSAGES, id_=peer_id)
    return row["messages"] if row else 0
