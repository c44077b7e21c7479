"""What the CPO's node looks up before it asks for an authorization, in one query: a driver waits for it.

Nearly always all three answers are no. Each query of its own would take a lock of the database and give it back, and
read pages anew that have changed since.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, exists, or_, select, text

from p2p_oicp.storage.schema import identifications, sessions, uid_routes
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store

_is_of_role = sessions.c.role == bindparam("role_")
_is_repeated = exists().where(
    _is_of_role,
    sessions.c.request_digest == bindparam("digest_"),
    sessions.c.created_at >= bindparam("since_"),
    # A literal: SQLite uses the partial index ``sessions_by_request`` only where its condition is in the text.
    sessions.c.id_generated_here == text("1"),
)
_is_id_in_use = exists().where(_is_of_role, sessions.c.session_key == bindparam("key_"))
_has_uid = exists().where(identifications.c.uid_key == bindparam("uid_"))
_has_contract = exists().where(identifications.c.evco_id_key == bindparam("evco_id_"))
_LOOK_UP = compiled(
    select(
        or_(_is_repeated, _is_id_in_use).label("is_known"),
        or_(_has_uid, _has_contract).label("has_authentication_data"),
        select(uid_routes.c.peer).where(uid_routes.c.uid_key == bindparam("uid_")).scalar_subquery().label("peer"),
    )
)


class StartFacts(NamedTuple):
    """What is known of a start, as of the last commit.

    Attributes:
        is_known: a session has the SessionID, or the same request has opened one.
        has_authentication_data: some EMP has pushed data of the identification, perhaps expired or deleted.
        preferred_peer: the id of the peer that authorized the UID last time; None for an unknown one.
    """

    is_known: bool
    has_authentication_data: bool
    preferred_peer: str | None


async def look_up(
    store: Store,
    role: str,
    *,
    digest: bytes | None,
    since: float,
    session_key: str | None,
    uid: str | None,
    evco_id: str | None,
) -> StartFacts:
    """Return what is known of a start, without waiting for the writer; None in an argument finds nothing.

    Args:
        store: the database.
        role: ``cpo`` or ``emp``.
        digest: of the request, where a second one is a repetition.
        since: when the same request may have come, in seconds since the epoch.
        session_key: the SessionID that the request carries.
        uid: the canonical UID of the identification.
        evco_id: the canonical EvcoID of the identification.

    Raises:
        StoreError: the database cannot be read.
    """
    (row,) = await store.query_inline(
        _LOOK_UP, role_=role, digest_=digest, since_=since, key_=session_key, uid_=uid, evco_id_=evco_id
    )
    return StartFacts(bool(row["is_known"]), bool(row["has_authentication_data"]), row["peer"])
