"""Public and private keys: Ed25519 (the default), and ECDSA P-256.

Keys are read and written by OpenSSL; Ed25519 signatures are libsodium's work, which takes 16 and 40 µs to sign and to
verify where OpenSSL takes 21 and 65.

A key's id is its fingerprint, so nobody needs to agree on names: ``SHA256:`` and the base64 of the SHA-256 over its
SubjectPublicKeyInfo.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from functools import partial

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
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from p2p_oicp.errors import VerificationError

ED25519 = "ed25519"
ECDSA_P256 = "ecdsa-p256-sha256"

_HALF_SIGNATURE_BYTES = 32
_UNSUPPORTED_KEY_MESSAGE = "not a key; expected Ed25519 or ECDSA P-256"


class PublicKey:
    """A key that checks signatures; equal keys have equal ids."""

    __slots__ = ("_key", "_verify", "algorithm", "der_base64", "key_id")

    def __init__(self, key: object) -> None:
        """Raise ValueError where ``key`` is neither Ed25519 nor ECDSA P-256."""
        self._verify: Callable[[bytes, bytes], object]
        if isinstance(key, Ed25519PublicKey):
            self.algorithm = ED25519
            self._verify = VerifyKey(key.public_bytes_raw()).verify
        elif isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
            self.algorithm = ECDSA_P256
            self._verify = partial(_verify_p256, key)
        else:
            raise ValueError(_UNSUPPORTED_KEY_MESSAGE)  # noqa: TRY004 - pydantic reports ValueError only
        self._key = key
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.der_base64 = base64.b64encode(der).decode()
        self.key_id = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")

    @classmethod
    def from_base64(cls, encoded: str) -> PublicKey:
        """Read the base64 of a SubjectPublicKeyInfo; raise ValueError otherwise."""
        try:
            return cls(load_der_public_key(base64.b64decode(encoded, validate=True)))
        except (binascii.Error, ValueError, UnsupportedAlgorithm) as exc:
            raise ValueError(_UNSUPPORTED_KEY_MESSAGE) from exc

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Read a PEM ``PUBLIC KEY``; raise ValueError otherwise."""
        try:
            return cls(load_pem_public_key(pem))
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise ValueError(_UNSUPPORTED_KEY_MESSAGE) from exc

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raise NotProven unless ``signature`` is this key's over ``data``."""
        if len(signature) != 2 * _HALF_SIGNATURE_BYTES:
            raise VerificationError("a signature has 64 bytes")
        try:
            self._verify(data, signature)
        except (BadSignatureError, InvalidSignature) as exc:
            raise VerificationError("the signature does not fit what it covers") from exc

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

    __slots__ = ("_key", "_sign", "public")

    def __init__(self, key: object) -> None:
        """Raise ValueError where ``key`` is neither Ed25519 nor ECDSA P-256."""
        self._sign: Callable[[bytes], bytes]
        if isinstance(key, Ed25519PrivateKey):
            self._sign = partial(_sign_ed25519, SigningKey(key.private_bytes_raw()))
        elif isinstance(key, EllipticCurvePrivateKey):
            self._sign = partial(_sign_p256, key)
        else:
            raise ValueError(_UNSUPPORTED_KEY_MESSAGE)  # noqa: TRY004 - as for public keys
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
        return self._sign(data)

    def pem(self) -> bytes:
        """Return the SECRET key as PEM; for its own file only."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"PrivateKey(hidden, {self.key_id})"


def _sign_ed25519(key: SigningKey, data: bytes) -> bytes:
    return key.sign(data).signature


def _sign_p256(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return r and s, 32 bytes each (RFC 9421, 3.3.4): OpenSSL writes and reads them as DER."""
    r, s = decode_dss_signature(key.sign(data, ECDSA(SHA256())))
    return r.to_bytes(_HALF_SIGNATURE_BYTES, "big") + s.to_bytes(_HALF_SIGNATURE_BYTES, "big")


def _verify_p256(key: EllipticCurvePublicKey, data: bytes, signature: bytes) -> None:
    r, s = (
        int.from_bytes(signature[:_HALF_SIGNATURE_BYTES], "big"),
        int.from_bytes(signature[_HALF_SIGNATURE_BYTES:], "big"),
    )
    key.verify(encode_dss_signature(r, s), data, ECDSA(SHA256()))
