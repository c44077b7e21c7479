"""A node's own keys on disk.

The folder has ``node.key`` (0600) and ``node.pub``, as ``p2p-oicp init`` writes them. After the first rotation
``history.json`` names every key there was: from when to when it counts, and the signature with which its predecessor
announced it. Private keys of retired keys are deleted by the next rotation.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity.keys import PrivateKey, PublicKey

PRIVATE_KEY_FILE = "node.key"
PUBLIC_KEY_FILE = "node.pub"
HISTORY_FILE = "history.json"

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ANNOUNCEMENT = "p2p-oicp key announcement v1"
# A peer that slept through more rotations than this has to be paired anew.
_MOST_REMEMBERED = 20


@dataclass(frozen=True, slots=True)
class Announcement:
    """What makes a new key follow an old one: the old key's signature over the new one."""

    by: str
    signature: str


@dataclass(frozen=True, slots=True)
class OwnKey:
    """One key of this node; ``private`` is None once it was deleted."""

    public: PublicKey
    file: str = PRIVATE_KEY_FILE
    valid_from: float = 0.0
    valid_until: float | None = None
    announced: Announcement | None = None
    private: PrivateKey | None = field(default=None, repr=False)

    def is_valid(self, now: float) -> bool:
        """Whether signatures of this key count at ``now`` (seconds since the epoch)."""
        return self.valid_from <= now and (self.valid_until is None or now <= self.valid_until)


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """All keys of this node, the oldest first."""

    entries: tuple[OwnKey, ...]

    def signing(self, now: float) -> PrivateKey:
        """Return the key to sign with: the newest that is valid; raise ConfigurationError if there is none."""
        for entry in reversed(self.entries):
            if entry.private is not None and entry.is_valid(now):
                return entry.private
        raise ConfigurationError("no key of this node is valid now; run: p2p-oicp keys rotate")


def announcement_text(successor: PublicKey, valid_from: float) -> bytes:
    """Return the bytes that a key signs to announce its successor."""
    return f"{_ANNOUNCEMENT}\n{successor.line}\n{int(valid_from)}".encode()


def generate(directory: Path) -> OwnKeys:
    """Write a first key pair; raise ConfigurationError if there is one already."""
    key = PrivateKey.generate()
    for name in (PRIVATE_KEY_FILE, PUBLIC_KEY_FILE):
        if (directory / name).exists():
            raise ConfigurationError(f"{directory / name}: exists already; a key is never overwritten")
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(directory / PRIVATE_KEY_FILE, key.pem(), mode=0o600)
        _create(directory / PUBLIC_KEY_FILE, key.public.pem(), mode=0o644)
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename}: cannot be written: {exc.strerror}") from exc
    return OwnKeys((OwnKey(key.public, private=key),))


def read_own_keys(directory: Path) -> OwnKeys:
    """Read all keys; raise ConfigurationError if missing, damaged or open to others."""
    history = directory / HISTORY_FILE
    if not history.exists():
        key = read_private_key(directory / PRIVATE_KEY_FILE)
        public = directory / PUBLIC_KEY_FILE
        if public.exists() and read_public_key(public) != key.public:
            raise ConfigurationError(f"{public}: is not the public key of {directory / PRIVATE_KEY_FILE}")
        return OwnKeys((OwnKey(key.public, private=key),))
    try:
        entries = [_entry(entry) for entry in orjson.loads(_read(history))]
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigurationError(f"{history}: is damaged ({exc}); restore it from a backup") from exc
    return OwnKeys(tuple(_with_private(directory, entry) for entry in entries))


def rotate(directory: Path, *, now: float, after: float, overlap: float) -> OwnKeys:
    """Make a new key that counts from ``now + after`` on; the old one counts ``overlap`` seconds longer.

    The new key is announced by the signature of the current one. Private keys that are retired by now are deleted.
    """
    keys = read_own_keys(directory)
    current, new, start = keys.signing(now), PrivateKey.generate(), now + after
    announced = Announcement(
        current.key_id, base64.b64encode(current.sign(announcement_text(new.public, start))).decode()
    )
    file = f"node.{secrets.token_hex(4)}.key"
    ending = [
        entry if entry.valid_until is not None else replace(entry, valid_until=start + overlap)
        for entry in keys.entries
    ]
    rotated = (*ending, OwnKey(new.public, file, start, None, announced, new))[-_MOST_REMEMBERED:]
    try:
        _create(directory / file, new.pem(), mode=0o600)
        _write_history(directory, rotated)
        for entry in rotated:
            if entry.valid_until is not None and entry.valid_until < now:
                (directory / entry.file).unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename}: cannot be written: {exc.strerror}") from exc
    return OwnKeys(rotated)


def read_private_key(file: Path) -> PrivateKey:
    """Read a private key (PEM, PKCS #8); raise ConfigurationError if it cannot be used or others may read it."""
    pem = _read(file)
    if file.stat().st_mode & _OTHERS:
        raise ConfigurationError(f"{file}: other users of this machine may read it; run: chmod 600 {file}")
    try:
        return PrivateKey.from_pem(pem)
    except ValueError as exc:
        raise ConfigurationError(f"{file}: is {exc}") from exc


def read_public_key(file: Path) -> PublicKey:
    """Read a public key (PEM, SubjectPublicKeyInfo); raise ConfigurationError if it cannot be used."""
    try:
        return PublicKey.from_pem(_read(file))
    except ValueError as exc:
        raise ConfigurationError(f"{file}: is {exc}") from exc


def _entry(entry: dict[str, object]) -> OwnKey:
    announced = entry["announced"]
    until = entry["valid_until"]
    return OwnKey(
        PublicKey.from_line(str(entry["public_key"])),
        str(entry["file"]),
        float(str(entry["valid_from"])),
        None if until is None else float(str(until)),
        Announcement(str(announced["by"]), str(announced["signature"])) if isinstance(announced, dict) else None,
    )


def _with_private(directory: Path, entry: OwnKey) -> OwnKey:
    file = directory / entry.file
    if not file.exists():
        return entry
    private = read_private_key(file)
    if private.public != entry.public:
        raise ConfigurationError(f"{file}: is not the key that {HISTORY_FILE} says it is")
    return replace(entry, private=private)


def _write_history(directory: Path, entries: tuple[OwnKey, ...]) -> None:
    content = [
        {
            "public_key": entry.public.line,
            "file": entry.file,
            "valid_from": entry.valid_from,
            "valid_until": entry.valid_until,
            "announced": {"by": entry.announced.by, "signature": entry.announced.signature}
            if entry.announced
            else None,
        }
        for entry in entries
    ]
    draft = directory / f".{HISTORY_FILE}.{secrets.token_hex(8)}"
    draft.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    draft.replace(directory / HISTORY_FILE)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{file}: cannot be read: {exc.strerror}") from exc


def _create(file: Path, content: bytes, *, mode: int) -> None:
    """Create ``file`` whole or not at all, never wider than ``mode``; raise OSError if it is there."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # A link fails if the name is taken, where a rename would replace an older key.
        os.link(draft, file)
    finally:
        draft.unlink()
