"""Everything about trust in one running node, put together once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Self

import structlog

from p2p_oicp.client import HttpTransport
from p2p_oicp.clock import Clock
from p2p_oicp.crypto import KeyRing, MessageSigner, OwnKeys, PrivateKey, ReplayCache, read_own_keys
from p2p_oicp.crypto.keystore import OwnKey
from p2p_oicp.crypto.tls import Certificate, TlsIdentity, client_context, fingerprint_of
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.discovery import MdnsDiscovery
from p2p_oicp.peering.evidence_recorder import EvidenceService
from p2p_oicp.peering.key_refresh import KeyRefresher
from p2p_oicp.peering.pairing import LocalIdentity, Pairing
from p2p_oicp.peering.peer_status import PeerStatusReporter
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IdentityPaths:
    """Where keys, peers and nonces are; ``tls``: certificate, its key and the CA; a peers file may be optional."""

    keys: Path
    peers: Path
    nonces: Path
    tls: tuple[Path | None, Path | None, Path | None] = (None, None, None)
    is_peers_file_optional: bool = False


class PeerTls:
    """Keys, peers and what proves who they are; a context manager.

    ``require`` is what requests of peers must carry. Raises ConfigurationError where our own keys are needed and
    cannot be used.
    """

    def __init__(
        self, local_peer: Peer, *, registry: PeerRegistry, require: tuple[str, ...], paths: IdentityPaths, clock: Clock
    ) -> None:
        self.local_peer = local_peer
        self.registry = registry
        self.require = require
        self.clock = clock
        self.keyring = KeyRing()
        self.replay_cache = ReplayCache(paths.nonces, clock.monotonic)
        self._paths = paths
        self._pinned_certificates: dict[str, str] = {}
        self._client_contexts: dict[tuple[tuple[str, ...], Path | None], SSLContext] = {}
        certificate, key, ca = paths.tls
        self.tls = TlsIdentity(certificate, key, ca) if certificate is not None and key is not None else None
        if "mtls" in require and self.tls is None:
            raise ConfigurationError(
                '[security] require has "mtls": expected [tls] certificate = "…" and key = "…" as well'
            )
        self.signer = MessageSigner(self._read_own_keys(), self.keyring, clock, needs_signature=self._needs_signature)
        self.directory: PeerDirectory
        self.key_refresher: KeyRefresher
        self.identity: LocalIdentity
        self.pairing: Pairing
        self.evidence: EvidenceService
        self.status_reporter: PeerStatusReporter
        self.discovery: MdnsDiscovery | None = None

    def __enter__(self) -> Self:
        self.replay_cache.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.replay_cache.__exit__(exc_type, exc, traceback)

    async def open(self, store: Store, client: HttpTransport) -> None:
        """Read the peers."""
        self.directory = PeerDirectory(
            self.local_peer,
            self._paths.peers,
            is_optional=self._paths.is_peers_file_optional,
            store=store,
            registry=self.registry,
            keyring=self.keyring,
            clock=self.clock,
        )
        self.directory.on_credentials_changed = self._rebuild_pins
        await self.directory.load()
        self.key_refresher = KeyRefresher(
            registry=self.registry, directory=self.directory, client=client, clock=self.clock
        )
        client.refresh_peer_keys = self.key_refresher.refresh
        client.tls_context_for = self._client_context_for_peer
        self.identity = LocalIdentity(self.local_peer, self.require, self.signer, self.clock, self.tls)
        self.pairing = Pairing(self.identity, directory=self.directory, store=store, client=client)
        self.evidence = EvidenceService(
            self.identity, store=store, directory=self.directory, keyring=self.keyring, clock=self.clock
        )
        client.record_exchange = self.evidence.outbound_recorder.record
        self.status_reporter = PeerStatusReporter(
            registry=self.registry,
            keyring=self.keyring,
            store=store,
            clock=self.clock,
            required_credentials=self.required_credentials,
        )
        self._warn_of_insecure_peers()

    def _warn_of_insecure_peers(self) -> None:
        if insecure_names := self.insecure_peers():
            log.warning("peers.unauthenticated", peers=insecure_names, meaning="they are believed without proof")

    def create_discovery(
        self,
        client: HttpTransport,
        interfaces: Sequence[str],
        auto_accept: bool,  # noqa: FBT001 - a setting, as it is
        on_peer_alive: Callable[[str], Awaitable[None]],
    ) -> MdnsDiscovery:
        """Return what finds nodes in the local network, to be entered and run."""
        if auto_accept and self.require:
            raise ConfigurationError("[discovery] auto_accept: only where nobody has to prove anything (require = [])")
        self.discovery = MdnsDiscovery(
            self.identity,
            directory=self.directory,
            client=client,
            clock=self.clock,
            interfaces=interfaces,
            auto_accept=auto_accept,
            on_peer_alive=on_peer_alive,
        )
        self.status_reporter.candidates = self.discovery.candidates
        return self.discovery

    async def reload(self) -> list[str]:
        """Read our keys, our certificate and the peers file again; what cannot be used stays as it was.

        Returns why, once for each of the three; it is logged as well.
        """
        reasons = [
            _reload_or_log("keys.reload_failed", self._reload_keys),
            _reload_or_log("certificate.reload_failed", self._reload_tls),
            await self.directory.reload(),
        ]
        return [reason for reason in reasons if reason is not None]

    def _reload_keys(self) -> None:
        self.signer.keys = self._read_own_keys()

    def _reload_tls(self) -> None:
        if self.tls is not None:
            self.tls.reload()
        self._client_contexts.clear()

    def required_credentials(self, peer: Peer | None) -> tuple[str, ...]:
        """Return what a peer's requests must carry."""
        return self.require if peer is None or peer.security is None else peer.security

    def find_by_certificate(self, der: bytes) -> Peer | None:
        """Return the peer that a client certificate (DER) is of, None where it is nobody's.

        (1) Whoever is known by it. (2) If the CA has issued it, whoever has a party that it names, as a whole.
        """
        owner_name = self._pinned_certificates.get(fingerprint_of(der))
        if owner_name is not None:
            return self.registry.by_name(owner_name)  # (1)
        certificate = Certificate(der)
        if self.tls is None or not self.tls.is_issued_by_ca(certificate):
            return None
        names = certificate.names()
        for peer in self.registry.all():
            parties = {party.text for party in (*peer.operators, *peer.providers)}
            if not peer.is_self and not self.directory.certificates_of(peer) and not names.isdisjoint(parties):
                return peer  # (2)
        return None

    def _rebuild_pins(self) -> None:
        """Take over by which certificates the peers are known."""
        pins: dict[str, str] = {}
        for peer in self.registry.all():
            for line in self.directory.certificates_of(peer):
                is_fingerprint = line.startswith("SHA256:")
                pins.setdefault(line if is_fingerprint else Certificate.from_base64(line).fingerprint, peer.name)
                if self.tls is not None:
                    self.tls.add_trusted_certificates([line])
        self._pinned_certificates = pins

    def _client_context_for_peer(self, name: str | None) -> SSLContext:
        """Return the context to call a peer with; for anybody else, as for our own systems, the system's CAs count."""
        peer = self.registry.by_name(name) if name is not None else None
        if peer is None:
            return self._client_context_without_own_certificate((), ca=None)
        certificates = self.directory.certificates_of(peer)
        if self.tls is not None:
            return self.tls.client_context_for(certificates)
        return self._client_context_without_own_certificate(certificates, ca=self._paths.tls[2])

    def _client_context_without_own_certificate(self, certificates: tuple[str, ...], ca: Path | None) -> SSLContext:
        context = self._client_contexts.get((certificates, ca))
        if context is None:
            context = self._client_contexts[certificates, ca] = client_context(certificates, ca)
        return context

    def insecure_peers(self) -> list[str]:
        """Return the names of the peers that are believed without proof."""
        return [peer.name for peer in self.registry.all() if not peer.is_self and not self.required_credentials(peer)]

    def _needs_signature(self, name: str) -> bool:
        peer = self.registry.by_name(name)
        return peer is not None and not peer.is_self and "signature" in self.required_credentials(peer)

    def _read_own_keys(self) -> OwnKeys:
        """Return our keys; an insecure node among insecure peers may have none."""
        is_required = "signature" in self.require or any(self._needs_signature(p.name) for p in self.registry.all())
        if is_required or self._paths.keys.exists():
            return read_own_keys(self._paths.keys)
        return OwnKeys((_ephemeral_key(),))


def _reload_or_log(event: str, reload: Callable[[], None]) -> str | None:
    """Run ``reload``; where it cannot use what it reads, log that as ``event`` and return why."""
    try:
        reload()
    except ConfigurationError as error:
        log.error(event, reason=str(error))  # noqa: TRY400 - the text says it all
        return str(error)
    return None


def _ephemeral_key() -> OwnKey:
    """Return a key for as long as this process lives: its descriptor has to be signed by something."""
    key = PrivateKey.generate()
    return OwnKey(key.public, private=key)
