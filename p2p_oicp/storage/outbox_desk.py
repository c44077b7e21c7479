"""What a person does with the outbox: look into it, send a dead letter again, throw one away."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update

from p2p_oicp.storage import destinations, outbox, sessions
from p2p_oicp.storage.outbox import DEAD, WAITING
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import outbox as table
from p2p_oicp.storage.writer import Transaction

_SHOWN = (
    "id",
    "destination",
    "state",
    "operation",
    "session_key",
    "created_at",
    "attempts",
    "next_try_at",
    "last_error",
)
_columns = tuple(table.c[name] for name in _SHOWN)
_asked = (
    (bindparam("state_") == "") | (table.c.state == bindparam("state_")),
    (bindparam("destination_") == "") | (table.c.destination == bindparam("destination_")),
)
#: Letters by age, without their bodies; an empty ``state_`` or ``destination_`` means all.
LIST = compiled(select(*_columns).where(*_asked).order_by(table.c.id).limit(bindparam("most")))
#: One letter with its body.
SHOW = compiled(select(*_columns, table.c.party, table.c.role, table.c.body).where(table.c.id == bindparam("id_")))
_REVIVE = compiled(
    update(table)
    .where(table.c.id == bindparam("id_"))
    .values(state=WAITING, attempts=0, next_try_at=bindparam("next_try_at"))
)
_DEAD = compiled(
    select(table.c.id, table.c.destination).where(
        table.c.state == DEAD, (bindparam("destination_") == "") | (table.c.destination == bindparam("destination_"))
    )
)


def retry(tx: Transaction, letter_id: int, now: float) -> str | None:
    """Let a letter be due now, dead or waiting; return its destination, None where there is no such letter."""
    row = tx.one(SHOW, id_=letter_id)
    if row is None:
        return None
    tx.run(_REVIVE, id_=letter_id, next_try_at=now)
    destinations.clear(tx, row["destination"])
    return str(row["destination"])


def retry_dead(tx: Transaction, destination: str, now: float) -> dict[str, int]:
    """Let all dead letters of a destination (empty: of all) be due now; return how many by destination."""
    revived: dict[str, int] = {}
    for row in tx.all(_DEAD, destination_=destination):
        tx.run(_REVIVE, id_=row["id"], next_try_at=now)
        revived[row["destination"]] = revived.get(row["destination"], 0) + 1
    for name in revived:
        destinations.clear(tx, name)
    return revived


def drop(tx: Transaction, letter_id: int, now: float) -> bool:
    """Throw a letter away for good and note it in its session's story; return whether there was one."""
    row = tx.one(SHOW, id_=letter_id)
    if row is None:
        return False
    outbox.remove(tx, letter_id)
    event = f"{row['operation']} for {row['destination']} thrown away by a person"
    sessions.note(tx, row["role"], row["session_key"], now, event, row["body"])
    return True
