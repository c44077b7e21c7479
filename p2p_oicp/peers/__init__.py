"""Who this node talks to.

A *peer* is another company's node, or any other OICP system known by URL. It answers for *parties*: OperatorIDs (it
is a CPO's) and ProviderIDs (it is an EMP's), sub-operators and sub-providers included. The *registry* knows, for every
party, the one peer that answers for it; so that "who runs this EvseID" and "whose contract is this EvcoID" are one
dictionary lookup each, on the id's canonical key: ``DE*ABC`` and ``DEABC`` are the same party (OICP 2.3,
OperatorIDType). Two peers can never claim one party: that is refused when the registry is built, since a wrong answer
here would send a driver's data to a stranger.

The peers come from a file that a person writes (`config.peers_file`; ``peers.example.toml`` explains every key). This
node itself is in the registry too (`Peer.is_self`), so that no peer can claim our own parties.
"""

from p2p_oicp.peers.models import Peer, Profile, Source
from p2p_oicp.peers.registry import PeerRegistry

__all__ = [
    "Peer",
    "PeerRegistry",
    "Profile",
    "Source",
]
