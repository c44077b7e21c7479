"""Taking over a push: of our own backend (our state, all or nothing), or of a peer (our copy of its state).

Of a peer's push, records that cannot be used are set aside in the quarantine, with the reason; the others are taken.
The event loop gets its turn between a few records: a push of 10,000 never holds up an authorization.

PINs are never stored: a pushed PIN becomes a bcrypt hash before anything else sees it (EMP-02, PIN security; M2).
Hashing is slow on purpose, so it runs beside the event loop. What a crash left half done is done at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, cast

import structlog

from p2p_oicp.crypto.pins import hash_pin, pin_matches
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import (
    AnyRecord,
    AuthenticationDataRecord,
    Finding,
    InvalidMessage,
    Message,
    RecordStream,
    Severity,
    decode,
    encode,
)
from p2p_oicp.oicp.operations import Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.roles.datasets import types
from p2p_oicp.roles.datasets.types import INCONSISTENT_EVSE_ID, DatasetType
from p2p_oicp.storage import tokens
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


async def hash_pin_in_record(
    context: Services, source: str, raw: bytes, record: AnyRecord
) -> tuple[bytes, AuthenticationDataRecord]:
    """Return a record with HashedPIN in the place of its PIN, if it has one; the same PIN again keeps its hash."""
    authentication_record = cast("AuthenticationDataRecord", record)
    if _pin_of(authentication_record) is None:
        return raw, authentication_record
    stored_hash = await tokens.stored_pin_hash(
        context.store, source, types.identification_key(authentication_record.identification)
    )
    return await asyncio.to_thread(_replace_pin, raw, authentication_record, stored_hash, context.pin_rounds)


def _pin_of(record: AuthenticationDataRecord) -> str | None:
    code = record.identification.qr_code
    return code.pin if code else None


def _replace_pin(
    raw: bytes, record: AuthenticationDataRecord, pin_hash: str | None, rounds: int
) -> tuple[bytes, AuthenticationDataRecord]:
    pin = _pin_of(record) or ""
    if pin_hash is None or not pin_matches(pin, pin_hash.encode()):
        pin_hash = hash_pin(pin, rounds).decode()
    members = cast("dict[str, Any]", decode(raw))
    code = members["Identification"]["QRCodeIdentification"]
    code.pop("PIN")
    code["HashedPIN"] = {"Value": pin_hash, "Function": "Bcrypt"}
    encoded = encode(members)
    return encoded, AuthenticationDataRecord.from_json(encoded)


def redact_pins(raw: bytes) -> bytes:
    """Return a record that is set aside, without its PIN; what cannot be read at all is not kept."""
    try:
        members = decode(raw)
    except InvalidMessage:
        return b"null"
    return encode(_remove_pins(members))


def _remove_pins(value: object) -> object:
    if isinstance(value, dict):
        return {name: _remove_pins(member) for name, member in value.items() if name.upper() != "PIN"}
    if isinstance(value, list):
        return [_remove_pins(element) for element in value]
    return value


# Half a millisecond.
_RECORDS_PER_YIELD = 25
_MAX_FINDINGS = 100
_NO_DIGESTS: Mapping[bytes, str] = MappingProxyType({})


class RecordFilter:
    """Sorts the records of ``owner``: our own company, or a peer."""

    def __init__(self, context: Services, dataset_type: DatasetType, owner: Peer) -> None:
        self._context = context
        self._dataset_type = dataset_type
        self._owner = owner
        self.source = OWN if owner.is_self else owner.name
        self.rejected: list[QuarantinedRecord] = []
        #: What is wrong, as much as a sender will read.
        self.findings: list[Finding] = []

    async def valid_records(
        self,
        stream: RecordStream[Message],
        group_of: Callable[[AnyRecord], RecordGroup],
        keys_by_digest: Mapping[bytes, str] = _NO_DIGESTS,
    ) -> AsyncIterator[list[tuple[DatasetRecord, AnyRecord | None]]]:
        """Yield what can be used, a few at a time, each with what it was made from.

        ``known`` are the digests of what is stored already, with their keys: such a record was read before, and is not
        read again. What can be used is added to ``kept``, as it may be stored.
        """
        for start in range(0, len(stream.raw_records), _RECORDS_PER_YIELD):
            if start:
                await asyncio.sleep(0)
            valid: list[tuple[DatasetRecord, AnyRecord | None]] = []
            for index, raw in enumerate(stream.raw_records[start : start + _RECORDS_PER_YIELD], start):
                if keys_by_digest and (key := keys_by_digest.get(digest_of(raw))) is not None:
                    valid.append((DatasetRecord(key, "", UNCHANGED), None))
                elif (record := self._read_record(stream, index, raw)) is not None:
                    if self._dataset_type.dataset is DatasetKind.AUTHENTICATION:
                        raw, record = await hash_pin_in_record(self._context, self.source, raw, record)  # noqa: PLW2901 - its PIN is gone
                    valid.append((self._dataset_type.build_record(raw, record, group_of(record)), record))
            yield valid

    def _read_record(self, stream: RecordStream[Message], index: int, raw: bytes) -> AnyRecord | None:
        """Read a record; None where it cannot be used, and is put aside."""
        record: AnyRecord | None = stream.fast_view(raw)
        errors: list[Finding] = []
        if record is None:
            _, record, findings = stream.read_at(index)
            errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        if record is not None:
            errors += self._check_parties(record, f"{stream.pointer}/{index}")
        if record is None or errors:
            self._reject(raw, errors)
            return None
        return record

    def _check_parties(self, record: AnyRecord, pointer: str) -> list[Finding]:
        """Report a record of parties that its sender does not speak for."""
        parties, owner = self._dataset_type.parties_of(record), self._owner
        foreign_parties = [party for party in parties if party is None or not owner.handles_party(party)]
        if not foreign_parties:
            return []
        code = "foreign-evse-id" if self._dataset_type.foreign_party_code == INCONSISTENT_EVSE_ID else "foreign-evco-id"
        record_name = _describe_record(record)
        return [
            Finding(
                Severity.ERROR, pointer, code, f"{record_name} belongs to {party}, for whom {owner.name} does not speak"
            )
            for party in foreign_parties
        ]

    def _reject(self, raw: bytes, errors: list[Finding]) -> None:
        stored = redact_pins(raw) if self._dataset_type.dataset is DatasetKind.AUTHENTICATION else raw
        self.rejected.append(QuarantinedRecord(stored, tuple(errors)))
        # Records of somebody else forbid the whole push, however much else is wrong with it.
        foreign_party_code = self._dataset_type.foreign_party_code
        is_full = len(self.findings) >= _MAX_FINDINGS
        self.findings += [finding for finding in errors if not is_full or finding.status_code == foreign_party_code]

    async def store_rejected(self, operation: str) -> int:
        """Store what could not be used; return how much of it was never seen before."""
        return await quarantine.add(self._context.store, self.source, operation, self.rejected, self._context.now())


def _describe_record(record: AnyRecord) -> str:
    evse_id = getattr(record, "evse_id", None)
    return f"EvseID {evse_id}" if evse_id is not None else "a contract"


log = structlog.get_logger(__name__)

_DATA_TRANSACTION_ERROR = "009"
_DATA_ERROR = "022"
_MAX_LISTED_KEYS = 10
_DELETE = "delete"
_FULL_LOAD = "fullLoad"
# From so many records on, the digests of all that is stored are read, so that unchanged ones cost next to nothing: of a
# fullLoad, which is nearly all of it, and of others only where they are many.
_MIN_FULL_LOAD_TO_COMPARE = 100
_MIN_DELTA_TO_COMPARE = 1000
_PRECONDITIONS = {"insert": Precondition.MUST_NOT_EXIST, "update": Precondition.MUST_EXIST}


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a push: changed records, and those set aside."""

    changed: int
    quarantined: int = 0
    reason: str | None = None


