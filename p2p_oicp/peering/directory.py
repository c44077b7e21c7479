"""All peers of a running node: those of the peers file, those that were paired, and those that were discovered.

Invariant: `PeerRegistry` (which peer handles a party) and `KeyRing` (whose key is this) are replaced together, and only
as a whole. A change after which two peers would claim one party is refused, and everything stays as it was.

A change happens in three steps, in this order: (1) it is committed, and each peer gets its stable id: its own one of
before, also under a new name (`storage.peers`); (2) registry and key ring are replaced; (3) the listeners are called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import orjson
import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.config.peers_file import PeersFile, file_signature, peer_from_entry, peer_to_entry, read_peers_file
from p2p_oicp.crypto import KeyRing, PublicKey
from p2p_oicp.crypto.tls import pin_fingerprint
from p2p_oicp.errors import ConfigurationError, StoreError, VerificationError
from p2p_oicp.peers import Peer, PeerRegistry, Source
from p2p_oicp.peers.credentials import CredentialOwners, TrustedDescriptor, find_owners
from p2p_oicp.peers.descriptor import SignedDescriptor, verify_descriptor, verify_key_chain
from p2p_oicp.peers.models import PeersChanged
from p2p_oicp.storage import Row, Store, Transaction, job_keys
from p2p_oicp.storage import peers as peer_rows
from p2p_oicp.storage.peers import PeerIds, StoredDescriptor

log = structlog.get_logger(__name__)

# The file is polled: notifications of changes do not reach into the volumes of containers, nor over networks.
_POLL_INTERVAL_SECONDS = 2.0

#: What is written in one transaction with a change of the peers; gets their ids by name.
_TransactionStep = Callable[[Transaction, Mapping[str, str]], object]


class PeerDirectory:
    """Keeps registry and key ring in step with the peers file and the store.

    Args:
        peers_file: read at `load` and `reload`, and watched for changes.
        is_optional: the file may be missing.
        store: paired and discovered peers, and descriptors.
        registry: has this node's own entry, and is filled with the peers.
        keyring: is filled with their keys.
        clock: the time.
        is_ours: whether a key or a certificate, by its fingerprint, is this node's own, which no peer may have.
    """

    def __init__(
        self,
        peers_file: Path,
        *,
        is_optional: bool,
        store: Store,
        registry: PeerRegistry,
        keyring: KeyRing,
        clock: Clock,
        is_ours: Callable[[str], bool] = lambda _fingerprint: False,
    ) -> None:
        self._path = peers_file
        self._is_optional = is_optional
        self._store = store
        self._registry = registry
        self._keyring = keyring
        self._clock = clock
        self._is_ours = is_ours
        self._owners = CredentialOwners()
        self._held_reasons: dict[str, str] = {}
        self._file = PeersFile()
        self._last_file_signature: object = None
        self._stored_peers: dict[str, Peer] = {}
        self._descriptors: dict[str, TrustedDescriptor] = {}
        # Invariant: one change at a time, for each is planned on the outcome of the one before.
        self._change_lock = asyncio.Lock()
        self._peer_listeners: list[Callable[[PeersChanged], None]] = []
        self._credential_listeners: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<PeerDirectory file={len(self._file.peers)} stored={len(self._stored_peers)}>"

    def subscribe(self, listener: Callable[[PeersChanged], None]) -> None:
        """Call ``listener`` after each change of the peers, when it counts."""
        self._peer_listeners.append(listener)

    def subscribe_credentials(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change of the peers' keys and certificates."""
        self._credential_listeners.append(listener)

    async def load(self) -> None:
        """Read file and store; raise ConfigurationError if they contradict each other."""
        # An entry that an older program could read must not keep this one from starting: it is logged and left out.
        stored = [_parse_stored_peer(row) for row in await self._store.query(peer_rows.ALL_PAIRED)]
        # Order: the signature is taken before the content is read, so that `watch` notices a change in between.
        self._last_file_signature = file_signature(self._path)
        await self._replace_peers(self._read_peers_file(), {peer.name: peer for peer in stored if peer is not None})

    async def reload(self) -> str | None:
        """Read the peers file again; return why it cannot be used, None if it can. Then everything stays as it was."""
        self._last_file_signature = file_signature(self._path)
        try:
            async with self._change_lock:
                await self._replace_peers(self._read_peers_file(), self._stored_peers)
        except ConfigurationError as error:
            log.error("peers.reload_failed", reason=str(error))  # noqa: TRY400 - the text says it all
            return str(error)
        except StoreError as error:
            self._last_file_signature = None  # so that `watch` tries again
            log.warning("peers.reload_failed", error=error, meaning="tried again in a moment")
            return str(error)
        return None

    async def watch(self) -> None:
        """Background task: reload whenever the peers file has changed."""
        while True:
            await asyncio.sleep(_POLL_INTERVAL_SECONDS)
            if file_signature(self._path) != self._last_file_signature:
                await self.reload()

    def check_can_add(self, peer: Peer, signed: SignedDescriptor | None) -> None:
        """Raise ConfigurationError if ``peer`` cannot be added, or would take a party or a key from another peer."""
        try:
            # As it will be read at the next start: an entry that cannot be read must not be stored.
            peer_from_entry(peer_to_entry(peer), peer.source)
        except ConfigurationError as error:
            raise ConfigurationError(f"what would be stored of this peer cannot be used: {error}") from error
        # A name may be paired again with a key that counts, not with a retired one: that may have been stolen.
        known_keys = self._keyring.keys_of(peer.name)
        if peer.name in self._stored_peers and known_keys and self._valid_keys(peer.name).isdisjoint(peer.public_keys):
            raise ConfigurationError(f'"{peer.name}" is a peer of this node already, with another key; remove it first')
        # Raises if two peers would claim one party, or have one name or key.
        PeerRegistry((self._registry.own, *self._file.peers, *({**self._stored_peers, peer.name: peer}).values()))
        if signed is not None and (conflict := self._owners.find_foreign(peer.name, signed, self._is_ours)):
            raise ConfigurationError(conflict)

    async def add(
        self, peer: Peer, signed: SignedDescriptor | None, *extra_steps: Callable[[Transaction, str], object]
    ) -> None:
        """Add a peer, or replace the one of its name.

        Args:
            peer: its entry.
            signed: its descriptor; None if it is not authenticated.
            extra_steps: run in the transaction that stores the peer, get the peer's id, and may abort it.

        Raises:
            ConfigurationError: it cannot be added (`check_can_add`).
        """
        async with self._change_lock:
            # What a person has set for a peer of this name stays when it is paired again.
            peer = peer.with_settings_of(self._stored_peers.get(peer.name, peer))
            self.check_can_add(peer, signed)
            entry, now = orjson.dumps(peer_to_entry(peer)), self._clock.time()

            def store_peer(tx: Transaction, ids: Mapping[str, str]) -> None:
                # Order: first what may abort, such as redeeming an invitation that another node has just redeemed.
                for step in extra_steps:
                    step(tx, ids[peer.name])
                peer_rows.upsert_peer(tx, ids[peer.name], name=peer.name, source=peer.source, entry=entry, now=now)
                if signed is not None:
                    self._upsert_descriptor(tx, ids[peer.name], TrustedDescriptor.of(signed, peer))

            await self._replace_peers(self._file, {**self._stored_peers, peer.name: peer}, store_peer)
            self._held_reasons.pop(peer.name, None)

    async def change_settings(self, name: str, change: Callable[[Peer], Peer], text: str) -> Peer:
        """Change what a paired or discovered peer may see, or how it is pulled; ``text`` says what, for the event log.

        Raises ConfigurationError like `find_removable`.
        """
        async with self._change_lock:
            peer, now = change(self.find_removable(name)), self._clock.time()
            entry = orjson.dumps(peer_to_entry(peer))
            update = partial(peer_rows.update_peer, peer_id=self.id_of(name), entry=entry, text=text, now=now)
            await self._replace_peers(self._file, {**self._stored_peers, name: peer}, lambda tx, _: update(tx, name))
        return peer

    def find_removable(self, name: str) -> Peer:
        """Return a peer that `remove` can remove; raise ConfigurationError like it."""
        peer = self._stored_peers.get(name)
        if peer is None:
            registered = self._registry.by_name(name)
            reason = (
                f"stands in {self._path}: change or remove it there"
                if registered and not registered.is_self
                else "is no peer here"
            )
            raise ConfigurationError(f'"{name}" {reason}')
        return peer

    async def remove(self, name: str) -> Peer:
        """Remove a paired or discovered peer; raise ConfigurationError if it is in the peers file, or no peer."""
        async with self._change_lock:
            peer = self.find_removable(name)
            remaining = {other: remaining for other, remaining in self._stored_peers.items() if other != name}
            delete = partial(peer_rows.delete_peer, name=name, peer_id=self.id_of(name), now=self._clock.time())
            await self._replace_peers(self._file, remaining, lambda tx, _ids: delete(tx))
        return peer

    async def update_descriptor(self, name: str, signed: SignedDescriptor) -> None:
        """Store a newer descriptor of a peer.

        Raises:
            VerificationError: no known key of the peer endorses it, or it lists what is not the peer's.
        """
        async with self._change_lock:
            peer = self._registry.by_name(name)
            if peer is None:
                raise VerificationError(f"{name} is no longer a peer of this node")
            self._check_descriptor(peer, signed)
            self._held_reasons.pop(name, None)
            trusted = TrustedDescriptor.of(signed, peer, self._descriptors.get(name))
            job = partial(self._upsert_descriptor, peer_id=peer.id, trusted=trusted)
            await self._store.write(job, about=(job_keys.PEERS,))
            self._descriptors[name] = trusted
            # The peers are the same, so only listeners for credentials are called.
            self._rebuild_keyring()

    def find_by_id(self, peer_id: str) -> Peer | None:
        """Return a peer by its stable id; None if it is a peer no more."""
        return self._registry.by_id(peer_id)

    def id_of(self, name: str) -> str:
        """Return the stable id of the peer of a name; the name if there is none."""
        peer = self._registry.by_name(name)
        return name if peer is None else peer.id

    def owner_of(self, key: PublicKey) -> str | None:
        """Return the name of the peer whose key this is."""
        return self._keyring.owner(key)

    def descriptor_of(self, name: str) -> SignedDescriptor | None:
        """Return the newest descriptor that is known of a peer."""
        trusted = self._descriptors.get(name)
        return trusted.signed if trusted is not None else None

    def certificates_of(self, peer: Peer) -> tuple[str, ...]:
        """Return the certificates that a peer may show when it is called: of its entry, and of its descriptor."""
        signed = self.descriptor_of(peer.name)
        return (*peer.certificates, *(signed.descriptor.certificates if signed is not None else ()))

    def owner_of_certificate(self, fingerprint: str) -> str | None:
        """Return the name of the peer whose certificate this is: pinned for it, or proved by it."""
        return self._owners.certificates.get(fingerprint)

    def peers_listing(self, fingerprint: str) -> list[str]:
        """Return the names of the peers whose descriptors list a certificate, proved or not."""
        listed = {name: trusted.signed.descriptor.certificates for name, trusted in self._descriptors.items()}
        return [name for name, lines in listed.items() if fingerprint in map(pin_fingerprint, lines)]

    def held_reason(self, peer: Peer) -> str | None:
        """Return why what a peer has published of itself does not count; None if it does."""
        return self._held_reasons.get(peer.name)

    def _read_peers_file(self) -> PeersFile:
        if self._is_optional and not self._path.exists():
            return PeersFile()
        return read_peers_file(self._path)

    def _check_descriptor(self, peer: Peer, signed: SignedDescriptor) -> None:
        # An older descriptor may be a replayed one, which would bring a retired key back.
        current = self.descriptor_of(peer.name)
        if current is not None and signed.descriptor.issued_at < current.descriptor.issued_at:
            raise VerificationError(f"{peer.name} has published a newer descriptor before")
        verify_key_chain(signed, map(PublicKey.from_base64, self._valid_keys(peer.name)))
        if self._keyring.is_banned(signed.key):
            raise VerificationError(f"key {signed.key.key_id} is banned here")
        # Order: last, for only what the peer itself has published is held against it.
        if conflict := self._owners.find_foreign(peer.name, signed, self._is_ours):
            self._held_reasons[peer.name] = conflict
            raise VerificationError(conflict)

    def _valid_keys(self, name: str) -> set[str]:
        """Return the keys of a peer that are not retired, as base64."""
        now = self._clock.time()
        return {k.key.der_base64 for k in self._keyring.keys_of(name) if k.valid_until is None or now <= k.valid_until}

    def _upsert_descriptor(self, tx: Transaction, peer_id: str, trusted: TrustedDescriptor) -> None:
        signed = trusted.signed
        stored = StoredDescriptor(peer_id, signed.body, trusted.endorsed_keys, trusted.shown_certificates)
        peer_rows.upsert_descriptor(tx, stored, issued_at=signed.descriptor.issued_at, now=self._clock.time())

    async def _replace_peers(
        self, file: PeersFile, stored_peers: Mapping[str, Peer], step: _TransactionStep = lambda _tx, _ids: None
    ) -> None:
        """Make these the peers, in one transaction with ``step``; raise ConfigurationError with nothing changed."""
        registry = PeerRegistry((self._registry.own, *file.peers, *stored_peers.values()))
        identities = {peer.name: _identity_of(peer) for peer in registry.all() if not peer.is_self}

        def job(tx: Transaction) -> tuple[PeerIds, list[StoredDescriptor]]:
            peer_rows.set_own_name(tx, self._registry.own.name)
            result = peer_rows.assign_ids(tx, identities)
            step(tx, result.ids)
            return result, list(peer_rows.list_descriptors(tx))

        result, stored_descriptors = await self._store.write(job, about=(job_keys.PEERS,))  # (1)
        _log_renames(result)
        # The registry that a node starts with is read from the peers file, which has no ids.
        self._registry.replace(_with_ids(self._registry, result.ids))
        registry.replace(_with_ids(registry, result.ids))
        self._file, self._stored_peers = file, dict(stored_peers)
        self._descriptors = self._restore_descriptors(registry, stored_descriptors)
        self._publish(registry.all())

    def _restore_descriptors(
        self, registry: PeerRegistry, descriptors: Iterable[StoredDescriptor]
    ) -> dict[str, TrustedDescriptor]:
        restored = {}
        for stored in descriptors:
            peer = registry.by_id(stored.peer_id)
            if peer is None:
                continue
            current = self.descriptor_of(peer.name)
            try:
                # Its signature was verified when it was received; a body read from the disk is verified again.
                is_same = current is not None and current.body == stored.body
                signed = current if current is not None and is_same else verify_descriptor(stored.body)
                trusted = TrustedDescriptor(signed, stored.endorsed_keys, stored.shown_certificates)
                restored[peer.name] = trusted.revalidated_for(peer)
            except VerificationError as error:
                log.warning("peers.descriptor_discarded", peer=peer.name, reason=str(error))
        return restored

    def _publish(self, peers: tuple[Peer, ...]) -> None:
        previous = {peer.id: peer for peer in self._registry.all()}
        self._registry.replace(peers)  # (2)
        self._rebuild_keyring()
        current = {peer.id: peer for peer in peers}
        change = PeersChanged(
            tuple(peer for peer_id, peer in current.items() if peer_id not in previous),
            tuple(peer for peer_id, peer in previous.items() if peer_id not in current),
            tuple(peer for peer_id, peer in current.items() if peer_id in previous and previous[peer_id] != peer),
        )
        if change != PeersChanged():
            log.info("peers.changed", **change.names())
            for listener in self._peer_listeners:  # (3)
                listener(change)

    def _rebuild_keyring(self) -> None:
        self._owners = find_owners(self._registry.all(), self._descriptors)
        self._keyring.replace(self._owners.keys.values(), self._file.banned_keys)
        for listener in self._credential_listeners:
            listener()


