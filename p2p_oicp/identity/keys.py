"""Public and private keys: Ed25519 (the default), and ECDSA P-256.

A key's id is its fingerprint, so nobody needs to agree on names: ``SHA256:`` and the base64 of the SHA-256 over its
SubjectPublicKeyInfo.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from p2p_oicp.errors import NotProven

ED25519 = "ed25519"
ECDSA_P256 = "ecdsa-p256-sha256"

_HALF = 32
_UNUSABLE = "not a key; expected Ed25519 or ECDSA P-256"


class PublicKey:
    """A key that checks signatures; equal keys have equal ids."""

    __slots__ = ("_key", "algorithm", "key_id", "line")

    def __init__(self, key: object) -> None:
        """Raise ValueError where ``key`` is neither Ed25519 nor ECDSA P-256."""
        if isinstance(key, Ed25519PublicKey):
            self.algorithm = ED25519
        elif isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
            self.algorithm = ECDSA_P256
        else:
            raise ValueError(_UNUSABLE)  # noqa: TRY004 - pydantic reports ValueError only
        self._key = key
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.line = base64.b64encode(der).decode()
        self.key_id = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")

    @classmethod
    def from_line(cls, line: str) -> PublicKey:
        """Read the base64 of a SubjectPublicKeyInfo; raise ValueError otherwise."""
        try:
            return cls(load_der_public_key(base64.b64decode(line, validate=True)))
        except (binascii.Error, ValueError, UnsupportedAlgorithm) as exc:
            raise ValueError(_UNUSABLE) from exc

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Read a PEM ``PUBLIC KEY``; raise ValueError otherwise."""
        try:
            return cls(load_pem_public_key(pem))
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise ValueError(_UNUSABLE) from exc

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise NotProven unless ``signature`` is this key's over ``data``."""
        try:
            if isinstance(self._key, Ed25519PublicKey):
                self._key.verify(signature, data)
            else:
                self._key.verify(_der_of(signature), data, ECDSA(SHA256()))
        except InvalidSignature as exc:
            raise NotProven("the signature does not fit what it covers") from exc

    def pem(self) -> bytes:
        """Return the key as PEM."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.key_id == self.key_id

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __repr__(self) -> str:
        return f"PublicKey({self.key_id})"


class PrivateKey:
    """A key that signs; nothing of it ever shows in a repr."""

    __slots__ = ("_key", "public")

    def __init__(self, key: object) -> None:
        """Raise ValueError where ``key`` is neither Ed25519 nor ECDSA P-256."""
        if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
            raise ValueError(_UNUSABLE)  # noqa: TRY004 - as for public keys
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def generate(cls) -> PrivateKey:
        """Return a new Ed25519 key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """Return the Ed25519 key of 32 secret bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes) -> PrivateKey:
        """Read an unencrypted PEM private key; raise ValueError otherwise."""
        try:
            return cls(load_pem_private_key(pem, password=None))
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise ValueError("not an unencrypted private key in PEM form, Ed25519 or ECDSA P-256") from exc

    @property
    def key_id(self) -> str:
        """The id of its public key."""
        return self.public.key_id

    def sign(self, data: bytes) -> bytes:
        """Return the signature, as RFC 9421 writes it."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(data)
        r, s = decode_dss_signature(self._key.sign(data, ECDSA(SHA256())))
        return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")

    def pem(self) -> bytes:
        """Return the SECRET key as PEM; for its own file only."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"PrivateKey(hidden, {self.key_id})"


def _der_of(signature: bytes) -> bytes:
    """Return r and s, 32 bytes each (RFC 9421, 3.3.4), as the DER that OpenSSL reads."""
    if len(signature) != 2 * _HALF:
        raise NotProven("an ECDSA P-256 signature has 64 bytes")
    return encode_dss_signature(int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big"))
