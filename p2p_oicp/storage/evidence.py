"""Evidence: recorded signed exchanges of sessions, and the public keys that verify them.

An exchange is stored whole, as its bytes went over the wire, so that it can be verified years later by anyone;
`evidence export` writes it to a file. Keys are stored beside it because a peer's keys are deleted with the peer.
"""

from __future__ import annotations

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.sqlite import insert

from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import evidence, evidence_keys
from p2p_oicp.storage.statements import compiled, inserting_named
from p2p_oicp.storage.transactions import Transaction

#: ``last_used_at`` of a key may be this much older than its last exchange: it is not written with each.
KEY_LAST_USED_LAG_SECONDS = 86_400.0

#: The exchanges of a session, each with the name of the peer that it was with.
BY_SESSION = compiled(
    select(evidence.c.exchange, name_of(evidence.c.peer).label("peer"))
    .where(evidence.c.session_key == bindparam("key_"))
    .order_by(evidence.c.id)
)
KEYS = compiled(
    select(evidence_keys.c.key_id, evidence_keys.c.public_key, evidence_keys.c.owner, evidence_keys.c.descriptor)
)
_INSERT_EXCHANGE = inserting_named(evidence, "session_key", "peer", "at", "exchange")
_key_insert = insert(evidence_keys).values(
    {name: bindparam(name) for name in ("key_id", "public_key", "owner", "descriptor", "last_used_at")}
)
_UPSERT_KEY = compiled(
    _key_insert.on_conflict_do_update(
        index_elements=[evidence_keys.c.key_id],
        set_={
            "owner": _key_insert.excluded.owner,
            "descriptor": func.coalesce(_key_insert.excluded.descriptor, evidence_keys.c.descriptor),
            "last_used_at": _key_insert.excluded.last_used_at,
        },
        where=evidence_keys.c.last_used_at
        < _key_insert.excluded.last_used_at - bindparam("lag", KEY_LAST_USED_LAG_SECONDS / 2),
    )
)


def insert_exchange(tx: Transaction, session_key: str, peer_id: str, now: float, exchange: bytes) -> None:
    """Store one exchange of a session, with a peer."""
    tx.run(_INSERT_EXCHANGE, session_key=session_key, peer=peer_id, at=now, exchange=exchange)


def upsert_key(
    tx: Transaction, *, key_id: str, public_key: str, owner: str, descriptor: bytes | None, now: float
) -> bool:
    """Store the key of an exchange, or that it is still in use; return whether the row was written."""
    row_count = tx.run(
        _UPSERT_KEY, key_id=key_id, public_key=public_key, owner=owner, descriptor=descriptor, last_used_at=now
    )
    return row_count > 0