def _parse_stored_peer(row: Row) -> Peer | None:
    """Return a stored peer, None (and a line in the log) if this version of the program cannot use its entry."""
    try:
        return peer_from_entry(orjson.loads(row["entry"]), Source(row["source"]))
    except (ConfigurationError, ValueError) as error:
        meaning = "this node goes on without it; pair with it again"
        log.error("peers.stored_peer_invalid", peer=row["name"], reason=str(error), meaning=meaning)  # noqa: TRY400 - as above
        return None


def _with_ids(registry: PeerRegistry, ids: Mapping[str, str]) -> list[Peer]:
    """Return the peers of a registry, with ids for those that have none yet (but their names)."""
    return [
        replace(peer, id=ids[peer.name]) if peer.id == peer.name and peer.name in ids else peer
        for peer in registry.all()
    ]


def _identity_of(peer: Peer) -> list[str]:
    """Return what a peer is recognized by when it is renamed; a hub without parties is recognized by its name only."""
    parties = [party.key for party in (*peer.operators, *peer.providers)]
    return [*parties, f"default route {peer.name}"] if peer.default_route else parties


def _log_renames(result: PeerIds) -> None:
    for old, new in result.renamed.items():
        log.info("peer.renamed", old=old, new=new)
    for name, pending_messages in result.orphaned_messages.items():
        log.warning(
            "peer.removed_with_pending_messages",
            peer=name,
            messages=pending_messages,
            meaning="these are not delivered any more; enter the peer again",
        )
