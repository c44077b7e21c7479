"""What people do with single CDRs: send one again, confirm one that nobody knows, or refuse it.

Each action is one transaction, and returns what a person is told. `InvalidAction` says why it is not possible.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p_oicp.errors import P2pOicpError
from p2p_oicp.oicp import ChargeDetailRecord, StatusCodeValue
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.roles.recovery import held_request
from p2p_oicp.roles.settlement import CdrHandler
from p2p_oicp.roles.verdicts import enqueue_verdict
from p2p_oicp.storage import Transaction, cdrs, job_keys, outbox, sessions
from p2p_oicp.storage.cdrs import CdrState, CdrStatus, Verdict

_UNKNOWN = "this node has no charge detail record of that session; `cdrs list` shows those that it has"


class InvalidAction(P2pOicpError):
    """The action is not possible; the text says why, and what is."""


class CdrActions:
    """The actions on CDRs of one node.

    Args:
        services: of the node.
        handlers: what stores the CDRs of each role of the node.
    """

    def __init__(self, services: Services, handlers: Mapping[str, CdrHandler]) -> None:
        self._services = services
        self._handlers = handlers

    async def retry(self, session_key: str, role: str) -> str:
        """Send a CDR to the next hop again: to the peer, or to our own backend, whose verdict is then told anew."""
        role = await self._find_role(session_key, role)
        now = self._services.now()

        def job(tx: Transaction) -> str:
            status = _get(tx, role, session_key)
            if status.verdict.state is CdrState.ACCEPTED:
                raise InvalidAction("this charge detail record is accepted: there is nothing to send again")
            if (message_id := outbox.find_cdr(tx, role, session_key)) is not None:
                return outbox.requeue(tx, message_id, now) or ""
            if status.is_unconfirmed and status.verdict.state is CdrState.WAITING:
                raise InvalidAction("nobody knows its session: confirm or refuse it")
            return self._enqueue_again(tx, status, role, session_key, now)

        destination = await self._services.store.write(job, about=(job_keys.session_of(role, session_key),))
        self._services.wakeups.notify_outbox(destination)
        return f"sent again to {self._name_of(destination)}"

    async def confirm(self, session_key: str, role: str, peer_name: str) -> str:
        """Remove the mark *unconfirmed* of a CDR; one that was held is delivered.

        ``peer_name`` names the other party of a session of which not even that is known.
        """
        role = await self._find_role(session_key, role)
        held = await self._held(session_key, role)
        if held is not None:
            peer = self._other_party(held, role, peer_name)
            if not await self._handlers[role].release_held(held, peer):
                raise InvalidAction(
                    "it cannot be delivered: its SessionID is that of another session; refuse it (`cdrs refuse`)"
                )
            return f"confirmed; it is being delivered as one of a session with {peer.name}"
        now = self._services.now()

        def job(tx: Transaction) -> None:
            status = _get(tx, role, session_key)
            if not status.is_unconfirmed:
                raise InvalidAction("this charge detail record is not unconfirmed: there is nothing to confirm")
            cdrs.set_unconfirmed(tx, role, session_key, status.peer, unconfirmed=False)
            sessions.update(tx, role, session_key, now, unconfirmed=0)
            sessions.add_event(tx, role, session_key, now, "confirmed by a person")

        await self._services.store.write(job, about=(job_keys.session_of(role, session_key),))
        return "confirmed"

    async def refuse(self, session_key: str, role: str, reason: str) -> str:
        """Make an unconfirmed CDR *disputed*; the CPO's node is told."""
        role = await self._find_role(session_key, role)
        now = self._services.now()
        verdict = Verdict(CdrState.DISPUTED, StatusCodeValue.SESSION_INVALID, reason or "refused by a person")

        def job(tx: Transaction) -> str | None:
            status = _get(tx, role, session_key)
            if not status.is_unconfirmed:
                raise InvalidAction(
                    "only an unconfirmed charge detail record is refused by hand; of all others our backend decides"
                )
            if (message_id := outbox.find_cdr(tx, role, session_key)) is not None:
                outbox.delete(tx, message_id)
            if not cdrs.apply_verdict(tx, role, session_key, verdict, now):
                raise InvalidAction(f"it is {status.verdict.state}: that stands")
            if role != "emp":
                return None
            return enqueue_verdict(tx, session_key, verdict, now, self._services.local_peer.providers[0])

        peer_id = await self._services.store.write(job, about=(job_keys.session_of(role, session_key),))
        if peer_id is None:
            return "refused"
        self._services.wakeups.notify_outbox(peer_id)
        return f"refused; {self._name_of(peer_id)} is told"

    async def _find_role(self, session_key: str, role: str) -> str:
        roles = [name for name in self._handlers if not role or name == role]
        found = [
            name for name in roles if await cdrs.get_status_now(self._services.store, name, session_key) is not None
        ]
        if not found:
            raise InvalidAction(_UNKNOWN)
        if len(found) > 1:
            raise InvalidAction("this node is both parties of that session: say which with --role cpo or --role emp")
        return found[0]

    async def _held(self, session_key: str, role: str) -> OperationRequest[ChargeDetailRecord] | None:
        rows = await self._services.store.query(cdrs.HELD, role_=role)
        row = next((row for row in rows if row["session_key"] == session_key), None)
        return None if row is None else held_request(self._services, row)

    def _other_party(self, held: OperationRequest[ChargeDetailRecord], role: str, name: str) -> Peer:
        registry = self._services.registry
        if name:
            peer = registry.by_name(name)
        elif role == "emp":
            peer = held.peer
        else:
            peers = registry.emp_peers()
            peer = peers[0] if len(peers) == 1 else None
        if peer is None:
            raise InvalidAction("say whose driver it was: --peer NAME, as `peers list` shows it")
        return peer

    def _enqueue_again(self, tx: Transaction, status: CdrStatus, role: str, session_key: str, now: float) -> str:
        """Enqueue a CDR that has an answer already; return its destination."""
        body, session = cdrs.get_body(tx, role, session_key), sessions.get(tx, role, session_key)
        operator = ChargeDetailRecord.from_json(body).evse_id.operator
        destination = self._handlers[role].next_hop(status.peer, session.provider_key if session is not None else "")
        cdrs.set_state(tx, role, session_key, now, Verdict(CdrState.WAITING))
        sessions.add_event(tx, role, session_key, now, "charge detail record sent again by a person")
        outbox.enqueue(
            tx,
            destination=destination,
            operation=outbox.CDR_OPERATION,
            sender_id=operator.text if operator is not None else None,
            role=role,
            session_key=session_key,
            body=body,
            now=now,
        )
        return destination

    def _name_of(self, destination: str) -> str:
        peer = self._services.registry.by_id(destination)
        return peer.name if peer is not None else destination


def _get(tx: Transaction, role: str, session_key: str) -> CdrStatus:
    status = cdrs.get_status(tx, role, session_key)
    if status is None:
        raise InvalidAction(_UNKNOWN)
    return status
