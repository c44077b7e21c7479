"""Copies of those who are no peers of this node any more.

What a role gets with a request, and what it works with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.delivery import PeerClient, WakeupRegistry
from p2p_oicp.oicp import Message, RecordStream
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.peering.evidence_recorder import ExchangeRecorder
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import Store, Transaction
from p2p_oicp.storage.datasets import queries
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator


class RemovedPeers:
    """Whose copies neither are told nor decide any more.

    They stay in the store, and count again when their peer comes back: it would not send again what it has brought.
    """

    def __init__(self, registry: PeerRegistry, store: Store) -> None:
        self._registry = registry
        self._store = store
        self._computed_for: tuple[Peer, ...] | None = None
        self._names: list[str] = []

    def names(self) -> list[str] | None:
        """Return their names, None if there are none; looked up again when the peers have changed."""
        peers = self._registry.all()
        if peers is not self._computed_for:
            current_names = {peer.name for peer in peers}
            sources = [str(row["source"]) for row in self._store.query_inline(queries.SOURCES)]
            self._names = sorted(source for source in sources if source and source not in current_names)
            self._computed_for = peers
        return self._names or None


MessageT_co = TypeVar("MessageT_co", bound=Message, covariant=True)

#: The destination of letters to our own backend; no peer can have this name (`peers.fields.display_name`).
EMP_BACKEND = "backend emp"


class OperationRequest(msgspec.Struct, Generic[MessageT_co], frozen=True):
    """One authenticated, valid request.

    ``peer`` is who sent it: a peer, or our own company (``peer.is_self``) when it came from our backend; None where the
    message names no sender and the lab's insecure mode proves none: then the session decides.
    ``party`` is the sender's id as it stood in the path, ``query`` what stood behind it. ``records`` are the records of
    a push, to be read one by one. ``seal``: see `Seal`; None where nothing is signed.
    """

    operation: Operation
    message: MessageT_co
    peer: Peer | None
    sender_id: str | None = None
    records: RecordStream[Message] | None = None
    body: bytes = b""
    query: str = ""
    sign_in_transaction: TransactionalSigner | None = None

    @property
    def digest(self) -> bytes:
        """Tells whether two requests are the same, byte for byte."""
        return hashlib.sha256(self.body).digest()


class OperationResponse(msgspec.Struct, frozen=True):
    """An OICP answer, ready to send.

    Attributes:
        is_refusal: this node refuses; a refusal that was only passed on is none.
        signature_headers: set where the response is signed and recorded already (`TransactionalSigner`).
    """

    body: bytes
    http_status: int = 200
    is_refusal: bool = False
    content_type: str = "application/json"
    signature_headers: Mapping[str, str] | None = None


#: Signs a response, and records its exchange as evidence, in the transaction that decides it; the role returns what
#: this returns. What is not signed there is signed and recorded afterwards, in a transaction of its own: with
#: ``synchronous = FULL``, that costs each request 25 to 40 µs more.
TransactionalSigner: TypeAlias = Callable[[Transaction, OperationResponse], OperationResponse]


@dataclass(frozen=True, slots=True)
class Services:
    """What both roles work with; ``me`` is this node's own company.

    ``authorization_deadline``: seconds an EMP gets for AuthorizeStart and AuthorizeStop. ``pin_rounds``: what hashing
    a PIN costs, 2 to this power.
    """

    local_peer: Peer
    registry: PeerRegistry
    store: Store
    peers: PeerClient
    recorder: ExchangeRecorder
    wakeups: WakeupRegistry
    clock: Clock
    ids: IdGenerator
    datasets: DatasetCoordinator
    removed_peers: RemovedPeers
    authorization_deadline: float
    pin_rounds: int = 10

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.clock.time()


OperationHandler: TypeAlias = Callable[[OperationRequest[Any]], Awaitable[OperationResponse]]


class HandlerRegistry:
    """Finds the method that serves an operation."""

    def __init__(self, *handlers: object) -> None:
        self._handlers = handlers

    def find_handler(self, operation: Operation) -> OperationHandler | None:
        """Return the method, or None where this role does not offer the operation."""
        methods = (getattr(handler, operation.method, None) for handler in self._handlers)
        return next((method for method in methods if method is not None), None)
