"""What ``p2p-oicp pull`` has pulled: a folder with one file for each dataset, and what has changed between two of them.

A file has the form of the answer to the dataset's pull, so that whatever reads OICP reads it; its records are as they
were received, in the order of their ids. ``state.json`` says whom they are of, and since when changes are pulled next.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self, TextIO, TypeAlias

import msgspec

from p2p_oicp.clock import format_timestamp
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import EvseID, InvalidMessage, OperatorID, ProviderID, read_records
from p2p_oicp.oicp.message import split_members
from p2p_oicp.roles.datasets.pull_specs import PULL_SPECS
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.storage.datasets.models import DatasetKind

_STATE_FILE, _LOCK_FILE = "state.json", ".lock"
_NEW_SUFFIX = ".new"
# What is different in two answers with the same content.
_MEMBERS_OF_AN_ANSWER = ("deltaType", "lastUpdate")
_GROUP = ""  # in place of the record's key: the object around the records of an operator

#: By their names, the datasets that an EMP pulls, in the order in which they are pulled.
DATASETS: Mapping[str, DatasetKind] = MappingProxyType(
    {
        "EvseData": DatasetKind.EVSE_DATA,
        "EvseStatus": DatasetKind.EVSE_STATUS,
        "PricingProductData": DatasetKind.PRICING_PRODUCT,
        "EVSEPricing": DatasetKind.EVSE_PRICING,
    }
)
_FILES = MappingProxyType(
    {
        DatasetKind.EVSE_DATA: ("evse-data.json", b'{"content":['),
        DatasetKind.EVSE_STATUS: ("evse-status.json", b'{"EvseStatuses":{"OperatorEvseStatus":['),
        DatasetKind.PRICING_PRODUCT: ("pricing-products.json", b'{"PricingProductData":['),
        DatasetKind.EVSE_PRICING: ("evse-pricing.json", b'{"EVSEPricing":['),
    }
)


class SnapshotRecord(NamedTuple):
    """A record: its id as its sender wrote it, and its bytes."""

    id: str
    raw: bytes


#: The group of a record, empty for EVSE data, and its id in it.
RecordKey: TypeAlias = tuple[str, str]
Records: TypeAlias = dict[RecordKey, SnapshotRecord]


class ReadRecord(NamedTuple):
    """A record of an answer; ``key`` is None if it cannot be kept, for it has no id."""

    key: RecordKey | None
    record: SnapshotRecord
    delta_type: str = ""


class RecordChange(NamedTuple):
    """What has happened to a record: ``change`` is added, changed or removed; EVSE data names its operator itself."""

    dataset: str
    change: str
    operator: str
    id: str
    record: bytes | None
    previous: bytes | None

    def changed_members(self) -> list[str]:
        """Return the names of the members that differ between the record and its previous version."""
        before, now = _content(self.previous or b"{}"), _content(self.record or b"{}")
        return [name for name in {**before, **now} if before.get(name) != now.get(name)]


class _Members(msgspec.Struct, rename={"evse_id": "EvseID", "product_id": "ProductID", "provider_id": "ProviderID",
                                       "delta_type": "deltaType"}):  # fmt: skip
    """What identifies a record; each may be anything."""

    evse_id: object = None
    product_id: object = None
    provider_id: object = None
    delta_type: object = None


_NO_RECORDS = msgspec.Raw(b"[]")
_decode_list = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_DELTA_TYPE = re.compile(rb'"deltaType"\s*:\s*"\w*"\s*,\s*|,\s*"deltaType"\s*:\s*"\w*"')
_decode_members = msgspec.json.Decoder(_Members).decode


def records_in(dataset: DatasetKind, body: bytes) -> Iterator[ReadRecord]:
    """Return the records of an answer, and the objects around them; raise InvalidMessage, DecodeError if it is none."""
    spec, dataset_type = PULL_SPECS[dataset], DATASET_TYPES[dataset]
    for raw in read_records(spec.response_type, body).raw_records:
        if spec.wrapper_type is None:
            yield _read(dataset, "", raw)
            continue
        group = dataset_type.group_of_wrapper(raw, "")
        yield ReadRecord((group.key, _GROUP), SnapshotRecord(group.party, group.wrapper))
        members = split_members(raw)
        for name in dataset_type.list_names:
            # Not read as a message: one wrong member of an operator does not cost its records.
            for record in _decode_list(bytes(members.get(name, _NO_RECORDS))) or ():
                yield _read(dataset, group.key, bytes(record))


def _read(dataset: DatasetKind, group: str, raw: bytes) -> ReadRecord:
    try:
        members = _decode_members(raw)
    except msgspec.DecodeError:
        return ReadRecord(None, SnapshotRecord("", raw))
    text = members.product_id if dataset is DatasetKind.PRICING_PRODUCT else members.evse_id
    if not isinstance(text, str) or not text:
        return ReadRecord(None, SnapshotRecord("", raw))
    key = text if dataset is DatasetKind.PRICING_PRODUCT else EvseID(text).key
    if dataset is DatasetKind.EVSE_PRICING and isinstance(members.provider_id, str):
        key += "|" + ProviderID(members.provider_id).key
    if members.delta_type is None:
        return ReadRecord((group, key), SnapshotRecord(text, raw))
    return ReadRecord((group, key), SnapshotRecord(text, _without_delta_type(raw)), str(members.delta_type).lower())


def _without_delta_type(raw: bytes) -> bytes:
    """Return the record itself: what has happened to it is of the answer. All other bytes stay, where that is easy."""
    if raw.count(b'"deltaType"') == 1:
        shorter, count = _DELTA_TYPE.subn(b"", raw)
        if count == 1:
            return shorter
    return msgspec.json.encode({name: value for name, value in split_members(raw).items() if name != "deltaType"})


def differences(name: str, old: Records, new: Records) -> Iterator[RecordChange]:
    """Return what has changed in a dataset, in the order of the ids; of what operators have, their default prices."""
    has_own_content = DATASET_TYPES[DATASETS[name]].wrapper_is_versioned
    for group, key in sorted({*old, *new}):
        if key == _GROUP and not has_own_content:
            continue
        before, now = old.get((group, key)), new.get((group, key))
        operator = (new.get((group, _GROUP)) or old.get((group, _GROUP)) or SnapshotRecord("", b"")).id
        if before is None and now is not None:
            yield RecordChange(name, "added", operator, now.id, now.raw, None)
        elif now is None and before is not None:
            yield RecordChange(name, "removed", operator, before.id, None, before.raw)
        elif before and now and before.raw != now.raw and _content(before.raw) != _content(now.raw):
            yield RecordChange(name, "changed", operator, now.id, now.raw, before.raw)


def count(records: Records) -> int:
    """Return the number of records, without the objects around them."""
    return sum(key != _GROUP for _, key in records)


def _content(raw: bytes) -> dict[str, Any]:
    content = msgspec.json.decode(raw)
    return {name: value for name, value in content.items() if name not in _MEMBERS_OF_AN_ANSWER}


def operators_of(records: Mapping[DatasetKind, Records]) -> list[str]:
    """Return the operators that EVSE data and statuses are of, as they were written."""
    names: dict[str, str] = {}
    for record in records.get(DatasetKind.EVSE_DATA, {}).values():
        operator = msgspec.json.decode(record.raw).get("OperatorID") or getattr(EvseID(record.id).operator, "text", "")
        names.setdefault(OperatorID(str(operator)).key, str(operator))
    for (_, key), record in records.get(DatasetKind.EVSE_STATUS, {}).items():
        if key == _GROUP:
            names.setdefault(OperatorID(record.id).key, record.id)
    names.pop("", None)
    return sorted(names.values())


@dataclass(frozen=True, slots=True)
class SnapshotState:
    """Whom a snapshot is of.

    Attributes:
        url: who was pulled.
        provider: who has pulled.
        last_call: since when the changes of EVSE data are pulled next, by the clock of the other side.
        unusable: digests of the records that could not be kept in the last pull.
    """

    url: str
    provider: str
    last_call: str | None = None
    unusable: tuple[str, ...] = ()


class SnapshotFolder:
    """The folder of a snapshot, which one process changes at a time; a context manager.

    Invariant: a file is replaced as a whole. `prepare` writes the new one beside it; `commit` puts all in their places,
    the watermark last: a crash before it costs another pull of the same changes.

    Args:
        directory: made if it is not there.
        state: whom it is of.
    """

    def __init__(self, directory: Path, state: SnapshotState) -> None:
        self._directory = directory
        self._state = state
        self._prepared: list[Path] = []
        self._lock: TextIO | None = None

    def __enter__(self) -> Self:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (self._directory / _LOCK_FILE).open("w")
        except OSError as exc:
            raise ConfigurationError(f"{self._directory}: cannot be used: {exc.strerror}") from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.last_call, self.unusable = self._check_state()
        except BaseException as exc:
            self._lock.close()
            if isinstance(exc, BlockingIOError):
                raise ConfigurationError(f"{self._directory}: another pull works in this folder; wait for it") from exc
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._prepared:
            path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def _check_state(self) -> tuple[float | None, set[str]]:
        """Return the watermark and what could not be kept; raise ConfigurationError if the folder is not ours."""
        file = self._directory / _STATE_FILE
        if not file.exists():
            # A first pull that was interrupted has left some of its own.
            own = {_STATE_FILE, *(name for name, _ in _FILES.values())}
            if {path.name.removesuffix(_NEW_SUFFIX) for path in self._directory.iterdir()} - own - {_LOCK_FILE}:
                raise ConfigurationError(f"{self._directory}: is neither empty nor a snapshot; choose another folder")
            return None, set()
        try:
            state = SnapshotState(**msgspec.json.decode(file.read_bytes()))
            last_call = datetime.fromisoformat(state.last_call).timestamp() if state.last_call else None
        except (msgspec.DecodeError, TypeError, ValueError) as exc:
            raise ConfigurationError(f"{file}: cannot be read ({exc}); delete the folder and pull again") from exc
        if (state.url, state.provider) != (self._state.url, self._state.provider):
            raise ConfigurationError(
                f"{self._directory}: has what {state.provider} pulled from {state.url}; choose another folder"
            )
        return last_call, set(state.unusable)

    def read(self, dataset: DatasetKind) -> Records | None:
        """Return what was pulled last; None: nothing yet. Raises ConfigurationError."""
        file = self._directory / _FILES[dataset][0]
        try:
            body = file.read_bytes()
            return {each.key: each.record for each in records_in(dataset, body) if each.key is not None}
        except FileNotFoundError:
            return None
        except (InvalidMessage, msgspec.DecodeError) as exc:
            raise ConfigurationError(f"{file}: cannot be read ({exc}); delete the folder and pull again") from exc

    def prepare(self, dataset: DatasetKind, records: Records) -> None:
        """Write a new file beside the old one; raise ConfigurationError."""
        name, start = _FILES[dataset]
        end = b"]" + b"}" * start.count(b"{") + b"\n"
        self._write(name, start + b"\n" + _format_records(dataset, records) + b"\n" + end)

    def commit(self, last_call: float | None, unusable: Collection[str]) -> None:
        """Put all that was prepared in its place; raise ConfigurationError."""
        watermark = None if last_call is None else format_timestamp(last_call)
        state = SnapshotState(self._state.url, self._state.provider, watermark, tuple(sorted(unusable)))
        self._write(_STATE_FILE, msgspec.json.encode(asdict(state)) + b"\n")
        with self._writing():
            # Order: state.json is the last one.
            for path in self._prepared:
                path.replace(path.with_name(path.name.removesuffix(_NEW_SUFFIX)))
            self._prepared.clear()
            descriptor = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise ConfigurationError(f"{self._directory}: cannot be written: {exc.strerror}") from exc

    def _write(self, name: str, content: bytes) -> None:
        path = self._directory / (name + _NEW_SUFFIX)
        self._prepared.append(path)
        with self._writing(), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _format_records(dataset: DatasetKind, records: Records) -> bytes:
    if PULL_SPECS[dataset].wrapper_type is None:
        return b",\n".join(record.raw for _, record in sorted(records.items()))
    groups: dict[str, list[bytes]] = {group: [] for group, key in sorted(records) if key == _GROUP}
    for (group, key), record in sorted(records.items()):
        if key != _GROUP:
            groups[group].append(record.raw)
    wrap = DATASET_TYPES[dataset].wrap
    return b",\n".join(wrap(records[group, _GROUP].raw, b",\n".join(raws)) for group, raws in groups.items())
