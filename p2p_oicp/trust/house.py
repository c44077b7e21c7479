"""Everything about trust in one running node, put together once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Self

import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity import (
    KeyRing,
    MessageSigner,
    OwnKeys,
    PrivateKey,
    ReplayGuard,
    read_own_keys,
)
from p2p_oicp.identity.certificates import Certificate, fingerprint_of
from p2p_oicp.identity.keystore import OwnKey
from p2p_oicp.identity.tls import TlsIdentity, client_context
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import Store
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust.directory import Directory
from p2p_oicp.trust.discovery import Discovery
from p2p_oicp.trust.evidence import EvidenceBook
from p2p_oicp.trust.fresh_keys import FreshKeys
from p2p_oicp.trust.pairing import OurSide, Pairing
from p2p_oicp.trust.peer_states import PeerStates

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """Where keys, peers and nonces are; ``tls``: certificate, its key and the CA; a peers file may be optional."""

    keys: Path
    peers: Path
    nonces: Path
    tls: tuple[Path | None, Path | None, Path | None] = (None, None, None)
    peers_may_be_absent: bool = False


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
        self.guard = ReplayGuard(files.nonces, clock.monotonic)
        self._files = files
        self._pinned: dict[str, str] = {}
        self._contexts: dict[tuple[tuple[str, ...], Path | None], SSLContext] = {}
        certificate, key, ca = files.tls
        self.tls = TlsIdentity(certificate, key, ca) if certificate is not None and key is not None else None
        if "mtls" in require and self.tls is None:
            raise ConfigurationError(
                '[security] require has "mtls": expected [tls] certificate = "…" and key = "…" as well'
            )
        self.signer = MessageSigner(self._read_keys(), self.ring, clock, needs_signature=self._needs_signature)
        self.directory: Directory
        self.fresh_keys: FreshKeys
        self.ours: OurSide
        self.pairing: Pairing
        self.evidence: EvidenceBook
        self.states: PeerStates
        self.discovery: Discovery | None = None

    def __enter__(self) -> Self:
        self.guard.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.guard.__exit__(kind, exc, trace)

    async def open(self, store: Store, client: OicpClient) -> None:
        """Read the peers."""
        self.directory = Directory(
            self.me,
            self._files.peers,
            is_optional=self._files.peers_may_be_absent,
            store=store,
            registry=self.registry,
            ring=self.ring,
            clock=self.clock,
        )
        self.directory.on_trust = self._trust_certificates
        await self.directory.load()
        self.fresh_keys = FreshKeys(registry=self.registry, directory=self.directory, client=client, clock=self.clock)
        client.refresh = self.fresh_keys.fetch
        client.tls = self._tls_for
        self.ours = OurSide(self.me, self.require, self.signer, self.clock, self.tls)
        self.pairing = Pairing(self.ours, directory=self.directory, store=store, client=client)
        self.evidence = EvidenceBook(self.ours, store=store, directory=self.directory, ring=self.ring, clock=self.clock)
        client.keep = self.evidence.sent.keep
        self.states = PeerStates(
            registry=self.registry, ring=self.ring, store=store, clock=self.clock, needed=self.needed
        )

        if insecure := self.insecure_peers():
            log.warning("peers.insecure", peers=insecure, meaning="they are believed without proof")

    def discover(
        self,
        client: OicpClient,
        interfaces: Sequence[str],
        auto_accept: bool,  # noqa: FBT001 - a setting, as it is
        is_up: Callable[[str], Awaitable[None]],
    ) -> Discovery:
        """Return what finds nodes in the local network, to be entered and run."""
        if auto_accept and self.require:
            raise ConfigurationError("[discovery] auto_accept: only where nobody has to prove anything (require = [])")
        self.discovery = Discovery(
            self.ours,
            directory=self.directory,
            client=client,
            clock=self.clock,
            interfaces=interfaces,
            auto_accept=auto_accept,
            is_up=is_up,
        )
        self.states.candidates = self.discovery.candidates
        return self.discovery

    async def reload(self) -> list[str]:
        """Read our keys, our certificate and the peers file again; what cannot be used stays as it was.

        Returns why, once for each of the three; it is logged as well.
        """
        reasons = [
            _take_over("keys.unchanged", self._reload_keys),
            _take_over("certificate.unchanged", self._reload_tls),
            await self.directory.reload(),
        ]
        return [reason for reason in reasons if reason is not None]

    def _reload_keys(self) -> None:
        self.signer.keys = self._read_keys()

    def _reload_tls(self) -> None:
        if self.tls is not None:
            self.tls.reload()
        self._contexts.clear()

    def needed(self, peer: Peer | None) -> tuple[str, ...]:
        """Return what a peer's requests must carry."""
        return self.require if peer is None or peer.security is None else peer.security

    def peer_of_certificate(self, der: bytes) -> Peer | None:
        """Return the peer that a client certificate (DER) is of, None where it is nobody's.

        (1) Whoever is known by it. (2) If the CA has issued it, whoever has a party that it names, as a whole.
        """
        owner = self._pinned.get(fingerprint_of(der))
        if owner is not None:
            return self.registry.by_name(owner)  # (1)
        certificate = Certificate(der)
        if self.tls is None or not self.tls.issued(certificate):
            return None
        names = certificate.names()
        for peer in self.registry.all():
            parties = {party.text for party in (*peer.operators, *peer.providers)}
            if not peer.is_self and not self.directory.certificates_of(peer) and not names.isdisjoint(parties):
                return peer  # (2)
        return None

    def _trust_certificates(self) -> None:
        """Take over by which certificates the peers are known."""
        pinned: dict[str, str] = {}
        for peer in self.registry.all():
            for line in self.directory.certificates_of(peer):
                is_fingerprint = line.startswith("SHA256:")
                pinned.setdefault(line if is_fingerprint else Certificate.from_line(line).fingerprint, peer.name)
                if self.tls is not None:
                    self.tls.trust([line])
        self._pinned = pinned

    def _tls_for(self, name: str | None) -> SSLContext:
        """Return the context to call a peer with; for anybody else, as for our own systems, the system's CAs count."""
        peer = self.registry.by_name(name) if name is not None else None
        if peer is None:
            return self._plain_tls((), ca=None)
        certificates = self.directory.certificates_of(peer)
        if self.tls is not None:
            return self.tls.client(certificates)
        return self._plain_tls(certificates, ca=self._files.tls[2])

    def _plain_tls(self, certificates: tuple[str, ...], ca: Path | None) -> SSLContext:
        context = self._contexts.get((certificates, ca))
        if context is None:
            context = self._contexts[certificates, ca] = client_context(certificates, ca)
        return context

    def insecure_peers(self) -> list[str]:
        """Return the names of the peers that are believed without proof."""
        return [peer.name for peer in self.registry.all() if not peer.is_self and not self.needed(peer)]

    def _needs_signature(self, name: str) -> bool:
        peer = self.registry.by_name(name)
        return peer is not None and not peer.is_self and "signature" in self.needed(peer)

    def _read_keys(self) -> OwnKeys:
        """Return our keys; an insecure node among insecure peers may have none."""
        is_needed = "signature" in self.require or any(self._needs_signature(p.name) for p in self.registry.all())
        if is_needed or self._files.keys.exists():
            return read_own_keys(self._files.keys)
        return OwnKeys((_passing_key(),))


def _take_over(event: str, reload: Callable[[], None]) -> str | None:
    """Run ``reload``; where it cannot use what it reads, log that as ``event`` and return why."""
    try:
        reload()
    except ConfigurationError as error:
        log.error(event, reason=str(error))  # noqa: TRY400 - the text says it all
        return str(error)
    return None


def _passing_key() -> OwnKey:
    """Return a key for as long as this process lives: its descriptor has to be signed by something."""
    key = PrivateKey.generate()
    return OwnKey(key.public, private=key)
