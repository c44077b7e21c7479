"""What was learned of a peer: its newest descriptor, and which of its pinned keys that descriptor decides about.

A node names its last keys, not all that it ever had. So a pinned key that was named once, and is not any more, is
retired; and a descriptor that was checked when it was learned is believed after a restart, although it may not reach
back to the pinned key. Both end where a person changes what is pinned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from p2p_oicp.identity import KnownKey, PublicKey
from p2p_oicp.peers import Peer
from p2p_oicp.peers.descriptor import SignedDescriptor, check_lineage

# When a key ended that its owner does not name any more is not known.
_LONG_AGO = 0.0


@dataclass(frozen=True, slots=True)
class Learned:
    """A descriptor; ``pins`` are the ids of those pinned keys that it, or one before it, named."""

    signed: SignedDescriptor
    pins: frozenset[str]

    @classmethod
    def of(cls, signed: SignedDescriptor, peer: Peer, before: Learned | None = None) -> Learned:
        """Return a descriptor of ``peer`` as it is to be remembered; ``before`` is the one that it follows."""
        keys = signed.descriptor.keys
        named = {known.key.key_id for known in keys} | {known.announced.by for known in keys if known.announced}
        earlier = before.pins if before is not None else frozenset()
        return cls(signed, frozenset(key.key_id for key in _pinned(peer)) & (named | earlier))

    def recalled_for(self, peer: Peer) -> Learned:
        """Return it as it counts for ``peer`` now; raise NotProven where a person has unpinned what vouched for it."""
        pinned = _pinned(peer)
        if not self.pins or not self.pins <= {key.key_id for key in pinned}:
            check_lineage(self.signed, pinned)
        return Learned.of(self.signed, peer, self)

    def keys_of(self, peer: Peer) -> Iterator[KnownKey]:
        """Return first those of ``pins``, retired, and then what the descriptor says, of some of them as well."""
        for pin in _pinned(peer):
            if pin.key_id in self.pins:
                yield KnownKey(pin, peer.name, valid_until=_LONG_AGO)
        for known in self.signed.descriptor.keys:
            yield KnownKey(known.key, peer.name, known.valid_from, known.valid_until)


def _pinned(peer: Peer) -> list[PublicKey]:
    return [PublicKey.from_line(line) for line in peer.public_keys]
