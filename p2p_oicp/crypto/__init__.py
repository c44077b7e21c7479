"""Who speaks: proving our own identity on outgoing messages, and a peer's on incoming ones.

The story: a node has keys of its own (``keystore``), and a ring of those of its peers (``keyring``). A
:class:`RequestSigner` returns the headers that prove who sends a request, and holds the answer to whoever was asked;
``signatures`` is HTTP Message Signatures (RFC 9421) without I/O, ``structured`` and ``digests`` are the two formats it
is written in, ``replay`` accepts each signature once. Everything here sees bytes as they are on the wire, never a
parsed message. The insecure form (:class:`InsecureSigner`) proves nothing and says so in its name.

Whether an identity may speak for the parties of a message is not decided here: that needs the registry of peers.
"""

from __future__ import annotations

from p2p_oicp.crypto.http_signatures import (
    JSON_UTF8,
    RequestSigner,
    SignedRequestParts,
    SignedResponseParts,
    VerifiedSignature,
    has_signature,
    verify_request,
)
from p2p_oicp.crypto.keyring import KeyRing, KnownKey
from p2p_oicp.crypto.keys import PrivateKey, PublicKey
from p2p_oicp.crypto.keystore import OwnKeys, read_own_keys
from p2p_oicp.crypto.replay_cache import ReplayCache
from p2p_oicp.crypto.signers import BearerToken, MessageSigner, NoOpSigner, OneTimeSigner, split_target

__all__ = [
    "JSON_UTF8",
    "BearerToken",
    "KeyRing",
    "KnownKey",
    "MessageSigner",
    "NoOpSigner",
    "OneTimeSigner",
    "OwnKeys",
    "PrivateKey",
    "PublicKey",
    "ReplayCache",
    "RequestSigner",
    "SignedRequestParts",
    "SignedResponseParts",
    "VerifiedSignature",
    "has_signature",
    "read_own_keys",
    "split_target",
    "verify_request",
]
