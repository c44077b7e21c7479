"""Sessions with a clearing house, which gives them their ids (RULES L20, L26).

A request that opens a session goes to a hub without a SessionID. This node's own id of the session travels in its place
as the partner session id of our role: alone, or behind the one of our backend and ``|``. The hub echoes it, so that a
session is known when it comes back under the hub's SessionID, even if the answer to its start was lost; our backend
never sees it.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from p2p_oicp.oicp import Message, SessionID
from p2p_oicp.oicp.intake import rewritten
from p2p_oicp.roles.context import OperationRequest
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.sessions import REFUSED_STATES, Session

MessageT = TypeVar("MessageT", bound=Message)

_OWN_MEMBERS = {"cpo": "cpo_partner_session_id", "emp": "emp_partner_session_id"}
_SEPARATOR = "|"
# "String (250)" (OICP 2.3, PartnerSessionID).
_MAX_PARTNER_ID_LENGTH = 250


def opening_body_for_hub(message: Message, session: Session) -> bytes:
    """Return the request that opens a session, as it goes to a hub: without a SessionID, with our id in its place."""
    member = _OWN_MEMBERS[session.role]
    partner_id: str | None = getattr(message, member)
    own_id = f"{partner_id}{_SEPARATOR}{session.session_id}" if partner_id else session.session_id
    sent_id = own_id if len(own_id) <= _MAX_PARTNER_ID_LENGTH else partner_id
    return message.to_json_with(**{"session_id": None, member: sent_id})


def find_by_own_id(tx: Transaction, role: str, request: OperationRequest[Message], now: float) -> Session | None:
    """Return the session of a message whose SessionID is not known, by the id that it has or had here; None: none.

    (1) Our own backend may know a session by the id that it had before a hub gave it another. (2) A hub echoes our id
    in its first message of a session whose start it has not answered: from then on, its SessionID is the session's.
    """
    session_id: SessionID | None = getattr(request.message, "session_id", None)
    if session_id is None or not session_id.is_valid:
        return None
    if (key := sessions.current_key(tx, role, session_id.key)) != session_id.key:  # (1)
        return sessions.get(tx, role, key)
    hub, own_id = request.peer, _split(getattr(request.message, _OWN_MEMBERS[role], None))[1]
    if hub is None or not hub.is_hub or own_id is None:
        return None
    session = sessions.get(tx, role, own_id.key)
    if session is None or session.peer != hub.id or session.state in REFUSED_STATES:
        return None
    sessions.rename(tx, session, session_id.key, session_id.text, now)  # (2)
    return sessions.get(tx, role, session_id.key)


def as_known_to_backend(
    tx: Transaction, request: OperationRequest[MessageT], session: Session
) -> OperationRequest[MessageT]:
    """Return a later message of a session with its present SessionID, and without our id that a hub echoes."""
    changes: dict[str, object] = {}
    session_id: SessionID | None = getattr(request.message, "session_id", None)
    if session_id is not None and session_id.key != session.session_key:
        changes["session_id"] = SessionID(session.session_id)
    member = _OWN_MEMBERS[session.role]
    is_signed = "signature" in (request.message.model_extra or {})  # such a message is never rewritten
    if request.peer is not None and request.peer.is_hub and not is_signed:
        partner_id, own_id = _split(getattr(request.message, member, None))
        if own_id is not None and sessions.current_key(tx, session.role, own_id.key) == session.session_key:
            changes[member] = partner_id
    if not changes:
        return request
    message = rewritten(request.message.replace(**changes))
    return replace(request, message=message, body=message.to_json(), received=request.received or request.body)


def _split(partner_id: str | None) -> tuple[str | None, SessionID | None]:
    """Return the partner session id of our backend, and our own id behind it; None for each that is not there."""
    if partner_id is None:
        return None, None
    before, _, last = partner_id.rpartition(_SEPARATOR)
    own_id = SessionID(last)
    return (before or None, own_id) if own_id.is_valid else (partner_id, None)
