"""Who speaks: proving our own identity on outgoing messages, and a peer's on incoming ones.

The story: a node has keys of its own (``keystore``), and a ring of those of its peers (``keyring``). A
:class:`RequestSigner` returns the headers that prove who sends a request, and holds the answer to whoever was asked;
``signatures`` is HTTP Message Signatures (RFC 9421) without I/O, ``structured`` and ``digests`` are the two formats it
is written in, ``replay`` accepts each signature once. Everything here sees bytes as they are on the wire, never a
parsed message. The insecure forms (:class:`InsecureSigner`, :class:`ClaimedIdentityVerifier`) prove nothing and say so
in their names.

Whether an identity may speak for the parties of a message is not decided here: that needs the registry of peers.
"""

from __future__ import annotations

from p2p_oicp.identity.insecure import BearerToken, ClaimedIdentityVerifier, InsecureSigner
from p2p_oicp.identity.keyring import KeyRing, KnownKey
from p2p_oicp.identity.keys import PrivateKey, PublicKey
from p2p_oicp.identity.keystore import OwnKeys, read_own_keys
from p2p_oicp.identity.replay import ReplayGuard
from p2p_oicp.identity.seams import AnswerParts, Proof, ProvenIdentity, RequestSigner, RequestVerifier, SignedParts
from p2p_oicp.identity.signatures import JSON_UTF8, VerifiedSignature, has_signature, verify_request
from p2p_oicp.identity.signing import MessageSigner, OneTimeSigner, target_of

__all__ = [
    "JSON_UTF8",
    "AnswerParts",
    "BearerToken",
    "ClaimedIdentityVerifier",
    "InsecureSigner",
    "KeyRing",
    "KnownKey",
    "MessageSigner",
    "OneTimeSigner",
    "OwnKeys",
    "PrivateKey",
    "Proof",
    "ProvenIdentity",
    "PublicKey",
    "ReplayGuard",
    "RequestSigner",
    "RequestVerifier",
    "SignedParts",
    "VerifiedSignature",
    "has_signature",
    "read_own_keys",
    "target_of",
    "verify_request",
]
