"""TLS between nodes: which peer a certificate belongs to, and in which context a peer is called."""

from __future__ import annotations

from pathlib import Path
from ssl import SSLContext

from p2p_oicp.crypto.tls import Certificate, TlsIdentity, client_context, fingerprint_of
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peers import Peer, PeerRegistry


class PeerTls:
    """The certificates of peers, in step with the directory.

    Invariant: the server's context trusts a pinned certificate before any peer may show it, so pins are rebuilt
    whenever the directory's credentials change.

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
        self._pinned_owners: dict[str, str] = {}
        self._anonymous_contexts: dict[tuple[str, ...], SSLContext] = {}
        directory.subscribe_credentials(self._rebuild_pins)
        self._rebuild_pins()

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

        (1) The peer that the certificate is pinned for. (2) If our CA has issued it, the peer without pinned
        certificates one of whose parties it names, as a whole.
        """
        owner = self._pinned_owners.get(fingerprint_of(der))  # (1)
        if owner is not None:
            return self._registry.by_name(owner)
        certificate = Certificate(der)  # (2)
        if self._identity is None or not self._identity.is_issued_by_ca(certificate):
            return None
        names = certificate.names()
        for peer in self._registry.all():
            parties = {party.text for party in (*peer.operators, *peer.providers)}
            if not peer.is_self and not self._directory.certificates_of(peer) and not names.isdisjoint(parties):
                return peer
        return None

    def reload(self) -> None:
        """Read our certificate, key and CA again; raise ConfigurationError, with nothing changed, if they are bad."""
        if self._identity is not None:
            self._identity.reload()
        self._anonymous_contexts.clear()

    def _rebuild_pins(self) -> None:
        owners: dict[str, str] = {}
        for peer in self._registry.all():
            for line in self._directory.certificates_of(peer):
                is_fingerprint = line.startswith("SHA256:")
                # The first owner stays: the descriptor of one peer must not take over another's certificate.
                owners.setdefault(line if is_fingerprint else Certificate.from_base64(line).fingerprint, peer.name)
                if self._identity is not None:
                    self._identity.add_trusted_certificates([line])
        self._pinned_owners = owners
