"""Public and private keys: Ed25519 (the default) and ECDSA P-256.

The id of a key is its fingerprint, so companies need not agree on names: ``SHA256:`` and the unpadded base64 of the
SHA-256 over its SubjectPublicKeyInfo.

Keys are read and written by OpenSSL. Ed25519 signatures are made and verified by libsodium, in 16 and 40 µs; OpenSSL
takes 21 and 65 µs.
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
    """A key that verifies signatures; keys with the same id are equal.

    Args:
        key: A public key of the ``cryptography`` package, Ed25519 or ECDSA P-256.

    Raises:
        ValueError: Any other key.
    """

    __slots__ = ("_key", "_verify", "algorithm", "der_base64", "key_id")

    def __init__(self, key: object) -> None:
        verify: Callable[[bytes, bytes], object]
        if isinstance(key, Ed25519PublicKey):
            self.algorithm, verify = ED25519, VerifyKey(key.public_bytes_raw()).verify
        elif isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
            self.algorithm, verify = ECDSA_P256, partial(_verify_p256, key)
        else:
            raise ValueError(_UNSUPPORTED_KEY_MESSAGE)  # noqa: TRY004 - pydantic reports ValueError only
        self._key, self._verify = key, verify
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.der_base64 = base64.b64encode(der).decode()
        self.key_id = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")

    @classmethod
    def from_base64(cls, encoded: str) -> PublicKey:
        """Parse the base64 of a SubjectPublicKeyInfo; raises ValueError."""
        try:
            return cls(load_der_public_key(base64.b64decode(encoded, validate=True)))
        except (binascii.Error, ValueError, UnsupportedAlgorithm) as exc:
            raise ValueError(_UNSUPPORTED_KEY_MESSAGE) from exc

    @classmethod
    def from_pem(cls, pem: bytes) -> PublicKey:
        """Parse a PEM ``PUBLIC KEY``; raises ValueError."""
        try:
            return cls(load_pem_public_key(pem))
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise ValueError(_UNSUPPORTED_KEY_MESSAGE) from exc

    def verify(self, signature: bytes, data: bytes) -> None:
        """Verify a signature over ``data``; raises VerificationError."""
        # Both algorithms sign in 64 bytes; libsodium raises another type of error for another length.
        if len(signature) != 2 * _HALF_SIGNATURE_BYTES:
            raise VerificationError("a signature has 64 bytes")
        try:
            self._verify(data, signature)
        except (BadSignatureError, InvalidSignature) as exc:
            raise VerificationError("the signature does not fit what it covers") from exc

    def pem(self) -> bytes:
        """Return the key in PEM form."""
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.key_id == self.key_id

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __repr__(self) -> str:
        return f"PublicKey({self.key_id})"


class PrivateKey:
    """A key that signs; its repr shows the id only.

    Args:
        key: A private key of the ``cryptography`` package, Ed25519 or ECDSA P-256.

    Raises:
        ValueError: Any other key.
    """

    __slots__ = ("_key", "_sign", "public")

    def __init__(self, key: object) -> None:
        sign: Callable[[bytes], bytes]
        if isinstance(key, Ed25519PrivateKey):
            sign = partial(_sign_ed25519, SigningKey(key.private_bytes_raw()))
        elif isinstance(key, EllipticCurvePrivateKey):
            sign = partial(_sign_p256, key)
        else:
            raise ValueError(_UNSUPPORTED_KEY_MESSAGE)  # noqa: TRY004 - as for public keys
        self._key, self._sign = key, sign
        self.public = PublicKey(key.public_key())

    @classmethod
    def generate(cls) -> PrivateKey:
        """Return a new Ed25519 key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """Return the Ed25519 key whose secret is these 32 bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, pem: bytes) -> PrivateKey:
        """Parse an unencrypted private key in PEM form; raises ValueError."""
        try:
            return cls(load_pem_private_key(pem, password=None))
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise ValueError("not an unencrypted private key in PEM form, Ed25519 or ECDSA P-256") from exc

    @property
    def key_id(self) -> str:
        """The id of the public key."""
        return self.public.key_id

    def sign(self, data: bytes) -> bytes:
        """Return the signature over ``data`` in the form of RFC 9421."""
        return self._sign(data)

    def pem(self) -> bytes:
        """Return the SECRET key in PEM form, to be written to its own file only."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"PrivateKey(hidden, {self.key_id})"


def _sign_ed25519(key: SigningKey, data: bytes) -> bytes:
    return key.sign(data).signature


def _sign_p256(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
    # RFC 9421 §3.3.4: r and s, 32 bytes each. OpenSSL writes and reads them as DER.
    r, s = decode_dss_signature(key.sign(data, ECDSA(SHA256())))
    return r.to_bytes(_HALF_SIGNATURE_BYTES, "big") + s.to_bytes(_HALF_SIGNATURE_BYTES, "big")


def _verify_p256(key: EllipticCurvePublicKey, data: bytes, signature: bytes) -> None:
    r, s = (
        int.from_bytes(signature[:_HALF_SIGNATURE_BYTES], "big"),
        int.from_bytes(signature[_HALF_SIGNATURE_BYTES:], "big"),
    )
    key.verify(encode_dss_signature(r, s), data, ECDSA(SHA256()))
