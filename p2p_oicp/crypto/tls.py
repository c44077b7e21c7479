"""X.509 certificates, and TLS contexts for mutual authentication.

A peer's certificate is trusted if it is pinned (the whole certificate, or its fingerprint beside a CA), or if a
configured CA issued it and it names a party of the peer: as common name of the subject, or as a DNS name or URI of the
subject alternative names, each compared as a whole. Organisation and organisational unit name no party: what a CA
checks of them differs.

TLS contexts live as long as the node. New certificates, our own or those of peers, are loaded into them and apply to
the next connection.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import ssl
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from p2p_oicp.errors import ConfigurationError, reason_of


class Certificate:
    """An X.509 certificate.

    Args:
        der: Its DER encoding.

    Raises:
        ValueError: The bytes are no certificate.
    """

    __slots__ = ("_x509", "der_base64", "fingerprint")

    def __init__(self, der: bytes) -> None:
        self._x509 = x509.load_der_x509_certificate(der)
        self.der_base64 = base64.b64encode(der).decode()
        self.fingerprint = fingerprint_of(der)

    @classmethod
    def from_base64(cls, encoded: str) -> Certificate:
        """Parse the base64 of a DER certificate; raises ValueError."""
        try:
            return cls(base64.b64decode(encoded, validate=True))
        except binascii.Error as exc:
            raise ValueError("not a certificate") from exc

    @classmethod
    def from_pem(cls, pem: bytes) -> Certificate:
        """Parse the first certificate of a PEM file; raises ValueError."""
        return cls(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER))

    def pem(self) -> str:
        """Return the certificate in PEM form."""
        return self._x509.public_bytes(Encoding.PEM).decode()

    def names(self) -> frozenset[str]:
        """Return the common names of the subject, and the DNS names and URIs of the subject alternative names."""
        names = {str(attribute.value) for attribute in self._x509.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
        try:
            alternative_names = self._x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return frozenset(names)
        names |= set(alternative_names.get_values_for_type(x509.DNSName))
        names |= set(alternative_names.get_values_for_type(x509.UniformResourceIdentifier))
        return frozenset(names)

    def is_issued_by(self, authority: x509.Certificate) -> bool:
        """Return whether ``authority`` issued the certificate."""
        try:
            self._x509.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    @property
    def expires_at(self) -> float:
        """The end of the certificate's validity, in seconds since the epoch."""
        return self._x509.not_valid_after_utc.timestamp()

    def is_valid(self, now: float) -> bool:
        """Return whether ``now`` (seconds since the epoch) is within the certificate's validity."""
        instant = datetime.fromtimestamp(now, UTC)
        return self._x509.not_valid_before_utc <= instant <= self._x509.not_valid_after_utc


def fingerprint_of(der: bytes) -> str:
    """Return ``SHA256:`` and the unpadded base64 of the SHA-256 over a certificate (DER)."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def pin_fingerprint(pin: str) -> str:
    """Return the fingerprint of a pinned certificate (base64 of its DER), which may be a fingerprint already."""
    return pin if pin.startswith("SHA256:") else fingerprint_of(base64.b64decode(pin))


def self_signed(name: str, parties: list[str], hosts: list[str], *, now: float, days: int) -> tuple[bytes, bytes]:
    """Return a new private key and its self-signed certificate, both in PEM form, for test environments.

    Args:
        name: The common name.
        parties: Party ids, written as URIs of the subject alternative names.
        hosts: DNS names and IP addresses of the server.
        now: Seconds since the epoch; the certificate is valid from 5 minutes before, for clocks that are behind.
        days: The validity in days.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    alternative_names = [*map(x509.UniformResourceIdentifier, parties), *map(_subject_alternative_name, hosts)]
    not_before = datetime.fromtimestamp(now, UTC) - timedelta(minutes=5)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_before + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, SHA256())
    )
    private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private_key, certificate.public_bytes(Encoding.PEM)


