"""Verdicts: what the EMP's backend says of a CDR, and how the CPO's node hears of it (RULES L11).

**At the EMP's node** the CDR is stored and acknowledged whatever the backend says later. The request that brings it
waits for the backend's verdict, a few seconds at most, and answers with it (`PendingVerdicts`). A verdict that nobody
waits for goes to the CPO's node through the outbox, as ``POST /p2p/v1/cdr-verdicts`` (`enqueue_verdict`).

**At the CPO's node** `VerdictService` applies it to the CDR. It may come before the acknowledgement of the CDR itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from p2p_oicp.clock import format_timestamp
from p2p_oicp.crypto.exchange import NODE_MEMBER
from p2p_oicp.delivery.node_protocol import CDR_VERDICT
from p2p_oicp.delivery.store_epochs import StoreEpochs
from p2p_oicp.delivery.wakeup import CIRCUIT_BREAKER_THRESHOLD
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import Acknowledgement, Message, ProviderID, SessionID, StatusCodeValue
from p2p_oicp.peers import Peer
from p2p_oicp.peers.models import OWN_PEER_ID, VERDICTS_EXTENSION
from p2p_oicp.roles.context import OperationResponse, Services
from p2p_oicp.roles.responses import SessionIds, acknowledgement_response
from p2p_oicp.storage import Store, Transaction, cdrs, job_keys, outbox, peer_state, sessions
from p2p_oicp.storage.cdrs import CdrState, CdrStatus, Verdict
from p2p_oicp.storage.outbox import OutboxMessage
from p2p_oicp.storage.peer_state import Destination
from p2p_oicp.storage.sessions import Session

log = structlog.get_logger(__name__)

#: What the sender of a CDR reads whose session restores have lost at both nodes.
UNCONFIRMED_INFO = "unconfirmed: no database knows this session any more; a person has to confirm it (`cdrs confirm`)"
_MAX_WAITING = 64
_NAMES = {CdrState.ACCEPTED: "accepted", CdrState.DISPUTED: "disputed"}
_PENDING = "pending"
_DECIDED = {name: state for state, name in _NAMES.items()}
_STATES = _DECIDED | {_PENDING: CdrState.DELIVERED}
_BAD_REQUEST, _SERVICE_UNAVAILABLE = 400, 503


@dataclass(eq=False, slots=True)
class _Waiting:
    """The requests of one CDR that may answer with its verdict.

    Attributes:
        resolved: is set when the verdict is committed.
        requests: how many there are.
        taken: the verdict was given while there were some, and they will tell it.
        is_answered_pending: one of them has answered that it is pending, so that it has to be told later.
    """

    resolved: asyncio.Event
    requests: int = 0
    taken: bool = False
    is_answered_pending: bool = False


class PendingVerdicts:
    """The requests of an EMP's node that wait for what the backend says of their CDRs.

    Args:
        store: tells whether the backend is up.
        max_seconds: how long one waits (``[deadlines] record_backend``).
    """

    def __init__(self, store: Store, max_seconds: float) -> None:
        self._store = store
        self._max_seconds = max_seconds
        self._waiting: dict[str, _Waiting] = {}
        self._waiting_counts: Counter[str] = Counter()
        self._slow: set[str] = set()

    def __repr__(self) -> str:
        return f"<PendingVerdicts sessions={len(self._waiting)}>"

    @contextmanager
    def expect(self, session_key: str) -> Iterator[_Waiting]:
        """Register a request before its CDR is stored."""
        waiting = self._waiting.setdefault(session_key, _Waiting(asyncio.Event()))
        waiting.requests += 1
        try:
            yield waiting
        finally:
            waiting.requests -= 1
            if not waiting.requests and self._waiting.get(session_key) is waiting:
                del self._waiting[session_key]

    async def wait(self, waiting: _Waiting, destination: str) -> None:
        """Return when the verdict of the backend ``destination`` is committed, or after some seconds without one.

        Nobody waits for a backend that is down, or too slow since its last verdict; and only a bounded number for one
        that hangs.
        """
        if await self._may_wait(destination):
            self._waiting_counts[destination] += 1
            try:
                async with asyncio.timeout(self._max_seconds):
                    await waiting.resolved.wait()
            except TimeoutError:
                # Until it answers again: the CPO's node sends few messages at a time, and they would all take so long.
                self._slow.add(destination)
            finally:
                self._waiting_counts[destination] -= 1
        await self.end(waiting)

    async def end(self, waiting: _Waiting) -> None:
        """Return when it is certain who tells the verdict: the request, or a message later."""
        if waiting.taken:  # given, but not committed yet: nobody else will tell the peer
            await waiting.resolved.wait()
        waiting.is_answered_pending = not waiting.resolved.is_set()

    async def _may_wait(self, destination: str) -> bool:
        if destination in self._slow or self._waiting_counts[destination] >= _MAX_WAITING:
            return False
        health = await peer_state.health_now(self._store, Destination(destination))
        return health.failures < CIRCUIT_BREAKER_THRESHOLD

    def take(self, session_key: str) -> bool:
        """Return whether a request waits for a verdict that is being stored, and will tell it."""
        waiting = self._waiting.get(session_key)
        if waiting is None or waiting.is_answered_pending:
            return False
        waiting.taken = True
        return True

    def resolve(self, session_key: str, destination: str) -> None:
        """Wake the requests of a session: what the backend ``destination`` said is committed, or could not be."""
        self._slow.discard(destination)
        waiting = self._waiting.pop(session_key, None)
        if waiting is not None:
            waiting.resolved.set()


def verdict_response(status: CdrStatus, session: Session, doubts: str) -> OperationResponse:
    """Return the Acknowledgement of a CDR that this node has stored, with what its backend and ``doubts`` say of it."""
    ids, verdict = SessionIds.from_session(session), status.verdict
    name = _NAMES.get(verdict.state, _PENDING)
    info = "verdict pending" if name == _PENDING else None
    member: dict[str, object] = {"verdict": name}
    if status.is_unconfirmed:
        member["unconfirmed"] = True
        info = UNCONFIRMED_INFO
    info = "; ".join(filter(None, (info, doubts))) or None
    if verdict.state is CdrState.DISPUTED:
        code = verdict.code or StatusCodeValue.DATA_ERROR
        return acknowledgement_response(code, verdict.text or info, ids, extra={NODE_MEMBER: member})
    return acknowledgement_response(info=info, ids=ids, extra={NODE_MEMBER: member})


def read_verdict(reply: Message) -> Verdict | None:
    """Return what a peer's node says of a CDR that it has stored; None: it does not say that it has."""
    member = (reply.model_extra or {}).get(NODE_MEMBER)
    state = _STATES.get(str(member.get("verdict"))) if isinstance(member, dict) else None
    if state is None or not isinstance(reply, Acknowledgement):
        return None
    if state is not CdrState.DISPUTED:
        return Verdict(state, is_final=state is CdrState.ACCEPTED)
    status = reply.status_code
    return Verdict(state, str(status.code), status.additional_info or status.description or "")


