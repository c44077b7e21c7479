"""Secrets that the database holds and that must be readable again: sealed by a key that stands beside it.

ChaCha20-Poly1305 (RFC 8439) of ``cryptography``, which this package has anyway, with a random nonce of 96 bits: a node
seals a secret with each registration of a partner, some thousands of times in its life, and a nonce would repeat after
some 2**40. (PyNaCl's SecretBox would do the same, and be a second library for it.) What a secret is for is part of what
is authenticated, so that no sealed secret can be put in the place of another one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2p_oicp.crypto.keystore import create_private_file, read_private_file
from p2p_oicp.errors import ConfigurationError

#: In the folder of the keys.
OCPI_KEY_FILE = "ocpi.key"
_KEY_BYTES, _NONCE_BYTES = 32, 12
_VERSION = b"\x01"


class SecretSealer:
    """Seals and opens secrets with one key.

    Args:
        key: 32 random bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)

    def __repr__(self) -> str:
        return "<SecretSealer>"

    def seal(self, secret: str, purpose: str) -> bytes:
        """Return a secret sealed for a purpose, which must be given to open it."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, secret.encode(), purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> str | None:
        """Return a secret; None: it was sealed with another key, or for another purpose, or is damaged."""
        start = len(_VERSION) + _NONCE_BYTES
        if sealed[: len(_VERSION)] != _VERSION or len(sealed) < start:
            return None
        try:
            return self._cipher.decrypt(sealed[len(_VERSION) : start], sealed[start:], purpose.encode()).decode()
        except InvalidTag:
            return None


def open_sealer(file: Path) -> SecretSealer:
    """Return the sealer with the key of a file, which is written on first use, for its owner only.

    Raises ConfigurationError: it cannot be read or written, others may read it, or it is no such key.
    """
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            create_private_file(file, secrets.token_bytes(_KEY_BYTES))
        except FileExistsError:  # another process was faster
            pass
        except OSError as exc:
            raise ConfigurationError(f"{exc.filename or file}: cannot be written: {exc.strerror}") from exc
    key = read_private_file(file)
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"{file}: expected a key of {_KEY_BYTES} bytes; restore it, or register partners anew")
    return SecretSealer(key)
