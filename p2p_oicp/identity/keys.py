"""A node's Ed25519 key pair on disk: two PEM files, the private one readable by its owner only."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from p2p_oicp.errors import ConfigurationError

PRIVATE_KEY_FILE = "node.key.pem"
PUBLIC_KEY_FILE = "node.pub.pem"

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A node's keys and where they are; the private key never shows in a repr."""

    private_key: Ed25519PrivateKey = field(repr=False)
    public_key: Ed25519PublicKey = field(repr=False)
    private_key_file: Path
    public_key_file: Path

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the public key."""
        return fingerprint(self.public_key)


def generate_key_pair(directory: Path) -> KeyPair:
    """Write a new key pair into ``directory``; raise ConfigurationError if there is one already."""
    private_key = Ed25519PrivateKey.generate()
    _refuse_to_replace(directory / PRIVATE_KEY_FILE, directory / PUBLIC_KEY_FILE)
    pair = KeyPair(private_key, private_key.public_key(), directory / PRIVATE_KEY_FILE, directory / PUBLIC_KEY_FILE)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _create(pair.private_key_file, _private_pem(private_key), mode=0o600)
        _create(pair.public_key_file, public_pem(pair.public_key), mode=0o644)
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename}: cannot be written: {exc.strerror}") from exc
    return pair


def read_key_pair(directory: Path) -> KeyPair:
    """Read what :func:`generate_key_pair` wrote; raise ConfigurationError if missing, damaged or open to others."""
    private_file, public_file = directory / PRIVATE_KEY_FILE, directory / PUBLIC_KEY_FILE
    private_key = read_private_key(private_file)
    public_key = read_public_key(public_file)
    if public_key != private_key.public_key():
        raise ConfigurationError(f"{public_file}: is not the public key of {private_file}")
    return KeyPair(private_key, public_key, private_file, public_file)


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """Read a private key (PEM, PKCS #8); raise ConfigurationError if it cannot be used or others may read it."""
    pem = _read(file)
    if file.stat().st_mode & _OTHERS:
        raise ConfigurationError(f"{file}: other users of this machine may read it; run: chmod 600 {file}")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ConfigurationError(f"{file}: is not an unencrypted private key in PEM form") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{file}: is not an Ed25519 key")
    return key


def read_public_key(file: Path) -> Ed25519PublicKey:
    """Read a public key (PEM, SubjectPublicKeyInfo); raise ConfigurationError if it cannot be used."""
    try:
        key = load_pem_public_key(_read(file))
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ConfigurationError(f"{file}: is not a public key in PEM form") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"{file}: is not an Ed25519 key")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return ``SHA256:`` and the unpadded base64 of the SHA-256 over the key's SubjectPublicKeyInfo (DER)."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode("ascii").rstrip("=")


def public_pem(key: Ed25519PublicKey) -> bytes:
    """Return the key as PEM (SubjectPublicKeyInfo)."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _refuse_to_replace(*files: Path) -> None:
    for file in files:
        if file.exists():
            raise ConfigurationError(f"{file}: exists already; a key is never overwritten")


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