def store_backend_verdict(
    tx: Transaction, message: OutboxMessage, verdict: Verdict, now: float, *, provider: ProviderID, is_awaited: bool
) -> str | None:
    """Store what the EMP's backend says of a CDR; return the peer whose outbox has got a message of it.

    Args:
        tx: the transaction that deletes ``message`` from the backend's outbox.
        message: the CDR.
        verdict: accepted or disputed.
        now: seconds since the epoch.
        provider: as whom this node tells it: a session whose start was interrupted has none.
        is_awaited: a request waits for it, and tells the peer.
    """
    cdrs.apply_verdict(tx, "emp", message.session_key, verdict, now)
    return None if is_awaited else enqueue_verdict(tx, message.session_key, verdict, now, provider)


def enqueue_verdict(
    tx: Transaction, session_key: str, verdict: Verdict, now: float, provider: ProviderID
) -> str | None:
    """Enqueue a verdict for the CPO's node; return its peer id, None where it is told at once or cannot be told."""
    status = cdrs.get_status(tx, "emp", session_key)
    if status is None:
        return None
    if status.peer == OWN_PEER_ID:  # a company with both roles: the other side is in this database
        cdrs.apply_verdict(tx, "cpo", session_key, verdict, now)
        return None
    if VERDICTS_EXTENSION not in peer_state.extensions(tx, status.peer):
        return None
    session = sessions.get(tx, "emp", session_key)  # a CDR that was held has none
    code = verdict.code or StatusCodeValue.SUCCESS
    body = {
        "SessionID": session.session_id if session is not None else session_key,
        "Digest": status.digest.hex(),
        "Verdict": _NAMES[verdict.state],
        "StatusCode": {"Code": code, "AdditionalInfo": verdict.text},
        "At": format_timestamp(now),
    }
    outbox.enqueue(
        tx,
        destination=status.peer,
        operation=CDR_VERDICT,
        sender_id=provider.text,
        role="emp",
        session_key=session_key,
        # A newer verdict replaces one that still waits.
        coalesce_key=CDR_VERDICT,
        body=orjson.dumps(body),
        now=now,
    )
    return status.peer


