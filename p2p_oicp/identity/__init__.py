"""Who speaks: proving our own identity on outgoing requests, and a peer's on incoming ones.

Two narrow seams. A :class:`RequestSigner` returns the headers that prove who sends it. A :class:`RequestVerifier`
turns the parts of a received request into a :class:`ProvenIdentity`, or raises :class:`~p2p_oicp.errors.Unauthorized`.
Both see bytes as they are on the wire, never a parsed message. Their insecure forms (:class:`InsecureSigner`,
:class:`ClaimedIdentityVerifier`) prove nothing and say so in their names.

Whether an identity may speak for the parties of a message is not decided here: that needs the registry of peers.
"""

from __future__ import annotations

from p2p_oicp.identity.insecure import BearerToken, ClaimedIdentityVerifier, InsecureSigner
from p2p_oicp.identity.seams import Proof, ProvenIdentity, RequestSigner, RequestVerifier, SignedParts

__all__ = [
    "BearerToken",
    "ClaimedIdentityVerifier",
    "InsecureSigner",
    "Proof",
    "ProvenIdentity",
    "RequestSigner",
    "RequestVerifier",
    "SignedParts",
]
