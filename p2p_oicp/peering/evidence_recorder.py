"""Keeps the signed exchanges of processes that cost money, and hands them out as evidence."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.crypto import KeyRing, SignedRequestParts, SignedResponseParts
from p2p_oicp.crypto.evidence_file import RecordedExchange, signing_key_ids, write_evidence
from p2p_oicp.errors import ConfigurationError, StoreError
from p2p_oicp.oicp import SessionID
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.pairing import LocalIdentity
from p2p_oicp.storage import Store, Transaction, evidence

log = structlog.get_logger(__name__)

#: The operations whose exchanges are kept.
RECORDED_OPERATIONS = frozenset(
    {"AuthorizeStart", "AuthorizeStop", "AuthorizeRemoteStart", "AuthorizeRemoteStop", "ChargeDetailRecord"}
)
# Within the time by which a noted key may be older than what it has signed.
_KEY_RECORD_TTL_SECONDS = 3600.0


class _SessionReference(msgspec.Struct, rename={"session_id": "SessionID"}):
    session_id: str | None = None


_decode_session_reference = msgspec.json.Decoder(_SessionReference).decode


class _KeyRecord(msgspec.Struct, frozen=True):
    """A key and its holder, as this node knows them."""

    key_id: str
    public_key: str
    owner: str
    descriptor: bytes | None


class _KeyLedger:
    """The keys that sign what is kept: they are noted beside it, so that it can be proved when they count no more."""

    def __init__(self, identity: LocalIdentity, directory: PeerDirectory, keyring: KeyRing) -> None:
        self._identity = identity
        self._directory = directory
        self._keyring = keyring
        self._recorded_until: dict[str, float] = {}

    def unrecorded(self, key_ids: list[str], now: float) -> list[_KeyRecord]:
        """Return those of the keys that were not noted lately: usually none."""
        missing = [key_id for key_id in key_ids if self._recorded_until.get(key_id, 0.0) < now]
        return [key_record for key_id in missing if (key_record := self.find(key_id)) is not None]

    def record(self, tx: Transaction, key_record: _KeyRecord, now: float) -> None:
        """Note a key in the transaction that keeps the exchange; it counts as noted once an earlier one has done it."""
        is_new = evidence.upsert_key(
            tx,
            key_id=key_record.key_id,
            public_key=key_record.public_key,
            owner=key_record.owner,
            descriptor=key_record.descriptor,
            now=now,
        )
        if not is_new:
            self._recorded_until[key_record.key_id] = now + _KEY_RECORD_TTL_SECONDS

    def find(self, key_id: str) -> _KeyRecord | None:
        """Return a key of ours or of a peer, whether it still counts or not; None where it is nobody's."""
        for entry in self._identity.signer.keys.entries:
            if entry.public.key_id == key_id:
                return _KeyRecord(key_id, entry.public.der_base64, self._identity.local_peer.name, None)
        known = self._keyring.find_ignoring_validity(key_id)
        if known is None:
            return None
        signed = self._directory.descriptor_of(known.owner)
        return _KeyRecord(key_id, known.key.der_base64, known.owner, None if signed is None else signed.body)


class ExchangeRecorder:
    """Writes the exchanges of one direction down, if they may cost somebody money."""

    def __init__(self, store: Store, clock: Clock, keys: _KeyLedger, *, sent_by_us: bool) -> None:
        self._store = store
        self._clock = clock
        self._keys = keys
        self._sent_by_us = sent_by_us

    def prepare(
        self, operation: str, peer: str, request: SignedRequestParts, response: SignedResponseParts, decoded_body: bytes
    ) -> Callable[[Transaction], None] | None:
        """Return what keeps one exchange, None where it is not to be kept; ``text``: the answer without coding."""
        session_id = (
            _session_id(decoded_body) or _session_id(request.body) if operation in RECORDED_OPERATIONS else None
        )
        if session_id is None:
            return None
        now = self._clock.time()
        exchange = RecordedExchange(now, operation, self._sent_by_us, peer, request, response)
        key, (archived_exchange, key_ids) = SessionID(session_id).key, exchange.serialize()
        unrecorded_keys = self._keys.unrecorded(key_ids, now)

        def write(tx: Transaction) -> None:
            evidence.insert_exchange(tx, key, now, archived_exchange)
            for key_record in unrecorded_keys:
                self._keys.record(tx, key_record, now)

        return write

    async def record(
        self, operation: str, peer: str, request: SignedRequestParts, response: SignedResponseParts, decoded_body: bytes
    ) -> None:
        """Keep one exchange, durably, in a transaction of its own; where that fails, the log says so."""
        write = self.prepare(operation, peer, request, response, decoded_body)
        if write is None:
            return
        try:
            await self._store.write(write)
        except StoreError as error:
            log.error("evidence.write_failed", operation=operation, peer=peer, reason=str(error))  # noqa: TRY400 - it says it all


class EvidenceService:
    """Has exchanges written down, and reads them out."""

    def __init__(
        self, identity: LocalIdentity, *, store: Store, directory: PeerDirectory, keyring: KeyRing, clock: Clock
    ) -> None:
        self._identity = identity
        self._store = store
        self._clock = clock
        self._key_ledger = _KeyLedger(identity, directory, keyring)
        self.outbound_recorder = ExchangeRecorder(store, clock, self._key_ledger, sent_by_us=True)
        self.inbound_recorder = ExchangeRecorder(store, clock, self._key_ledger, sent_by_us=False)

    async def export(self, session_id: str) -> bytes:
        """Return the evidence file of a session; raise ConfigurationError where nothing is kept of it."""
        rows = await self._store.query(evidence.BY_SESSION, key_=SessionID(session_id).key)
        if not rows:
            raise ConfigurationError(f"nothing signed is kept of session {session_id}")
        exchanges = [row["exchange"] for row in rows]
        key_records = await self._key_records(exchanges)
        descriptors = dict.fromkeys(
            [self._identity.signed_descriptor(), *(known.descriptor for known in key_records if known.descriptor)]
        )
        now = self._clock.time()
        return write_evidence(
            session_id,
            exchanges,
            keys={known.key_id: (known.public_key, known.owner) for known in key_records},
            descriptors=descriptors,
            key=self._identity.signer.keys.signing_key(now),
            now=now,
        )

    async def _key_records(self, exchanges: list[bytes]) -> list[_KeyRecord]:
        """Return the keys that the exchanges were signed with, as far as anybody has known them."""
        stored_records = {row["key_id"]: _KeyRecord(**row) for row in await self._store.query(evidence.KEYS)}
        key_records = []
        for key_id in dict.fromkeys(key_id for exchange in exchanges for key_id in signing_key_ids(exchange)):
            current, stored = self._key_ledger.find(key_id), stored_records.get(key_id)
            key_record = stored if current is None or (stored is not None and current.descriptor is None) else current
            key_records += [key_record] if key_record is not None else []
        return key_records


def _session_id(body: bytes) -> str | None:
    try:
        return _decode_session_reference(body).session_id
    except msgspec.MsgspecError:
        return None
