"""Evidence: stores the signed exchanges of operations that cost money, and exports those of a session as a file.

An exchange is inserted in the transaction of the decision that it proves (`ExchangeRecorder.insert`). Beside it stands
every key that signs it, with its owner and the descriptor that it came from: evidence outlives keys and peers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import orjson
import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.concurrency import offload
from p2p_oicp.crypto import KeyRing, SignedRequestParts, SignedResponseParts
from p2p_oicp.crypto.evidence_file import Evidence, is_agreed_by, read_evidence, write_evidence
from p2p_oicp.crypto.exchange import (
    PreparedExchange,
    prepare_exchange,
    signing_key_ids,
)
from p2p_oicp.errors import ConfigurationError, StoreError, VerificationError
from p2p_oicp.oicp import SessionID
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peers import PeerRegistry
from p2p_oicp.peers.descriptor import LocalIdentity
from p2p_oicp.storage import Store, Transaction, evidence, job_keys, sessions

log = structlog.get_logger(__name__)

_OTHER_DIRECTION = {"sent": "received", "received": "sent"}

# Below `evidence.KEY_LAST_USED_LAG_SECONDS`, by which a stored key's last use may be older than what it has signed.
_KEY_RECORD_TTL_SECONDS = 3600.0


class _KeyRecord(msgspec.Struct, frozen=True):
    """A public key (base64 of its DER), the name of its owner, and the owner's descriptor if it is not this node."""

    key_id: str
    public_key: str
    owner: str
    descriptor: bytes | None


class _KeyLedger:
    """The keys that sign exchanges, and which of them were stored lately: not every exchange stores its keys again."""

    def __init__(self, identity: LocalIdentity, directory: PeerDirectory, keyring: KeyRing) -> None:
        self._identity = identity
        self._directory = directory
        self._keyring = keyring
        self._recorded_until: dict[str, float] = {}

    def unrecorded(self, key_ids: list[str], now: float) -> list[_KeyRecord]:
        """Return those of the keys that were not stored lately: usually none."""
        missing = [key_id for key_id in key_ids if self._recorded_until.get(key_id, 0.0) < now]
        return [key_record for key_id in missing if (key_record := self.find(key_id)) is not None]

    def record(self, tx: Transaction, key_record: _KeyRecord, now: float) -> None:
        """Store a key in the transaction of an exchange."""
        is_new = evidence.upsert_key(
            tx,
            key_id=key_record.key_id,
            public_key=key_record.public_key,
            owner=key_record.owner,
            descriptor=key_record.descriptor,
            now=now,
        )
        # This transaction may yet be rolled back: only a key that an earlier one has stored counts as stored.
        if not is_new:
            self._recorded_until[key_record.key_id] = now + _KEY_RECORD_TTL_SECONDS

    def find(self, key_id: str) -> _KeyRecord | None:
        """Return a key of ours or of a peer, retired ones included; None if it is unknown."""
        for entry in self._identity.signer.keys.entries:
            if entry.public.key_id == key_id:
                return _KeyRecord(key_id, entry.public.der_base64, self._identity.local_peer.name, None)
        known = self._keyring.find_ignoring_validity(key_id)
        if known is None:
            return None
        signed = self._directory.descriptor_of(known.owner)
        return _KeyRecord(key_id, known.key.der_base64, known.owner, None if signed is None else signed.body)


class ExchangeRecorder:
    """Inserts prepared exchanges, each with the keys that sign it."""

    def __init__(self, store: Store, clock: Clock, keys: _KeyLedger, registry: PeerRegistry) -> None:
        self._store = store
        self._clock = clock
        self._keys = keys
        self._registry = registry

    def prepare_inbound(
        self, operation: str, peer: str, request: SignedRequestParts, response: SignedResponseParts, decoded_body: bytes
    ) -> PreparedExchange | None:
        """Return an exchange in which this node is the server; see `crypto.exchange.prepare_exchange`."""
        return prepare_exchange(
            operation, peer, request, response, decoded_body, sent_by_us=False, now=self._clock.time()
        )

    def insert(self, tx: Transaction, prepared: PreparedExchange) -> None:
        """Record an exchange in the caller's transaction: that of the decision which the exchange proves."""
        recorded_at = prepared.exchange.recorded_at
        # Serialized here and not when prepared: most prepared exchanges are inserted, and only then is it paid for.
        archived_exchange, key_ids = prepared.exchange.serialize()
        peer = self._registry.by_name(prepared.exchange.peer)
        session_key, peer_id = SessionID(prepared.session_id).key, "" if peer is None else peer.id
        evidence.insert_exchange(tx, session_key, peer_id, recorded_at, archived_exchange)
        for key_record in self._keys.unrecorded(key_ids, recorded_at):
            self._keys.record(tx, key_record, recorded_at)

    async def record(self, prepared: PreparedExchange | None) -> None:
        """Record an exchange in a transaction of its own; a `StoreError` is logged, for the exchange has happened."""
        if prepared is None:
            return
        try:
            await self._store.write(lambda tx: self.insert(tx, prepared), about=job_keys.ANY_ORDER)
        except StoreError as error:
            exchange = prepared.exchange
            log.error(  # noqa: TRY400 - the text says it all
                "evidence.write_failed", operation=exchange.operation, peer=exchange.peer, error=error
            )


