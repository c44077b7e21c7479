"""Ingest a push: validate its records, hash PINs, apply them as one changeset, quarantine what is invalid.

**Our own backend's push** is all or nothing. **A peer's push** is applied record by record: invalid records go to the
quarantine with their findings, and the others are applied (RULES M4, M5).

**Speed.** A push of 10,000 EVSEs is read in 0.6 s. Records are read through a fast view where there is one, and those
that the store has already, byte for byte, are recognised by their digest and not read at all. The event loop gets a
turn every few records, so that a large push does not delay an authorization.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

import structlog

from p2p_oicp.concurrency import offload
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import (
    AnyRecord,
    Finding,
    InvalidMessage,
    Message,
    RecordStream,
    Severity,
    decode,
)
from p2p_oicp.oicp.enums import ActionType, StatusCodeValue
from p2p_oicp.oicp.findings import NOT_BCRYPT
from p2p_oicp.oicp.intake import rewrite
from p2p_oicp.oicp.operations import Party
from p2p_oicp.oicp.repair import PULL_REPAIRS, repair_record
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.roles.datasets.pins import hash_pin_in_record, redact_pins
from p2p_oicp.roles.datasets.types import MAX_LISTED_NAMES, DatasetType, OwningParty, name_of
from p2p_oicp.storage.datasets import quarantine
from p2p_oicp.storage.datasets.apply import digest_of
from p2p_oicp.storage.datasets.models import (
    OWN,
    UNCHANGED,
    ApplyResult,
    Changeset,
    DatasetKind,
    DatasetRecord,
    Precondition,
    RecordGroup,
    ReplaceScope,
)
from p2p_oicp.storage.datasets.quarantine import QuarantinedRecord

log = structlog.get_logger(__name__)

# Half a millisecond of the event loop.
_RECORDS_PER_YIELD = 25
# A response lists the findings of a push; beyond this number, a sender learns nothing more from them.
_MAX_FINDINGS = 100
# From so many records on, the digests of the stored group are loaded. A fullLoad is nearly all of the group, so that
# pays early; of a delta only if it is large itself.
_MIN_FULL_LOAD_TO_COMPARE = 100
_MIN_DELTA_TO_COMPARE = 1000
# Of statuses, insert and update both set one, whether or not there was one (RULES L12).
_WITHOUT_PRECONDITION = DatasetKind.EVSE_STATUS
_PRECONDITIONS: Mapping[str, Precondition] = {
    ActionType.INSERT: Precondition.MUST_NOT_EXIST,
    ActionType.UPDATE: Precondition.MUST_EXIST,
}
_NO_DIGESTS: Mapping[bytes, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The number of changed and of quarantined records; ``reason`` is why the first one was quarantined.

    ``conflict`` says which records were not taken, because another operator of the sender has them.
    """

    changed: int
    quarantined: int = 0
    reason: str | None = None
    conflict: str | None = None


async def ingest_push(
    context: Services, request: OperationRequest[Message], dataset_type: DatasetType, owner: Peer
) -> IngestResult:
    """Apply a push.

    Args:
        context: the services of the node.
        request: the push; its records are read one by one.
        dataset_type: the dataset that it changes.
        owner: who sends it: our own company, or a peer.

    Raises:
        Refusal: 009, a record violates the action's precondition; 018 or 019, a record belongs to another party or
            occurs twice. Nothing is changed.
        InvalidMessage: a record of our own backend is invalid. Nothing is changed.
        StoreError: see `ExclusiveUpdate.apply`.

    """
    record_filter = RecordFilter(context, dataset_type, owner)
    group = dataset_type.group_of_push(request.message, request.sender_id or "")
    names = partial(dataset_type.names_of, request.records, group)
    changeset = _new_changeset(request, dataset_type, record_filter.source, group, await _request_digest(request))
    # Order: from the look at the digests until the changeset is applied, nothing else may change the group.
    async with context.datasets.exclusive(changeset.dataset, changeset.source) as update:
        keys_by_digest = await update.load_digests(group.key) if _compares_digests(request, changeset) else _NO_DIGESTS
        parsed = await _parse_records(request, record_filter, group, keys_by_digest)
        _raise_for_findings(record_filter, is_ours=owner.is_self)
        _raise_for_duplicates(dataset_type, parsed.duplicate_keys, names)
        new_keys = [record.key for record in parsed.records if record.raw != UNCHANGED]
        elsewhere = await update.records_of_other_groups(group.key, new_keys) if dataset_type.is_of_evses else {}
        records = [record for record in parsed.records if record.key not in elsewhere]
        changeset = replace(changeset, records=records, deleted_keys=parsed.deleted_keys)
        if changeset.replace_scope is ReplaceScope.GROUPS and not parsed.records:
            event_log = log.bind(dataset=dataset_type.name, party=group.party)
            event_log.warning("import.full_load_empty", meaning="all records of the party are deleted")
        result = await update.apply(changeset)
    _raise_for_conflicts(result, changeset, names)
    await record_filter.store_rejected(request.operation.name)
    rejected = record_filter.rejected
    conflict = None
    if elsewhere:
        parties, listed = ", ".join(sorted({*elsewhere.values()})), _list_first(names([*elsewhere]), len(elsewhere))
        conflict = f"{len(elsewhere):,} records were not taken, for they are among those of {parties}{listed}"
        log.warning("import.conflict", dataset=dataset_type.name, party=group.party, reason=conflict)
    return IngestResult(result.changed, len(rejected), rejected[0].reason if rejected else None, conflict)


