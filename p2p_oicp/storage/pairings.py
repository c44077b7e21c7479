"""Peers that were paired or found (the peers file has the others), what is known of their keys, and invitations.

An invitation's token is never stored: ``key_id`` is the fingerprint of a key that is derived from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from sqlalchemy import bindparam, delete, insert, select, update

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import descriptors, invitations, paired_peers
from p2p_oicp.storage.writer import Transaction

#: A peer's name, the ids of keys that were stored with its descriptor, and the descriptor.
Known: TypeAlias = tuple[str, frozenset[str], bytes]

ALL = compiled(select(paired_peers.c.name, paired_peers.c.source, paired_peers.c.entry).order_by(paired_peers.c.name))
_DESCRIPTORS = compiled(select(descriptors.c.peer, descriptors.c.pins, descriptors.c.body))
INVITATION = compiled(
    select(invitations.c.services, invitations.c.expires_at, invitations.c.used_by).where(
        invitations.c.key_id == bindparam("key_id_")
    )
)
_KEEP = compiled(
    insert(paired_peers)
    .values({name: bindparam(name) for name in ("name", "source", "entry", "paired_at")})
    .prefix_with("OR REPLACE")
)
_REMOVE = compiled(delete(paired_peers).where(paired_peers.c.name == bindparam("name_")))
_LEARN = compiled(
    insert(descriptors)
    .values({name: bindparam(name) for name in ("peer", "issued_at", "learned_at", "pins", "body")})
    .prefix_with("OR REPLACE")
)
_FORGET = compiled(delete(descriptors).where(descriptors.c.peer == bindparam("peer_")))
_INVITE = compiled(
    insert(invitations).values({name: bindparam(name) for name in ("key_id", "services", "created_at", "expires_at")})
)
_USE = compiled(
    update(invitations)
    .where(
        invitations.c.key_id == bindparam("key_id_"),
        invitations.c.expires_at > bindparam("now_"),
        invitations.c.used_by.is_(None) | (invitations.c.used_by == bindparam("by_")),
    )
    .values(used_by=bindparam("used_by"))
)
_SWEEP = compiled(delete(invitations).where(invitations.c.expires_at <= bindparam("now_")))


def keep(tx: Transaction, *, name: str, source: str, entry: bytes, now: float) -> None:
    """Store a peer, or what has changed of it."""
    tx.run(_KEEP, name=name, source=source, entry=entry, paired_at=now)


def remove(tx: Transaction, name: str) -> bool:
    """Forget a peer and its keys; say whether it was there."""
    tx.run(_FORGET, peer_=name)
    return tx.run(_REMOVE, name_=name) > 0


def learn(tx: Transaction, *, peer: str, issued_at: float, now: float, pins: Iterable[str], body: bytes) -> None:
    """Store the newest descriptor of a peer; ``pins`` are ids of keys."""
    tx.run(_LEARN, peer=peer, issued_at=issued_at, learned_at=now, pins=json.dumps(sorted(pins)), body=body)


def known_descriptors(tx: Transaction) -> Iterator[Known]:
    """Return the newest descriptor of each peer."""
    for row in tx.all(_DESCRIPTORS):
        yield row["peer"], frozenset(json.loads(row["pins"])), row["body"]


def invite(tx: Transaction, *, key_id: str, services: str | None, now: float, expires_at: float) -> None:
    """Store an invitation; those that have expired are forgotten."""
    tx.run(_SWEEP, now_=now)
    tx.run(_INVITE, key_id=key_id, services=services, created_at=now, expires_at=expires_at)


def use(tx: Transaction, *, key_id: str, by: str, now: float) -> bool:
    """Use up an invitation; False where it is unknown, expired, or was used by somebody else."""
    return tx.run(_USE, key_id_=key_id, now_=now, by_=by, used_by=by) > 0
