"""What handlers get and return: request, response, and the services of the node."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.concurrency import BackgroundTasks
from p2p_oicp.config.limits import DeadlineSettings
from p2p_oicp.crypto.pins import PinGuard
from p2p_oicp.delivery import PeerClient, WakeupRegistry
from p2p_oicp.oicp import Finding, Identification, Message, RecordStream, SessionID, StatusCodeValue
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.peering.agreements import PartyAgreements
from p2p_oicp.peering.evidence_recorder import ExchangeRecorder
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import Store, Transaction, job_keys, tokens
from p2p_oicp.storage.datasets import queries
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.models import OWN
from p2p_oicp.storage.job_keys import JobKeys
from p2p_oicp.storage.tokens import AuthenticationMatch


class RemovedPeers:
    """Sources of dataset records that are peers no more.

    Their records neither are published nor decide anything. They stay in the store and count again when the peer comes
    back, because it would not send again what has been acknowledged.
    """

    def __init__(self, registry: PeerRegistry, store: Store) -> None:
        self._registry = registry
        self._store = store
        self._computed_for: tuple[Peer, ...] | None = None
        self._ids: list[str] = []

    def forget(self) -> None:
        """Query them again: the sources of some records have changed."""
        self._computed_for = None

    async def ids(self) -> list[str] | None:
        """Return their ids; None if there are none. Queried again only after the peers have changed."""
        peers = self._registry.all()
        if peers is not self._computed_for:
            current_ids = {peer.id for peer in peers}
            sources = [str(row["source"]) for row in await self._store.query_inline(queries.SOURCES)]
            self._ids = sorted(source for source in sources if source and source not in current_ids)
            self._computed_for = peers
        return self._ids or None


MessageT_co = TypeVar("MessageT_co", bound=Message, covariant=True)


class OperationRequest(msgspec.Struct, Generic[MessageT_co], frozen=True):
    """One authenticated and validated request.

    Attributes:
        operation: its row of the operations table.
        message: the request; of a push the envelope without its records.
        peer: the sender: a peer, or our own company (``peer.is_self``) if the request came from our backend. None only
            in insecure mode, for a message that names no sender: then the session decides.
        sender_id: the sender's id as it stood in the path.
        records: the records of a push, to be read one by one.
        body: the request as it is stored and passed on, with identifiers in upper case.
        query: the query string, without "?".
        sign_in_transaction: signs the response and records the exchange in the transaction of the decision; None if
            nothing is signed.
        received: the request as received, decoded; empty: the same as ``body``.
        warnings: the findings on it.
    """

    operation: Operation
    message: MessageT_co
    peer: Peer | None
    sender_id: str | None = None
    records: RecordStream[Message] | None = None
    body: bytes = b""
    query: str = ""
    sign_in_transaction: TransactionalSigner | None = None
    received: bytes = b""
    warnings: Sequence[Finding] = ()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the received body: equal for two transmissions of one request."""
        return hashlib.sha256(self.received or self.body).digest()

    def keys(self, role: str) -> JobKeys:
        """Return what a job about the session of this later message is about, for ``role`` of this node."""
        session_id: SessionID | None = getattr(self.message, "session_id", None)
        # Without its SessionID a message is that of a session which its content names in another way.
        return (job_keys.session_of(role, self.digest.hex() if session_id is None else session_id.key),)

    def signed(self, tx: Transaction, response: OperationResponse) -> OperationResponse:
        """Return the response, signed and recorded in ``tx`` if the request was signed."""
        return response if self.sign_in_transaction is None else self.sign_in_transaction(tx, response)


class OperationResponse(msgspec.Struct, frozen=True):
    """An OICP response, ready to send.

    Attributes:
        is_refusal: this node refuses; a refusal that was only passed on is none.
        signature_headers: set where the response is signed and recorded already (`TransactionalSigner`).
        headers: further ones, of answers that are no OICP.
    """

    body: bytes
    http_status: int = 200
    is_refusal: bool = False
    content_type: str = "application/json"
    signature_headers: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None


#: Signs a response, records the exchange as evidence in the given transaction, and returns the signed response. A
#: response that is not signed there is signed and recorded afterwards, in a transaction of its own: with
#: ``synchronous = FULL``, 25 to 40 µs more of each request.
TransactionalSigner: TypeAlias = Callable[[Transaction, OperationResponse], OperationResponse]


@dataclass(frozen=True, slots=True)
class Services:
    """What the handlers of both roles use.

    Attributes:
        peers: sends requests; the caller records the exchange that comes with a reply (``recorder``).
        removed_peers: sources of records that do not count.
        agreements: the parties that peers and this node have agreed on.
        deadlines: seconds that peers and backends get.
        pins: slows down who guesses PINs, and runs bcrypt.
        background: tasks that outlast the request that started them.
        refuses_doubtful: refuse what `roles.doubts` finds, instead of reporting it.
        pin_rounds: cost of hashing a PIN, as a power of 2 (bcrypt).
    """

    registry: PeerRegistry
    store: Store
    peers: PeerClient
    recorder: ExchangeRecorder
    wakeups: WakeupRegistry
    clock: Clock
    ids: IdGenerator
    datasets: DatasetCoordinator
    removed_peers: RemovedPeers
    agreements: PartyAgreements
    deadlines: DeadlineSettings
    pins: PinGuard
    background: BackgroundTasks = field(default_factory=BackgroundTasks)
    pin_rounds: int = 10
    refuses_doubtful: bool = False

    @property
    def local_peer(self) -> Peer:
        """The company of this node."""
        return self.registry.own

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return self.clock.time()

    async def find_authorization(
        self, identification: Identification, source: str | None = None
    ) -> AuthenticationMatch | None:
        """Return what pushed authentication data says of an identification of our own backend; None: nothing.

        Args:
            identification: of a message.
            source: whose data: a peer's id, ``OWN`` (our own EMP's), or None for all, but not of removed peers.

        Raises:
            Refusal: 101 or 021, where too many PINs of the EvcoID were wrong, or wait to be looked at.
        """
        if identification.qr_code is None:  # the usual case, which most drivers wait for
            return await self.find_record(identification, source, caller=OWN)
        with self.pins.attempt(identification, OWN) as attempt:
            match = await self.find_record(identification, source, caller=OWN)
            attempt.conclude(is_wrong=match is not None and match.refusal_code is StatusCodeValue.QR_CODE_INVALID)
        return match

    async def find_record(
        self, identification: Identification, source: str | None, *, caller: str
    ) -> AuthenticationMatch | None:
        """As `find_authorization`, of a message that authorizes nobody; PINs wait for the turn of ``caller``."""
        removed_peers = await self.removed_peers.ids()
        return await tokens.find_match(
            self.store,
            identification,
            self.now(),
            pins=self.pins,
            caller=caller,
            source=source,
            excluded_sources=removed_peers,
        )


OperationHandler: TypeAlias = Callable[[OperationRequest[Any]], Awaitable[OperationResponse]]


class HandlerRegistry:
    """The handlers of one role, by the name of the operation."""

    def __init__(self, handlers: Mapping[str, OperationHandler]) -> None:
        self._handlers = handlers

    def find_handler(self, operation: Operation) -> OperationHandler | None:
        """Return the handler of an operation; None if this role does not offer it."""
        return self._handlers.get(operation.name)
