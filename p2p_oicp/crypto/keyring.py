"""Whose key is this: the public keys of all peers, and from when to when they count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from p2p_oicp.crypto.keys import PublicKey
from p2p_oicp.errors import UnknownKey, VerificationError


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key of ``owner`` (a peer's name); it counts from ``valid_from`` until ``valid_until`` (seconds, epoch)."""

    key: PublicKey
    owner: str
    valid_from: float = 0.0
    valid_until: float | None = None


class KeyRing:
    """Looks up keys; what it holds can be replaced as a whole while it is used."""

    def __init__(self, keys: Iterable[KnownKey] = (), banned: Iterable[str] = ()) -> None:
        self.replace(keys, banned)

    def replace(self, keys: Iterable[KnownKey], banned: Iterable[str] = ()) -> None:
        """Hold ``keys``; those whose ids are ``banned`` count for nobody."""
        self._keys_by_id = {known.key.key_id: known for known in keys}
        self._banned = frozenset(banned)

    def find(self, key_id: str, now: float) -> PublicKey:
        """Return the key; raise UnknownKey, or NotProven where it is banned, retired or not valid yet."""
        if key_id in self._banned:
            raise VerificationError(f"key {key_id} is banned here")
        known = self._keys_by_id.get(key_id)
        if known is None:
            raise UnknownKey(f"key {key_id} is nobody's that this node knows")
        if known.valid_until is not None and now > known.valid_until:
            raise VerificationError(f"key {key_id} of {known.owner} is retired")
        if now < known.valid_from:
            raise VerificationError(f"key {key_id} of {known.owner} is not valid yet")
        return known.key

    def find_ignoring_validity(self, key_id: str) -> PublicKey | None:
        """Return a key, whether it still counts or not."""
        known = self._keys_by_id.get(key_id)
        return known.key if known is not None else None

    def is_banned(self, key: PublicKey) -> bool:
        """Say whether a key counts for nobody."""
        return key.key_id in self._banned

    def owner(self, key: PublicKey) -> str:
        """Return the name of the peer whose key this is."""
        return self._keys_by_id[key.key_id].owner

    def owner_of(self, key: PublicKey) -> str | None:
        """Return the name of the peer whose key this is, None where it is nobody's."""
        known = self._keys_by_id.get(key.key_id)
        return known.owner if known is not None else None

    def keys_of(self, owner: str) -> list[KnownKey]:
        """Return all keys of a peer, banned ones left out."""
        return [
            known
            for known in self._keys_by_id.values()
            if known.owner == owner and known.key.key_id not in self._banned
        ]
