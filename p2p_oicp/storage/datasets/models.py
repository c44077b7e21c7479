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
UNCHANGED = b""
#: An audience of every provider.
ALL_PROVIDERS = "*"


class DatasetKind(IntEnum):
    """The five datasets of replicated state."""

    EVSE_DATA = 1
    EVSE_STATUS = 2
    PRICING_PRODUCT = 3
    EVSE_PRICING = 4
    AUTHENTICATION = 5


# A push of 10,000 makes 20,000 of these: without garbage collection, which has nothing to find in them.
class EvseIndexRow(msgspec.Struct, frozen=True, gc=False):
    """What charging spots are searched by: columns of ``evse_index``."""

    evse_key: str
    operator_key: str
    group_key: str
    country: str
    latitude: float | None
    longitude: float | None
    geo_cell: int | None
    accessibility: str
    calibration_law_data: str
    authentication_modes: str
    renewable_energy: bool | None
    hubject_compatible: bool | None
    open_24_hours: bool | None


class TokenIndexRow(msgspec.Struct, frozen=True, gc=False):
    """What identifications are searched by: columns of ``identifications``; times in seconds since the epoch."""

    uid_key: str | None
    evco_id_key: str | None
    expires_at: float | None


IndexRow: TypeAlias = EvseIndexRow | TokenIndexRow


def index_row_from_values(dataset: DatasetKind, values: Sequence[Any]) -> IndexRow:
    """Return the facts whose values were put aside in this order."""
    return EvseIndexRow(*values) if dataset is DatasetKind.EVSE_DATA else TokenIndexRow(*values)


class DatasetRecord(msgspec.Struct, frozen=True, gc=False):
    """One record: ``raw`` as it came, ``filter_value`` what pulls ask for (status, audience, notation).

    ``index_row`` is what it is searched by. ``raw`` is ``UNCHANGED`` where the store is
    known to have it just so.
    """

    key: str
    group_key: str
    raw: bytes
    filter_value: str = ""
    index_row: IndexRow | None = None


class RecordGroup(NamedTuple):
    """What a fullLoad replaces: the records of one party, or its prices for one audience.

    ``party`` is the id in the push's path, ``wrapper`` the JSON object around the records, without them.
    """

    key: str
    party: str
    wrapper: bytes
    audience: str = ALL_PROVIDERS


class Precondition(StrEnum):
    """What all records of a push must be, or it is a contradiction (009)."""

    MUST_NOT_EXIST = "must_not_exist"
    MUST_EXIST = "must_exist"


class ReplaceScope(StrEnum):
    """Whose records are withdrawn when a push does not name them."""

    NOTHING = "nothing"
    GROUPS = "groups"
    SOURCE = "source"


class SourceRequest(NamedTuple):
    """The request that a push came with; ``party`` stood in its path."""

    party: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Changeset:
    """What a push or a finished pull brings; applied as a whole or not at all. Keys occur once.

    ``deleted_keys`` are keys to withdraw. ``digest`` tells a repetition of the same request from a new one, None:
    never. ``source_request`` is what came, without PINs; a large push is made good from it after a crash.
    """

    dataset: DatasetKind
    source: str
    groups: Sequence[RecordGroup]
    records: Sequence[DatasetRecord] = ()
    deleted_keys: Sequence[str] = ()
    precondition: Precondition | None = None
    replace_scope: ReplaceScope = ReplaceScope.NOTHING
    digest: bytes | None = None
    source_request: SourceRequest | None = None


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What a push did: changed records and groups, and the keys that forbid it (then nothing was changed)."""

    changed: int = 0
    conflicts: tuple[str, ...] = ()
