"""All peers of a running node, from three sources: the peers file, pairings, and what was found and accepted.

The registry (who answers for a party) and the key ring (whose key is this) are replaced together, at once and only as
a whole: a change that would make two peers claim one party is refused, and everything stays as it was. A change is
written first, in one transaction with what follows a peer to its new name (a name is only a label). Then it counts, and
then the workers are told: those of the new name find there what was owed to the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson
import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.errors import ConfigurationError, NotProven, StoreError
from p2p_oicp.identity import KeyRing, KnownKey, PublicKey
from p2p_oicp.peers import Peer, PeerRegistry, PeersFile, Source, entry_of, peer_of_entry, read_peers_file
from p2p_oicp.peers.descriptor import SignedDescriptor, check_lineage, open_descriptor
from p2p_oicp.storage import Row, Store, Transaction, pairings, peer_names
from p2p_oicp.storage.peer_names import Followed
from p2p_oicp.trust.learned import Learned

log = structlog.get_logger(__name__)

_LOOK_EVERY_SECONDS = 2.0

_Step = Callable[[Transaction], object]


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
        self._learned: dict[str, Learned] = {}
        self._changing = asyncio.Lock()
        self.on_change: Callable[[Change], None] = lambda _change: None
        self.on_trust: Callable[[], None] = lambda: None

    async def load(self) -> None:
        """Read everything; raise ConfigurationError where the sources contradict each other."""
        stored = [_stored(row) for row in await self._store.read(pairings.ALL)]
        self._seen = _stamp(self._path)
        await self._become(self._read(), {peer.name: peer for peer in stored if peer is not None})

    async def reload(self) -> str | None:
        """Read the peers file again; a mistake in it is logged and returned, and everything stays as it was."""
        self._seen = _stamp(self._path)
        try:
            async with self._changing:
                await self._become(self._read(), self._kept)
        except ConfigurationError as error:
            log.error("peers.unchanged", reason=str(error))  # noqa: TRY400 - the text says it all
            return str(error)
        except StoreError as error:
            self._seen = None  # the watch tries again
            log.warning("peers.unchanged", reason=str(error), meaning="tried again in a moment")
            return str(error)
        return None

    async def watch(self) -> None:
        """Reload whenever the peers file has changed; until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            if _stamp(self._path) != self._seen:
                await self.reload()

    def check(self, peer: Peer, signed: SignedDescriptor | None) -> None:
        """Raise ConfigurationError if ``peer`` cannot be added: it is unusable, or would take something from others."""
        try:
            peer_of_entry(entry_of(peer), peer.source)
        except ConfigurationError as unusable:
            raise ConfigurationError(f"what would be stored of this peer cannot be used: {unusable}") from unusable
        known = self._ring.of(peer.name)
        if peer.name in self._kept and known and self._counting(peer.name).isdisjoint(peer.public_keys):
            raise ConfigurationError(f'"{peer.name}" is a peer of this node already, with another key; remove it first')
        PeerRegistry((self._me, *self._file.peers, *({**self._kept, peer.name: peer}).values()))
        if signed is not None and (taken := self._taken(peer.name, signed)):
            raise ConfigurationError(taken)

    async def add(self, peer: Peer, signed: SignedDescriptor | None, *also: _Step) -> None:
        """Add a peer for good, in one transaction with ``also``; raise ConfigurationError as ``check``.

        Without its descriptor it is believed whatever key it has.
        """
        async with self._changing:
            self.check(peer, signed)
            entry, now = orjson.dumps(entry_of(peer)), self._clock.time()
            steps: list[_Step] = [
                *also,
                partial(pairings.keep, name=peer.name, source=peer.source, entry=entry, now=now),
            ]
            if signed is not None:
                steps.append(self._learning(peer.name, Learned.of(signed, peer)))
            await self._become(self._file, {**self._kept, peer.name: peer}, *steps)

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
        async with self._changing:
            peer = self.removable(name)
            kept = {other: kept for other, kept in self._kept.items() if other != name}
            await self._become(self._file, kept, lambda tx: pairings.remove(tx, name))
        return peer

    async def learn(self, name: str, signed: SignedDescriptor) -> None:
        """Take over a newer descriptor of a peer; raise NotProven where its keys do not vouch for it."""
        async with self._changing:
            peer = self._registry.by_name(name)
            if peer is None:
                raise NotProven(f"{name} is no longer a peer of this node")
            self._check_descriptor(peer, signed)
            learned = Learned.of(signed, peer, self._learned.get(name))
            await self._store.write(self._learning(name, learned))
            self._learned[name] = learned
            self._fill_ring()

    def owner_of(self, key: PublicKey) -> str | None:
        """Return the name of the peer whose key this is."""
        return self._ring.owner_of(key)

    def descriptor_of(self, name: str) -> SignedDescriptor | None:
        """Return the newest descriptor that is known of a peer."""
        learned = self._learned.get(name)
        return learned.signed if learned is not None else None

    def certificates_of(self, peer: Peer) -> tuple[str, ...]:
        """Return by which certificates a peer is known: those of its entry, and of its descriptor."""
        signed = self.descriptor_of(peer.name)
        return (*peer.certificates, *(signed.descriptor.certificates if signed is not None else ()))

    def _read(self) -> PeersFile:
        if self._is_optional and not self._path.exists():
            return PeersFile()
        return read_peers_file(self._path)

    def _check_descriptor(self, peer: Peer, signed: SignedDescriptor) -> None:
        known = self.descriptor_of(peer.name)
        if known is not None and signed.descriptor.issued_at < known.descriptor.issued_at:
            raise NotProven(f"{peer.name} has given a newer descriptor before")
        if taken := self._taken(peer.name, signed):
            raise NotProven(taken)
        check_lineage(signed, map(PublicKey.from_line, self._counting(peer.name)))
        if self._ring.is_banned(signed.key):
            raise NotProven(f"key {signed.key.key_id} is banned here")

    def _taken(self, name: str, signed: SignedDescriptor) -> str | None:
        """Say which key of another peer a descriptor lists, None where all are its own."""
        for listed in signed.descriptor.keys:
            if (owner := self._ring.owner_of(listed.key)) not in {None, name}:
                return f"{name} lists key {listed.key.key_id}, which is {owner}'s"
        return None

    def _counting(self, name: str) -> set[str]:
        """Return the keys of a peer that are not retired."""
        now = self._clock.time()
        return {k.key.line for k in self._ring.of(name) if k.valid_until is None or now <= k.valid_until}

    def _learning(self, name: str, learned: Learned) -> _Step:
        signed, now = learned.signed, self._clock.time()
        issued_at = signed.descriptor.issued_at
        return partial(pairings.learn, peer=name, issued_at=issued_at, now=now, pins=learned.pins, body=signed.body)

    async def _become(self, file: PeersFile, kept: Mapping[str, Peer], *steps: _Step) -> None:
        """Have these peers, with what ``steps`` write; raise ConfigurationError, with nothing changed, as ``check``."""
        there = PeerRegistry((self._me, *file.peers, *kept.values()))
        parties = {peer.name: _parties(peer) for peer in there.all() if not peer.is_self}

        def job(tx: Transaction) -> tuple[Followed, list[pairings.Known]]:
            for step in steps:
                step(tx)
            return peer_names.follow(tx, parties), list(pairings.known_descriptors(tx))

        followed, descriptors = await self._store.write(job)
        _report(followed)
        self._file, self._kept = file, dict(kept)
        self._learned = self._recalled(there, descriptors)
        self._take(there.all())

    def _recalled(self, there: PeerRegistry, descriptors: Iterable[pairings.Known]) -> dict[str, Learned]:
        recalled = {}
        for name, pins, body in descriptors:
            peer, known = there.by_name(name), self.descriptor_of(name)
            if peer is None:
                continue
            try:
                signed = known if known is not None and known.body == body else open_descriptor(body)
                recalled[name] = Learned(signed, pins).recalled_for(peer)
            except NotProven as error:
                log.warning("peers.descriptor_forgotten", peer=name, reason=str(error))
        return recalled

    def _take(self, peers: tuple[Peer, ...]) -> None:
        before = {peer.name: peer for peer in self._registry.all()}
        self._registry.replace(peers)
        self._fill_ring()
        after = {peer.name: peer for peer in peers}
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
        for peer in self._registry.all():
            if (learned := self._learned.get(peer.name)) is not None:
                for known in learned.keys_of(peer):
                    if keys.setdefault(known.key.key_id, known).owner == peer.name:
                        keys[known.key.key_id] = known
        self._ring.replace(keys.values(), self._file.banned_keys)
        self.on_trust()


def _stored(row: Row) -> Peer | None:
    """Return a peer that was paired or found, None where this program cannot use what was stored of it."""
    try:
        return peer_of_entry(orjson.loads(row["entry"]), Source(row["source"]))
    except (ConfigurationError, ValueError) as error:
        meaning = "this node goes on without it; pair with it again"
        log.error("peers.unusable", peer=row["name"], reason=str(error), meaning=meaning)  # noqa: TRY400 - as above
        return None


def _parties(peer: Peer) -> list[str]:
    return [party.key for party in (*peer.operators, *peer.providers)]


def _report(followed: Followed) -> None:
    for old, new in followed.renamed.items():
        log.info("peer.renamed", old=old, new=new)
    for name, letters in followed.stranded.items():
        log.warning("peer.gone", peer=name, letters=letters, meaning="nobody brings these; enter the peer again")


def _names(change: Change) -> dict[str, list[str]]:
    parts = {"added": change.added, "removed": change.removed, "changed": change.changed}
    return {name: [peer.name for peer in peers] for name, peers in parts.items() if peers}


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
