"""Peers that were paired or found (the peers file has the others), what is known of their keys, and invitations.

An invitation's token is never stored: ``key_id`` is the fingerprint of a key that is derived from it.

A peer that is given another name in the configuration keeps what it is owed, its sessions and its state.

Rows name a peer by its configured name. So that the name stays a label, the node keeps beside it which parties the peer
answered for; whenever the peers change, a name that is gone is found again by its parties, and all rows follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Column, bindparam, delete, func, insert, select, update

from p2p_oicp.storage import schema as state
from p2p_oicp.storage.schema import (
    cdr_reconciliations,
    cdrs,
    descriptors,
    destinations,
    invitations,
    outbox,
    paired_peers,
    peer_parties,
    sessions,
    uid_routes,
)
from p2p_oicp.storage.sqlite.writer import Transaction
from p2p_oicp.storage.statements import compiled

#: A peer's name, the ids of keys that were stored with its descriptor, and the descriptor.
StoredDescriptor: TypeAlias = tuple[str, frozenset[str], bytes]

ALL_PEERS = compiled(
    select(paired_peers.c.name, paired_peers.c.source, paired_peers.c.entry).order_by(paired_peers.c.name)
)
_ALL_DESCRIPTORS = compiled(select(descriptors.c.peer, descriptors.c.endorsed_keys, descriptors.c.body))
INVITATION = compiled(
    select(invitations.c.services, invitations.c.expires_at, invitations.c.redeemed_by).where(
        invitations.c.key_id == bindparam("key_id_")
    )
)
_UPSERT_PEER = compiled(
    insert(paired_peers)
    .values({name: bindparam(name) for name in ("name", "source", "entry", "paired_at")})
    .prefix_with("OR REPLACE")
)
_DELETE_PEER = compiled(delete(paired_peers).where(paired_peers.c.name == bindparam("name_")))
_UPSERT_DESCRIPTOR = compiled(
    insert(descriptors)
    .values({name: bindparam(name) for name in ("peer", "issued_at", "received_at", "endorsed_keys", "body")})
    .prefix_with("OR REPLACE")
)
_DELETE_DESCRIPTOR = compiled(delete(descriptors).where(descriptors.c.peer == bindparam("peer_")))
_INSERT_INVITATION = compiled(
    insert(invitations).values({name: bindparam(name) for name in ("key_id", "services", "created_at", "expires_at")})
)
_REDEEM_INVITATION = compiled(
    update(invitations)
    .where(
        invitations.c.key_id == bindparam("key_id_"),
        invitations.c.expires_at > bindparam("now_"),
        invitations.c.redeemed_by.is_(None) | (invitations.c.redeemed_by == bindparam("redeemer_")),
    )
    .values(redeemed_by=bindparam("redeemed_by"))
)
_DELETE_EXPIRED_INVITATIONS = compiled(delete(invitations).where(invitations.c.expires_at <= bindparam("now_")))


def upsert_peer(tx: Transaction, *, name: str, source: str, entry: bytes, now: float) -> None:
    """Store a peer, or what has changed of it."""
    tx.run(_UPSERT_PEER, name=name, source=source, entry=entry, paired_at=now)


def delete_peer(tx: Transaction, name: str) -> bool:
    """Forget a peer and its keys; say whether it was there."""
    tx.run(_DELETE_DESCRIPTOR, peer_=name)
    return tx.run(_DELETE_PEER, name_=name) > 0


def upsert_descriptor(
    tx: Transaction, *, peer: str, issued_at: float, now: float, endorsed_keys: Iterable[str], body: bytes
) -> None:
    """Store the newest descriptor of a peer; ``endorsed_keys`` are ids of keys."""
    tx.run(
        _UPSERT_DESCRIPTOR,
        peer=peer,
        issued_at=issued_at,
        received_at=now,
        endorsed_keys=json.dumps(sorted(endorsed_keys)),
        body=body,
    )


def list_descriptors(tx: Transaction) -> Iterator[StoredDescriptor]:
    """Return the newest descriptor of each peer."""
    for row in tx.all(_ALL_DESCRIPTORS):
        yield row["peer"], frozenset(json.loads(row["endorsed_keys"])), row["body"]


def insert_invitation(tx: Transaction, *, key_id: str, services: str | None, now: float, expires_at: float) -> None:
    """Store an invitation; those that have expired are forgotten."""
    tx.run(_DELETE_EXPIRED_INVITATIONS, now_=now)
    tx.run(_INSERT_INVITATION, key_id=key_id, services=services, created_at=now, expires_at=expires_at)


def redeem_invitation(tx: Transaction, *, key_id: str, redeemer: str, now: float) -> bool:
    """Use up an invitation; False where it is unknown, expired, or was used by somebody else."""
    return tx.run(_REDEEM_INVITATION, key_id_=key_id, now_=now, redeemer_=redeemer, redeemed_by=redeemer) > 0


#: Every column that holds a peer's name; a test looks for columns that are missing here.
PEER_NAME_COLUMNS: tuple[Column[str], ...] = (
    sessions.c.peer,
    uid_routes.c.peer,
    cdrs.c.peer,
    cdr_reconciliations.c.peer,
    outbox.c.destination,
    destinations.c.name,
    descriptors.c.peer,
    state.dataset_groups.c.source,
    state.dataset_records.c.source,
    state.dataset_versions.c.source,
    state.evse_index.c.source,
    state.imports.c.source,
    state.quarantine.c.source,
    state.cursors.c.peer,
    state.watermarks.c.peer,
)
_RENAME_STATEMENTS = [
    compiled(
        update(column.table)
        .where(column == bindparam("old_"))
        .values({column.name: bindparam("new")})
        .prefix_with("OR IGNORE")
    )
    for column in PEER_NAME_COLUMNS
]
# What the peer has under its new name already is newer.
_DELETE_DUPLICATES = [compiled(delete(column.table).where(column == bindparam("old_"))) for column in PEER_NAME_COLUMNS]
# Of a record that is left over, what it is searched by is, too.
_DELETE_ORPHANED_INDEX_ROWS = [
    compiled(delete(facts).where(facts.c.record_id.not_in(select(state.dataset_records.c.id))))
    for facts in (state.evse_index, state.identifications)
]
_ALL_PEER_PARTIES = compiled(select(peer_parties.c.name, peer_parties.c.parties))
_UPSERT_PEER_PARTIES = compiled(
    insert(peer_parties).values({name: bindparam(name) for name in ("name", "parties")}).prefix_with("OR REPLACE")
)
_DELETE_PEER_PARTIES = compiled(delete(peer_parties).where(peer_parties.c.name == bindparam("name_")))
_COUNT_PENDING = compiled(
    select(func.count().label("messages")).select_from(outbox).where(outbox.c.destination == bindparam("name_"))
)


@dataclass(frozen=True, slots=True)
class RenameResult:
    """What became of the names that are gone: new names by old ones, and letters owed to nobody by name."""

    renamed: Mapping[str, str]
    orphaned_messages: Mapping[str, int]


def rename_peers(tx: Transaction, peers: Mapping[str, Iterable[str]]) -> RenameResult:
    """Rename what belongs to peers that have another name now; ``peers`` are the parties' keys of each name."""
    current_peers = {name: frozenset(parties) for name, parties in peers.items()}
    renamed: dict[str, str] = {}
    orphaned_messages: dict[str, int] = {}
    for row in tx.all(_ALL_PEER_PARTIES):
        old, parties = row["name"], frozenset(json.loads(row["parties"]))
        if old in current_peers:
            continue
        new = next((name for name, other_parties in current_peers.items() if other_parties & parties), None)
        if new is not None:
            _rename_peer(tx, old, new)
            renamed[old] = new
        elif pending := _count_pending(tx, old):
            orphaned_messages[old] = pending
    for name, parties in current_peers.items():
        tx.run(_UPSERT_PEER_PARTIES, name=name, parties=json.dumps(sorted(parties)))
    return RenameResult(renamed, orphaned_messages)


def _rename_peer(tx: Transaction, old: str, new: str) -> None:
    for rename_rows, delete_rows in zip(_RENAME_STATEMENTS, _DELETE_DUPLICATES, strict=True):
        tx.run(rename_rows, old_=old, new=new)
        tx.run(delete_rows, old_=old)
    for delete_rows in _DELETE_ORPHANED_INDEX_ROWS:
        tx.run(delete_rows)
    tx.run(_DELETE_PEER_PARTIES, name_=old)


def _count_pending(tx: Transaction, name: str) -> int:
    row = tx.one(_COUNT_PENDING, name_=name)
    return row["messages"] if row else 0
