"""TLS between nodes: which peer a certificate belongs to, in which context a peer is called, and when ours ends."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from ssl import SSLContext

import structlog

from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.concurrency import periodic
from p2p_oicp.crypto.tls import Certificate, TlsIdentity, client_context, fingerprint_of
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import Store, job_keys
from p2p_oicp.storage.event_log import Event, EventType, emit

log = structlog.get_logger(__name__)

_DAY_SECONDS = 86_400.0
_EXPIRY_CHECK_SECONDS = 3600.0
_WARNING_DAYS = (0, 1, 7, 30)


class PeerTls:
    """The certificates of peers, in step with the directory.

    Invariant: the server's context lets a certificate through the handshake before any peer may show it, so all that
    are pinned or listed are added whenever the directory's credentials change. Whose it is, the directory says.

    Args:
        identity: our certificate; None if this node has none, so that its peer API is plain http.
        ca: the CA file of ``[tls]``, for calls without a certificate of our own.
        registry: the peers.
        directory: their certificates.
    """

    def __init__(
        self, identity: TlsIdentity | None, *, ca: Path | None, registry: PeerRegistry, directory: PeerDirectory
    ) -> None:
        self._identity = identity
        self._ca = ca
        self._registry = registry
        self._directory = directory
        self._anonymous_contexts: dict[tuple[str, ...], SSLContext] = {}
        directory.subscribe_credentials(self._add_trusted_certificates)
        self._add_trusted_certificates()

    def server_context(self) -> SSLContext | None:
        """Return the context to listen with, None for plain http."""
        return self._identity.server_context() if self._identity is not None else None

    def client_context_for(self, peer: Peer) -> SSLContext:
        """Return the context that accepts the certificates of ``peer``, and shows ours if there is one."""
        certificates = self._directory.certificates_of(peer)
        if self._identity is not None:
            return self._identity.client_context_for(certificates)
        context = self._anonymous_contexts.get(certificates)
        if context is None:
            context = self._anonymous_contexts[certificates] = client_context(certificates, self._ca)
        return context

    def find_by_certificate(self, der: bytes) -> Peer | None:
        """Return the peer that shows a client certificate (DER), None if it is no peer's.

        (1) The peer that the certificate is pinned for, or that has proved it to be its own. (2) If our CA has issued
        it, the one peer without pinned certificates one of whose parties it names, as a whole.
        """
        owner = self._directory.owner_of_certificate(fingerprint_of(der))  # (1)
        if owner is not None:
            return self._registry.by_name(owner)
        certificate = Certificate(der)  # (2)
        if self._identity is None or not self._identity.is_issued_by_ca(certificate):
            return None
        names = certificate.names()
        named = [
            peer
            for peer in self._registry.all()
            if not peer.is_self
            and not peer.certificates
            and not names.isdisjoint(party.text for party in (*peer.operators, *peer.providers))
        ]
        return named[0] if len(named) == 1 else None

    def reload(self) -> None:
        """Read our certificate, key and CA again; raise ConfigurationError, with nothing changed, if they are bad."""
        if self._identity is not None:
            self._identity.reload()
        self._anonymous_contexts.clear()

    def _add_trusted_certificates(self) -> None:
        if self._identity is not None:
            for peer in self._registry.all():
                self._identity.add_trusted_certificates(self._directory.certificates_of(peer))


class CertificateExpiryJob:
    """Warns in the log 30, 7 and 1 days before our certificate, its chain or a CA ends, and again at each start.

    Args:
        identity: our certificate.
        clock: the time.
        store: of the event log.
    """

    def __init__(self, identity: TlsIdentity, clock: Clock, store: Store) -> None:
        self._identity = identity
        self._clock = clock
        self._store = store
        self._warned: dict[tuple[str, float], int] = {}

    async def run(self) -> None:
        await periodic("certificate expiry", _EXPIRY_CHECK_SECONDS, self.run_once)

    async def run_once(self) -> None:
        """Warn of each certificate that has come to another number of days since the last time."""
        now = self._clock.time()
        for subject, ends_at in self._identity.endings().items():
            days = next((days for days in _WARNING_DAYS if ends_at - now <= days * _DAY_SECONDS), None)
            if days is None or self._warned.get((subject, ends_at)) == days:
                continue
            what = "has_ended" if days == 0 else "ends_soon"
            event = Event(EventType.CERTIFICATE, what, now, subject, text=f"ends at {format_timestamp(ends_at)}")
            await self._store.write(partial(emit, event=event), about=job_keys.ANY_ORDER)
            log.warning(
                "certificate.has_ended" if days == 0 else "certificate.ends_soon",
                subject=subject,
                ends_at=format_timestamp(ends_at),
                meaning=f"connections with it fail then; replace files of [{self._identity.section}], and send SIGHUP",
            )
            # Order: last, for the database may refuse the event, and then it is tried again.
            self._warned[subject, ends_at] = days
