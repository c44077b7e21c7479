"""TLS on both sides of a connection, with client certificates (DESIGN section 7, mTLS).

A peer's certificate is trusted because it is pinned (the whole certificate, or its fingerprint beside a CA), or because
a configured CA issued it and it names the peer's party. Contexts live as long as the node: new certificates of ours
and of peers are loaded into them, and count for the next connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable
from pathlib import Path

from cryptography import x509

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity.certificates import Certificate, fingerprint_of


class TlsIdentity:
    """Our certificate and key, and the CA whose certificates count (PEM files; ``ca`` may be None).

    Raises ConfigurationError where a file cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, ca: Path | None) -> None:
        self._files = (certificate, key)
        self._ca = ca
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.minimum_version = ssl.TLSVersion.TLSv1_2
        # Asked for and verified wherever it is shown; whether it is needed is decided with the peer's entry.
        self._server.verify_mode = ssl.CERT_OPTIONAL
        self._server.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._loaded: set[str] = set()
        self._clients: dict[tuple[str, ...], ssl.SSLContext] = {}
        self.authorities: tuple[x509.Certificate, ...] = ()
        self.certificate: Certificate
        self.reload()

    def reload(self) -> None:
        """Read certificate, key and CA again; where they are no good, raise ConfigurationError and change nothing."""
        certificate, key = self._files
        try:
            shown = Certificate.from_pem(certificate.read_bytes())
            authorities = x509.load_pem_x509_certificates(self._ca.read_bytes()) if self._ca is not None else []
            # Tried out first: what fails to load leaves a context with a certificate, but without its key.
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._server):
                context.load_cert_chain(certificate, key)
                if self._ca is not None:
                    context.load_verify_locations(self._ca)
        except (OSError, ValueError) as exc:
            name = getattr(exc, "filename", None) or f"{certificate}, {key}, {self._ca or 'no CA'}"
            raise ConfigurationError(f"[tls] {name}: cannot be used: {exc}") from exc
        self.certificate, self.authorities = shown, tuple(authorities)
        self._clients.clear()

    def server(self) -> ssl.SSLContext:
        """Return the context to listen with."""
        return self._server

    def trust(self, certificates: Iterable[str]) -> None:
        """Let callers in with these certificates (base64 of DER); fingerprints count beside the CA only."""
        for line in certificates:
            if not line.startswith("SHA256:") and line not in self._loaded:
                self._loaded.add(line)
                self._server.load_verify_locations(cadata=Certificate.from_line(line).pem())

    def client(self, certificates: Collection[str]) -> ssl.SSLContext:
        """Return the context to call a peer with; it has to show one of ``certificates``, or any good one if none."""
        key = tuple(sorted(certificates))
        context = self._clients.get(key)
        if context is None:
            context = self._clients[key] = client_context(certificates, self._ca)
            context.load_cert_chain(*self._files)
        return context

    def issued(self, certificate: Certificate) -> bool:
        """Say whether the configured CA has issued a certificate."""
        return any(certificate.is_issued_by(authority) for authority in self.authorities)


def client_context(certificates: Collection[str] = (), ca: Path | None = None) -> ssl.SSLContext:
    """Return a context that accepts the servers with these certificates, or, if there are none, those of the CAs."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificates:
        pins = frozenset(
            line if line.startswith("SHA256:") else Certificate.from_line(line).fingerprint for line in certificates
        )
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        for line in certificates:
            if not line.startswith("SHA256:"):
                context.load_verify_locations(cadata=Certificate.from_line(line).pem())
        context.sslobject_class = _pinned_to(pins)
    return context


def unverified_context() -> ssl.SSLContext:
    """PROVES NOTHING: a context for nodes that nobody knows yet; what they say is signed, and checked by that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _pinned_to(pins: frozenset[str]) -> type[ssl.SSLObject]:
    """Return the kind of connection that ends unless the server shows a pinned certificate."""

    class PinnedConnection(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            shown = self.getpeercert(binary_form=True)
            if shown is None or fingerprint_of(shown) not in pins:
                raise ssl.SSLCertVerificationError("the peer shows another certificate than the one it is known by")

    return PinnedConnection
