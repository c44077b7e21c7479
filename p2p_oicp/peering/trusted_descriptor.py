"""A peer's newest descriptor, and which of the peer's pinned keys it decides about.

A descriptor names the last keys of a node, not all it ever had, so its chain of endorsements may not reach back to the
key that is pinned in the peer's entry. Two consequences:

- A pinned key that a descriptor once named, and that the newest one does not name, is retired.
- A descriptor that was verified when it was received stays trusted after a restart. It is stored with the ids of the
  pinned keys that led to it, and stays trusted as long as a person leaves those pinned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from p2p_oicp.crypto import KnownKey, PublicKey
from p2p_oicp.peers import Peer
from p2p_oicp.peers.descriptor import SignedDescriptor, verify_key_chain

# When a key expired that its owner no longer names is not known.
_ALREADY_EXPIRED = 0.0


@dataclass(frozen=True, slots=True)
class TrustedDescriptor:
    """A verified descriptor; ``endorsed_keys`` are the ids of the pinned keys that it, or one before it, names."""

    signed: SignedDescriptor
    endorsed_keys: frozenset[str]

    @classmethod
    def of(cls, signed: SignedDescriptor, peer: Peer, previous: TrustedDescriptor | None = None) -> TrustedDescriptor:
        """Return a descriptor of ``peer`` as it is to be stored; ``previous`` is the one that it replaces."""
        keys = signed.descriptor.keys
        endorsed = {known.key.key_id for known in keys} | {
            known.endorsement.endorser_key_id for known in keys if known.endorsement
        }
        previously_endorsed = previous.endorsed_keys if previous is not None else frozenset()
        return cls(signed, frozenset(key.key_id for key in _pinned_keys(peer)) & (endorsed | previously_endorsed))

    def revalidated_for(self, peer: Peer) -> TrustedDescriptor:
        """Return it as it counts for the present entry of ``peer``.

        Raises:
            VerificationError: a person has removed a pin that it was trusted by, and no other pin leads to it.
        """
        pinned = _pinned_keys(peer)
        if not self.endorsed_keys or not self.endorsed_keys <= {key.key_id for key in pinned}:
            verify_key_chain(self.signed, pinned)
        return TrustedDescriptor.of(self.signed, peer, self)

    def keys_of(self, peer: Peer) -> Iterator[KnownKey]:
        """Return the pinned keys that it decides about, as retired, and then its own, which may be some of them again.

        A later key of the same id overrides an earlier one (`PeerDirectory._rebuild_keyring`).
        """
        for pinned_key in _pinned_keys(peer):
            if pinned_key.key_id in self.endorsed_keys:
                yield KnownKey(pinned_key, peer.name, valid_until=_ALREADY_EXPIRED)
        for published in self.signed.descriptor.keys:
            yield KnownKey(published.key, peer.name, published.valid_from, published.valid_until)


def _pinned_keys(peer: Peer) -> list[PublicKey]:
    return [PublicKey.from_base64(line) for line in peer.public_keys]
