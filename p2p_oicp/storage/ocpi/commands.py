"""Commands that were sent to OCPI partners. A result comes as a request of its own, perhaps after a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, null, select, update

from p2p_oicp.storage.schema import ocpi_commands
from p2p_oicp.storage.statements import compiled, inserting_named
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """One command; times in seconds since the epoch, ``response`` and ``result`` as the partner wrote them (JSON).

    ``deadline``: until then somebody waits for the result; a later one has to be told by a message of its own.
    """

    command_id: str
    partner: str
    command: str
    session_key: str
    sent_at: float
    deadline: float
    response: bytes | None = None
    result: bytes | None = None


_c = ocpi_commands.c
_by_id = _c.command_id == bindparam("command_id_")
_INSERT = inserting_named(
    ocpi_commands, "command_id", "partner", "command", "session_key", "sent_at", "deadline", instead="OR IGNORE"
)
_GET = compiled(select(ocpi_commands).where(_by_id))
_SET_RESPONSE = compiled(
    update(ocpi_commands).where(_by_id).values(response=bindparam("response"), deadline=bindparam("deadline"))
)
# The first result counts: a partner may send it twice.
_SET_RESULT = compiled(update(ocpi_commands).where(_by_id, _c.result.is_(null())).values(result=bindparam("result")))
_DELETE_OLD = compiled(delete(ocpi_commands).where(_c.sent_at < bindparam("cutoff")))


def _command(row: Any) -> StoredCommand:  # noqa: ANN401 - a row
    response, result = row["response"], row["result"]
    return StoredCommand(
        command_id=row["command_id"],
        partner=row["partner"],
        command=row["command"],
        session_key=row["session_key"],
        sent_at=row["sent_at"],
        deadline=row["deadline"],
        response=None if response is None else bytes(response),
        result=None if result is None else bytes(result),
    )


def insert(tx: Transaction, command: StoredCommand) -> None:
    """Insert a command that is about to be sent."""
    tx.run(
        _INSERT,
        command_id=command.command_id,
        partner=command.partner,
        command=command.command,
        session_key=command.session_key,
        sent_at=command.sent_at,
        deadline=command.deadline,
    )


def get(tx: Transaction, command_id: str) -> StoredCommand | None:
    """Return a command."""
    row = tx.one(_GET, command_id_=command_id.lower())
    return None if row is None else _command(row)


async def get_now(store: Store, command_id: str) -> StoredCommand | None:
    """Return a command as of the last commit."""
    rows = await store.query_inline(_GET, command_id_=command_id.lower())
    return next((_command(row) for row in rows), None)


def set_response(tx: Transaction, command_id: str, response: bytes, deadline: float) -> None:
    """Record the CommandResponse, and until when its result is waited for."""
    tx.run(_SET_RESPONSE, command_id_=command_id, response=response, deadline=deadline)


def set_result(tx: Transaction, command_id: str, result: bytes) -> bool:
    """Record the CommandResult; return False if there is one already."""
    return tx.run(_SET_RESULT, command_id_=command_id.lower(), result=result) > 0


def remove_old(tx: Transaction, cutoff: float) -> int:
    """Delete the commands that were sent before ``cutoff``; return how many."""
    return tx.run(_DELETE_OLD, cutoff=cutoff)
