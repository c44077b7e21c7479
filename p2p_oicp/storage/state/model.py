"""What is kept of replicated state: records in groups, and what a push or a pull brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, TypeAlias

import msgspec

#: The source of our own state.
OWN = ""
#: In the place of a record's bytes: they are those of the store.
SAME = b""
#: An audience of every provider.
EVERYONE = "*"


class Kind(IntEnum):
    """The five kinds of replicated state."""

    EVSE_DATA = 1
    EVSE_STATUS = 2
    PRICING_PRODUCT = 3
    EVSE_PRICING = 4
    AUTHENTICATION = 5


# A push of 10,000 makes 20,000 of these: without garbage collection, which has nothing to find in them.
class EvseFacts(msgspec.Struct, frozen=True, gc=False):
    """What charging spots are searched by: columns of ``evse_facts``."""

    evse_key: str
    operator_key: str
    group_key: str
    country: str
    latitude: float | None
    longitude: float | None
    cell: int | None
    accessibility: str
    calibration: str
    authentication_modes: str
    renewable: bool | None
    compatible: bool | None
    always_open: bool | None


class IdentificationFacts(msgspec.Struct, frozen=True, gc=False):
    """What identifications are searched by: columns of ``identifications``; times in seconds since the epoch."""

    uid_key: str | None
    evco_key: str | None
    expires_at: float | None


Facts: TypeAlias = EvseFacts | IdentificationFacts


def facts_of(kind: Kind, values: Sequence[Any]) -> Facts:
    """Return the facts whose values were put aside in this order."""
    return EvseFacts(*values) if kind is Kind.EVSE_DATA else IdentificationFacts(*values)


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record: ``raw`` as it came, ``facet`` what pulls ask for (status, audience, notation), ``facts`` columns.

    ``raw`` is ``SAME`` where the record is known to be in the store just so.
    """

    key: str
    group_key: str
    raw: bytes
    facet: str = ""
    facts: Facts | None = None


class Group(NamedTuple):
    """What a fullLoad replaces: the records of one party, or its prices for one audience.

    ``party`` is the id in the push's path, ``head`` the JSON object around the records, without them.
    """

    key: str
    party: str
    head: bytes
    audience: str = EVERYONE


class Must(StrEnum):
    """What all records of a push must be, or it is a contradiction (009)."""

    BE_NEW = "new"
    BE_KNOWN = "known"


class Replaces(StrEnum):
    """Whose records are withdrawn when a push does not name them."""

    NOTHING = "nothing"
    GROUPS = "groups"
    SOURCE = "source"


class Request(NamedTuple):
    """The request that a push came with; ``party`` stood in its path."""

    party: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What a push or a finished pull brings; applied as a whole or not at all. Keys occur once.

    ``gone`` are keys to withdraw. ``digest`` tells a repetition of the same request from a new one, None: never.
    ``request`` is what came, without PINs; a large push is made good from it after a crash.
    """

    kind: Kind
    source: str
    groups: Sequence[Group]
    records: Sequence[Record] = ()
    gone: Sequence[str] = ()
    must: Must | None = None
    replaces: Replaces = Replaces.NOTHING
    digest: bytes | None = None
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What a push did: changed records and groups, and the keys that forbid it (then nothing was changed)."""

    changed: int = 0
    contradictions: tuple[str, ...] = ()
