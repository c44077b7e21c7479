"""Hash and verify PINs of drivers with bcrypt (EMP-02, PIN security).

bcrypt is slow on purpose (some 200 ms at cost 12): call both functions in a thread.
"""

from __future__ import annotations

import bcrypt

# bcrypt's limit. A PIN has at most 20 characters, which may be 80 bytes in UTF-8.
_MAX_BCRYPT_BYTES = 72


def hash_pin(pin: str, rounds: int = 12) -> bytes:
    """Return the bcrypt hash of a PIN; ``rounds`` is the logarithm of the cost."""
    return bcrypt.hashpw(_encode_pin(pin), bcrypt.gensalt(rounds))


def pin_matches(pin: str, pin_hash: bytes) -> bool:
    """Return whether a PIN has this hash; false for a hash that is not bcrypt's."""
    try:
        return bcrypt.checkpw(_encode_pin(pin), pin_hash)
    except ValueError:
        return False


def _encode_pin(pin: str) -> bytes:
    return pin.encode()[:_MAX_BCRYPT_BYTES]