async def resume_interrupted_imports(context: Services) -> None:
    """Finish the imports that a crash interrupted; see `DatasetCoordinator.recover`. Call it before serving."""

    def find_name(source: str) -> str | None:
        owner = context.local_peer if source == OWN else context.registry.by_id(source)
        return owner.name if owner is not None else None

    await context.datasets.recover(find_name)


@dataclass(slots=True)
class _ParsedPush:
    records: list[DatasetRecord] = field(default_factory=list)
    deleted_keys: list[str] = field(default_factory=list)
    duplicate_keys: list[str] = field(default_factory=list)


async def _parse_records(
    request: OperationRequest[Message],
    record_filter: RecordFilter,
    group: RecordGroup,
    keys_by_digest: Mapping[bytes, str],
) -> _ParsedPush:
    parsed = _ParsedPush()
    if request.records is None:
        return parsed
    seen: set[str] = set()
    is_delete = _action_type(request) == ActionType.DELETE
    async for valid_records in record_filter.valid_records(request.records, lambda _: group, keys_by_digest):
        for record, _ in valid_records:
            if record.key in seen:
                parsed.duplicate_keys.append(record.key)
            elif is_delete:
                parsed.deleted_keys.append(record.key)
            else:
                parsed.records.append(record)
            seen.add(record.key)
    return parsed


def _action_type(request: OperationRequest[Message]) -> str:
    return str(getattr(request.message, "action_type", ""))


def _is_large(request: OperationRequest[Message]) -> bool:
    is_full_load = _action_type(request) == ActionType.FULL_LOAD
    threshold = _MIN_FULL_LOAD_TO_COMPARE if is_full_load else _MIN_DELTA_TO_COMPARE
    return request.records is not None and len(request.records.raw_records) >= threshold


def _compares_digests(request: OperationRequest[Message], changeset: Changeset) -> bool:
    # Records that must not exist yet cannot be the same as before.
    return _is_large(request) and changeset.precondition is not Precondition.MUST_NOT_EXIST


async def _request_digest(request: OperationRequest[Message]) -> bytes:
    # 10 ms for 18 MB: in a thread, for the event loop goes on meanwhile.
    return await offload(lambda: request.digest) if _is_large(request) else request.digest


def _new_changeset(
    request: OperationRequest[Message], dataset_type: DatasetType, source: str, group: RecordGroup, digest: bytes | None
) -> Changeset:
    action_type = _action_type(request)
    return Changeset(
        dataset=dataset_type.dataset,
        source=source,
        groups=(group,),
        precondition=None if dataset_type.dataset is _WITHOUT_PRECONDITION else _PRECONDITIONS.get(action_type),
        replace_scope=ReplaceScope.GROUPS if action_type == ActionType.FULL_LOAD else ReplaceScope.NOTHING,
        digest=digest,
    )


