"""Ingest a push: validate its records, hash PINs, apply them as one changeset, quarantine what is invalid.

**Our own backend's push** is all or nothing. **A peer's push** is applied record by record: invalid records go to the
quarantine with their findings, and the others are applied (RULES M4, M5).

**Speed.** A push of 10,000 EVSEs is read in 0.6 s. Records are read through a fast view where there is one, and those
that the store has already, byte for byte, are recognised by their digest and not read at all. The event loop gets a
turn every few records, so that a large push does not delay an authorization.

**PINs** are never stored. A pushed PIN becomes a bcrypt hash before anything else sees the record (OICP EMP-02, "PIN
security"; RULES M2). Hashing is slow on purpose and runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, cast

import structlog

from p2p_oicp.concurrency import offload
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
from p2p_oicp.oicp.enums import ActionType, StatusCodeValue
from p2p_oicp.oicp.operations import Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.roles.datasets import types
from p2p_oicp.roles.datasets.types import DatasetType
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

log = structlog.get_logger(__name__)

# Half a millisecond of the event loop.
_RECORDS_PER_YIELD = 25
# A response lists the findings of a push; beyond this number, a sender learns nothing more from them.
_MAX_FINDINGS = 100
_MAX_LISTED_KEYS = 10
# From so many records on, the digests of the stored group are loaded. A fullLoad is nearly all of the group, so that
# pays early; of a delta only if it is large itself.
_MIN_FULL_LOAD_TO_COMPARE = 100
_MIN_DELTA_TO_COMPARE = 1000
_PRECONDITIONS: Mapping[str, Precondition] = {
    ActionType.INSERT: Precondition.MUST_NOT_EXIST,
    ActionType.UPDATE: Precondition.MUST_EXIST,
}
_NO_DIGESTS: Mapping[bytes, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The number of changed and of quarantined records; ``reason`` is why the first one was quarantined."""

    changed: int
    quarantined: int = 0
    reason: str | None = None


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
    changeset = _new_changeset(request, dataset_type, record_filter.source, group, await _request_digest(request))
    # Order: from the look at the digests until the changeset is applied, nothing else may change the group.
    async with context.datasets.exclusive(changeset.dataset, changeset.source) as update:
        keys_by_digest = await update.load_digests(group.key) if _compares_digests(request, changeset) else _NO_DIGESTS
        parsed = await _parse_records(request, record_filter, group, keys_by_digest)
        _raise_for_findings(record_filter.findings, parsed.duplicate_keys, dataset_type, is_ours=owner.is_self)
        changeset = replace(changeset, records=parsed.records, deleted_keys=parsed.deleted_keys)
        if changeset.replace_scope is ReplaceScope.GROUPS and not parsed.records:
            event_log = log.bind(dataset=dataset_type.name, party=group.party)
            event_log.warning("import.full_load_empty", meaning="all records of the party are deleted")
        result = await update.apply(changeset)
    _raise_for_conflicts(result, changeset)
    await record_filter.store_rejected(request.operation.name)
    rejected = record_filter.rejected
    return IngestResult(result.changed, len(rejected), rejected[0].reason if rejected else None)


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
        precondition=_PRECONDITIONS.get(action_type),
        replace_scope=ReplaceScope.GROUPS if action_type == ActionType.FULL_LOAD else ReplaceScope.NOTHING,
        digest=digest,
    )


def _raise_for_findings(
    findings: Sequence[Finding], duplicate_keys: Sequence[str], dataset_type: DatasetType, *, is_ours: bool
) -> None:
    """Refuse a whole push: invalid records of our own backend, records of other parties, keys that occur twice."""
    if is_ours and any(finding.status_code == StatusCodeValue.DATA_ERROR for finding in findings):
        raise InvalidMessage(findings)
    foreign_code = dataset_type.foreign_party_code
    inconsistent = [finding.message for finding in findings if finding.status_code == foreign_code]
    if inconsistent:
        summary = "; ".join(inconsistent[:_MAX_LISTED_KEYS])
        raise Refusal(foreign_code, f"{len(inconsistent)} records are inconsistent: {summary}")
    if duplicate_keys:
        code = foreign_code if dataset_type.publisher is Party.CPO else StatusCodeValue.DATA_ERROR
        summary = ", ".join(duplicate_keys[:_MAX_LISTED_KEYS])
        raise Refusal(code, f"{len(duplicate_keys)} records occur more than once: {summary}")


