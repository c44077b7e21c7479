"""Peering: which nodes are peers of this one, how they are authenticated, and how they become peers.

Overview
    A peer comes from the peers file, from pairing, or from discovery. The `PeerDirectory` merges the three sources and
    keeps `peers.PeerRegistry` (which peer handles a party) and `crypto.KeyRing` (whose key is this) in step with them.

Main parts
    ``directory``: all peers, their keys and descriptors, and who is to be notified of changes.
    ``peer_tls``: whose certificate is this, and in which TLS context a peer is called.
    ``key_refresh``: fetches a peer's descriptor when a signature or a refusal says that its keys have changed.
    ``pairing``: invitations, and both sides of joining. ``discovery``: mDNS.
    ``evidence_recorder``: stores signed exchanges that cost money, and exports them.
    ``peer_status``: the status of all peers, for the administrator. ``components``: builds all of these.

Invariants
    Registry and key ring are replaced together, as a whole, and only after the change is committed to the store.
    A party, a key and a certificate belong to one peer at most; a change that breaks this is refused as a whole.
    A key is trusted only if it is pinned in the peer's entry, or if a chain of endorsements leads to a pinned one and
    it has signed the descriptor that lists it (`peers.credentials`).
    Fetching a descriptor needs neither our signature nor a known key of the peer: it is signed by itself. So refreshing
    keys never waits for keys to be right.

Failures
    A mistake in the peers file is logged, and everything stays as it was. A descriptor that cannot be fetched or
    verified leaves the old keys in force. Evidence that cannot be written is logged, and the exchange still counts.

Where to read next
    ``directory.py``, then ``key_refresh.py``; ``server/authentication.py`` for how requests are authenticated.
"""

from p2p_oicp.peering.components import Peering, open_peering
from p2p_oicp.peers.models import PeersChanged

__all__ = ["Peering", "PeersChanged", "open_peering"]
