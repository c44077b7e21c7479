"""The keys of this node on disk, and their rotation.

The directory has ``node.key`` (mode 0600) and ``node.pub``, as ``p2p-oicp init`` writes them. After the first rotation
``history.json`` lists all keys with their validity and the endorsement by their predecessor. A rotation deletes private
keys whose validity has ended.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from p2p_oicp.crypto.keys import PrivateKey, PublicKey
from p2p_oicp.errors import ConfigurationError, reason_of

PRIVATE_KEY_FILE = "node.key"
PUBLIC_KEY_FILE = "node.pub"
HISTORY_FILE = "history.json"

_GROUP_AND_OTHERS_MODE = stat.S_IRWXG | stat.S_IRWXO
# A prefix of the signed bytes: a signature for one purpose must be none for another.
_ENDORSEMENT_CONTEXT = "p2p-oicp key announcement v1"
# A peer that was offline during more rotations than this has to be paired again: it trusts none of the listed keys.
_MAX_HISTORY_ENTRIES = 20


@dataclass(frozen=True, slots=True)
class KeyEndorsement:
    """The signature of an old key over its successor: who trusts the old key may trust the new one."""

    endorser_key_id: str
    signature: str


@dataclass(frozen=True, slots=True)
class OwnKey:
    """One key of this node.

    Attributes:
        public: The public key.
        file: The name of the private key's file.
        valid_from: Since when signatures are valid, in seconds since the epoch.
        valid_until: Until when; None: until a rotation.
        endorsement: The signature of the predecessor; None for the first key.
        private: The private key; None if it was deleted.
    """

    public: PublicKey
    file: str = PRIVATE_KEY_FILE
    valid_from: float = 0.0
    valid_until: float | None = None
    endorsement: KeyEndorsement | None = None
    private: PrivateKey | None = field(default=None, repr=False)

    def is_valid(self, now: float) -> bool:
        """Whether the key is valid at ``now`` (seconds since the epoch)."""
        return self.valid_from <= now and (self.valid_until is None or now <= self.valid_until)


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """All keys of this node, the oldest first."""

    entries: tuple[OwnKey, ...]

    def signing_key(self, now: float) -> PrivateKey:
        """Return the newest valid key; raises ConfigurationError if there is none."""
        for entry in reversed(self.entries):
            if entry.private is not None and entry.is_valid(now):
                return entry.private
        raise ConfigurationError("no key of this node is valid now; run: p2p-oicp keys rotate")

    def private_keys(self) -> list[PrivateKey]:
        """Return all private keys that were not deleted, also of keys that are not valid now."""
        return [entry.private for entry in self.entries if entry.private is not None]


def endorsement_message(successor: PublicKey, valid_from: float) -> bytes:
    """Return the bytes that a key signs to endorse its successor."""
    return f"{_ENDORSEMENT_CONTEXT}\n{successor.der_base64}\n{int(valid_from)}".encode()


def generate(directory: Path) -> OwnKeys:
    """Write the first key pair of a node; raises ConfigurationError if there is one already."""
    key = PrivateKey.generate()
    # A replaced key would make all peers refuse this node: rotation is the only way to a new one.
    for name in (PRIVATE_KEY_FILE, PUBLIC_KEY_FILE):
        if (directory / name).exists():
            raise ConfigurationError(f"{directory / name}: exists already; a key is never overwritten")
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_private_file(directory / PRIVATE_KEY_FILE, key.pem())
        create_private_file(directory / PUBLIC_KEY_FILE, key.public.pem())
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename}: cannot be written: {exc.strerror}") from exc
    return OwnKeys((OwnKey(key.public, private=key),))


def read_own_keys(directory: Path) -> OwnKeys:
    """Read all keys; raises ConfigurationError if they are missing, damaged or readable by other users."""
    history = directory / HISTORY_FILE
    if not history.exists():
        key = read_private_key(directory / PRIVATE_KEY_FILE)
        public = directory / PUBLIC_KEY_FILE
        if public.exists() and read_public_key(public) != key.public:
            raise ConfigurationError(f"{public}: is not the public key of {directory / PRIVATE_KEY_FILE}")
        return OwnKeys((OwnKey(key.public, private=key),))
    try:
        entries = [_parse_entry(entry) for entry in orjson.loads(_read_file(history))]
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigurationError(f"{history}: is damaged ({reason_of(exc)}); restore it from a backup") from exc
    return OwnKeys(tuple(_load_private_key(directory, entry) for entry in entries))


def rotate(directory: Path, *, now: float, activation_delay: float, overlap: float) -> OwnKeys:
    """Create a new key, endorsed by the current one, and delete private keys whose validity has ended.

    Args:
        directory: The directory of the keys.
        now: Seconds since the epoch.
        activation_delay: Seconds until the new key is used; in that time peers fetch it.
        overlap: Seconds that the current key stays valid after that, for requests and queued messages in flight.

    Raises:
        ConfigurationError: No valid key, or a file that cannot be written.
    """
    keys = read_own_keys(directory)
    current, new_key, valid_from = keys.signing_key(now), PrivateKey.generate(), now + activation_delay
    endorsement = KeyEndorsement(
        current.key_id, base64.b64encode(current.sign(endorsement_message(new_key.public, valid_from))).decode()
    )
    file = f"node.{secrets.token_hex(4)}.key"
    expiring = [
        entry if entry.valid_until is not None else replace(entry, valid_until=valid_from + overlap)
        for entry in keys.entries
    ]
    entries = (*expiring, OwnKey(new_key.public, file, valid_from, None, endorsement, new_key))[-_MAX_HISTORY_ENTRIES:]
    try:
        # Order: the key before the history that names it, the history before old keys go. A crash between two steps
        # leaves a file too many, never a key too few.
        create_private_file(directory / file, new_key.pem())
        _write_history(directory, entries)
        for entry in entries:
            if entry.valid_until is not None and entry.valid_until < now:
                (directory / entry.file).unlink(missing_ok=True)
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename}: cannot be written: {exc.strerror}") from exc
    return OwnKeys(entries)


def read_private_key(file: Path) -> PrivateKey:
    """Read a private key (PEM, PKCS #8); raises ConfigurationError if it is unusable or readable by other users."""
    try:
        return PrivateKey.from_pem(read_private_file(file))
    except ValueError as exc:
        raise ConfigurationError(f"{file}: is {exc}") from exc


def new_token() -> str:
    """Return a random bearer token of 256 bits."""
    return secrets.token_urlsafe(32)


def read_private_file(file: Path) -> bytes:
    """Return the bytes of a file; raises ConfigurationError if it cannot be read, or other users may read it."""
    content = _read_file(file)
    # As ssh does: a secret that others can read is no proof of identity.
    if may_others_read(file):
        raise ConfigurationError(f"{file}: other users of this machine may read it; run: chmod 600 {file}")
    return content


def may_others_read(file: Path) -> bool:
    """Whether the mode of a file or folder lets group or others do anything."""
    return bool(file.stat().st_mode & _GROUP_AND_OTHERS_MODE)


def read_public_key(file: Path) -> PublicKey:
    """Read a public key (PEM, SubjectPublicKeyInfo); raises ConfigurationError."""
    try:
        return PublicKey.from_pem(_read_file(file))
    except ValueError as exc:
        raise ConfigurationError(f"{file}: is {exc}") from exc


def _parse_entry(entry: dict[str, object]) -> OwnKey:
    endorsement = entry["announced"]
    valid_until = entry["valid_until"]
    return OwnKey(
        PublicKey.from_base64(str(entry["public_key"])),
        str(entry["file"]),
        float(str(entry["valid_from"])),
        None if valid_until is None else float(str(valid_until)),
        KeyEndorsement(str(endorsement["by"]), str(endorsement["signature"]))
        if isinstance(endorsement, dict)
        else None,
    )


def _load_private_key(directory: Path, entry: OwnKey) -> OwnKey:
    file = directory / entry.file
    if not file.exists():  # deleted by a rotation; the public key still verifies
        return entry
    private = read_private_key(file)
    if private.public != entry.public:
        raise ConfigurationError(f"{file}: is not the key that {HISTORY_FILE} says it is")
    return replace(entry, private=private)


def _write_history(directory: Path, entries: tuple[OwnKey, ...]) -> None:
    content = [
        {
            "public_key": entry.public.der_base64,
            "file": entry.file,
            "valid_from": entry.valid_from,
            "valid_until": entry.valid_until,
            "announced": {"by": entry.endorsement.endorser_key_id, "signature": entry.endorsement.signature}
            if entry.endorsement
            else None,
        }
        for entry in entries
    ]
    temporary_file = directory / f".{HISTORY_FILE}.{secrets.token_hex(8)}"
    create_private_file(temporary_file, orjson.dumps(content, option=orjson.OPT_INDENT_2))
    temporary_file.replace(directory / HISTORY_FILE)


def _read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{file}: cannot be read: {exc.strerror}") from exc


def create_private_file(file: Path, content: bytes) -> None:
    """Create a file for its owner only, completely or not at all; raises OSError if it exists."""
    temporary_file = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # link() fails if the file exists; rename() would replace an older key.
        os.link(temporary_file, file)
    finally:
        temporary_file.unlink()
