"""PINs of drivers: kept as bcrypt hashes only (EMP-02, PIN security); slow on purpose, so call these in a thread."""

from __future__ import annotations

import bcrypt

# What bcrypt takes; a PIN has at most 20 characters, which may be 80 bytes.
_MAX_BCRYPT_BYTES = 72


def hash_pin(pin: str, rounds: int = 12) -> bytes:
    """Return the bcrypt hash to keep; it costs 2 to the power of ``rounds``."""
    return bcrypt.hashpw(_encode_pin(pin), bcrypt.gensalt(rounds))


def pin_matches(pin: str, pin_hash: bytes) -> bool:
    """Say whether it is the PIN of this hash; a hash that is not bcrypt's matches nothing."""
    try:
        return bcrypt.checkpw(_encode_pin(pin), pin_hash)
    except ValueError:
        return False


def _encode_pin(pin: str) -> bytes:
    return pin.encode()[:_MAX_BCRYPT_BYTES]
