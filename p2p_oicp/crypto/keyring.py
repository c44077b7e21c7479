"""The public keys of all peers, with their owners and their validity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from p2p_oicp.crypto.keys import PublicKey
from p2p_oicp.errors import UnknownKey, VerificationError


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key of a peer; ``owner`` is the peer's name, the validity is in seconds since the epoch."""

    key: PublicKey
    owner: str
    valid_from: float = 0.0
    valid_until: float | None = None


class KeyRing:
    """Looks up keys by id; the directory of peers replaces its content as a whole while it is in use.

    Args:
        keys: The keys of all peers.
        banned: Ids of keys that are refused, whoever lists them.
    """

    def __init__(self, keys: Iterable[KnownKey] = (), banned: Iterable[str] = ()) -> None:
        self.replace(keys, banned)

    def __repr__(self) -> str:
        return f"<KeyRing keys={len(self._keys_by_id)} banned={len(self._banned)}>"

    def replace(self, keys: Iterable[KnownKey], banned: Iterable[str] = ()) -> None:
        """Replace all keys, and the ids of banned ones."""
        self._keys_by_id = {known.key.key_id: known for known in keys}
        self._banned = frozenset(banned)

    def find(self, key_id: str, now: float) -> PublicKey:
        """Return a key that is valid at ``now``.

        Raises:
            UnknownKey: No peer has it; fetching the sender's current keys may help.
            VerificationError: It is banned, retired or not valid yet.
        """
        if key_id in self._banned:
            raise VerificationError(f"key {key_id} is banned here")
        known = self._keys_by_id.get(key_id)
        if known is None:
            raise UnknownKey(f"unknown signing key {key_id}")
        if known.valid_until is not None and now > known.valid_until:
            raise VerificationError(f"key {key_id} of {known.owner} is retired")
        if now < known.valid_from:
            raise VerificationError(f"key {key_id} of {known.owner} is not valid yet")
        return known.key

    def find_ignoring_validity(self, key_id: str) -> KnownKey | None:
        """Return a key with its owner, even if it is banned, retired or not valid yet."""
        return self._keys_by_id.get(key_id)

    def is_banned(self, key: PublicKey) -> bool:
        """Return whether a key is refused, whoever lists it."""
        return key.key_id in self._banned

    def owner(self, key: PublicKey) -> str | None:
        """Return the name of the peer that has a key; None if no peer has it."""
        known = self._keys_by_id.get(key.key_id)
        return known.owner if known is not None else None

    def keys_of(self, owner: str) -> list[KnownKey]:
        """Return the keys of a peer, without banned ones."""
        return [
            known
            for known in self._keys_by_id.values()
            if known.owner == owner and known.key.key_id not in self._banned
        ]


def last_endings(keys: Iterable[KnownKey]) -> dict[str, float]:
    """Return when the last key of each owner ends, by its name; nothing where one has no end.

    A key behind which another one follows ends as a rotation wants it to.
    """
    last: dict[str, float] = {}
    for key in keys:
        last[key.owner] = max(last.get(key.owner, 0.0), math.inf if key.valid_until is None else key.valid_until)
    return {owner: at for owner, at in last.items() if at != math.inf}