def _raise_for_findings(record_filter: RecordFilter, *, is_ours: bool) -> None:
    """Refuse a whole push: invalid records of our own backend, and records of other parties."""
    findings = record_filter.findings
    if is_ours and any(finding.status_code == StatusCodeValue.DATA_ERROR for finding in findings):
        raise InvalidMessage(findings, record_filter.finding_counts)
    foreign_code = record_filter.dataset_type.foreign_party_code
    inconsistent = [finding.message for finding in findings if finding.status_code == foreign_code]
    if inconsistent:
        listed = _list_first(inconsistent[:MAX_LISTED_NAMES], len(inconsistent), "; ")
        raise Refusal(foreign_code, f"{len(inconsistent):,} records are inconsistent{listed}")


def _raise_for_duplicates(
    dataset_type: DatasetType, keys: Sequence[str], names: Callable[[Sequence[str]], list[str]]
) -> None:
    if keys:
        is_cpo_data = dataset_type.publisher is Party.CPO
        code = dataset_type.foreign_party_code if is_cpo_data else StatusCodeValue.DATA_ERROR
        # Each key once more than it is doubled: so often it occurs.
        listed = names([*keys, *set(keys)])
        raise Refusal(code, f"{len(keys):,} records occur more than once{_list_first(listed, len(set(keys)))}")


def _raise_for_conflicts(
    result: ApplyResult, changeset: Changeset, names: Callable[[Sequence[str]], list[str]]
) -> None:
    if result.conflicts:
        problem = "exist already" if changeset.precondition is Precondition.MUST_NOT_EXIST else "do not exist"
        count = len(result.conflicts)
        info = f"{count:,} records {problem}{_list_first(names(result.conflicts), count)}"
        raise Refusal(StatusCodeValue.DATA_TRANSACTION_ERROR, info)


def _list_first(listed: Sequence[str], count: int, separator: str = ", ") -> str:
    """Return the end of a sentence about ``count`` records: some of them, and that they are not all."""
    begin = f", the first {len(listed)} of them: " if count > len(listed) else ": "
    return begin + separator.join(listed)


