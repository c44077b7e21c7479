"""Whose key and whose certificate is this: what a person has pinned, and what descriptors prove.

A credential is a peer's if it is pinned in the peer's entry, or if the peer has proved that it is its own: a key by a
signature over the descriptor that lists it (`descriptor.SignedDescriptor.proved_keys`), a certificate by the TLS
handshake in which the descriptor that lists it was fetched. What is listed without proof belongs to nobody, and blocks
nobody: a company cannot be locked out by listing its credentials first. A descriptor that lists what is another peer's
is refused as a whole.

**Trusted descriptor**: a descriptor names the last keys of a node, not all it ever had, so its chain of endorsements
may not reach back to the key that is pinned in the peer's entry. So a pinned key that a descriptor once named, and that
the newest one does not name, is retired; and a descriptor that was verified when it was received stays trusted after a
restart: it is stored with the ids of the pinned keys that led to it, and stays trusted as long as these are pinned. The
certificates that were shown are stored with it, and count as long as descriptors list them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from p2p_oicp.crypto import KnownKey, PublicKey
from p2p_oicp.crypto.tls import pin_fingerprint
from p2p_oicp.peers.descriptor import SignedDescriptor, verify_key_chain
from p2p_oicp.peers.models import Peer

# When a key expired that its owner no longer names is not known.
_ALREADY_EXPIRED = 0.0


@dataclass(frozen=True, slots=True)
class TrustedDescriptor:
    """A verified descriptor of a peer.

    Attributes:
        signed: The descriptor.
        endorsed_keys: The ids of the pinned keys that it, or one before it, names.
        shown_certificates: The fingerprints of those of its certificates that the peer has shown in a handshake.
    """

    signed: SignedDescriptor
    endorsed_keys: frozenset[str]
    shown_certificates: frozenset[str] = frozenset()

    @classmethod
    def of(cls, signed: SignedDescriptor, peer: Peer, previous: TrustedDescriptor | None = None) -> TrustedDescriptor:
        """Return a descriptor of ``peer`` as it is to be stored; ``previous`` is the one that it replaces."""
        keys = signed.descriptor.keys
        endorsed = {known.key.key_id for known in keys} | {
            known.endorsement.endorser_key_id for known in keys if known.endorsement
        }
        listed, shown = set(map(pin_fingerprint, signed.descriptor.certificates)), {signed.shown_certificate}
        if previous is not None:
            endorsed |= previous.endorsed_keys
            shown |= previous.shown_certificates
        return cls(signed, frozenset(key.key_id for key in _pinned_keys(peer)) & endorsed, frozenset(listed & shown))

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

        A later key of the same id overrides an earlier one (`find_owners`).
        """
        pinned = {key.key_id: key for key in _pinned_keys(peer)}
        for key_id in self.endorsed_keys & pinned.keys():
            yield KnownKey(pinned[key_id], peer.name, valid_until=_ALREADY_EXPIRED)
        for published in self.signed.descriptor.keys:
            if published.key.key_id in self.signed.proved_keys or published.key.key_id in pinned:
                yield KnownKey(published.key, peer.name, published.valid_from, published.valid_until)


def _pinned_keys(peer: Peer) -> list[PublicKey]:
    return [PublicKey.from_base64(line) for line in peer.public_keys]


@dataclass(frozen=True, slots=True)
class CredentialOwners:
    """The keys of all peers by id, and the names of the owners of certificates by fingerprint."""

    keys: Mapping[str, KnownKey] = field(default_factory=dict)
    certificates: Mapping[str, str] = field(default_factory=dict)

    def find_foreign(self, name: str, signed: SignedDescriptor, is_ours: Callable[[str], bool]) -> str | None:
        """Return what is wrong if a descriptor of the peer ``name`` lists what is another's; None if it does not.

        Args:
            name: The peer.
            signed: Its descriptor.
            is_ours: Whether a key or certificate, by its fingerprint, is this node's own.
        """
        descriptor = signed.descriptor
        listed = [("key", published.key.key_id) for published in descriptor.keys]
        listed += [("certificate", pin_fingerprint(line)) for line in descriptor.certificates]
        for kind, fingerprint in listed:
            known = self.keys.get(fingerprint)
            owner = known.owner if known is not None else self.certificates.get(fingerprint, name)
            if is_ours(fingerprint):
                return f"{name} lists {kind} {fingerprint}, which is this node's own"
            if owner != name:
                return f"{name} lists {kind} {fingerprint}, which is {owner}'s"
        return None


def find_owners(peers: Iterable[Peer], descriptors: Mapping[str, TrustedDescriptor]) -> CredentialOwners:
    """Return who owns which credential; ``descriptors`` are those of the peers, by name."""
    keys: dict[str, KnownKey] = {}
    certificates: dict[str, str] = {}
    # Order: pinned ones first, so that a peer's descriptor cannot claim what is pinned for another.
    for peer in peers:
        keys |= {key.key_id: KnownKey(key, peer.name) for key in _pinned_keys(peer)}
        certificates |= dict.fromkeys(map(pin_fingerprint, peer.certificates), peer.name)
    for peer in peers:
        if (trusted := descriptors.get(peer.name)) is None:
            continue
        for known in trusted.keys_of(peer):
            # The peer's own keys may change their validity; a key of another peer keeps its owner.
            if keys.setdefault(known.key.key_id, known).owner == peer.name:
                keys[known.key.key_id] = known
        for fingerprint in trusted.shown_certificates:
            certificates.setdefault(fingerprint, peer.name)
    return CredentialOwners(keys, certificates)
