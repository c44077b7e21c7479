"""What a CPO peer tells of our drivers' sessions, on its way to our backend."""

from __future__ import annotations

from msgspec.structs import replace

from p2p_oicp.roles.book import AUTHORIZE
from p2p_oicp.roles.context import EMP_BACKEND, RoleContext
from p2p_oicp.roles.emp.former import FormerSessions
from p2p_oicp.roles.offline import OWN_DATA, known_driver
from p2p_oicp.roles.settlement import Settlement, Told
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.sessions import Session


class EmpSettlement(Settlement):
    """The EMP side: what a peer authorized offline, with the data that we pushed, is heard of here first."""

    role = "emp"

    def __init__(self, context: RoleContext, former: FormerSessions) -> None:
        super().__init__(context)
        self._former = former

    def _destination(self, session: Session) -> str:
        del session
        return EMP_BACKEND

    async def _adopt(self, incoming: Told) -> bool:
        """Open the session of a driver among the data we pushed (DESIGN section 5), or one of an earlier store."""
        message = incoming.message
        if incoming.peer is None or not message.session_id.is_valid:
            return False
        draft = replace(self._book.draft(incoming, AUTHORIZE, incoming.peer.name), state=State.AUTHORIZED)
        match = await known_driver(self._context, message.identification, OWN_DATA) if message.identification else None
        if match is not None:
            draft = replace(draft, offline=1, provider_key=match.provider_id.key, provider_id=match.provider_id.text)
            return await self._opened(draft, "authorized offline by the CPO's node")
        if not self._is_here(message.session_id.key) and await self._former.knows(incoming):
            provider = self._context.me.providers[0]
            draft = replace(draft, provider_key=provider.key, provider_id=provider.text)
            return await self._opened(draft, "known to our backend from an earlier store")
        return False

    def _is_here(self, session_key: str) -> bool:
        return bool(self._context.store.look_up(sessions.GET, role_=self.role, key_=session_key))

    async def _opened(self, draft: Session, event: str) -> bool:
        return await self._context.store.write(lambda tx: self._open(tx, draft, event))

    def _open(self, tx: Transaction, draft: Session, event: str) -> bool:
        """Store it; what was refused here before, or is another party's, stays as it is."""
        if sessions.open_session(tx, draft) is not None:
            return False
        sessions.note(tx, self.role, draft.session_key, draft.created_at, event)
        return True
