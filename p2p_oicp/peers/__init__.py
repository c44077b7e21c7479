"""The peers of a node: which one is responsible for a party, and to which peers a request is routed. No I/O.

Overview
    A *peer* is another company's node, or any other OICP system known by its URL. It is responsible for *parties*:
    OperatorIDs (as a CPO) and ProviderIDs (as an EMP), sub-operators and sub-providers included (decision 0004).

Main modules
    - ``models``: ``Peer``, and validated fields (ids, URLs, keys, networks) that both configuration files use.
    - ``registry``: ``PeerRegistry``, from a party to its peer in one dictionary lookup, on the canonical key of the id;
      ``SecurityPolicy``, which credentials a peer's requests must carry.
    - ``routing``: from an EvseID, an identification or a session to the peers that are asked.
    - ``publishing``: which of our datasets a peer may see.
    - ``descriptor``: what a node publishes about itself, signed; and the links that invite another node.
    - ``credentials``: whose key and certificate is this: what is pinned, and what descriptors prove.

Invariants
    - One party has one peer. Two claims are refused when the registry is built, because a wrong route would send a
      driver's data to another company.
    - This node is an entry of the registry too (``Peer.is_self``), so that no peer can claim its parties.

Where to read next
    ``routing``, then ``peering.directory``, which fills the registry from the peers file and from pairings.
"""

from p2p_oicp.peers.models import Peer, Profile, Source
from p2p_oicp.peers.registry import PeerRegistry

__all__ = [
    "Peer",
    "PeerRegistry",
    "Profile",
    "Source",
]
