"""Webhooks: who is sent events, up to which event each has them, and the events that it refuses for good.

Those of ``node.toml`` have a row for their position only; those that were added while the node runs have their settings
here. An event that a receiver refuses for good becomes a dead letter of the outbox, where people find it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update

from p2p_oicp.errors import FailureCause
from p2p_oicp.storage import outbox
from p2p_oicp.storage.schema import destinations, webhooks
from p2p_oicp.storage.schema import outbox as outbox_table
from p2p_oicp.storage.statements import compiled, inserting_named
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction

#: The operation of the outbox' messages, and the channel of what is sent as it happens.
EVENT_OPERATION, EVENTS_CHANNEL = "Event", "events"

_by_name = webhooks.c.name == bindparam("name_")
_LIST = compiled(select(webhooks.c.name, webhooks.c.settings, webhooks.c.position).order_by(webhooks.c.name))
_INSERT = inserting_named(webhooks, "name", "settings", "position", instead="OR IGNORE")
_SET_POSITION = compiled(update(webhooks).where(_by_name).values(position=bindparam("position")))
_DELETE = compiled(delete(webhooks).where(_by_name))
_DELETE_OUTBOX = compiled(delete(outbox_table).where(outbox_table.c.destination == bindparam("destination_")))
_DELETE_HEALTH = compiled(delete(destinations).where(destinations.c.peer == bindparam("destination_")))
_INSERT_DEAD = inserting_named(
    outbox_table,
    *("destination", "state", "operation", "role", "session_key", "coalesce_key", "body"),
    *("created_at", "next_try_at", "attempts", "last_error", "last_cause"),
)


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """One webhook.

    Attributes:
        name: its name.
        settings: as JSON, if it was added while the node runs; empty: they stand in ``node.toml``.
        position: the number of the last event that it has, or that is not for it.
    """

    name: str
    settings: bytes
    position: int


async def list_now(store: Store) -> list[StoredWebhook]:
    """Return all webhooks as of the last commit."""
    return [
        StoredWebhook(row["name"], bytes(row["settings"]), row["position"]) for row in await store.query_inline(_LIST)
    ]


def add(tx: Transaction, name: str, settings: bytes, position: int) -> bool:
    """Insert a webhook that begins after an event; return False, and change nothing, where its name is in use."""
    return tx.run(_INSERT, name=name, settings=settings, position=position) > 0


def set_position(tx: Transaction, name: str, position: int) -> None:
    """Record up to which event a receiver has them."""
    tx.run(_SET_POSITION, name_=name, position=position)


def remove(tx: Transaction, name: str, destination: str) -> bool:
    """Delete a webhook with its dead letters and its health; return whether there was one."""
    tx.run(_DELETE_OUTBOX, destination_=destination)
    tx.run(_DELETE_HEALTH, destination_=destination)
    return tx.run(_DELETE, name_=name) > 0


def add_dead_letter(
    tx: Transaction, *, destination: str, event_id: str, body: bytes, error: str, cause: FailureCause, now: float
) -> None:
    """Insert an event that a receiver refuses for good, for a person to see and to send again."""
    tx.run(
        _INSERT_DEAD,
        destination=destination,
        state=outbox.DEAD,
        operation=EVENT_OPERATION,
        role="",
        # Messages with the same key are sent one after the other: these need not wait for each other.
        session_key=event_id,
        coalesce_key="",
        body=body,
        created_at=now,
        next_try_at=now,
        attempts=1,
        last_error=error,
        last_cause=cause,
    )
