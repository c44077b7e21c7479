"""The steps of authentication, in their order: the head first, the body last."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from p2p_oicp.crypto import KeyRing, KnownKey, PrivateKey, ReplayCache
from p2p_oicp.crypto.http_signatures import sign_request
from p2p_oicp.errors import Refusal, Unauthorized
from p2p_oicp.oicp import OperatorID
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.registry import SecurityPolicy
from p2p_oicp.server.authentication import ANONYMOUS, PeerAuthenticator
from p2p_oicp.server.inbound import InboundRequest
from p2p_oicp.server.limits import PeerLimiter
from p2p_oicp.server.problems import HttpError

BODY, OTHER_BODY = b'{"a": 1}', b'{"a": 2}'
ALPHA = Peer("alpha", "http://alpha", operators=(OperatorID("DE*AAA"),), max_body=1000)
BETA = Peer("beta", "http://beta", operators=(OperatorID("DE*BBB"),))


@dataclass
class World:
    """An authenticator whose peers are alpha and beta, and what it was asked meanwhile."""

    clock: object
    require: tuple = ("signature",)
    keys: dict = field(default_factory=lambda: {name: PrivateKey.generate() for name in ("alpha", "beta")})
    registry: PeerRegistry = field(default_factory=lambda: PeerRegistry([ALPHA, BETA]))
    refreshed: list = field(default_factory=list)
    certificate_of: Peer | None = None
    listed_by: list = field(default_factory=list)
    held: str | None = None

    def __post_init__(self) -> None:
        async def refresh(name: str) -> bool:
            self.refreshed.append(name)
            return False

        self.policy = SecurityPolicy(self.require, self.registry)
        trust = SimpleNamespace(
            registry=self.registry,
            keyring=KeyRing([KnownKey(key.public, name) for name, key in self.keys.items()]),
            replay_cache=ReplayCache(None, self.clock.monotonic),
            identity=SimpleNamespace(clock=self.clock),
            policy=self.policy,
            key_refresher=SimpleNamespace(refresh=refresh),
            tls=SimpleNamespace(find_by_certificate=lambda _der: self.certificate_of),
            directory=SimpleNamespace(
                peers_listing=lambda _fingerprint: self.listed_by, held_reason=lambda _peer: self.held
            ),
        )
        limiter = PeerLimiter(self.clock, requests_per_second=10, concurrent=2)
        self.authenticator = PeerAuthenticator(trust, limiter)

    def request(self, signer: str = "alpha", nonce: str = "n", **changes) -> InboundRequest:
        key = self.keys.get(signer) or PrivateKey.generate()
        address = {"method": "POST", "authority": "us", "path": "/x", "query": ""}
        headers = sign_request(key, **address, body=BODY, now=self.clock.time(), nonce=nonce)
        return InboundRequest(**{**address, "headers": headers, "content_length": len(BODY), **changes})


@pytest.fixture
def world(clock) -> World:
    return World(clock)


async def test_a_head_is_authenticated_before_its_body_is_there(world):
    principal = await world.authenticator.authenticate(world.request(), OperatorID("DE*AAA"))
    assert (principal.peer, principal.is_authenticated) == (ALPHA, True)
    assert world.registry.last_seen_at(ALPHA) is None


@pytest.mark.parametrize(("listed_by", "refreshed"), [(["beta"], ["beta"]), ([], [])], ids=["listed", "unknown"])
async def test_a_certificate_that_a_peer_only_lists_is_proved_first(clock, listed_by, refreshed):
    world = World(clock, require=("mtls",), listed_by=listed_by)
    with pytest.raises(Unauthorized, match="the client certificate of nobody"):
        await world.authenticator.authenticate(world.request(certificate=b"der"), None)
    assert world.refreshed == refreshed


async def test_the_refusal_says_that_the_descriptor_of_the_peer_is_held_and_why(clock):
    world = World(clock, held="alpha lists key SHA256:x, which is beta's")
    with pytest.raises(Unauthorized, match=r"unknown signing key .*; its descriptor is held: .* which is beta's"):
        await world.authenticator.authenticate(world.request("a new key"), OperatorID("DE*AAA"))
    assert world.refreshed == ["alpha"]


async def test_a_nonce_counts_as_used_only_after_the_whole_body(world):
    request = world.request()
    for _ in range(2):  # a connection that broke in its body
        principal = await world.authenticator.authenticate(request, None)
    with pytest.raises(Unauthorized, match="not the one that was signed"):
        world.authenticator.verify_body(principal, request, OTHER_BODY)
    principal = await world.authenticator.authenticate(request, None)
    world.authenticator.verify_body(principal, request, BODY)
    assert world.registry.last_seen_at(ALPHA) == world.clock.time()
    with pytest.raises(Unauthorized, match="received before"):
        await world.authenticator.authenticate(request, None)


async def test_of_two_concurrent_requests_with_one_nonce_the_first_whole_one_is_accepted(world):
    request = world.request()
    first = await world.authenticator.authenticate(request, None)
    second = await world.authenticator.authenticate(request, None)
    world.authenticator.verify_body(second, request, BODY)
    with pytest.raises(Unauthorized, match="received before"):
        world.authenticator.verify_body(first, request, BODY)


async def test_the_keys_of_the_claimed_peer_are_refreshed_once(world):
    with pytest.raises(Unauthorized, match="SHA256:"):
        await world.authenticator.authenticate(world.request("stranger"), OperatorID("DE*AAA"))
    assert world.refreshed == ["alpha"]


async def test_certificate_and_signature_have_to_name_one_peer(world):
    world.certificate_of = BETA
    with pytest.raises(Unauthorized, match="signed by alpha, its certificate is beta's"):
        await world.authenticator.authenticate(world.request(certificate=b"der"), None)


async def test_a_peer_does_not_act_for_the_party_of_another(world):
    request = world.request()
    principal = await world.authenticator.authenticate(request, OperatorID("DE*BBB"))
    with pytest.raises(Unauthorized, match="alpha does not speak for DE\\*BBB"):
        world.authenticator.authorize(principal, OperatorID("DE*BBB"), request)


async def test_an_announced_length_above_the_peers_own_is_refused_before_it_is_read(world):
    request = world.request(content_length=1001)
    principal = await world.authenticator.authenticate(request, None)
    with pytest.raises(HttpError, match="1001 bytes; alpha may send 1000"):
        world.authenticator.authorize(principal, None, request)


async def test_without_anything_required_the_claim_counts_and_proves_nothing(world):
    world.policy.require = ()
    request = world.request(headers={})
    principal = await world.authenticator.authenticate(request, OperatorID("DE*AAA"))
    assert (principal.peer, principal.is_authenticated, principal.signature) == (ALPHA, False, None)
    assert await world.authenticator.authenticate(request, None) == ANONYMOUS


async def test_a_party_of_nobody_is_300(world):
    world.policy.require = ()
    request = world.request(headers={})
    principal = await world.authenticator.authenticate(request, OperatorID("DE*ZZZ"))
    with pytest.raises(Refusal, match="no peer of this node answers for DE\\*ZZZ") as caught:
        world.authenticator.authorize(principal, OperatorID("DE*ZZZ"), request)
    assert caught.value.code == "300"


def test_an_address_that_is_refused_very_often_waits_and_others_do_not(world):
    often, other = (world.request(client_address=f"192.0.2.{number}") for number in (1, 2))
    delays = [world.authenticator.refusal_delay(often) for _ in range(50 + 20 * 50)]
    assert delays[:50] == [0.0] * 50
    assert delays[50] == pytest.approx(0.02, abs=1e-4)
    assert delays[-1] == pytest.approx(20.0, abs=1e-3)
    assert world.authenticator.refusal_delay(often) == 20.0
    assert world.authenticator.refusal_delay(other) == 0.0
    world.clock.now += 21
    assert [world.authenticator.refusal_delay(often) for _ in range(50)] == [0.0] * 50