class EvidenceService:
    """Records exchanges, by its ``recorder``, and exports them.

    Args:
        identity: this node.
        store: of the exchanges.
        directory: the peers' descriptors.
        registry: the peers.
        keyring: their keys.
        refresh: fetches the descriptor of a peer.
    """

    def __init__(
        self,
        identity: LocalIdentity,
        store: Store,
        directory: PeerDirectory,
        registry: PeerRegistry,
        keyring: KeyRing,
        refresh: Callable[[str], Awaitable[object]],
    ) -> None:
        self._identity = identity
        self._store = store
        self._directory = directory
        self._refresh = refresh
        self._key_ledger = _KeyLedger(identity, directory, keyring)
        self.recorder = ExchangeRecorder(store, identity.clock, self._key_ledger, registry)

    async def export(self, session_id: str, partner: str | None = None, *, refresh: bool = True) -> bytes:
        """Return the evidence file of a session, with nothing in it that others than ``partner`` and we have signed.

        Args:
            session_id: the session.
            partner: the name of the peer; None for the one that the session is with.
            refresh: fetch the partner's descriptor if it is not there; the partner itself does not need it.

        Raises:
            ConfigurationError: nothing was recorded of it, or with several peers and the session is with none of them.
        """
        rows = await self._store.query(evidence.BY_SESSION, key_=SessionID(session_id).key)
        if not rows:
            raise ConfigurationError(f"no signed exchange of session {session_id} is recorded")
        partner = partner or await self._partner_of(session_id, sorted({row["peer"] for row in rows}))
        exchanges = [row["exchange"] for row in rows if row["peer"] == partner]
        if not exchanges:
            raise ConfigurationError(f"no signed exchange of session {session_id} with {partner} is recorded")
        # A peer of the peers file may have published nothing to us yet, and its descriptor names its keys to others.
        if refresh and self._directory.descriptor_of(partner) is None:
            await self._refresh(partner)
        key_records = await self._key_records(exchanges)
        descriptors = dict.fromkeys(
            [self._identity.signed_descriptor(), *(known.descriptor for known in key_records if known.descriptor)]
        )
        now = self._identity.clock.time()
        return write_evidence(
            session_id,
            exchanges,
            keys={known.key_id: (known.public_key, known.owner) for known in key_records},
            descriptors=descriptors,
            key=self._identity.signer.keys.signing_key(now),
            now=now,
        )

    async def _partner_of(self, session_id: str, names: list[str]) -> str:
        """Return with which of these peers a session is: several EMPs may have been asked, and one has said yes."""
        session_peers = {
            row["peer"] for row in await self._store.query(sessions.BY_KEY, key_=SessionID(session_id).key)
        }
        found = [name for name in names if name in session_peers] or names
        if len(found) > 1:
            raise ConfigurationError(
                f"exchanges of session {session_id} were with {', '.join(found)}; say with whom: --peer NAME"
            )
        return found[0]

    def is_needed_from(self, peer: str) -> bool:
        """Return whether the messages of a peer, by name, are signed, so that there is evidence."""
        return self._identity.signer.needs_signature(peer)

    async def read(self, file: str | None) -> Evidence | None:
        """Return a peer's evidence file, verified; None if it is none. In a thread: it has many signatures."""
        try:
            return None if file is None else await offload(read_evidence, file.encode())
        except VerificationError:
            return None

    def has_own_signature(self, session_id: SessionID, file: Evidence, role: str) -> bool:
        """Return whether an evidence file shows that this node has agreed to a session in a role (`is_agreed_by`)."""
        own_keys = {entry.public.key_id for entry in self._identity.signer.keys.entries}
        return is_agreed_by(file, own_keys, role, session_id)

    def exchanges_in(self, file: str, peer: str) -> list[bytes]:
        """Return the exchanges of a peer's evidence file as this node would have recorded them."""
        exchanges = orjson.loads(file.split("\n", maxsplit=1)[0])["exchanges"]
        return [
            orjson.dumps({**exchange, "direction": _OTHER_DIRECTION[exchange["direction"]], "peer": peer})
            for exchange in exchanges
            if exchange.get("direction") in _OTHER_DIRECTION
        ]

    async def _key_records(self, exchanges: list[bytes]) -> list[_KeyRecord]:
        """Return the keys that the exchanges were signed with, as far as they are known or stored."""
        stored_records = {row["key_id"]: _KeyRecord(**row) for row in await self._store.query(evidence.KEYS)}
        key_records = []
        for key_id in dict.fromkeys(key_id for exchange in exchanges for key_id in signing_key_ids(exchange)):
            current, stored = self._key_ledger.find(key_id), stored_records.get(key_id)
            # The present one, unless only the stored one has the descriptor: that of a peer that was removed since.
            key_record = stored if current is None or (stored is not None and current.descriptor is None) else current
            key_records += [key_record] if key_record is not None else []
        return key_records
