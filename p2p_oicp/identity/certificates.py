"""X.509 certificates: read, compared, and made for laboratories.

A certificate is known by its SHA-256 fingerprint, or by the party ids it names: common name and organisation of the
subject, DNS names and URIs of the subject alternative names, each compared as a whole.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_NAMES = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)


class Certificate:
    """One certificate; ``line`` is the base64 of its DER."""

    __slots__ = ("_x509", "fingerprint", "line")

    def __init__(self, der: bytes) -> None:
        """Raise ValueError where ``der`` is no certificate."""
        self._x509 = x509.load_der_x509_certificate(der)
        self.line = base64.b64encode(der).decode()
        self.fingerprint = fingerprint_of(der)

    @classmethod
    def from_line(cls, line: str) -> Certificate:
        """Read the base64 of a DER certificate; raise ValueError otherwise."""
        try:
            return cls(base64.b64decode(line, validate=True))
        except binascii.Error as exc:
            raise ValueError("not a certificate") from exc

    @classmethod
    def from_pem(cls, pem: bytes) -> Certificate:
        """Read the first certificate of a PEM file; raise ValueError otherwise."""
        return cls(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER))

    def pem(self) -> str:
        """Return it as PEM."""
        return self._x509.public_bytes(Encoding.PEM).decode()

    def names(self) -> frozenset[str]:
        """Return everything it says its holder is called, each name as a whole."""
        found = {str(part.value) for oid in _NAMES for part in self._x509.subject.get_attributes_for_oid(oid)}
        try:
            alternatives = self._x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return frozenset(found)
        found |= set(alternatives.get_values_for_type(x509.DNSName))
        found |= set(alternatives.get_values_for_type(x509.UniformResourceIdentifier))
        return frozenset(found)

    def is_issued_by(self, authority: x509.Certificate) -> bool:
        """Whether ``authority`` has signed it."""
        try:
            self._x509.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def is_valid(self, now: float) -> bool:
        """Whether ``now`` (seconds since the epoch) lies within its time."""
        at = datetime.fromtimestamp(now, UTC)
        return self._x509.not_valid_before_utc <= at <= self._x509.not_valid_after_utc


def fingerprint_of(der: bytes) -> str:
    """Return ``SHA256:`` and the unpadded base64 of the SHA-256 over a certificate (DER)."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


def self_signed(name: str, parties: list[str], hosts: list[str], *, now: float, days: int) -> tuple[bytes, bytes]:
    """Return a new private key and its self-signed certificate (PEM) for server and client; for laboratories."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, party) for party in parties),
        ]
    )
    begin = datetime.fromtimestamp(now, UTC) - timedelta(minutes=5)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, certificate.public_bytes(Encoding.PEM)


def _alternative(host: str) -> x509.GeneralName:
    from ipaddress import ip_address  # noqa: PLC0415 - for this one function

    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