async def ingest_push(
    context: Services, request: OperationRequest[Message], dataset_type: DatasetType, owner: Peer
) -> IngestResult:
    """Apply a push of ``owner``: our own company, or a peer.

    Raises Refusal 018, 019 or 009, or InvalidMessage, and changes nothing then (boxes M4, M5).
    """
    record_filter = RecordFilter(context, dataset_type, owner)
    group = dataset_type.group_of_push(request.message, request.sender_id or "")
    changeset = _new_changeset(request, dataset_type, record_filter.source, group, await _request_digest(request))
    async with context.datasets.exclusive(changeset.dataset, changeset.source) as update:
        # What must be new is never the same as before.
        compares_digests = _is_large(request) and changeset.precondition is not Precondition.MUST_NOT_EXIST
        keys_by_digest = await update.load_digests(group.key) if compares_digests else {}
        parsed = await _parse_records(request, record_filter, group, keys_by_digest)
        _raise_for_findings(record_filter.findings, parsed.duplicate_keys, dataset_type, is_ours=owner.is_self)
        changeset = replace(changeset, records=parsed.records, deleted_keys=parsed.deleted_keys)
        if changeset.replace_scope is ReplaceScope.GROUPS and not parsed.records:
            event_log = log.bind(dataset=dataset_type.name, party=group.party)
            event_log.warning("import.full_load_empty", meaning="all that was there is withdrawn")
        result = await update.apply(changeset)
    _raise_for_conflicts(result, changeset)
    await record_filter.store_rejected(request.operation.name)
    return IngestResult(
        result.changed,
        len(record_filter.rejected),
        record_filter.rejected[0].reason if record_filter.rejected else None,
    )


