"""Values of the dataset store: records in groups, and the changesets that change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple, TypeAlias

import msgspec

#: The source of our own datasets; those of a peer have the peer's name.
OWN = ""
#: In the place of a record's bytes: they are those that the store has.
UNCHANGED = b""
#: The audience that every provider belongs to.
ALL_PROVIDERS = "*"


class DatasetKind(IntEnum):
    """The five datasets."""

    EVSE_DATA = 1
    EVSE_STATUS = 2
    PRICING_PRODUCT = 3
    EVSE_PRICING = 4
    AUTHENTICATION = 5

    @property
    def label(self) -> str:
        """The name in logs, metrics and names of workers: ``evse data``."""
        return self.name.lower().replace("_", " ")


# A push of 10,000 records makes 20,000 of the following structs. They hold no cycles, so the garbage collector need
# not track them (gc=False). As arrays with a tag they are what a spool file holds of a record.
class EvseIndexRow(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="evse"):
    """The columns of ``evse_index``: what pulls search EVSE data by."""

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


class TokenIndexRow(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="token"):
    """The columns of ``identifications``: what an authorization finds authentication data by.

    ``expires_at`` is in seconds since the epoch, None where the identification does not expire.
    """

    uid_key: str | None
    evco_id_key: str | None
    expires_at: float | None


IndexRow: TypeAlias = EvseIndexRow | TokenIndexRow


class DatasetRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One record of a dataset.

    Attributes:
        key: the canonical key, unique within dataset and source.
        group_key: the group that the record belongs to.
        raw: the bytes as received; ``UNCHANGED`` if the store has the same bytes under this key.
        filter_value: what pulls filter by: the status, the audience, the notation of the coordinates.
        index_row: the columns of the search index, for datasets that have one.
        status: of an EVSE, as it was sent, for the event log; empty in all other datasets.

    """

    key: str
    group_key: str
    raw: bytes
    filter_value: str = ""
    index_row: IndexRow | None = None
    status: str = ""


class RecordGroup(NamedTuple):
    """What a fullLoad replaces: the records of one party, or its prices for one audience.

    ``party`` is the id in the path of the push, ``wrapper`` the JSON object around the records, without them.
    """

    key: str
    party: str
    wrapper: bytes
    audience: str = ALL_PROVIDERS


class Precondition(StrEnum):
    """What has to be true of all records of a push; it is refused with 009 otherwise."""

    MUST_NOT_EXIST = "must_not_exist"
    MUST_EXIST = "must_exist"


class ReplaceScope(StrEnum):
    """Which records are deleted if a changeset does not contain them."""

    NOTHING = "nothing"
    GROUPS = "groups"
    SOURCE = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changeset:
    """The changes of a push or of a finished pull, applied as a whole or not at all.

    Attributes:
        dataset: the dataset that is changed.
        source: whose copy of it is changed; ``OWN`` or a peer.
        groups: all groups that records belong to.
        records: records to insert or update. Keys are unique in a push; in a pull the last one of a key counts.
        deleted_keys: keys of records to delete; those that do not exist are ignored.
        precondition: None does not check.
        replace_scope: what else is deleted.
        digest: identifies the request, so that a repetition is recognised; None: not recognised.

    """

    dataset: DatasetKind
    source: str
    groups: Sequence[RecordGroup]
    records: Sequence[DatasetRecord] = ()
    deleted_keys: Sequence[str] = ()
    precondition: Precondition | None = None
    replace_scope: ReplaceScope = ReplaceScope.NOTHING
    digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The number of changed records and groups; or the keys that violate the precondition, and then nothing changed."""

    changed: int = 0
    conflicts: tuple[str, ...] = ()