def log_refusal(role: str, session_key: str, verdict: Verdict) -> None:
    """Log what the EMP's backend, or the peer's node, has against a CDR."""
    log.warning(
        "cdr.refused",
        role=role,
        session_id=session_key,
        state=verdict.state.value,
        code=verdict.code,
        reason=verdict.text,
    )


class VerdictService:
    """Serves ``POST /p2p/v1/cdr-verdicts``, at the CPO's node."""

    def __init__(self, services: Services, store_epochs: StoreEpochs) -> None:
        self._services = services
        self._epochs = store_epochs

    async def record(self, body: bytes, peer: Peer) -> OperationResponse:
        """Record what a peer's backend says of a CDR; raise Refusal 400 for one that is no CDR of that peer.

        One that changes nothing is acknowledged: it was sent again, or came late.
        """
        try:
            members = orjson.loads(body)
            session_id = SessionID(str(members["SessionID"]))
            digest, verdict = bytes.fromhex(members["Digest"]), _parse_verdict(members)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            info = f"a verdict has SessionID, Digest (SHA-256 of the CDR), Verdict, StatusCode and At: {error!r}"
            raise Refusal(StatusCodeValue.DATA_ERROR, info, http_status=_BAD_REQUEST) from error
        now, lost_since = self._services.now(), await self._epochs.lost_since("cpo", peer)

        def job(tx: Transaction) -> bool:
            status = cdrs.get_status(tx, "cpo", session_id.key)
            if status is None and lost_since is not None:
                info = f"this node's database was restored, and {peer.name} has not told everything yet; send it again"
                raise Refusal(StatusCodeValue.SYSTEM_ERROR, info, http_status=_SERVICE_UNAVAILABLE)
            if status is None or status.peer != peer.id or status.digest != digest:
                info = f"this node has no such charge detail record of session {session_id} for {peer.name}"
                raise Refusal(StatusCodeValue.SESSION_INVALID, info, http_status=_BAD_REQUEST)
            return cdrs.apply_verdict(tx, "cpo", session_id.key, verdict, now)

        has_changed = await self._services.store.write(job, about=(job_keys.session_of("cpo", session_id.key),))
        if verdict.state is CdrState.DISPUTED:
            log_refusal("cpo", session_id.key, verdict)
        log.info(
            "cdr.verdict_received",
            peer=peer.name,
            session_id=session_id.text,
            verdict=verdict.state.value,
            has_changed=has_changed,
        )
        return acknowledgement_response(ids=SessionIds(session_id.text))


def _parse_verdict(members: dict[str, Any]) -> Verdict:
    state = _DECIDED[members["Verdict"]]
    status = members.get("StatusCode") or {}
    if state is CdrState.ACCEPTED:
        return Verdict(state)
    return Verdict(state, str(status.get("Code") or ""), str(status.get("AdditionalInfo") or ""))
