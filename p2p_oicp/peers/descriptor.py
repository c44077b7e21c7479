"""Node descriptors and invitation links.

**Descriptor** (``GET /.well-known/oicp-p2p``): the name, URL, parties and keys of a node, signed with one of its keys.
``{"payload": "<JSON as text>", "key_id": "SHA256:…", "signature": "<base64>", "proofs": [{"key_id", "signature"}]}``:
each signature covers the bytes of the payload, so no canonical form of JSON is needed. A descriptor proves that the
owner of a key published it. Which company the key belongs to is proved by a person, a pinned key, or the endorsement by
a trusted key. A node signs with its newest key, and, as ``proofs``, with all others that it still has: anyone can list
a foreign key, so a listed key is the node's own only if it has signed the descriptor, or endorsed one that has.

**Invitation** (``https://host/p2p/v1/pairings#token=…&key=…``): a link that is used once. Both sides derive the same
Ed25519 key from the token, and the joining node signs its request with it. The token itself is never sent, so an
eavesdropper cannot join, a changed request has no valid signature, and the inviting node stores a fingerprint only.
``key`` is the fingerprint of the inviting node's own key, by which the joining node authenticates it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from p2p_oicp.clock import Clock
from p2p_oicp.crypto import MessageSigner
from p2p_oicp.crypto.keys import PrivateKey, PublicKey
from p2p_oicp.crypto.keystore import KeyEndorsement, OwnKeys, endorsement_message
from p2p_oicp.crypto.tls import TlsIdentity
from p2p_oicp.errors import ConfigurationError, VerificationError
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.oicp.operations import OPERATIONS, Party
from p2p_oicp.peers.models import (
    EXTENSIONS,
    Peer,
    parse_base_url,
    parse_certificate,
    parse_name,
    parse_operator_id,
    parse_provider_id,
)
from p2p_oicp.version import VERSION

DESCRIPTOR_PATH = "/.well-known/oicp-p2p"

_DESCRIPTOR_VERSION = 1
# A prefix of the signed bytes: a signature for one purpose must be none for another.
_DESCRIPTOR_CONTEXT = b"p2p-oicp descriptor v1\n"
# Certificates stay in the TLS context for ever, and keys cost a verification each; a node has few of both at a time.
_MAX_ENTRIES = {"operators": 1000, "providers": 1000, "keys": 100, "certificates": 20, "operations": 1000}
# A node has few private keys at a time; each proof costs a verification.
_MAX_PROOFS = 20
# The end of the year 9999: datetime has no later time.
_MAX_TIMESTAMP = 253_402_300_799


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key of a node, with its validity in seconds since the epoch and the endorsement by its predecessor."""

    key: PublicKey
    valid_from: float = 0.0
    valid_until: float | None = None
    endorsement: KeyEndorsement | None = None

    def is_valid(self, now: float) -> bool:
        """Return whether the key is valid at ``now`` (seconds since the epoch)."""
        return self.valid_from <= now and (self.valid_until is None or now <= self.valid_until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a node publishes about itself; ``require`` are the credentials that requests to it must have."""

    name: str
    url: str
    operators: tuple[OperatorID, ...]
    providers: tuple[ProviderID, ...]
    keys: tuple[PublishedKey, ...]
    certificates: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    software: str = ""
    issued_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SignedDescriptor:
    """A descriptor whose signature was verified with ``key``, one of its own.

    Attributes:
        descriptor: What it says.
        key: The key that signed it.
        body: The received bytes.
        proved_keys: The ids of those of its keys that have proved to be the node's own.
        shown_certificate: The fingerprint of the certificate in whose TLS handshake it was fetched; empty if there was
            none.
    """

    descriptor: Descriptor
    key: PublicKey
    body: bytes
    proved_keys: frozenset[str]
    shown_certificate: str = ""


def publish_keys(keys: OwnKeys) -> tuple[PublishedKey, ...]:
    """Return our own keys in the form of a descriptor."""
    return tuple(
        PublishedKey(entry.public, entry.valid_from, entry.valid_until, entry.endorsement) for entry in keys.entries
    )


def sign_descriptor(descriptor: Descriptor, key: PrivateKey, *others: PrivateKey) -> bytes:
    """Return the signed descriptor as bytes; ``others`` are further keys of the node, which are proved by it."""
    payload = orjson.dumps(_descriptor_to_json(descriptor))
    first, *proofs = (
        {"key_id": each.key_id, "signature": base64.b64encode(each.sign(_DESCRIPTOR_CONTEXT + payload)).decode()}
        for each in (key, *others)
    )
    return orjson.dumps({"payload": payload.decode(), **first, "proofs": proofs})


def verify_descriptor(body: bytes, now: float | None = None) -> SignedDescriptor:
    """Parse a descriptor and verify its signature.

    Args:
        body: The received bytes.
        now: When the key has to be valid, in seconds since the epoch; None: when the descriptor was issued (evidence).

    Raises:
        VerificationError: It is no descriptor, or not signed by a valid key of its own.
    """
    try:
        envelope = orjson.loads(body)
        payload = str(envelope["payload"]).encode()
        descriptor = _descriptor_from_json(orjson.loads(payload))
        listed = {published.key.key_id: published for published in descriptor.keys}
        signatures = [
            (listed[entry["key_id"]], base64.b64decode(str(entry["signature"]), validate=True))
            for entry in (envelope, *envelope.get("proofs", ())[:_MAX_PROOFS])
        ]
    except KeyError as exc:
        raise VerificationError(f"this is no node descriptor: {exc} is missing, or is no key of its own") from exc
    except (ValueError, TypeError, AttributeError) as exc:
        raise VerificationError(f"this is no node descriptor: {exc}") from exc
    for published, signature in signatures:
        published.key.verify(signature, _DESCRIPTOR_CONTEXT + payload)
    signer = signatures[0][0]
    if not signer.is_valid(descriptor.issued_at if now is None else now):
        raise VerificationError("the descriptor is signed with a key that is not valid any more, or not yet")
    proved_keys = _with_endorsers({published.key.key_id for published, _ in signatures}, listed)
    return SignedDescriptor(descriptor, signer.key, body, proved_keys)


def _with_endorsers(proved: set[str], listed: Mapping[str, PublishedKey]) -> frozenset[str]:
    """Return the proved keys with those that have endorsed one of them: former keys, whose private part is gone."""
    pending = list(proved)
    while pending:
        published = listed[pending.pop()]
        endorser = listed.get(published.endorsement.endorser_key_id) if published.endorsement else None
        if endorser is not None and endorser.key.key_id not in proved:
            try:
                _verify_endorsement(endorser.key, published)
            except VerificationError:
                continue
            proved.add(endorser.key.key_id)
            pending.append(endorser.key.key_id)
    return frozenset(proved)


def verify_key_chain(signed: SignedDescriptor, trusted: Iterable[PublicKey]) -> None:
    """Verify that a trusted key signed the descriptor, or endorsed the key that did, directly or through others.

    Raises:
        VerificationError: There is no such chain, or an endorsement in it is invalid.
    """
    # Endorsements are listed in any order: each pass adds the keys that a key of the passes before has endorsed.
    trusted_by_id = {key.key_id: key for key in trusted}
    pending = list(signed.descriptor.keys)
    progress = True
    while progress and signed.key.key_id not in trusted_by_id:
        progress = False
        for published in list(pending):
            if published.endorsement is not None and published.endorsement.endorser_key_id in trusted_by_id:
                _verify_endorsement(trusted_by_id[published.endorsement.endorser_key_id], published)
                trusted_by_id[published.key.key_id] = published.key
                pending.remove(published)
                progress = True
    if signed.key.key_id not in trusted_by_id:
        raise VerificationError(
            f"{signed.descriptor.name} signs with {signed.key.key_id}, which no trusted key endorsed"
        )


def _verify_endorsement(endorser: PublicKey, published: PublishedKey) -> None:
    assert published.endorsement is not None  # noqa: S101 - for the type checker
    try:
        signature = base64.b64decode(published.endorsement.signature, validate=True)
    except binascii.Error as exc:
        raise VerificationError("the endorsement of a key is not base64") from exc
    endorser.verify(signature, endorsement_message(published.key, published.valid_from))


def _descriptor_to_json(descriptor: Descriptor) -> dict[str, object]:
    return {
        "version": _DESCRIPTOR_VERSION,
        "name": descriptor.name,
        "url": descriptor.url,
        "operators": [party.text for party in descriptor.operators],
        "providers": [party.text for party in descriptor.providers],
        "keys": [_key_to_json(published) for published in descriptor.keys],
        "certificates": list(descriptor.certificates),
        "operations": list(descriptor.operations),
        "security": {"require": list(descriptor.require)},
        "software": descriptor.software,
        "extensions": list(EXTENSIONS),
        "issued_at": descriptor.issued_at,
    }


def _key_to_json(published: PublishedKey) -> dict[str, object]:
    endorsement = published.endorsement
    return {
        "key_id": published.key.key_id,
        "algorithm": published.key.algorithm,
        "public_key": published.key.der_base64,
        "valid_from": published.valid_from,
        "valid_until": published.valid_until,
        "announced": None
        if endorsement is None
        else {"by": endorsement.endorser_key_id, "signature": endorsement.signature},
    }


def _descriptor_from_json(members: dict[str, Any]) -> Descriptor:
    if members["version"] != _DESCRIPTOR_VERSION:
        raise ValueError(f"version {members['version']} is not known here; expected {_DESCRIPTOR_VERSION}")
    # Order: before the lists are parsed, which costs most. The sender of a descriptor is not authenticated.
    for name, limit in _MAX_ENTRIES.items():
        if len(members[name]) > limit:
            raise ValueError(f"more than {limit} {name}")
    return Descriptor(
        name=parse_name(members["name"]),
        url=parse_base_url(members["url"]),
        operators=tuple(parse_operator_id(text) for text in members["operators"]),
        providers=tuple(parse_provider_id(text) for text in members["providers"]),
        keys=tuple(_key_from_json(entry) for entry in members["keys"]),
        certificates=tuple(parse_certificate(encoded) for encoded in members["certificates"]),
        operations=tuple(str(name) for name in members["operations"]),
        require=tuple(str(credential) for credential in members["security"]["require"]),
        software=str(members["software"]),
        issued_at=_parse_timestamp(members["issued_at"]),
    )


def _key_from_json(entry: dict[str, Any]) -> PublishedKey:
    endorsement, valid_until = entry["announced"], entry["valid_until"]
    return PublishedKey(
        PublicKey.from_base64(entry["public_key"]),
        _parse_timestamp(entry["valid_from"]),
        None if valid_until is None else _parse_timestamp(valid_until),
        None if endorsement is None else KeyEndorsement(str(endorsement["by"]), str(endorsement["signature"])),
    )


def _parse_timestamp(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TIMESTAMP:
        raise ValueError("a time is malformed; expected seconds since the epoch")
    return float(value)


PAIRINGS_PATH = "/p2p/v1/pairings"

_INVITATION_CONTEXT = b"p2p-oicp invitation v1\n"
# 22 characters of base64 have 128 bits, too many to guess; 43 are a SHA-256.
_LINK_PATTERN = re.compile(
    r"(https?://[^#\s]+)" + PAIRINGS_PATH + r"#token=([A-Za-z0-9_-]{22,64})&key=([A-Za-z0-9_-]{43})"
)
_TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class Invitation:
    """The URL of the inviting node, the fingerprint of its key, and the secret token."""

    url: str
    key_id: str
    token: str = field(repr=False)

    @classmethod
    def new(cls, url: str, key_id: str) -> Invitation:
        """Return an invitation with a new token."""
        return cls(url, key_id, secrets.token_urlsafe(_TOKEN_BYTES))

    @classmethod
    def from_link(cls, link: str) -> Invitation:
        """Parse a link; raises ConfigurationError."""
        match = _LINK_PATTERN.fullmatch(link.strip())
        if match is None:
            raise ConfigurationError(
                "this is no invitation; expected the link that `p2p-oicp peers invite` has printed"
            )
        url, token, key = match.groups()
        try:
            return cls(parse_base_url(url), "SHA256:" + key.replace("-", "+").replace("_", "/"), token)
        except ValueError as exc:
            raise ConfigurationError(f"the link's address: {exc}") from exc

    def link(self) -> str:
        """Return the link for the other company; it is a secret until it is used."""
        # The token is in the fragment, which browsers and HTTP clients never send.
        key = self.key_id.removeprefix("SHA256:").replace("+", "-").replace("/", "_")
        return f"{self.url}{PAIRINGS_PATH}#token={self.token}&key={key}"

    def proof_key(self) -> PrivateKey:
        """Return the key pair that proves the knowledge of the token."""
        return PrivateKey.from_seed(
            hashlib.sha256(_INVITATION_CONTEXT + base64.urlsafe_b64decode(_pad_base64(self.token))).digest()
        )


def _pad_base64(token: str) -> str:
    return token + "=" * (-len(token) % 4)


@dataclass(frozen=True, slots=True)
class LocalIdentity:
    """What this node publishes of itself; ``require`` is what it requires of peers in general."""

    local_peer: Peer
    require: tuple[str, ...]
    signer: MessageSigner
    clock: Clock
    tls: TlsIdentity | None = None

    def signed_descriptor(self) -> bytes:
        """Return our descriptor as of now, signed by our newest key."""
        now, keys = self.clock.time(), self.signer.keys
        descriptor = Descriptor(
            name=self.local_peer.name,
            url=self.local_peer.url,
            operators=self.local_peer.operators,
            providers=self.local_peer.providers,
            keys=publish_keys(keys),
            certificates=() if self.tls is None else (self.tls.certificate.der_base64,),
            operations=self._served_operations(),
            require=self.require,
            software=f"p2p-oicp {VERSION}",
            issued_at=now,
        )
        signing_key = keys.signing_key(now)
        return sign_descriptor(descriptor, signing_key, *(key for key in keys.private_keys() if key is not signing_key))

    def has(self, fingerprint: str) -> bool:
        """Return whether a key or a certificate, by its fingerprint, is this node's own."""
        is_certificate = self.tls is not None and self.tls.certificate.fingerprint == fingerprint
        return is_certificate or any(entry.public.key_id == fingerprint for entry in self.signer.keys.entries)

    def _served_operations(self) -> tuple[str, ...]:
        # Announced for people who inspect a node; what is served is decided by the operations table.
        is_served = {Party.CPO: bool(self.local_peer.operators), Party.EMP: bool(self.local_peer.providers)}
        return tuple(operation.name for operation in OPERATIONS if is_served[operation.server])
