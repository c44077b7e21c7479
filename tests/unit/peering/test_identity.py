"""Which credentials a peer needs, and when this node needs keys of its own."""

import pytest

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peering.components import read_signing_keys
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.registry import SecurityPolicy

ME = Peer("Us", "http://us.example", operators=(OperatorID("DE*AAA"),), is_self=True)


def policy(require, security) -> SecurityPolicy:
    peer = Peer("Alpha", "http://alpha.example", providers=(ProviderID("DE-AAA"),), security=security)
    return SecurityPolicy(require, PeerRegistry([ME, peer]))


CREDENTIALS = {
    # what the node requires, what the peer's entry has: what counts, signed, unauthenticated, own keys needed
    "signatures of all": (("signature",), None, ("signature",), True, [], True),
    "signatures of this peer": ((), ("signature",), ("signature",), True, [], True),
    "certificates of this peer": (("signature",), ("mtls",), ("mtls",), False, [], True),
    "nothing of this peer": (("signature",), (), (), False, ["Alpha"], True),
    "nothing of anyone": ((), None, (), False, ["Alpha"], False),
}


@pytest.mark.parametrize(
    ("require", "security", "required", "signed", "unauthenticated", "own_keys"), CREDENTIALS.values(), ids=CREDENTIALS
)
def test_the_entry_of_a_peer_overrides_what_the_node_requires(
    require, security, required, signed, unauthenticated, own_keys
):
    tested = policy(require, security)
    peer = tested._registry.by_name("Alpha")
    assert tested.required_credentials(peer) == required
    assert tested.required_credentials(None) == require
    assert tested.needs_signature("Alpha") is signed
    assert tested.unauthenticated_peers() == unauthenticated
    assert tested.needs_own_keys() is own_keys
    assert not tested.needs_signature("Us")
    assert not tested.needs_signature("nobody")


def test_a_node_that_has_to_sign_does_not_start_without_keys(tmp_path):
    with pytest.raises(ConfigurationError):
        read_signing_keys(tmp_path / "keys", policy(("signature",), None))


def test_an_insecure_node_has_a_key_for_as_long_as_it_runs(tmp_path):
    keys = read_signing_keys(tmp_path / "keys", policy((), None))
    assert keys.signing_key(0.0) is not None
    assert not (tmp_path / "keys").exists()
