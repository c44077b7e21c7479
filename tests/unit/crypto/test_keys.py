"""Keys, and a node's own keys on disk."""

import json
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from p2p_oicp.crypto import PrivateKey, PublicKey, keystore
from p2p_oicp.errors import ConfigurationError, VerificationError
from tests.support.keys import p256

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.mark.parametrize("key", [PrivateKey.generate(), p256()], ids=lambda key: key.public.algorithm)
def test_a_key_signs_and_its_public_half_in_any_form_verifies(key):
    signature = key.sign(b"message")
    assert len(signature) == 64
    for public in (key.public, PublicKey.from_base64(key.public.der_base64), PublicKey.from_pem(key.public.pem())):
        public.verify(signature, b"message")
        assert public == key.public
        with pytest.raises(VerificationError):
            public.verify(signature, b"massage")
        with pytest.raises(VerificationError):
            public.verify(signature[:-1], b"message")


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())],
    ids=["RSA", "P-384"],
)
def test_other_kinds_of_keys_are_refused(key):
    with pytest.raises(ValueError, match="Ed25519 or ECDSA P-256"):
        PublicKey(key.public_key())


@pytest.mark.parametrize("line", ["", "hello", "aGVsbG8=", "MCowBQYDK2VwAyEA"])
def test_a_malformed_key_is_refused(line):
    with pytest.raises(ValueError, match="Ed25519 or ECDSA P-256"):
        PublicKey.from_base64(line)


def test_a_repr_shows_nothing_of_a_private_key(tmp_path):
    keys = keystore.generate(tmp_path)
    private = keys.entries[0].private
    secret = private.pem().decode().splitlines()[1]
    for shown in (repr(private), str(private), repr(keys)):
        assert "hidden" in shown or "private" not in shown.lower()
        assert secret not in shown


def test_the_private_key_has_mode_0600_and_no_temporary_file_remains(tmp_path):
    keystore.generate(tmp_path / "new")
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()} == {
        "node.key": 0o600,
        "node.pub": 0o600,
    }


@pytest.mark.parametrize("taken", ["node.key", "node.pub"])
def test_an_existing_key_is_never_overwritten(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(ConfigurationError, match=rf"{taken}: exists already"):
        keystore.generate(tmp_path)
    assert (tmp_path / taken).read_text() == "precious"


def test_a_generated_key_is_read_back(tmp_path):
    written = keystore.generate(tmp_path)
    assert keystore.read_own_keys(tmp_path).signing_key(NOW).key_id == written.signing_key(NOW).key_id


def _open_to_others(home):
    (home / "node.key").chmod(0o640)


def _of_another_pair(home):
    keystore.generate(home / "other")
    (home / "other" / "node.pub").replace(home / "node.pub")


def _empty(home):
    (home / "node.key").write_text("")


def _missing(home):
    (home / "node.key").unlink()


def _history_damaged(home):
    (home / "history.json").write_text("[{}]")


DAMAGES = {
    "open to others": (_open_to_others, "chmod 600"),
    "halves of two pairs": (_of_another_pair, "is not the public key of"),
    "empty": (_empty, "PEM"),
    "missing": (_missing, "cannot be read: No such file"),
    "history damaged": (_history_damaged, "history.json: is damaged"),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_directory_is_reported_with_what_to_do(tmp_path, damage, expected):
    keystore.generate(tmp_path)
    damage(tmp_path)
    with pytest.raises(ConfigurationError, match=expected):
        keystore.read_own_keys(tmp_path)


def test_a_new_key_is_endorsed_by_the_old_one_which_stays_valid_for_the_overlap(tmp_path):
    old = keystore.generate(tmp_path).signing_key(NOW)
    keystore.rotate(tmp_path, now=NOW, activation_delay=0, overlap=7 * DAY)
    first, second = keystore.read_own_keys(tmp_path).entries
    assert (first.public, first.valid_until) == (old.public, NOW + 7 * DAY)
    assert second.endorsement.endorser_key_id == old.key_id
    keys = keystore.read_own_keys(tmp_path)
    assert keys.signing_key(NOW).key_id == second.public.key_id != old.key_id
    assert first.is_valid(NOW + 7 * DAY)
    assert not first.is_valid(NOW + 7 * DAY + 1)


def test_a_key_can_be_endorsed_before_it_is_used(tmp_path):
    old = keystore.generate(tmp_path).signing_key(NOW)
    keystore.rotate(tmp_path, now=NOW, activation_delay=DAY, overlap=DAY)
    keys = keystore.read_own_keys(tmp_path)
    assert keys.signing_key(NOW).key_id == old.key_id
    assert keys.signing_key(NOW + DAY).key_id == keys.entries[1].public.key_id


def test_the_next_rotation_deletes_the_private_keys_that_are_retired(tmp_path):
    keystore.generate(tmp_path)
    keystore.rotate(tmp_path, now=NOW, activation_delay=0, overlap=DAY)
    keystore.rotate(tmp_path, now=NOW + 2 * DAY, activation_delay=0, overlap=DAY)
    assert not (tmp_path / "node.key").exists()
    entries = keystore.read_own_keys(tmp_path).entries
    assert [entry.private is None for entry in entries] == [True, False, False]
    assert "PRIVATE" not in json.dumps((tmp_path / "history.json").read_text())


def test_a_node_without_a_valid_key_reports_what_to_do(tmp_path):
    keys = keystore.generate(tmp_path)
    with pytest.raises(ConfigurationError, match="p2p-oicp keys rotate"):
        keystore.OwnKeys(keys.entries[:0]).signing_key(NOW)