class RecordFilter:
    """Validates the records of one push or pull, and collects those that are rejected.

    Args:
        context: the services of the node.
        dataset_type: the dataset of the records.
        owner: who sends them; it has to answer for all parties that they belong to.

        is_pull: in a pull, but not in a push, what is nearly OICP is repaired (RULES L14, L15), and what a hub
            has of parties that another peer is responsible for, or this node itself, is left out (L20).

    Attributes:
        source: the source of the records in the store.
        rejected: the invalid records.
        findings: what is wrong with them; at most about 100, those about foreign parties always.
        finding_counts: how many findings there are of each kind.
        repairs: what was repaired, by EVSE or whatever the record is of.
        of_other_peers: how many records were left out.

    """

    def __init__(self, context: Services, dataset_type: DatasetType, owner: Peer, *, is_pull: bool = False) -> None:
        self._context = context
        self.dataset_type = dataset_type
        self._owner = owner
        self._is_pull = is_pull
        self.source = OWN if owner.is_self else owner.id
        self.rejected: list[QuarantinedRecord] = []
        self.findings: list[Finding] = []
        self.finding_counts: Counter[str] = Counter()
        self.repairs: list[tuple[str, Finding]] = []
        self.of_other_peers = 0

    async def valid_records(
        self,
        stream: RecordStream[Message],
        group_of: Callable[[AnyRecord], RecordGroup],
        keys_by_digest: Mapping[bytes, str] = _NO_DIGESTS,
    ) -> AsyncIterator[list[tuple[DatasetRecord, AnyRecord | None]]]:
        """Yield the valid records, a few at a time, each with the message that it was made from.

        Args:
            stream: the records of the push or the page.
            group_of: returns the group of a record.
            keys_by_digest: the records that the store has. One of these is yielded with the bytes ``UNCHANGED`` and
                without a message: it was validated when it was stored.

        """
        is_authentication = self.dataset_type.dataset is DatasetKind.AUTHENTICATION
        for start in range(0, len(stream.raw_records), _RECORDS_PER_YIELD):
            if start:
                await asyncio.sleep(0)  # gives the event loop a turn
            valid: list[tuple[DatasetRecord, AnyRecord | None]] = []
            for index, raw in enumerate(stream.raw_records[start : start + _RECORDS_PER_YIELD], start):
                if keys_by_digest and (key := keys_by_digest.get(digest_of(raw))) is not None:
                    valid.append((DatasetRecord(key, "", UNCHANGED), None))
                elif (accepted := self._read_record(stream, index, raw)) is not None:
                    stored, record = accepted
                    if is_authentication:
                        stored, record = await hash_pin_in_record(self._context, self.source, stored, record)
                    valid.append((self.dataset_type.build_record(stored, record, group_of(record)), record))
            yield valid

    def _read_record(self, stream: RecordStream[Message], index: int, raw: bytes) -> tuple[bytes, AnyRecord] | None:
        """Return a record, and its bytes to store, if it is valid; reject it otherwise."""
        record: AnyRecord | None = stream.fast_view(raw)
        stored, errors = raw if record is None else rewrite(stream.model, raw, ()), list[Finding]()
        if record is None:
            stored, record, errors = self._read_deviating_record(stream, index)
        if record is not None:
            if self.is_of_other_peer(*self.dataset_type.parties_of(record)):
                self.of_other_peers += 1
                return None
            errors += self._check_parties(record, f"{stream.pointer}/{index}")
        if record is None or errors:
            self._reject(raw, errors)
            return None
        return stored, record

    def _read_deviating_record(
        self, stream: RecordStream[Message], index: int
    ) -> tuple[bytes, AnyRecord | None, list[Finding]]:
        """Return a record that has findings, the bytes to store of it, and its errors."""
        raw, record, findings = stream.read_at(index)
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        if errors and self._is_pull:
            repaired = repair_record(stream.model, raw, PULL_REPAIRS, pulled=stream.pulled)
            if not repaired.errors:
                raw = repaired.raw
                record, findings = stream.model.from_value(decode(raw), raw, pulled=stream.pulled), repaired.repairs
                self.repairs += [(name_of(record), repair) for repair in repaired.repairs]
                errors = []
        # Not documented, but no PIN would ever match such a hash.
        errors += [replace(finding, severity=Severity.ERROR) for finding in findings if finding.code == NOT_BCRYPT]
        return rewrite(stream.model, raw, findings), record, errors

    def _check_parties(self, record: AnyRecord, pointer: str) -> list[Finding]:
        """Return a finding for each party of the record that the sender does not answer for."""
        owner = self._owner
        foreign_parties = [party for party in self.dataset_type.parties_of(record) if not self._is_of_owner(party)]
        if not foreign_parties:
            return []
        is_evse = self.dataset_type.foreign_party_code == StatusCodeValue.INCONSISTENT_EVSE_ID
        code = "foreign-evse-id" if is_evse else "foreign-evco-id"
        record_name = _describe_record(record)
        return [
            Finding(
                Severity.ERROR, pointer, code, f"{record_name} belongs to {party}, for whom {owner.name} does not speak"
            )
            for party in foreign_parties
        ]

    def _is_of_owner(self, party: OwningParty | None) -> bool:
        """Return whether the sender answers for a party: a clearing house for all that nobody else answers for."""
        if party is None or self._owner.handles_party(party):
            return party is not None
        responsible_peer = self._context.registry.resolve_party(party)
        return self._owner.is_hub and (responsible_peer is None or responsible_peer.id == self._owner.id)

    def is_of_other_peer(self, *parties: OwningParty | None) -> bool:
        """Return whether a hub that is pulled has this of a party that another peer is responsible for."""
        if not self._is_pull or not self._owner.is_hub:
            return False
        return any(party is not None and not self._is_of_owner(party) for party in parties)

    def _reject(self, raw: bytes, errors: list[Finding]) -> None:
        self.finding_counts.update(finding.code for finding in errors)
        stored = redact_pins(raw) if self.dataset_type.dataset is DatasetKind.AUTHENTICATION else raw
        self.rejected.append(QuarantinedRecord(stored, tuple(errors)))
        # Records of other parties refuse the whole push, however many other findings there are: these are never cut.
        foreign_party_code = self.dataset_type.foreign_party_code
        is_full = len(self.findings) >= _MAX_FINDINGS
        self.findings += [finding for finding in errors if not is_full or finding.status_code == foreign_party_code]

    async def store_rejected(self, operation: str) -> int:
        """Put the rejected records into the quarantine; return how many are new there. Raises StoreError."""
        return await quarantine.add(self._context.store, self.source, operation, self.rejected, self._context.now())


def _describe_record(record: AnyRecord) -> str:
    evse_id = getattr(record, "evse_id", None)
    return f"EvseID {evse_id}" if evse_id is not None else "a contract"
