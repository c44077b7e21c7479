"""What an operation of OICP is: who sends it, to whom, where, and what may be done about a failure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from p2p_oicp.oicp.base import Message, top_level
from p2p_oicp.oicp.common import Acknowledgement
from p2p_oicp.oicp.findings import InvalidMessage

BASE_PATH = "/api/oicp"


def root_of(base: str) -> str:
    """Return where all paths of a node begin, OICP's and its own; ``base`` may end in ``/api/oicp`` or not."""
    return base.rstrip("/").removesuffix(BASE_PATH)


class Party(StrEnum):
    """The two roles of roaming."""

    CPO = "CPO"
    EMP = "EMP"


class Routing(StrEnum):
    """What decides where a request goes."""

    EVSE = "evse"
    """The operator of its EvseID."""
    IDENTIFICATION = "identification"
    """The provider of its contract, or every provider there is."""
    SESSION = "session"
    """The other party of its session."""
    PARTIES = "parties"
    """Every party concerned."""
    STORE = "store"
    """Nobody: it is answered from the store."""


class Retry(StrEnum):
    """Whether a request may be sent again after a failure (RULES H2, H4)."""

    NEVER = "never"
    SAME_SESSION = "same-session"
    SAFE = "safe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation; ``deadline`` in seconds, ``senders`` say where the sending party stands in the message."""

    name: str
    method: str
    path: str
    aliases: tuple[str, ...] = ()
    request: type[Message]
    response: type[Message] = Acknowledgement
    sender: Party
    routed_by: Routing
    retry: Retry = Retry.SAFE
    deadline: float
    senders: tuple[str, ...] = ()
    #: Whether the query may ask for a page (``page``, ``size``).
    paged: bool = False

    @property
    def server(self) -> Party:
        """The role that answers."""
        return Party.EMP if self.sender is Party.CPO else Party.CPO

    @property
    def is_push(self) -> bool:
        """Whether it carries records to be taken over, with an ActionType."""
        return self.name.startswith("Push")

    @property
    def sender_is_derived(self) -> bool:
        """Whether its message names no sender itself, so that only the operator of its EvseID tells."""
        return bool(self.senders) and all(place.endswith(".operator") for place in self.senders)

    @property
    def command(self) -> str:
        """What the command line calls it."""
        return self.method.replace("_", "-")

    def url(self, base: str, party: str | None) -> str:
        """Return where to send it; ``base`` may end in ``/api/oicp`` or not, ``*`` stays as it is in ``party``."""
        return f"{root_of(base)}{BASE_PATH}/{self.path_for(party)}"

    def path_for(self, party: str | None) -> str:
        """Return the path below ``/api/oicp/`` for the sending party."""
        start, brace, rest = self.path.partition("{")
        if not brace:
            return self.path
        if party is None:
            raise ValueError(f"{self.name}: the path names the sender, {self.path}")
        return start + quote(party, safe="*-") + rest.partition("}")[2]


@dataclass(frozen=True, slots=True)
class Route:
    """What a path stands for, and the party it names."""

    candidates: tuple[Operation, ...]
    party: str | None

    def choose(self, body: bytes) -> Operation:
        """Return the operation that ``body`` asks for, where several share a path (the three status pulls)."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        try:
            members = top_level(body)
        except InvalidMessage:
            return self.candidates[0]
        wanted = "EvseID" if "EvseID" in members else "OperatorID"
        rows = (row for row in self.candidates if wanted in members and _asks_by(row, wanted))
        return next(rows, self.candidates[0])


def _asks_by(operation: Operation, member: str) -> bool:
    return any(info.alias == member and info.is_required() for info in operation.request.model_fields.values())