@dataclass(slots=True)
class _ParsedPush:
    """What a push says: records that are to be there, keys that are to go, keys that it names more than once."""

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
    seen: set[str] = set()
    is_delete = _action_type(request) == _DELETE
    if request.records is None:
        return parsed
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


def _is_large(request: OperationRequest[Message]) -> bool:
    threshold = _MIN_FULL_LOAD_TO_COMPARE if _action_type(request) == _FULL_LOAD else _MIN_DELTA_TO_COMPARE
    return request.records is not None and len(request.records.raw_records) >= threshold


def _raise_for_findings(
    findings: Sequence[Finding], duplicate_keys: Sequence[str], dataset_type: DatasetType, *, is_ours: bool
) -> None:
    """Refuse what forbids the whole push: our own backend's mistakes, ids of somebody else, repeated ids."""
    if is_ours and any(finding.status_code == _DATA_ERROR for finding in findings):
        raise InvalidMessage(findings)
    inconsistent = [finding.message for finding in findings if finding.status_code == dataset_type.foreign_party_code]
    if inconsistent:
        summary = "; ".join(inconsistent[:_MAX_LISTED_KEYS])
        raise Refusal(dataset_type.foreign_party_code, f"{len(inconsistent)} records are inconsistent: {summary}")
    if duplicate_keys:
        code = dataset_type.foreign_party_code if dataset_type.publisher is Party.CPO else _DATA_ERROR
        raise Refusal(
            code, f"{len(duplicate_keys)} records occur more than once: {', '.join(duplicate_keys[:_MAX_LISTED_KEYS])}"
        )


def _action_type(request: OperationRequest[Message]) -> str:
    return str(getattr(request.message, "action_type", ""))


async def _request_digest(request: OperationRequest[Message]) -> bytes:
    """Return what a repeated push is told by."""
    # 10 ms for 18 MB, in which the event loop goes on.
    return await asyncio.to_thread(lambda: request.digest) if _is_large(request) else request.digest


def _new_changeset(
    request: OperationRequest[Message], dataset_type: DatasetType, source: str, group: RecordGroup, digest: bytes | None
) -> Changeset:
    action_type = _action_type(request)
    return Changeset(
        dataset=dataset_type.dataset,
        source=source,
        groups=(group,),
        precondition=_PRECONDITIONS.get(action_type),
        replace_scope=ReplaceScope.GROUPS if action_type == _FULL_LOAD else ReplaceScope.NOTHING,
        digest=digest,
    )


def _raise_for_conflicts(result: ApplyResult, changeset: Changeset) -> None:
    if result.conflicts:
        problem = "exist already" if changeset.precondition is Precondition.MUST_NOT_EXIST else "do not exist"
        summary = ", ".join(result.conflicts[:_MAX_LISTED_KEYS])
        raise Refusal(_DATA_TRANSACTION_ERROR, f"{len(result.conflicts)} records {problem}: {summary}")


async def resume_interrupted_imports(context: Services) -> None:
    """Finish the imports that a crash interrupted; see `DatasetCoordinator.recover`."""
    await context.datasets.recover(
        lambda source: source == OWN or context.registry.by_name(source) is not None,
    )
