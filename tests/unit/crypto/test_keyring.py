"""When the keys of an owner end."""

from p2p_oicp.crypto import KnownKey, PrivateKey
from p2p_oicp.crypto.keyring import last_endings


def key(owner: str, valid_until: float | None) -> KnownKey:
    return KnownKey(PrivateKey.generate().public, owner, 0.0, valid_until)


def test_the_end_of_an_owner_is_that_of_its_last_key():
    assert last_endings([key("A", 10.0), key("A", 30.0), key("B", 20.0)]) == {"A": 30.0, "B": 20.0}


def test_an_owner_with_a_key_that_has_no_end_has_none():
    assert last_endings([key("A", 10.0), key("A", None)]) == {}