def _raise_for_conflicts(result: ApplyResult, changeset: Changeset) -> None:
    if result.conflicts:
        problem = "exist already" if changeset.precondition is Precondition.MUST_NOT_EXIST else "do not exist"
        summary = ", ".join(result.conflicts[:_MAX_LISTED_KEYS])
        raise Refusal(StatusCodeValue.DATA_TRANSACTION_ERROR, f"{len(result.conflicts)} records {problem}: {summary}")


class RecordFilter:
    """Validates the records of one push or pull, and collects those that are rejected.

    Args:
        context: the services of the node.
        dataset_type: the dataset of the records.
        owner: who sends them; it has to answer for all parties that they belong to.

    Attributes:
        source: the source of the records in the store.
        rejected: the invalid records.
        findings: what is wrong with them; at most about 100, those about foreign parties always.

    """

    def __init__(self, context: Services, dataset_type: DatasetType, owner: Peer) -> None:
        self._context = context
        self._dataset_type = dataset_type
        self._owner = owner
        self.source = OWN if owner.is_self else owner.id
        self.rejected: list[QuarantinedRecord] = []
        self.findings: list[Finding] = []

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
        is_authentication = self._dataset_type.dataset is DatasetKind.AUTHENTICATION
        for start in range(0, len(stream.raw_records), _RECORDS_PER_YIELD):
            if start:
                await asyncio.sleep(0)  # gives the event loop a turn
            valid: list[tuple[DatasetRecord, AnyRecord | None]] = []
            for index, raw in enumerate(stream.raw_records[start : start + _RECORDS_PER_YIELD], start):
                if keys_by_digest and (key := keys_by_digest.get(digest_of(raw))) is not None:
                    valid.append((DatasetRecord(key, "", UNCHANGED), None))
                elif (record := self._read_record(stream, index, raw)) is not None:
                    if is_authentication:
                        raw, record = await hash_pin_in_record(self._context, self.source, raw, record)  # noqa: PLW2901 - its PIN is gone
                    valid.append((self._dataset_type.build_record(raw, record, group_of(record)), record))
            yield valid

    def _read_record(self, stream: RecordStream[Message], index: int, raw: bytes) -> AnyRecord | None:
        """Return a record if it is valid, and reject it otherwise."""
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
        """Return a finding for each party of the record that the sender does not answer for."""
        owner = self._owner
        foreign_parties = [
            party for party in self._dataset_type.parties_of(record) if party is None or not owner.handles_party(party)
        ]
        if not foreign_parties:
            return []
        is_evse = self._dataset_type.foreign_party_code == StatusCodeValue.INCONSISTENT_EVSE_ID
        code = "foreign-evse-id" if is_evse else "foreign-evco-id"
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
        # Records of other parties refuse the whole push, however many other findings there are: these are never cut.
        foreign_party_code = self._dataset_type.foreign_party_code
        is_full = len(self.findings) >= _MAX_FINDINGS
        self.findings += [finding for finding in errors if not is_full or finding.status_code == foreign_party_code]

    async def store_rejected(self, operation: str) -> int:
        """Put the rejected records into the quarantine; return how many are new there. Raises StoreError."""
        return await quarantine.add(self._context.store, self.source, operation, self.rejected, self._context.now())


def _describe_record(record: AnyRecord) -> str:
    evse_id = getattr(record, "evse_id", None)
    return f"EvseID {evse_id}" if evse_id is not None else "a contract"


async def hash_pin_in_record(
    context: Services, source: str, raw: bytes, record: AnyRecord
) -> tuple[bytes, AuthenticationDataRecord]:
    """Return a record with a HashedPIN in the place of its PIN, if it has one.

    A PIN that matches the stored hash keeps that hash. Otherwise the record would change at every push, since each
    hash has a salt of its own.
    """
    authentication_record = cast("AuthenticationDataRecord", record)
    if _pin_of(authentication_record) is None:
        return raw, authentication_record
    stored_hash = await tokens.stored_pin_hash(
        context.store, source, types.identification_key(authentication_record.identification)
    )
    return await offload(_replace_pin, raw, authentication_record, stored_hash, context.pin_rounds)


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
    """Return a record for the quarantine without its PINs; ``null`` if it is not JSON, since a PIN may be anywhere."""
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
