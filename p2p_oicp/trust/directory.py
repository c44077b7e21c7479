"""All peers of a running node, from three sources: the peers file, pairings, and what was found and accepted.

The registry (who answers for a party) and the key ring (whose key is this) are replaced together, at once and only as
a whole: a change that would make two peers claim one party is refused, and everything stays as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.errors import ConfigurationError, NotProven
from p2p_oicp.identity import KeyRing, KnownKey, PublicKey
from p2p_oicp.peers import Peer, PeerRegistry, PeersFile, Source, entry_of, peer_of_entry, read_peers_file
from p2p_oicp.peers.descriptor import SignedDescriptor, check_lineage, open_descriptor
from p2p_oicp.storage import Store, Transaction, pairings, peer_names

log = structlog.get_logger(__name__)

_LOOK_EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the peers: new ones, those that are gone, and those that are another than before."""

    added: tuple[Peer, ...] = ()
    removed: tuple[Peer, ...] = ()
    changed: tuple[Peer, ...] = ()


class Directory:
    """Keeps registry and key ring in step with file and store.

    ``on_change`` is told after each change of the peers, ``on_trust`` after each of their keys and certificates.
    """

    def __init__(
        self,
        me: Peer,
        peers_file: Path,
        *,
        is_optional: bool,
        store: Store,
        registry: PeerRegistry,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._me = me
        self._path = peers_file
        self._is_optional = is_optional
        self._store = store
        self._registry = registry
        self._ring = ring
        self._clock = clock
        self._file = PeersFile()
        self._seen: object = None
        self._kept: dict[str, Peer] = {}
        self._descriptors: dict[str, SignedDescriptor] = {}
        self.on_change: Callable[[Change], None] = lambda _change: None
        self.on_trust: Callable[[], None] = lambda: None

    async def load(self) -> None:
        """Read everything; raise ConfigurationError where the sources contradict each other."""
        for row in await self._store.read(pairings.ALL):
            self._kept[row["name"]] = peer_of_entry(orjson.loads(row["entry"]), Source(row["source"]))
        stored = {row["peer"]: row["body"] for row in await self._store.read(pairings.DESCRIPTORS)}
        self._seen = _stamp(self._path)
        self._take(self._read(), self._kept)
        for name, body in stored.items():
            self._recall(name, body)
        self._fill_ring()
        await self._follow_names()

    async def _follow_names(self) -> None:
        """Let what belongs to a peer follow it to its new name: a name is only a label."""
        others = [peer for peer in self._registry.all() if not peer.is_self]
        parties = {peer.name: [party.key for party in (*peer.operators, *peer.providers)] for peer in others}
        followed = await self._store.write(lambda tx: peer_names.follow(tx, parties))
        for old, new in followed.renamed.items():
            log.info("peer.renamed", old=old, new=new)
        for name, letters in followed.stranded.items():
            log.warning("peer.gone", peer=name, letters=letters, meaning="nobody brings these; enter the peer again")

    async def reload(self) -> str | None:
        """Read the peers file again; a mistake in it is logged and returned, and everything stays as it was."""
        self._seen = _stamp(self._path)
        try:
            self._take(self._read(), self._kept)
        except ConfigurationError as error:
            log.error("peers.unchanged", reason=str(error))  # noqa: TRY400 - the text says it all
            return str(error)
        return None

    async def watch(self) -> None:
        """Reload whenever the peers file has changed; until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            if _stamp(self._path) != self._seen:
                await self.reload()

    def check(self, peer: Peer) -> None:
        """Raise ConfigurationError if ``peer`` cannot be added, for what it would take from others."""
        known = {key.key.line for key in self._ring.of(peer.name)}
        if peer.name in self._kept and known and known.isdisjoint(peer.public_keys):
            raise ConfigurationError(f'"{peer.name}" is a peer of this node already, with another key; remove it first')
        PeerRegistry((self._me, *self._file.peers, *({**self._kept, peer.name: peer}).values()))

    async def add(self, peer: Peer, signed: SignedDescriptor | None, *also: Callable[[Transaction], None]) -> None:
        """Add a peer for good, in one transaction with ``also``; raise ConfigurationError as ``check``.

        Without its descriptor it is believed whatever key it has.
        """
        self.check(peer)
        now = self._clock.time()

        def job(tx: Transaction) -> None:
            for step in also:
                step(tx)
            pairings.keep(tx, name=peer.name, source=peer.source, entry=orjson.dumps(entry_of(peer)), now=now)
            if signed is not None:
                issued_at = signed.descriptor.issued_at
                pairings.learn(tx, peer=peer.name, issued_at=issued_at, now=now, body=signed.body)

        await self._store.write(job)
        if signed is not None:
            self._descriptors[peer.name] = signed
        self._take(self._file, {**self._kept, peer.name: peer})

    def removable(self, name: str) -> Peer:
        """Return a peer that can be removed; raise ConfigurationError as ``remove``."""
        peer = self._kept.get(name)
        if peer is None:
            known = self._registry.by_name(name)
            where = f"stands in {self._path}: remove it there" if known and not known.is_self else "is no peer here"
            raise ConfigurationError(f'"{name}" {where}')
        return peer

    async def remove(self, name: str) -> Peer:
        """Forget a peer that was paired or found; raise ConfigurationError where the peers file has it, or nobody."""
        peer = self.removable(name)
        await self._store.write(lambda tx: pairings.remove(tx, name))
        self._descriptors.pop(name, None)
        self._take(self._file, {kept: other for kept, other in self._kept.items() if kept != name})
        return peer

    async def learn(self, name: str, signed: SignedDescriptor) -> None:
        """Take over a newer descriptor of a peer; raise NotProven where its keys do not vouch for it."""
        peer = self._registry.by_name(name)
        if peer is None:
            raise NotProven(f"{name} is no longer a peer of this node")
        self._check_descriptor(peer, signed)
        now, issued_at = self._clock.time(), signed.descriptor.issued_at
        await self._store.write(
            lambda tx: pairings.learn(tx, peer=name, issued_at=issued_at, now=now, body=signed.body)
        )
        self._descriptors[name] = signed
        self._fill_ring()

    def owner_of(self, key: PublicKey) -> str | None:
        """Return the name of the peer whose key this is."""
        return self._ring.owner_of(key)

    def descriptor_of(self, name: str) -> SignedDescriptor | None:
        """Return the newest descriptor that is known of a peer."""
        return self._descriptors.get(name)

    def certificates_of(self, peer: Peer) -> tuple[str, ...]:
        """Return by which certificates a peer is known: those of its entry, and of its descriptor."""
        signed = self._descriptors.get(peer.name)
        return (*peer.certificates, *(signed.descriptor.certificates if signed is not None else ()))

    def _read(self) -> PeersFile:
        if self._is_optional and not self._path.exists():
            return PeersFile()
        return read_peers_file(self._path)

    def _check_descriptor(self, peer: Peer, signed: SignedDescriptor) -> None:
        known = self._descriptors.get(peer.name)
        if known is not None and signed.descriptor.issued_at < known.descriptor.issued_at:
            raise NotProven(f"{peer.name} has given a newer descriptor before")
        for listed in signed.descriptor.keys:
            if (owner := self._ring.owner_of(listed.key)) not in {None, peer.name}:
                raise NotProven(f"{peer.name} lists key {listed.key.key_id}, which is {owner}'s")
        now = self._clock.time()
        counting = {k.key for k in self._ring.of(peer.name) if k.valid_until is None or now <= k.valid_until}
        check_lineage(signed, counting)
        if self._ring.is_banned(signed.key):
            raise NotProven(f"key {signed.key.key_id} is banned here")

    def _recall(self, name: str, body: bytes) -> None:
        peer = self._registry.by_name(name)
        if peer is None:
            return
        try:
            signed = open_descriptor(body)
            check_lineage(signed, [PublicKey.from_line(line) for line in peer.public_keys])
        except NotProven as error:
            log.warning("peers.descriptor_forgotten", peer=name, reason=str(error))
        else:
            self._descriptors[name] = signed

    def _take(self, file: PeersFile, kept: dict[str, Peer]) -> None:
        before = {peer.name: peer for peer in self._registry.all()}
        self._registry.replace((self._me, *file.peers, *kept.values()))
        self._file, self._kept = file, kept
        self._descriptors = {n: signed for n, signed in self._descriptors.items() if self._registry.by_name(n)}
        self._fill_ring()
        after = {peer.name: peer for peer in self._registry.all()}
        change = Change(
            tuple(peer for name, peer in after.items() if name not in before),
            tuple(peer for name, peer in before.items() if name not in after),
            tuple(peer for name, peer in after.items() if name in before and before[name] != peer),
        )
        if change != Change():
            log.info("peers.changed", **_names(change))
            self.on_change(change)

    def _fill_ring(self) -> None:
        """Fill the key ring anew: first what is pinned, so that nobody's descriptor can take another's key."""
        keys: dict[str, KnownKey] = {}
        for peer in self._registry.all():
            for line in peer.public_keys:
                key = PublicKey.from_line(line)
                keys[key.key_id] = KnownKey(key, peer.name)
        for name, signed in self._descriptors.items():
            for known in signed.descriptor.keys:
                owner = keys.get(known.key.key_id)
                if owner is None or owner.owner == name:
                    keys[known.key.key_id] = KnownKey(known.key, name, known.valid_from, known.valid_until)
        self._ring.replace(keys.values(), self._file.banned_keys)
        self.on_trust()


def _names(change: Change) -> dict[str, list[str]]:
    parts = {"added": change.added, "removed": change.removed, "changed": change.changed}
    return {name: [peer.name for peer in peers] for name, peers in parts.items() if peers}


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
