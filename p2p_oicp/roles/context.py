"""What a role gets with a request, and what it works with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import msgspec

from p2p_oicp.clock import Clock, Mint
from p2p_oicp.delivery import Bells, Courier
from p2p_oicp.oicp import Message, RecordReading
from p2p_oicp.oicp.operation import Operation
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles.former import FormerPeers
from p2p_oicp.storage import Store, Transaction
from p2p_oicp.storage.state.keeper import Keeper

M_co = TypeVar("M_co", bound=Message, covariant=True)

#: The destination of letters to our own backend; no peer can have this name (`peers.fields.display_name`).
EMP_BACKEND = "backend emp"


class Incoming(msgspec.Struct, Generic[M_co], frozen=True):
    """One authenticated, valid request.

    ``peer`` is who sent it: a peer, or our own company (``peer.is_self``) when it came from our backend; None where the
    message names no sender and the lab's insecure mode proves none: then the session decides.
    ``party`` is the sender's id as it stood in the path, ``query`` what stood behind it. ``records`` are the records of
    a push, to be read one by one. ``seal``: see `Seal`; None where nothing is signed.
    """

    operation: Operation
    message: M_co
    peer: Peer | None
    party: str | None = None
    records: RecordReading[Message] | None = None
    body: bytes = b""
    query: str = ""
    seal: Seal | None = None

    @property
    def digest(self) -> bytes:
        """Tells whether two requests are the same, byte for byte."""
        return hashlib.sha256(self.body).digest()


class Answer(msgspec.Struct, frozen=True):
    """An OICP answer, ready to send."""

    body: bytes
    http_status: int = 200
    is_refusal: bool = False
    content_type: str = "application/json"


#: Signs an answer, and keeps it with its request as evidence, in the transaction that decides it. What is not sealed
#: there is signed and kept afterwards, in a transaction of its own: with ``FULL``, 25 to 40 µs more of each request.
Seal: TypeAlias = Callable[[Transaction, Answer], None]


@dataclass(frozen=True, slots=True)
class RoleContext:
    """What both roles work with; ``me`` is this node's own company.

    ``authorization_deadline``: seconds an EMP gets for AuthorizeStart and AuthorizeStop. ``pin_rounds``: what hashing
    a PIN costs, 2 to this power.
    """

    me: Peer
    registry: PeerRegistry
    store: Store
    courier: Courier
    bells: Bells
    clock: Clock
    mint: Mint
    keeper: Keeper
    former: FormerPeers
    authorization_deadline: float
    pin_rounds: int = 10

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.clock.time()
