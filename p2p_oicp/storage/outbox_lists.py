"""What people and the health model see of the outbox: its messages in pages, and how many wait for whom.

However many messages wait, an index is read, and of the table only the rows that are shown.
"""

from __future__ import annotations

from sqlalchemy import Select, and_, bindparam, case, func, select, text, union_all

from p2p_oicp.storage.outbox import HELD, IS_OWN, WAITING
from p2p_oicp.storage.paging import Listing, Order, PageQuery
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import outbox, peers
from p2p_oicp.storage.statements import by_index, compiled, listed

_is_held = and_(
    outbox.c.state == WAITING,
    IS_OWN,
    outbox.c.destination.not_in(listed("backends")),
)
_shown_state = case((_is_held, HELD), else_=outbox.c.state)
_columns = (
    outbox.c.id,
    name_of(outbox.c.destination).label("destination"),
    _shown_state.label("state"),
    *(outbox.c[name] for name in ("operation", "session_key", "created_at", "attempts", "next_try_at", "last_error")),
)


def _select_messages(filters: frozenset[str]) -> PageQuery:
    ids = select(peers.c.id).where(peers.c.name == bindparam("destination_"))
    conditions = {
        "state_": _shown_state == bindparam("state_"),
        "destination_": outbox.c.destination.in_(union_all(ids, select(bindparam("destination_")))),
    }
    page = (
        select(outbox.c.id)
        .where(outbox.c.id > bindparam("after_"), *(conditions[name] for name in sorted(filters)))
        .order_by(outbox.c.id)
        .limit(bindparam("limit"))
        .subquery()
    )
    query = compiled(select(*_columns).select_from(page.join(outbox, outbox.c.id == page.c.id)).order_by(outbox.c.id))
    if filters:
        query = by_index(query, outbox, "outbox_by_destination")
    return PageQuery(query, (Order("id", "after_", 0),))


#: Messages by age, without their bodies. ``backends`` lists, as a list parameter, the destinations of our own backends:
#: what waits for any other is held.
MESSAGES = Listing(_select_messages, ("state_", "destination_"))
#: One message with its body; ``backends`` as for `MESSAGES`.
SHOW = compiled(
    select(*_columns, outbox.c.sender_id, outbox.c.role, outbox.c.body).where(outbox.c.id == bindparam("id_"))
)


def _grouped() -> Select[tuple[str, str, int, int, int]]:
    """Count messages by destination and state: of each group the first and the last id, the oldest and the newest."""
    return select(
        outbox.c.destination,
        outbox.c.state,
        func.count().label("messages"),
        func.min(outbox.c.id).label("first_id"),
        func.max(outbox.c.id).label("last_id"),
    ).group_by(outbox.c.destination, outbox.c.state)


_groups = _grouped().subquery()
#: How many messages wait for each destination or are dead, and since when the oldest does.
DEPTHS = compiled(
    select(
        _groups.c.destination.label("peer"),
        name_of(_groups.c.destination).label("destination"),
        _groups.c.state,
        _groups.c.messages,
        outbox.c.created_at.label("oldest"),
    )
    .select_from(_groups.join(outbox, outbox.c.id == _groups.c.first_id))
    .order_by(_groups.c.destination)
)
# The literal, for the index is a partial one.
_troubled = _grouped().where(text("attempts > 0")).subquery()
_first, _newest = outbox.alias("first"), outbox.alias("newest")
#: The messages of a destination that have failed and wait, and its dead letters: those that speak of its health, with
#: the error of the newest, which people see first.
TROUBLED = compiled(
    select(
        _troubled.c.destination.label("peer"),
        _troubled.c.state,
        _troubled.c.messages,
        _first.c.created_at.label("oldest"),
        *(_newest.c[name] for name in ("operation", "last_error", "last_cause", "attempts", "next_try_at")),
    ).select_from(
        _troubled.join(_first, _first.c.id == _troubled.c.first_id).join(_newest, _newest.c.id == _troubled.c.last_id)
    )
)
