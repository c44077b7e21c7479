"""Cryptographic identity: keys, message signatures, certificates and evidence files.

Overview
    A node authenticates itself by HTTP Message Signatures (RFC 9421) over a ``Content-Digest`` (RFC 9530), by TLS
    client certificates, or by both. All functions take bytes as they are on the wire, never a parsed message. Whether
    an authenticated peer is authorized for the parties of a message is decided in ``server``, with the registry.

Main modules, in the order of a signed request
    - ``keys`` and ``keystore``: our own keys, their rotation and endorsement; ``keyring``: the keys of peers.
    - ``signers``: ``MessageSigner`` adds the headers to a request and verifies the response; ``OneTimeSigner`` is for
      pairing, ``BearerToken`` for our own backend, ``NoOpSigner`` for insecure mode.
    - ``http_signatures``: the signatures themselves, without I/O; ``structured_fields``: the syntax of their headers.
    - ``replay_cache``: accepts each signature once.
    - ``tls``: X.509 certificates and TLS contexts.
    - ``exchange``: signed exchanges as they are recorded; ``evidence_file``: a file of them to be verified offline.
    - ``pins``: bcrypt hashes of drivers' PINs.

Invariants
    - Private keys appear in no repr and no log, and are in files of mode 0600.
    - ``verify_…`` raises or returns what was verified, never a boolean.

Failures
    ``VerificationError`` for anything that cannot be verified, ``UnknownKey`` if fetching the peer's current keys may
    help, ``ConfigurationError`` for our own unusable files.

Where to read next
    ``http_signatures.verify_request``, then ``server.authentication``.
"""

from __future__ import annotations

from p2p_oicp.crypto.http_signatures import (
    JSON_UTF8,
    RequestSigner,
    VerifiedSignature,
    has_signature,
    verify_body,
    verify_request,
    verify_request_head,
)
from p2p_oicp.crypto.keyring import KeyRing, KnownKey
from p2p_oicp.crypto.keys import PrivateKey, PublicKey
from p2p_oicp.crypto.keystore import OwnKeys, read_own_keys
from p2p_oicp.crypto.replay_cache import ReplayCache
from p2p_oicp.crypto.signature_base import RequestHead, SignedRequestParts, SignedResponseParts
from p2p_oicp.crypto.signers import (
    BearerToken,
    MessageSigner,
    NoOpSigner,
    OneTimeSigner,
    OwnBackendSigner,
    split_target,
)

__all__ = [
    "JSON_UTF8",
    "BearerToken",
    "KeyRing",
    "KnownKey",
    "MessageSigner",
    "NoOpSigner",
    "OneTimeSigner",
    "OwnBackendSigner",
    "OwnKeys",
    "PrivateKey",
    "PublicKey",
    "ReplayCache",
    "RequestHead",
    "RequestSigner",
    "SignedRequestParts",
    "SignedResponseParts",
    "VerifiedSignature",
    "has_signature",
    "read_own_keys",
    "split_target",
    "verify_body",
    "verify_request",
    "verify_request_head",
]
