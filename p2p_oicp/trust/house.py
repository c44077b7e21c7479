"""Everything about trust in one running node, put together once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity import KeyRing, MessageSigner, OwnKeys, ReplayGuard, read_own_keys
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import Store
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust.directory import Directory
from p2p_oicp.trust.fresh_keys import FreshKeys
from p2p_oicp.trust.pairing import OurSide, Pairing
from p2p_oicp.trust.peer_states import PeerStates

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """Where keys, peers and nonces are."""

    keys: Path
    peers: Path
    nonces: Path


class Trust:
    """Keys, peers and what proves who they are; a context manager.

    ``require`` is what requests of peers must carry. Raises ConfigurationError where our own keys are needed and
    cannot be used.
    """

    def __init__(
        self, me: Peer, *, registry: PeerRegistry, require: tuple[str, ...], files: TrustFiles, clock: Clock
    ) -> None:
        self.me = me
        self.registry = registry
        self.require = require
        self.clock = clock
        self.ring = KeyRing()
        self.guard = ReplayGuard(files.nonces)
        self._files = files
        self.signer = MessageSigner(self._read_keys(), self.ring, clock, needs_signature=self._needs_signature)
        self.directory: Directory
        self.fresh_keys: FreshKeys
        self.ours: OurSide
        self.pairing: Pairing
        self.states: PeerStates

    def __enter__(self) -> Self:
        self.guard.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.guard.__exit__(kind, exc, trace)

    async def open(self, store: Store, client: OicpClient, operations: tuple[str, ...]) -> None:
        """Read the peers; ``operations`` are the names of those that this node serves."""
        self.directory = Directory(
            self.me, self._files.peers, store=store, registry=self.registry, ring=self.ring, clock=self.clock
        )
        await self.directory.load()
        self.fresh_keys = FreshKeys(registry=self.registry, directory=self.directory, client=client, clock=self.clock)
        client.refresh = self.fresh_keys.fetch
        self.ours = OurSide(self.me, operations, self.require, self.signer, self.clock)
        self.pairing = Pairing(self.ours, directory=self.directory, store=store, client=client)
        self.states = PeerStates(
            registry=self.registry, ring=self.ring, store=store, clock=self.clock, needed=self.needed
        )

    async def reload(self) -> None:
        """Read our keys and the peers file again; a mistake is logged, and what it concerns stays as it was."""
        try:
            self.signer.keys = self._read_keys()
        except ConfigurationError as error:
            log.error("keys.unchanged", reason=str(error))  # noqa: TRY400 - the text says it all
        await self.directory.reload()

    def needed(self, peer: Peer | None) -> tuple[str, ...]:
        """Return what a peer's requests must carry."""
        return self.require if peer is None or peer.security is None else peer.security

    def _needs_signature(self, name: str) -> bool:
        peer = self.registry.by_name(name)
        return peer is not None and not peer.is_self and "signature" in self.needed(peer)

    def _read_keys(self) -> OwnKeys:
        """Return our keys; an insecure node among insecure peers may have none."""
        is_needed = "signature" in self.require or any(self._needs_signature(p.name) for p in self.registry.all())
        if is_needed or self._files.keys.exists():
            return read_own_keys(self._files.keys)
        return OwnKeys(())
