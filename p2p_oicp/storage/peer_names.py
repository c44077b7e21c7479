"""A peer that is given another name in the configuration keeps what it is owed, its sessions and its state.

Rows name a peer by its configured name. So that the name stays a label, the node keeps beside it which parties the peer
answered for; whenever the peers change, a name that is gone is found again by its parties, and all rows follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Column, bindparam, delete, func, insert, select, update

from p2p_oicp.storage.state import tables as state
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import cards, cdrs, descriptors, destinations, known_peers, outbox, reconciled, sessions
from p2p_oicp.storage.writer import Transaction

#: Every column that holds a peer's name; a test looks for columns that are missing here.
HOLDERS: tuple[Column[str], ...] = (
    sessions.c.peer,
    cards.c.peer,
    cdrs.c.peer,
    reconciled.c.peer,
    outbox.c.destination,
    destinations.c.name,
    descriptors.c.peer,
    state.state_groups.c.source,
    state.state_records.c.source,
    state.state_versions.c.source,
    state.evse_facts.c.source,
    state.batches.c.source,
    state.quarantine.c.source,
    state.cursors.c.peer,
    state.watermarks.c.peer,
)
_RENAME = [
    compiled(
        update(holder.table)
        .where(holder == bindparam("old_"))
        .values({holder.name: bindparam("new")})
        .prefix_with("OR IGNORE")
    )
    for holder in HOLDERS
]
# What the peer has under its new name already is newer.
_LEFT_OVER = [compiled(delete(holder.table).where(holder == bindparam("old_"))) for holder in HOLDERS]
# Of a record that is left over, what it is searched by is, too.
_LEFT_OVER_FACTS = [
    compiled(delete(facts).where(facts.c.record_id.not_in(select(state.state_records.c.id))))
    for facts in (state.evse_facts, state.identifications)
]
_KNOWN = compiled(select(known_peers.c.name, known_peers.c.parties))
_REMEMBER = compiled(
    insert(known_peers).values({name: bindparam(name) for name in ("name", "parties")}).prefix_with("OR REPLACE")
)
_FORGET = compiled(delete(known_peers).where(known_peers.c.name == bindparam("name_")))
_OWED = compiled(
    select(func.count().label("letters")).select_from(outbox).where(outbox.c.destination == bindparam("name_"))
)


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of the names that are gone: new names by old ones, and letters owed to nobody by name."""

    renamed: Mapping[str, str]
    stranded: Mapping[str, int]


def follow(tx: Transaction, peers: Mapping[str, Iterable[str]]) -> Followed:
    """Rename what belongs to peers that have another name now; ``peers`` are the parties' keys of each name."""
    now = {name: frozenset(parties) for name, parties in peers.items()}
    renamed: dict[str, str] = {}
    stranded: dict[str, int] = {}
    for row in tx.all(_KNOWN):
        old, parties = row["name"], frozenset(json.loads(row["parties"]))
        if old in now:
            continue
        new = next((name for name, present in now.items() if present & parties), None)
        if new is not None:
            _rename(tx, old, new)
            renamed[old] = new
        elif owed := _owed(tx, old):
            stranded[old] = owed
    for name, parties in now.items():
        tx.run(_REMEMBER, name=name, parties=json.dumps(sorted(parties)))
    return Followed(renamed, stranded)


def _rename(tx: Transaction, old: str, new: str) -> None:
    for rename, left_over in zip(_RENAME, _LEFT_OVER, strict=True):
        tx.run(rename, old_=old, new=new)
        tx.run(left_over, old_=old)
    for left_over in _LEFT_OVER_FACTS:
        tx.run(left_over)
    tx.run(_FORGET, name_=old)


def _owed(tx: Transaction, name: str) -> int:
    row = tx.one(_OWED, name_=name)
    return row["letters"] if row else 0
