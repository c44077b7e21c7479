"""The node descriptor: what a node says of itself, signed with its key (``GET /.well-known/oicp-p2p``).

``{"payload": "<JSON as text>", "key_id": "SHA256:…", "signature": "<base64>"}``: the signature is over the very bytes
of the payload, so nothing has to be brought into a canonical form. A descriptor proves that the holder of a key says
this; that the key is the one of a company is what people, pinned keys and announcements have to prove.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from p2p_oicp.errors import NotProven
from p2p_oicp.identity.keys import PrivateKey, PublicKey
from p2p_oicp.identity.keystore import Announcement, OwnKeys, announcement_text
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peers.fields import base_url, certificate, display_name, operator_id, provider_id

DESCRIPTOR_PATH = "/.well-known/oicp-p2p"

_VERSION = 1
_CONTEXT = b"p2p-oicp descriptor v1\n"
_MOST_ENTRIES = 1000
# The end of the year 9999, after which no time can be written.
_LAST_SECOND = 253_402_300_799


@dataclass(frozen=True, slots=True)
class DescribedKey:
    """A key of a node: from when to when it counts (seconds since the epoch), and who announced it."""

    key: PublicKey
    valid_from: float = 0.0
    valid_until: float | None = None
    announced: Announcement | None = None

    def is_valid(self, now: float) -> bool:
        """Whether the key counts at ``now``."""
        return self.valid_from <= now and (self.valid_until is None or now <= self.valid_until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a node says of itself; ``require`` is what requests to it must carry."""

    name: str
    url: str
    operators: tuple[OperatorID, ...]
    providers: tuple[ProviderID, ...]
    keys: tuple[DescribedKey, ...]
    certificates: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    software: str = ""
    issued_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SignedDescriptor:
    """A descriptor whose signature was checked: by the key that it was made with, one of its own."""

    descriptor: Descriptor
    key: PublicKey
    body: bytes


def described(keys: OwnKeys) -> tuple[DescribedKey, ...]:
    """Return our own keys as a descriptor lists them."""
    return tuple(
        DescribedKey(entry.public, entry.valid_from, entry.valid_until, entry.announced) for entry in keys.entries
    )


def sign_descriptor(descriptor: Descriptor, key: PrivateKey) -> bytes:
    """Return the signed descriptor, as it is served."""
    payload = orjson.dumps(_members(descriptor))
    signature = base64.b64encode(key.sign(_CONTEXT + payload)).decode()
    return orjson.dumps({"payload": payload.decode(), "key_id": key.key_id, "signature": signature})


def open_descriptor(body: bytes, now: float | None = None) -> SignedDescriptor:
    """Read a descriptor and check its signature; raise NotProven where it is none, or not signed by its own key.

    The key has to count at ``now``; without it, at the time that the descriptor was made.
    """
    try:
        envelope = orjson.loads(body)
        payload = str(envelope["payload"]).encode()
        signature = base64.b64decode(str(envelope["signature"]), validate=True)
        descriptor = _descriptor(orjson.loads(payload))
        signer = next(known for known in descriptor.keys if known.key.key_id == envelope["key_id"])
    except (ValueError, KeyError, TypeError, StopIteration, binascii.Error) as exc:
        raise NotProven(f"this is no node descriptor: {exc or 'its key is not one of its own'}") from exc
    signer.key.verify(signature, _CONTEXT + payload)
    if not signer.is_valid(descriptor.issued_at if now is None else now):
        raise NotProven("the descriptor is signed with a key that does not count any more, or not yet")
    return SignedDescriptor(descriptor, signer.key, body)


def check_lineage(signed: SignedDescriptor, trusted: Iterable[PublicKey]) -> None:
    """Raise NotProven unless a trusted key signed the descriptor, or announced a key that … announced the one that did.

    Whoever holds a trusted key vouches for the keys that it announces, and for everything that it signs.
    """
    reached = {key.key_id: key for key in trusted}
    waiting = list(signed.descriptor.keys)
    progress = True
    while progress and signed.key.key_id not in reached:
        progress = False
        for known in list(waiting):
            if known.announced is not None and known.announced.by in reached:
                _check_announcement(reached[known.announced.by], known)
                reached[known.key.key_id] = known.key
                waiting.remove(known)
                progress = True
    if signed.key.key_id not in reached:
        raise NotProven(
            f"{signed.descriptor.name} signs with {signed.key.key_id}, which no key that is trusted announced"
        )


def _check_announcement(by: PublicKey, announced: DescribedKey) -> None:
    assert announced.announced is not None  # noqa: S101 - for the type checker: asked just before
    try:
        signature = base64.b64decode(announced.announced.signature, validate=True)
    except binascii.Error as exc:
        raise NotProven("an announcement of a key is not base64") from exc
    by.verify(signature, announcement_text(announced.key, announced.valid_from))


def _members(descriptor: Descriptor) -> dict[str, object]:
    return {
        "version": _VERSION,
        "name": descriptor.name,
        "url": descriptor.url,
        "operators": [party.text for party in descriptor.operators],
        "providers": [party.text for party in descriptor.providers],
        "keys": [_key_members(known) for known in descriptor.keys],
        "certificates": list(descriptor.certificates),
        "operations": list(descriptor.operations),
        "security": {"require": list(descriptor.require)},
        "software": descriptor.software,
        "issued_at": descriptor.issued_at,
    }


def _key_members(known: DescribedKey) -> dict[str, object]:
    announced = known.announced
    return {
        "key_id": known.key.key_id,
        "algorithm": known.key.algorithm,
        "public_key": known.key.line,
        "valid_from": known.valid_from,
        "valid_until": known.valid_until,
        "announced": None if announced is None else {"by": announced.by, "signature": announced.signature},
    }


def _descriptor(members: dict[str, Any]) -> Descriptor:
    if members["version"] != _VERSION:
        raise ValueError(f"version {members['version']} is not known here; expected {_VERSION}")
    lists = ("operators", "providers", "keys", "certificates", "operations")
    if any(len(members[name]) > _MOST_ENTRIES for name in lists):
        raise ValueError(f"more than {_MOST_ENTRIES} entries")
    return Descriptor(
        name=display_name(members["name"]),
        url=base_url(members["url"]),
        operators=tuple(operator_id(text) for text in members["operators"]),
        providers=tuple(provider_id(text) for text in members["providers"]),
        keys=tuple(_key(entry) for entry in members["keys"]),
        certificates=tuple(certificate(line) for line in members["certificates"]),
        operations=tuple(str(name) for name in members["operations"]),
        require=tuple(str(proof) for proof in members["security"]["require"]),
        software=str(members["software"]),
        issued_at=_time(members["issued_at"]),
    )


def _key(entry: dict[str, Any]) -> DescribedKey:
    announced, until = entry["announced"], entry["valid_until"]
    return DescribedKey(
        PublicKey.from_line(entry["public_key"]),
        _time(entry["valid_from"]),
        None if until is None else _time(until),
        None if announced is None else Announcement(str(announced["by"]), str(announced["signature"])),
    )


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise ValueError("a time is none; expected seconds since the epoch")
    return float(value)
