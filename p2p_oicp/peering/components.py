"""The parts of peering in one running node, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from p2p_oicp.client import HttpTransport
from p2p_oicp.client.recording import ExchangeLog, RecordingTransport, SentRecords
from p2p_oicp.clock import Clock
from p2p_oicp.config import Settings, peers_file_is_optional
from p2p_oicp.config.loader import exchange_folder
from p2p_oicp.crypto import KeyRing, KnownKey, MessageSigner, OwnKeys, PrivateKey, ReplayCache, read_own_keys
from p2p_oicp.crypto.keyring import last_endings
from p2p_oicp.crypto.keystore import HISTORY_FILE, PRIVATE_KEY_FILE, OwnKey
from p2p_oicp.crypto.tls import TlsIdentity
from p2p_oicp.errors import ConfigurationError, StoreUnavailable, reason_of
from p2p_oicp.peering.agreements import PartyAgreements
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.discovery import MdnsDiscovery
from p2p_oicp.peering.evidence_recorder import EvidenceService
from p2p_oicp.peering.key_refresh import DescriptorFetcher, PeerKeyRefresher
from p2p_oicp.peering.pairing import Pairing
from p2p_oicp.peering.peer_status import PeerStatusReporter
from p2p_oicp.peering.peer_tls import PeerTls
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.descriptor import LocalIdentity
from p2p_oicp.peers.registry import SecurityPolicy
from p2p_oicp.storage import Store
from p2p_oicp.storage.exchange_files import FileExchangeRing
from p2p_oicp.storage.exchanges import MemoryExchangeRing, RingLimits
from p2p_oicp.version import VERSION

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Peering:
    """Everything that knows peers, for the server, the peer client and the administration.

    ``keys_path`` is the folder of our signing keys; ``discovery`` is None unless the settings turn it on, and has to be
    entered and run. ``exchanges`` records what is sent; None if nothing is recorded. ``backend_tls`` is the certificate
    of the other listener, which is read again with all else.
    """

    registry: PeerRegistry
    policy: SecurityPolicy
    keys_path: Path
    keyring: KeyRing
    replay_cache: ReplayCache
    directory: PeerDirectory
    tls: PeerTls
    transport: HttpTransport
    key_refresher: PeerKeyRefresher
    identity: LocalIdentity
    pairing: Pairing
    evidence: EvidenceService
    discovery: MdnsDiscovery | None
    status_reporter: PeerStatusReporter
    agreements: PartyAgreements
    exchanges: ExchangeLog | None
    backend_tls: TlsIdentity | None

    async def reload(self) -> list[str]:
        """Read our keys, our certificates and the peers file again; what cannot be used stays as it was.

        Returns the reasons, at most one for each; each is logged as well.
        """
        reasons = [
            _reload_or_log("keys.reload_failed", self._reload_keys),
            _reload_or_log("certificate.reload_failed", self.tls.reload),
            _reload_or_log("certificate.reload_failed", self._reload_backend_tls),
            await self.directory.reload(),
        ]
        return [reason for reason in reasons if reason is not None]

    def signing_keys(self) -> list[KnownKey]:
        """Return the keys that signatures are made with: ours, and those of the peers."""
        own = [
            KnownKey(entry.public, self.identity.local_peer.name, entry.valid_from, entry.valid_until)
            for entry in self.identity.signer.keys.entries
            if entry.private is not None
        ]
        return own + [key for peer in self.registry.all() for key in self.keyring.keys_of(peer.name)]

    def key_endings(self) -> dict[str, float]:
        """Return when the last signing keys of us and of the peers end, by name; see `last_endings`."""
        return last_endings(self.signing_keys())

    def _reload_backend_tls(self) -> None:
        if self.backend_tls is not None:
            self.backend_tls.reload()

    def certificates(self) -> list[TlsIdentity]:
        """Return the certificates of both listeners."""
        return [each for each in (self.identity.tls, self.backend_tls) if each is not None]

    def certificate_endings(self) -> dict[str, float]:
        """Return when these, their chains and the CAs end, by subject, in seconds since the epoch."""
        return {subject: at for each in self.certificates() for subject, at in each.endings().items()}

    def _reload_keys(self) -> None:
        self.identity.signer.replace_keys(read_signing_keys(self.keys_path, self.policy))


async def open_peering(
    stack: AsyncExitStack,
    settings: Settings,
    *,
    local_peer: Peer,
    registry: PeerRegistry,
    store: Store,
    clock: Clock,
    on_peer_alive: Callable[[str], Awaitable[None]],
    sent: SentRecords,
) -> Peering:
    """Build all parts, with the peers loaded; what has to be closed is entered into ``stack``.

    Args:
        stack: closes the nonce files and the transport.
        settings: the node's settings.
        local_peer: this node's own entry.
        registry: the peers of the peers file, which the directory completes.
        store: the paired peers, and everything else that is stored of peers.
        clock: the time.
        on_peer_alive: called with the id of a peer that was discovered.
        sent: records what is sent.

    Raises:
        ConfigurationError: keys, certificate or peers cannot be used.
        StoreUnavailable: the nonce files cannot be used.
    """
    # Order: credentials first, for a node that cannot authenticate must not change its store of peers.
    own_systems = [*(each.signature for each in settings.backends), *(each.signature for each in settings.webhooks)]
    policy = SecurityPolicy(settings.security.require, registry, signs_for_backends=any(own_systems))
    keyring = KeyRing()
    replay_cache = stack.enter_context(ReplayCache(settings.node.data_dir / "nonces", clock.monotonic))
    identity = _read_identity(settings, local_peer, policy, keyring, clock)
    directory = await _load_directory(settings, identity, registry, keyring, store)
    transport = await stack.enter_async_context(_create_transport(settings, clock, sent))
    fetcher = DescriptorFetcher(transport, clock)
    discovery = _create_discovery(settings, identity, directory, store, fetcher, on_peer_alive)
    key_refresher = PeerKeyRefresher(registry=registry, directory=directory, fetcher=fetcher, clock=clock)
    agreements = PartyAgreements(local_peer)
    return Peering(
        registry=registry,
        policy=policy,
        keys_path=settings.security.keys,
        keyring=keyring,
        replay_cache=replay_cache,
        directory=directory,
        tls=PeerTls(identity.tls, ca=settings.tls.ca, registry=registry, directory=directory),
        transport=transport,
        key_refresher=key_refresher,
        identity=identity,
        pairing=Pairing(identity, directory=directory, store=store, transport=transport, fetcher=fetcher),
        evidence=EvidenceService(identity, store, directory, registry, keyring, key_refresher.refresh),
        discovery=discovery,
        status_reporter=PeerStatusReporter(registry, keyring, store, policy, discovery, directory, agreements),
        agreements=agreements,
        exchanges=sent.exchanges,
        backend_tls=_read_backend_tls(settings),
    )


def _create_transport(settings: Settings, clock: Clock, sent: SentRecords) -> HttpTransport:
    """Return the plain transport, which needs neither keys nor peers: descriptors are fetched before there are any."""
    user_agent, max_body = f"p2p-oicp/{VERSION}", settings.peer_api.max_body
    if sent.exchanges is not None:
        return RecordingTransport(
            sent.exchanges, user_agent=user_agent, max_body=max_body, clock=clock, spans=sent.spans
        )
    return HttpTransport(user_agent=user_agent, max_body=max_body, now=clock.time, spans=sent.spans)


def _read_identity(
    settings: Settings, local_peer: Peer, policy: SecurityPolicy, keyring: KeyRing, clock: Clock
) -> LocalIdentity:
    keys = read_signing_keys(settings.security.keys, policy)
    signer = MessageSigner(keys, keyring, clock, needs_signature=policy.needs_signature)
    return LocalIdentity(local_peer, settings.security.require, signer, clock, _read_tls_identity(settings))


def read_signing_keys(path: Path, policy: SecurityPolicy) -> OwnKeys:
    """Return our signing keys; raise ConfigurationError if they are needed and cannot be used."""
    # Other files may stand there without keys: `storage.epochs` writes one for every node.
    if policy.needs_own_keys() or (path / PRIVATE_KEY_FILE).exists() or (path / HISTORY_FILE).exists():
        return read_own_keys(path)
    # An insecure node needs no keys, but its descriptor has to be signed: by a key that lives as long as the process.
    key = PrivateKey.generate()
    return OwnKeys((OwnKey(key.public, private=key),))


async def _load_directory(
    settings: Settings, identity: LocalIdentity, registry: PeerRegistry, keyring: KeyRing, store: Store
) -> PeerDirectory:
    directory = PeerDirectory(
        settings.peers_file,
        is_optional=peers_file_is_optional(settings),
        store=store,
        registry=registry,
        keyring=keyring,
        clock=identity.clock,
        is_ours=identity.has,
    )
    await directory.load()
    return directory


def _read_tls_identity(settings: Settings) -> TlsIdentity | None:
    tls = settings.tls
    if tls.certificate is not None and tls.key is not None:
        return TlsIdentity(tls.certificate, tls.key, tls.ca)
    # Required of peers means shown to them as well: TLS on the peer API needs a certificate of our own.
    if "mtls" in settings.security.require:
        raise ConfigurationError(
            '[security] require has "mtls": expected [tls] certificate = "…" and key = "…" as well'
        )
    return None


def _read_backend_tls(settings: Settings) -> TlsIdentity | None:
    api = settings.backend_api
    if api.certificate is None or api.key is None:
        return None
    return TlsIdentity(api.certificate, api.key, api.ca, "backend_api", asks_for_certificates=api.ca is not None)


def _create_discovery(
    settings: Settings,
    identity: LocalIdentity,
    directory: PeerDirectory,
    store: Store,
    fetcher: DescriptorFetcher,
    on_peer_alive: Callable[[str], Awaitable[None]],
) -> MdnsDiscovery | None:
    if not settings.discovery.mdns:
        return None
    return MdnsDiscovery(
        identity,
        directory=directory,
        store=store,
        fetcher=fetcher,
        interfaces=settings.discovery.interfaces,
        auto_accept=settings.discovery.auto_accept,
        on_peer_alive=on_peer_alive,
    )


def _reload_or_log(event: str, reload: Callable[[], None]) -> str | None:
    try:
        reload()
    except ConfigurationError as error:
        log.error(event, reason=str(error))  # noqa: TRY400 - the text says it all
        return str(error)
    return None


def open_exchange_log(settings: Settings, *, is_masked: bool = True) -> ExchangeLog | None:
    """Return what records exchanges; None if nothing does. Raises StoreUnavailable."""
    table = settings.exchanges
    if table.record == "off":
        return None
    limits = RingLimits(table.entries, table.bytes)
    if table.record == "memory":
        return ExchangeLog(MemoryExchangeRing(limits), table.max_body, is_masked=is_masked)
    folder = exchange_folder(settings)
    try:
        return ExchangeLog(FileExchangeRing(folder, limits), table.max_body, is_masked=is_masked)
    except OSError as error:
        raise StoreUnavailable(f"{folder}: exchanges cannot be recorded: {reason_of(error)}") from error