def _subject_alternative_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class TlsIdentity:
    """Our certificate and key with the TLS contexts that use them.

    Args:
        certificate: PEM file with our certificate, and its chain if there is one.
        key: PEM file with its private key.
        ca: PEM file with the CAs whose certificates are trusted; None: pinned certificates only.
        section: The table of the settings that names the files, for errors.
        asks_for_certificates: Whether clients are asked for theirs, and those that they show are verified.

    Raises:
        ConfigurationError: A file cannot be used.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        ca: Path | None,
        section: str = "tls",
        *,
        asks_for_certificates: bool = True,
    ) -> None:
        self.section = section
        self._key_pair_files = (certificate, key)
        self._ca = ca
        self._server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server_context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client certificate is requested and verified if one is sent. Whether one is required depends on the peer,
        # which is not known before the request.
        self._server_context.verify_mode = ssl.CERT_OPTIONAL if asks_for_certificates else ssl.CERT_NONE
        # A pinned certificate is trusted by itself, without the CA that issued it.
        self._server_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # Peers keep their connections, and resume none. Tickets, which hold the client's certificate, would take two
        # fifths of the time of a handshake.
        self._server_context.num_tickets = 0
        self._trusted_certificates: set[str] = set()
        self._client_contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        self.certificate, self.chain, self.authorities = self._load()

    def __repr__(self) -> str:
        return f"<TlsIdentity {self.certificate.fingerprint} trusted={len(self._trusted_certificates)}>"

    def reload(self) -> None:
        """Read the files again; raises ConfigurationError, and then keeps everything as it was."""
        self.certificate, self.chain, self.authorities = self._load()
        # They are built again, with the new certificate, when the next connection needs one.
        self._client_contexts.clear()

    def _load(self) -> tuple[Certificate, list[x509.Certificate], list[x509.Certificate]]:
        certificate, key = self._key_pair_files
        try:
            chain = x509.load_pem_x509_certificates(certificate.read_bytes())
            authorities = x509.load_pem_x509_certificates(self._ca.read_bytes()) if self._ca is not None else []
            # Order: a scratch context first. A load that fails half-way leaves a context with a certificate and
            # without its key, and the server's context is in use.
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._server_context):
                context.load_cert_chain(certificate, key)
                if self._ca is not None:
                    context.load_verify_locations(self._ca)
        except (OSError, ValueError) as exc:
            name = getattr(exc, "filename", None) or f"{certificate}, {key}, {self._ca or 'no CA'}"
            raise ConfigurationError(f"[{self.section}] {name}: cannot be used: {reason_of(exc)}") from exc
        return Certificate(chain[0].public_bytes(Encoding.DER)), chain, authorities

    def server_context(self) -> ssl.SSLContext:
        """Return the context of the listener."""
        return self._server_context

    def add_trusted_certificates(self, certificates: Iterable[str]) -> None:
        """Trust these client certificates (base64 of DER). Fingerprints are skipped: they need a CA to verify with."""
        # There is no way to take one out of a context. One that is no peer's any more passes the handshake, and is then
        # refused by the authenticator, which maps certificates to peers.
        for encoded in certificates:
            if not encoded.startswith("SHA256:") and encoded not in self._trusted_certificates:
                self._trusted_certificates.add(encoded)
                self._server_context.load_verify_locations(cadata=Certificate.from_base64(encoded).pem())

    def client_context_for(self, certificates: Collection[str]) -> ssl.SSLContext:
        """Return the context for connections to a peer; see ``client_context``."""
        # One context for each set of pins: making one takes milliseconds and reads the CA files.
        key = tuple(sorted(certificates))
        context = self._client_contexts.get(key)
        if context is None:
            context = self._client_contexts[key] = client_context(certificates, self._ca, self._key_pair_files)
        return context

    def endings(self) -> dict[str, float]:
        """Return when our certificate, its chain and the CAs end, by subject, in seconds since the epoch."""
        certificates = (*self.chain, *self.authorities)
        return {each.subject.rfc4514_string(): each.not_valid_after_utc.timestamp() for each in certificates}

    def is_issued_by_ca(self, certificate: Certificate) -> bool:
        """Return whether a configured CA issued a certificate."""
        return any(certificate.is_issued_by(authority) for authority in self.authorities)


def client_context(
    certificates: Collection[str] = (), ca: Path | None = None, key_pair: tuple[Path, Path] | None = None
) -> ssl.SSLContext:
    """Return a context for outgoing connections.

    Args:
        certificates: Pinned server certificates (base64 of DER, or fingerprints ``SHA256:…``); with any, the server has
            to show one of them and its host name is not checked. Empty: any certificate that the CAs verify.
        ca: PEM file with the CAs; None: those of the system.
        key_pair: PEM files with our certificate and its key; None: none is shown.
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificates:
        pins = frozenset(map(pin_fingerprint, certificates))
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        for encoded in certificates:
            if not encoded.startswith("SHA256:"):
                context.load_verify_locations(cadata=Certificate.from_base64(encoded).pem())

        def check_pin(fingerprint: str) -> None:
            if fingerprint not in pins:
                raise ssl.SSLCertVerificationError("the peer shows another certificate than its pinned one")

        context.sslobject_class = _checked_connection_class(check_pin)
    if key_pair is not None:
        context.load_cert_chain(*key_pair)
        chain = x509.load_pem_x509_certificates(key_pair[0].read_bytes())
        members = {"own_certificate_ends_at": min(each.not_valid_after_utc.timestamp() for each in chain)}
        context.sslobject_class = type("OwnConnection", (context.sslobject_class,), members)
    return context


def own_backend_context(
    certificates: Collection[str], ca: Path | None, key_pair: tuple[Path, Path] | None
) -> ssl.SSLContext:
    """Return ``client_context``, with the certificate and the key (PEM files) that are shown to one of our backends.

    Raises:
        ConfigurationError: A file cannot be used.
    """
    try:
        return client_context(certificates, ca, key_pair)
    except (OSError, ValueError) as exc:
        files = ", ".join(str(file) for file in (*(key_pair or ()), ca) if file is not None)
        name = getattr(exc, "filename", None) or files
        raise ConfigurationError(f"{name}: cannot be used: {reason_of(exc)}") from exc


def unverified_context(shown: list[str] | None = None) -> ssl.SSLContext:
    """INSECURE: return a context that accepts any server; for first contact, where what is fetched is signed.

    The fingerprint of the certificate that the server shows in the handshake is appended to ``shown``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if shown is not None:
        context.sslobject_class = _checked_connection_class(shown.append)
    return context


def connection_ends_at(tls: ssl.SSLObject) -> float:
    """Return when the first certificate ends by which a connection of ours was opened, in seconds since the epoch.

    It is the one of the server, or our own; infinity where there is none.
    """
    shown = tls.getpeercert(binary_form=True)
    own_ends_at: float = getattr(tls, "own_certificate_ends_at", math.inf)
    return min(own_ends_at, math.inf if shown is None else Certificate(shown).expires_at)


def _checked_connection_class(check: Callable[[str], None]) -> type[ssl.SSLObject]:
    """Return a class of connections that give the fingerprint of the other side's certificate to ``check``."""

    # SSLContext has no hook for a custom check of the certificate but the class of its connections.
    class CheckedConnection(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificate = self.getpeercert(binary_form=True)
            check("" if certificate is None else fingerprint_of(certificate))

    return CheckedConnection
