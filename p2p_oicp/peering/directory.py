"""What was learned of a peer: its newest descriptor, and which of its pinned keys that descriptor decides about.

A node names its last keys, not all that it ever had. So a pinned key that was named once, and is not any more, is
retired; and a descriptor that was checked when it was learned is believed after a restart, although it may not reach
back to the pinned key. Both end where a person changes what is pinned.

All peers of a running node, from three sources: the peers file, pairings, and what was found and accepted.

The registry (who answers for a party) and the key ring (whose key is this) are replaced together, at once and only as
a whole: a change that would make two peers claim one party is refused, and everything stays as it was. A change is
written first, in one transaction with what follows a peer to its new name (a name is only a label). Then it counts, and
then the workers are told: those of the new name find there what was owed to the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson
import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.config.peers_file import PeersFile, peer_from_entry, peer_to_entry, read_peers_file
from p2p_oicp.crypto import KeyRing, KnownKey, PublicKey
from p2p_oicp.errors import ConfigurationError, StoreError, VerificationError
from p2p_oicp.peers import Peer, PeerRegistry, Source
from p2p_oicp.peers.descriptor import SignedDescriptor, verify_descriptor, verify_key_chain
from p2p_oicp.storage import Row, Store, Transaction
from p2p_oicp.storage import peers as peer_rows
from p2p_oicp.storage.peers import RenameResult

# When a key ended that its owner does not name any more is not known.
_ALREADY_EXPIRED = 0.0


@dataclass(frozen=True, slots=True)
class TrustedDescriptor:
    """A descriptor; ``pins`` are the ids of those pinned keys that it, or one before it, named."""

    signed: SignedDescriptor
    endorsed_keys: frozenset[str]

    @classmethod
    def of(cls, signed: SignedDescriptor, peer: Peer, previous: TrustedDescriptor | None = None) -> TrustedDescriptor:
        """Return a descriptor of ``peer`` as it is to be remembered; ``before`` is the one that it follows."""
        keys = signed.descriptor.keys
        endorsed = {known.key.key_id for known in keys} | {
            known.endorsement.endorser_key_id for known in keys if known.endorsement
        }
        previously_endorsed = previous.endorsed_keys if previous is not None else frozenset()
        return cls(signed, frozenset(key.key_id for key in _pinned_keys(peer)) & (endorsed | previously_endorsed))

    def revalidated_for(self, peer: Peer) -> TrustedDescriptor:
        """Return it as it counts for ``peer`` now; raise NotProven where a person has unpinned what vouched for it."""
        pinned = _pinned_keys(peer)
        if not self.endorsed_keys or not self.endorsed_keys <= {key.key_id for key in pinned}:
            verify_key_chain(self.signed, pinned)
        return TrustedDescriptor.of(self.signed, peer, self)

    def keys_of(self, peer: Peer) -> Iterator[KnownKey]:
        """Return first those of ``pins``, retired, and then what the descriptor says, of some of them as well."""
        for pinned_key in _pinned_keys(peer):
            if pinned_key.key_id in self.endorsed_keys:
                yield KnownKey(pinned_key, peer.name, valid_until=_ALREADY_EXPIRED)
        for published in self.signed.descriptor.keys:
            yield KnownKey(published.key, peer.name, published.valid_from, published.valid_until)


def _pinned_keys(peer: Peer) -> list[PublicKey]:
    return [PublicKey.from_base64(line) for line in peer.public_keys]


log = structlog.get_logger(__name__)

_POLL_INTERVAL_SECONDS = 2.0

_TransactionStep = Callable[[Transaction], object]


@dataclass(frozen=True, slots=True)
class PeersChanged:
    """What became of the peers: new ones, those that are gone, and those that are another than before."""

    added: tuple[Peer, ...] = ()
    removed: tuple[Peer, ...] = ()
    changed: tuple[Peer, ...] = ()


class PeerDirectory:
    """Keeps registry and key ring in step with file and store.

    ``on_peers_changed`` is called after each change of the peers, ``on_credentials_changed`` after each change of their
    keys and certificates.
    """

    def __init__(
        self,
        local_peer: Peer,
        peers_file: Path,
        *,
        is_optional: bool,
        store: Store,
        registry: PeerRegistry,
        keyring: KeyRing,
        clock: Clock,
    ) -> None:
        self._local_peer = local_peer
        self._path = peers_file
        self._is_optional = is_optional
        self._store = store
        self._registry = registry
        self._keyring = keyring
        self._clock = clock
        self._file = PeersFile()
        self._last_file_signature: object = None
        self._stored_peers: dict[str, Peer] = {}
        self._descriptors: dict[str, TrustedDescriptor] = {}
        self._change_lock = asyncio.Lock()
        self._peer_listeners: list[Callable[[PeersChanged], None]] = []
        self._credential_listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[PeersChanged], None]) -> None:
        """Call ``listener`` after each change of the peers, once it counts."""
        self._peer_listeners.append(listener)

    def subscribe_credentials(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change of the peers' keys and certificates."""
        self._credential_listeners.append(listener)

    async def load(self) -> None:
        """Read everything; raise ConfigurationError where the sources contradict each other."""
        stored = [_parse_stored_peer(row) for row in await self._store.query(peer_rows.ALL_PEERS)]
        self._last_file_signature = _file_signature(self._path)
        await self._replace_peers(self._read_peers_file(), {peer.name: peer for peer in stored if peer is not None})

    async def reload(self) -> str | None:
        """Read the peers file again; a mistake in it is logged and returned, and everything stays as it was."""
        self._last_file_signature = _file_signature(self._path)
        try:
            async with self._change_lock:
                await self._replace_peers(self._read_peers_file(), self._stored_peers)
        except ConfigurationError as error:
            log.error("peers.reload_failed", reason=str(error))  # noqa: TRY400 - the text says it all
            return str(error)
        except StoreError as error:
            self._last_file_signature = None  # the watch tries again
            log.warning("peers.reload_failed", reason=str(error), meaning="tried again in a moment")
            return str(error)
        return None

    async def watch(self) -> None:
        """Reload whenever the peers file has changed; until cancelled."""
        while True:
            await asyncio.sleep(_POLL_INTERVAL_SECONDS)
            if _file_signature(self._path) != self._last_file_signature:
                await self.reload()

    def check_can_add(self, peer: Peer, signed: SignedDescriptor | None) -> None:
        """Raise ConfigurationError if ``peer`` cannot be added: it is unusable, or would take something from others."""
        try:
            peer_from_entry(peer_to_entry(peer), peer.source)
        except ConfigurationError as error:
            raise ConfigurationError(f"what would be stored of this peer cannot be used: {error}") from error
        known_keys = self._keyring.keys_of(peer.name)
        if peer.name in self._stored_peers and known_keys and self._valid_keys(peer.name).isdisjoint(peer.public_keys):
            raise ConfigurationError(f'"{peer.name}" is a peer of this node already, with another key; remove it first')
        PeerRegistry((self._local_peer, *self._file.peers, *({**self._stored_peers, peer.name: peer}).values()))
        if signed is not None and (conflict := self._key_conflict(peer.name, signed)):
            raise ConfigurationError(conflict)

    async def add(self, peer: Peer, signed: SignedDescriptor | None, *extra_steps: _TransactionStep) -> None:
        """Add a peer for good, in one transaction with ``also``; raise ConfigurationError as ``check``.

        Without its descriptor it is believed whatever key it has.
        """
        async with self._change_lock:
            self.check_can_add(peer, signed)
            entry, now = orjson.dumps(peer_to_entry(peer)), self._clock.time()
            steps: list[_TransactionStep] = [
                *extra_steps,
                partial(peer_rows.upsert_peer, name=peer.name, source=peer.source, entry=entry, now=now),
            ]
            if signed is not None:
                steps.append(self._upsert_descriptor_step(peer.name, TrustedDescriptor.of(signed, peer)))
            await self._replace_peers(self._file, {**self._stored_peers, peer.name: peer}, *steps)

    def find_removable(self, name: str) -> Peer:
        """Return a peer that can be removed; raise ConfigurationError as ``remove``."""
        peer = self._stored_peers.get(name)
        if peer is None:
            registered = self._registry.by_name(name)
            reason = (
                f"stands in {self._path}: remove it there"
                if registered and not registered.is_self
                else "is no peer here"
            )
            raise ConfigurationError(f'"{name}" {reason}')
        return peer

    async def remove(self, name: str) -> Peer:
        """Forget a peer that was paired or found; raise ConfigurationError where the peers file has it, or nobody."""
        async with self._change_lock:
            peer = self.find_removable(name)
            remaining = {other: remaining for other, remaining in self._stored_peers.items() if other != name}
            await self._replace_peers(self._file, remaining, lambda tx: peer_rows.delete_peer(tx, name))
        return peer

    async def update_descriptor(self, name: str, signed: SignedDescriptor) -> None:
        """Take over a newer descriptor of a peer; raise NotProven where its keys do not vouch for it."""
        async with self._change_lock:
            peer = self._registry.by_name(name)
            if peer is None:
                raise VerificationError(f"{name} is no longer a peer of this node")
            self._check_descriptor(peer, signed)
            trusted = TrustedDescriptor.of(signed, peer, self._descriptors.get(name))
            await self._store.write(self._upsert_descriptor_step(name, trusted))
            self._descriptors[name] = trusted
            self._rebuild_keyring()

    def owner_of(self, key: PublicKey) -> str | None:
        """Return the name of the peer whose key this is."""
        return self._keyring.owner(key)

    def descriptor_of(self, name: str) -> SignedDescriptor | None:
        """Return the newest descriptor that is known of a peer."""
        trusted = self._descriptors.get(name)
        return trusted.signed if trusted is not None else None

    def certificates_of(self, peer: Peer) -> tuple[str, ...]:
        """Return by which certificates a peer is known: those of its entry, and of its descriptor."""
        signed = self.descriptor_of(peer.name)
        return (*peer.certificates, *(signed.descriptor.certificates if signed is not None else ()))

    def _read_peers_file(self) -> PeersFile:
        if self._is_optional and not self._path.exists():
            return PeersFile()
        return read_peers_file(self._path)

    def _check_descriptor(self, peer: Peer, signed: SignedDescriptor) -> None:
        current = self.descriptor_of(peer.name)
        if current is not None and signed.descriptor.issued_at < current.descriptor.issued_at:
            raise VerificationError(f"{peer.name} has given a newer descriptor before")
        if conflict := self._key_conflict(peer.name, signed):
            raise VerificationError(conflict)
        verify_key_chain(signed, map(PublicKey.from_base64, self._valid_keys(peer.name)))
        if self._keyring.is_banned(signed.key):
            raise VerificationError(f"key {signed.key.key_id} is banned here")

    def _key_conflict(self, name: str, signed: SignedDescriptor) -> str | None:
        """Say which key of another peer a descriptor lists, None where all are its own."""
        for published in signed.descriptor.keys:
            if (owner := self._keyring.owner(published.key)) not in {None, name}:
                return f"{name} lists key {published.key.key_id}, which is {owner}'s"
        return None

    def _valid_keys(self, name: str) -> set[str]:
        """Return the keys of a peer that are not retired."""
        now = self._clock.time()
        return {k.key.der_base64 for k in self._keyring.keys_of(name) if k.valid_until is None or now <= k.valid_until}

    def _upsert_descriptor_step(self, name: str, trusted: TrustedDescriptor) -> _TransactionStep:
        signed, now = trusted.signed, self._clock.time()
        issued_at = signed.descriptor.issued_at
        return partial(
            peer_rows.upsert_descriptor,
            peer=name,
            issued_at=issued_at,
            now=now,
            endorsed_keys=trusted.endorsed_keys,
            body=signed.body,
        )

    async def _replace_peers(self, file: PeersFile, stored_peers: Mapping[str, Peer], *steps: _TransactionStep) -> None:
        """Have these peers, with what ``steps`` write; raise ConfigurationError, with nothing changed, as ``check``."""
        registry = PeerRegistry((self._local_peer, *file.peers, *stored_peers.values()))
        parties = {peer.name: _party_keys(peer) for peer in registry.all() if not peer.is_self}

        def job(tx: Transaction) -> tuple[RenameResult, list[peer_rows.StoredDescriptor]]:
            for step in steps:
                step(tx)
            return peer_rows.rename_peers(tx, parties), list(peer_rows.list_descriptors(tx))

        rename_result, stored_descriptors = await self._store.write(job)
        _log_renames(rename_result)
        self._file, self._stored_peers = file, dict(stored_peers)
        self._descriptors = self._restore_descriptors(registry, stored_descriptors)
        self._publish(registry.all())

    def _restore_descriptors(
        self, registry: PeerRegistry, descriptors: Iterable[peer_rows.StoredDescriptor]
    ) -> dict[str, TrustedDescriptor]:
        restored = {}
        for name, endorsed_keys, body in descriptors:
            peer, current = registry.by_name(name), self.descriptor_of(name)
            if peer is None:
                continue
            try:
                signed = current if current is not None and current.body == body else verify_descriptor(body)
                restored[name] = TrustedDescriptor(signed, endorsed_keys).revalidated_for(peer)
            except VerificationError as error:
                log.warning("peers.descriptor_discarded", peer=name, reason=str(error))
        return restored

    def _publish(self, peers: tuple[Peer, ...]) -> None:
        previous = {peer.name: peer for peer in self._registry.all()}
        self._registry.replace(peers)
        self._rebuild_keyring()
        current = {peer.name: peer for peer in peers}
        change = PeersChanged(
            tuple(peer for name, peer in current.items() if name not in previous),
            tuple(peer for name, peer in previous.items() if name not in current),
            tuple(peer for name, peer in current.items() if name in previous and previous[name] != peer),
        )
        if change != PeersChanged():
            log.info("peers.changed", **_peer_names_by_change(change))
            for listener in self._peer_listeners:
                listener(change)

    def _rebuild_keyring(self) -> None:
        """Fill the key ring anew: first what is pinned, so that nobody's descriptor can take another's key."""
        keys: dict[str, KnownKey] = {}
        for peer in self._registry.all():
            for line in peer.public_keys:
                key = PublicKey.from_base64(line)
                keys[key.key_id] = KnownKey(key, peer.name)
        for peer in self._registry.all():
            if (trusted := self._descriptors.get(peer.name)) is not None:
                for known_key in trusted.keys_of(peer):
                    if keys.setdefault(known_key.key.key_id, known_key).owner == peer.name:
                        keys[known_key.key.key_id] = known_key
        self._keyring.replace(keys.values(), self._file.banned_keys)
        for listener in self._credential_listeners:
            listener()


