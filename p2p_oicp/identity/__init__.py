"""Who speaks: proving our own identity on outgoing messages, and a peer's on incoming ones.

The story: a node has keys of its own (``keystore``), and a ring of those of its peers (``keyring``). A
:class:`RequestSigner` returns the headers that prove who sends a request, and holds the answer to whoever was asked;
``signatures`` is HTTP Message Signatures (RFC 9421) without I/O, ``structured`` and ``digests`` are the two formats it
is written in, ``replay`` accepts each signature once. Everything here sees bytes as they are on the wire, never a
parsed message. The insecure form (:class:`InsecureSigner`) proves nothing and says so in its name.

Whether an identity may speak for the parties of a message is not decided here: that needs the registry of peers.
"""

from __future__ import annotations

from p2p_oicp.identity.insecure import BearerToken, InsecureSigner
from p2p_oicp.identity.keyring import KeyRing, KnownKey
from p2p_oicp.identity.keys import PrivateKey, PublicKey
from p2p_oicp.identity.keystore import OwnKeys, read_own_keys
from p2p_oicp.identity.replay import ReplayGuard
from p2p_oicp.identity.seams import AnswerParts, RequestSigner, SignedParts
from p2p_oicp.identity.signatures import JSON_UTF8, VerifiedSignature, has_signature, verify_request
from p2p_oicp.identity.signing import MessageSigner, OneTimeSigner, target_of

__all__ = [
    "JSON_UTF8",
    "AnswerParts",
    "BearerToken",
    "InsecureSigner",
    "KeyRing",
    "KnownKey",
    "MessageSigner",
    "OneTimeSigner",
    "OwnKeys",
    "PrivateKey",
    "PublicKey",
    "ReplayGuard",
    "RequestSigner",
    "SignedParts",
    "VerifiedSignature",
    "has_signature",
    "read_own_keys",
    "target_of",
    "verify_request",
]
