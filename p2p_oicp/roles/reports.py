"""What this node tells the other party of a session about it."""

from __future__ import annotations

import orjson

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import SessionID
from p2p_oicp.peers import Peer
from p2p_oicp.roles.answers import Ids
from p2p_oicp.roles.book import SESSION_IS_INVALID
from p2p_oicp.roles.context import Answer, RoleContext
from p2p_oicp.storage import sessions

_NOT_FOUND = 404


class SessionReports:
    """Answers ``GET /p2p/v1/sessions/{SessionID}``."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context

    async def report(self, session_id: SessionID, peer: Peer, our_role: str) -> Answer:
        """Tell ``peer`` the state of a session with it; raises Refusal 400 for any other, known or not."""
        rows = self._context.store.look_up(sessions.GET, role_=our_role, key_=session_id.key)
        session = next(iter(sessions.as_sessions(rows)), None)
        if session is None or session.peer != peer.name:
            info = f"SessionID {session_id} is no session between {peer.name} and this node"
            raise Refusal(SESSION_IS_INVALID, info, http_status=_NOT_FOUND)
        members = {"state": session.state, "EvseKey": session.evse_key, **Ids.of_session(session).members()}
        return Answer(orjson.dumps(members))
