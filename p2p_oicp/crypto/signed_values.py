"""Values that a browser keeps for us, and cannot change: logins, tickets, the tokens of forms.

The key is random and belongs to the process: after a restart, nothing that was signed before counts. The purpose is
part of what is signed, so that a value of one purpose is none of another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

_KEY_BYTES = 32
_NONCE_BYTES = 16
_DIGEST_BYTES = hashlib.sha256().digest_size


class ValueSigner:
    """Signs values, and reads those that it has signed.

    Args:
        key: of HMAC-SHA256; None: a random one.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES) if key is None else key

    def __repr__(self) -> str:
        return "<ValueSigner>"

    def sign(self, purpose: str, value: bytes) -> str:
        """Return a value with its signature, as text for a cookie, a form or a URL."""
        return base64.urlsafe_b64encode(self._digest(purpose, value) + value).rstrip(b"=").decode()

    def read(self, purpose: str, text: str) -> bytes | None:
        """Return the value of a text; None where it was not signed here for this purpose."""
        try:
            signed = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except (ValueError, binascii.Error):
            return None
        digest, value = signed[:_DIGEST_BYTES], signed[_DIGEST_BYTES:]
        return value if hmac.compare_digest(digest, self._digest(purpose, value)) else None

    def token(self, purpose: str, value: str) -> str:
        """Return what proves that somebody was given it for a value, and has not guessed it."""
        return self._digest(purpose, value.encode()).hex()

    def is_token(self, purpose: str, value: str, token: str) -> bool:
        """Whether it is the token of a value."""
        return hmac.compare_digest(self.token(purpose, value).encode(), token.encode(errors="surrogateescape"))

    def _digest(self, purpose: str, value: bytes) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\0" + value, "sha256")


def new_nonce() -> str:
    """Return a random text, which nobody guesses."""
    return secrets.token_urlsafe(_NONCE_BYTES)