def _parse_stored_peer(row: Row) -> Peer | None:
    """Return a peer that was paired or found, None where this program cannot use what was stored of it."""
    try:
        return peer_from_entry(orjson.loads(row["entry"]), Source(row["source"]))
    except (ConfigurationError, ValueError) as error:
        meaning = "this node goes on without it; pair with it again"
        log.error("peers.stored_peer_invalid", peer=row["name"], reason=str(error), meaning=meaning)  # noqa: TRY400 - as above
        return None


def _party_keys(peer: Peer) -> list[str]:
    return [party.key for party in (*peer.operators, *peer.providers)]


def _log_renames(rename_result: RenameResult) -> None:
    for old, new in rename_result.renamed.items():
        log.info("peer.renamed", old=old, new=new)
    for name, pending_messages in rename_result.orphaned_messages.items():
        log.warning(
            "peer.removed_with_pending_messages",
            peer=name,
            letters=pending_messages,
            meaning="nobody brings these; enter the peer again",
        )


def _peer_names_by_change(change: PeersChanged) -> dict[str, list[str]]:
    groups = {"added": change.added, "removed": change.removed, "changed": change.changed}
    return {name: [peer.name for peer in peers] for name, peers in groups.items() if peers}


def _file_signature(path: Path) -> object:
    try:
        stat_result = path.stat()
    except OSError:
        return None
    return (stat_result.st_mtime_ns, stat_result.st_size, stat_result.st_ino)
