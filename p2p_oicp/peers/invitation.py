"""Invitations: a one-time link, and what a token proves without ever being sent.

``https://host/p2p/v1/pairings#token=…&key=…``. From the token both sides derive the same Ed25519 key. Whoever joins
signs its request with that key: who reads along learns nothing to join with, who changes the request breaks the
signature, and the inviting node needs to keep no more than the key's fingerprint. ``key`` is the fingerprint of the
inviting node's own key, so that whoever joins knows that it talks to whoever invited.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity.keys import PrivateKey
from p2p_oicp.peers.fields import base_url

PAIRINGS_PATH = "/p2p/v1/pairings"

_CONTEXT = b"p2p-oicp invitation v1\n"
_LINK = re.compile(r"(https?://[^#\s]+)" + PAIRINGS_PATH + r"#token=([A-Za-z0-9_-]{22,64})&key=([A-Za-z0-9_-]{43})")
_TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class Invitation:
    """Where to join, with which token, and the key that has to answer there."""

    url: str
    key_id: str
    token: str = field(repr=False)

    @classmethod
    def new(cls, url: str, key_id: str) -> Invitation:
        """Return an invitation with a new token."""
        return cls(url, key_id, secrets.token_urlsafe(_TOKEN_BYTES))

    @classmethod
    def of_link(cls, link: str) -> Invitation:
        """Read a link; raise ConfigurationError where it is none."""
        match = _LINK.fullmatch(link.strip())
        if match is None:
            raise ConfigurationError(
                "this is no invitation; expected the link that `p2p-oicp peers invite` has printed"
            )
        url, token, key = match.groups()
        try:
            return cls(base_url(url), "SHA256:" + key.replace("-", "+").replace("_", "/"), token)
        except ValueError as exc:
            raise ConfigurationError(f"the link's address: {exc}") from exc

    def link(self) -> str:
        """Return the link to give to the other company; it is a secret until it was used."""
        key = self.key_id.removeprefix("SHA256:").replace("+", "-").replace("/", "_")
        return f"{self.url}{PAIRINGS_PATH}#token={self.token}&key={key}"

    def proof_key(self) -> PrivateKey:
        """Return the key that proves knowledge of the token."""
        return PrivateKey.from_seed(hashlib.sha256(_CONTEXT + base64.urlsafe_b64decode(_padded(self.token))).digest())


def _padded(token: str) -> str:
    return token + "=" * (-len(token) % 4)
