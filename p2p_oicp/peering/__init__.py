"""Whom this node trusts, while it runs.

The story: the *directory* knows all peers, from the peers file and from the store, and keeps the registry and the key
ring in step with both. *Pairing* adds a peer: one company invites, the other joins, and each learns the other's
descriptor and key. *Fresh keys* are fetched from a peer whose signature (or refusal) says that it has changed them.
"""

from p2p_oicp.peering.directory import PeersChanged
from p2p_oicp.peering.peer_tls import IdentityPaths, PeerTls

__all__ = ["IdentityPaths", "PeerTls", "PeersChanged"]
