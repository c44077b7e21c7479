"""What a CPO peer tells of our drivers' sessions, on its way to our backend."""

from __future__ import annotations

from dataclasses import replace

from p2p_oicp.oicp import ProviderID
from p2p_oicp.roles.book import AUTHORIZE
from p2p_oicp.roles.context import EMP_BACKEND
from p2p_oicp.roles.offline import OWN_DATA, contract_of
from p2p_oicp.roles.settlement import Settlement, Told
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.lifecycle import State
from p2p_oicp.storage.sessions import Session


class EmpSettlement(Settlement):
    """The EMP side: what a peer authorized offline, with the data that we pushed, is heard of here first."""

    role = "emp"

    def _destination(self, session: Session) -> str:
        del session
        return EMP_BACKEND

    def _session(self, tx: Transaction, incoming: Told) -> Session:
        return self._adopted(tx, incoming) or super()._session(tx, incoming)

    def _adopted(self, tx: Transaction, incoming: Told) -> Session | None:
        """Open the session of an identification that is among the data we pushed (DESIGN section 5)."""
        message = incoming.message
        if incoming.peer is None or message.identification is None or not message.session_id.is_valid:
            return None
        if sessions.get(tx, self.role, message.session_id.key) is not None:
            return None
        now = self._context.now()
        contract = contract_of(tx, message.identification, now, source=OWN_DATA)
        if contract is None:
            return None
        provider = ProviderID(contract.provider_id)
        draft = replace(
            self._book.draft(incoming, AUTHORIZE, incoming.peer.name),
            state=State.AUTHORIZED,
            offline=1,
            provider_key=provider.key,
            provider_id=provider.text,
        )
        sessions.open_session(tx, draft)
        sessions.note(tx, self.role, draft.session_key, now, "authorized offline by the CPO's node")
        return draft
