"""What the rules may know beside the message itself."""

from __future__ import annotations

from dataclasses import dataclass

from p2p_oicp.oicp.identifiers import OperatorID, ProviderID


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a sender may speak for, and how many records its message came with; None where it is not known."""

    operators: frozenset[OperatorID] | None = None
    providers: frozenset[ProviderID] | None = None
    #: Set where the records of a page are read one by one, and its envelope holds none.
    count: int | None = None


EVERYONE = Scope()
