"""A descriptor is parsed and verified, or refused with VerificationError, whatever it contains."""

import base64

import orjson
import pytest

from p2p_oicp.crypto import PrivateKey
from p2p_oicp.errors import VerificationError
from p2p_oicp.oicp import ProviderID
from p2p_oicp.peers.descriptor import Descriptor, PublishedKey, sign_descriptor, verify_descriptor, verify_key_chain

KEY = PrivateKey.generate()
DESCRIPTOR = Descriptor(
    name="Alpha",
    url="http://alpha",
    operators=(),
    providers=(ProviderID("DE-AAA"),),
    keys=(PublishedKey(KEY.public), PublishedKey(PrivateKey.generate().public)),
    issued_at=1_800_000_000.0,
)


def signed_with(**changes) -> bytes:
    """Return a descriptor with members of its payload, or of its keys, replaced; signed by the key that it lists."""
    envelope = orjson.loads(sign_descriptor(DESCRIPTOR, KEY))
    payload = orjson.loads(envelope["payload"])
    for name, value in changes.items():
        for place in [payload] if name in payload else payload["keys"]:
            place[name] = value
    envelope["payload"] = orjson.dumps(payload).decode()
    signature = KEY.sign(b"p2p-oicp descriptor v1\n" + envelope["payload"].encode())
    return orjson.dumps(envelope | {"signature": base64.b64encode(signature).decode()})


def test_a_descriptor_is_parsed_as_it_was_signed():
    assert verify_descriptor(signed_with()).descriptor == DESCRIPTOR


NO_TIMES = {
    "minus infinity as text": "-inf",
    "not a number": "nan",
    "a number as text": "1800000000",
    "before the epoch": -1.0,
    "after the year 9999": 1e300,
    "a boolean": True,
}


@pytest.mark.parametrize("value", NO_TIMES.values(), ids=NO_TIMES)
@pytest.mark.parametrize("name", ["valid_from", "valid_until", "issued_at"])
def test_a_descriptor_with_a_malformed_time_is_refused(name, value):
    with pytest.raises(VerificationError, match="seconds since the epoch"):
        verify_key_chain(verify_descriptor(signed_with(**{name: value})), [KEY.public])


TOO_MANY = {"keys": 101, "certificates": 21, "operators": 1001, "providers": 1001, "operations": 1001}


@pytest.mark.parametrize(("name", "count"), TOO_MANY.items(), ids=TOO_MANY)
def test_a_descriptor_with_more_entries_than_a_node_has_is_refused_before_they_are_parsed(name, count):
    with pytest.raises(VerificationError, match=f"more than {count - 1} {name}"):
        verify_descriptor(signed_with(**{name: [None] * count}))
