"""A node's key pair on disk."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity import keys


def test_a_generated_pair_is_read_back_and_signs(tmp_path):
    written = keys.generate_key_pair(tmp_path)
    read = keys.read_key_pair(tmp_path)
    read.public_key.verify(written.private_key.sign(b"message"), b"message")
    assert read.fingerprint == written.fingerprint


def test_the_private_key_is_for_its_owner_only_and_no_draft_stays(tmp_path):
    pair = keys.generate_key_pair(tmp_path / "new" / "directory")
    assert stat.S_IMODE(pair.private_key_file.stat().st_mode) == 0o600
    assert {file.name for file in pair.private_key_file.parent.iterdir()} == {"node.key.pem", "node.pub.pem"}


@pytest.mark.parametrize("taken", [keys.PRIVATE_KEY_FILE, keys.PUBLIC_KEY_FILE])
def test_an_existing_key_is_never_overwritten(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(ConfigurationError, match=rf"{taken}: exists already"):
        keys.generate_key_pair(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "precious"


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        keys.generate_key_pair(tmp_path / "file")


def test_the_fingerprint_is_of_the_public_key_alone(tmp_path):
    pair = keys.generate_key_pair(tmp_path)
    assert keys.fingerprint(keys.read_public_key(pair.public_key_file)) == pair.fingerprint
    assert pair.fingerprint.startswith("SHA256:")
    assert len(pair.fingerprint) == len("SHA256:") + 43
    assert keys.generate_key_pair(tmp_path / "other").fingerprint != pair.fingerprint


def test_nothing_of_the_private_key_shows_in_a_repr(tmp_path):
    assert "rivateKey object" not in repr(keys.generate_key_pair(tmp_path))


def test_a_private_key_that_others_may_read_is_refused(tmp_path):
    pair = keys.generate_key_pair(tmp_path)
    pair.private_key_file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        keys.read_key_pair(tmp_path)


def test_two_halves_of_different_pairs_are_refused(tmp_path):
    keys.generate_key_pair(tmp_path)
    other = keys.generate_key_pair(tmp_path / "other")
    other.public_key_file.replace(tmp_path / keys.PUBLIC_KEY_FILE)
    with pytest.raises(ConfigurationError, match="is not the public key of"):
        keys.read_key_pair(tmp_path)


def _p256() -> tuple[bytes, bytes]:
    key = generate_private_key(SECP256R1())
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


UNUSABLE = {
    "empty": (b"", b"", "PEM"),
    "not a key": (b"hello", b"hello", "PEM"),
    "another algorithm": (*_p256(), "Ed25519"),
}


@pytest.mark.parametrize(("private", "public", "expected"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_files_are_named_with_what_is_expected(tmp_path: Path, private, public, expected):
    for name, content, read in (("a", private, keys.read_private_key), ("b", public, keys.read_public_key)):
        file = tmp_path / name
        file.write_bytes(content)
        file.chmod(0o600)
        with pytest.raises(ConfigurationError, match=expected) as caught:
            read(file)
        assert str(file) in str(caught.value)


def test_a_missing_file_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        keys.read_key_pair(tmp_path)
