"""Signed responses: bound to their request, or rejected; and keys that rotate at run time."""

import asyncio
import gzip
import time
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from p2p_oicp.cli import keys as cli_keys
from p2p_oicp.client import AuthenticatedPeerClient, HttpTransport
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.crypto import KeyRing, KnownKey, MessageSigner, PrivateKey, SignedRequestParts, keystore, verify_request
from p2p_oicp.crypto.http_signatures import sign_response
from p2p_oicp.crypto.keystore import OwnKey, OwnKeys
from p2p_oicp.errors import (
    PeerBusy,
    PeerProtocolError,
    PeerRejected,
    PeerUnauthorized,
    PeerVerificationError,
    StoreBusy,
)
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from tests.support.messages import NOTIFY, START, authorize_start, notification

AUTHORIZE_START = OPERATION_BY_NAME["AuthorizeStart"]
AUTHORIZED = b'{"AuthorizationStatus":"Authorized","StatusCode":{"Code":"000"}}'
DENIED = b'{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"102"}}'


@dataclass
class SigningPeer:
    """A peer whose responses are composed by the test."""

    ours: PrivateKey = field(default_factory=PrivateKey.generate)
    theirs: PrivateKey = field(default_factory=PrivateKey.generate)
    third: PrivateKey = field(default_factory=PrivateKey.generate)
    seen: list = field(default_factory=list)
    answer: object = None
    fresh: int = 0

    async def serve(self, request: web.Request) -> web.Response:
        parts = SignedRequestParts("POST", request.host, request.raw_path, "", request.headers, await request.read())
        self.seen.append(verify_request(parts, KeyRing([KnownKey(self.ours.public, "we")]).find, time.time()))
        return self.answer(self, self.seen[-1])

    def signed(self, body=DENIED, status=200, key=None, to=None) -> dict:
        headers = sign_response(
            key or self.theirs, status=status, body=body, request_signature=to or self.seen[-1], now=time.time()
        )
        return {"body": body, "status": status, "headers": headers}

    async def refresh(self, _name: str) -> bool:
        self.fresh += 1
        return False


@pytest.fixture
async def peer():
    app, found = web.Application(), SigningPeer()
    app.router.add_post("/{anything:.*}", found.serve)
    async with TestServer(app) as server:
        ring = KeyRing([KnownKey(found.theirs.public, "peer"), KnownKey(found.third.public, "third")])
        keys = OwnKeys((OwnKey(found.ours.public, private=found.ours),))
        signer = MessageSigner(keys, ring, SystemClock(), needs_signature=lambda name: name == "peer")
        async with HttpTransport(user_agent="t", max_body=10_000) as transport:
            client = AuthenticatedPeerClient(
                transport,
                signer=signer,
                tls=None,
                key_refresher=found,
                ids=UuidGenerator(),
                clock=SystemClock(),
                local=None,
            )
            entry = Peer("peer", str(server.make_url("/")))

            async def call(deadline: float = 5):
                return await client.call(entry, AUTHORIZE_START, "DE*GEF", b"{}", deadline=deadline)

            found.call = call
            yield found


def well_signed(peer, _to):
    return web.Response(**peer.signed())


def compressed(peer, _to):
    answer = peer.signed(gzip.compress(DENIED))
    answer["headers"]["Content-Encoding"] = "gzip"
    return web.Response(**answer)


@pytest.mark.parametrize("answer", [well_signed, compressed])
async def test_a_signed_response_is_accepted(peer, answer):
    peer.answer = answer
    assert (await peer.call()).body == DENIED


def unsigned(_peer, _to):
    return web.Response(body=AUTHORIZED, content_type="application/json")


def another_body(peer, _to):
    return web.Response(**peer.signed() | {"body": AUTHORIZED})


def another_status(peer, _to):
    return web.Response(**peer.signed(status=201) | {"status": 200})


def to_another_request(peer, to):
    return web.Response(**peer.signed(AUTHORIZED, to=peer.seen[0] if len(peer.seen) > 1 else to))


def by_another_peer(peer, _to):
    return web.Response(**peer.signed(AUTHORIZED, key=peer.third))


def by_an_unknown_key(peer, _to):
    return web.Response(**peer.signed(AUTHORIZED, key=PrivateKey.generate()))


def unbound(peer, _to):
    answer = peer.signed(AUTHORIZED)
    name = "Signature-Input"
    answer["headers"][name] = answer["headers"][name].replace(' "signature";req;key="oicp"', "")
    return web.Response(**answer)


def an_unsigned_refusal(_peer, _to):
    return web.Response(status=404, body=b'{"StatusCode":{"Code":"300"}}', content_type="application/json")


FORGED = {
    "it is not signed": (unsigned, "no signature-input header"),
    "the body is another": (another_body, "not the one that was signed"),
    "the status is another": (another_status, "does not fit"),
    "it belongs to another request": (to_another_request, "does not fit"),
    "another peer signed it": (by_another_peer, "signed by third"),
    "an unknown key signed it": (by_an_unknown_key, "unknown signing key"),
    "it names no request": (unbound, "does not say which question"),
    "an unsigned refusal": (an_unsigned_refusal, "no signature-input header"),
}


@pytest.mark.parametrize(("answer", "reason"), FORGED.values(), ids=FORGED)
async def test_a_response_with_a_missing_or_invalid_signature_is_rejected(peer, answer, reason):
    if answer is to_another_request:
        peer.answer = well_signed
        await peer.call()
    peer.answer = answer
    with pytest.raises(PeerVerificationError, match=reason):
        await peer.call()
    assert peer.fresh == (answer is by_an_unknown_key)


def unsigned_error(status, **headers):
    return lambda _peer, _to: web.Response(status=status, headers=headers)


UNSIGNED_ERRORS = {
    "a proxy's 502": (unsigned_error(502), PeerProtocolError),
    "an overload": (unsigned_error(429, **{"Retry-After": "3"}), PeerBusy),
    "our identity is not accepted": (unsigned_error(401), PeerUnauthorized),
}


@pytest.mark.parametrize(("answer", "error"), UNSIGNED_ERRORS.values(), ids=UNSIGNED_ERRORS)
async def test_errors_on_the_way_need_no_signature(peer, answer, error):
    peer.answer = answer
    with pytest.raises(error) as caught:
        await peer.call()
    assert not isinstance(caught.value, PeerVerificationError)
    assert peer.fresh == (error is PeerUnauthorized)


async def hang(_name: str) -> bool:
    await asyncio.Event().wait()
    raise AssertionError


async def the_store_is_full(*_what: object) -> bool:
    raise StoreBusy("too much is waiting to be written")


FETCHES = {"takes longer than the deadline": hang, "cannot be stored": the_store_is_full}


@pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
async def test_if_keys_cannot_be_refreshed_the_first_error_is_raised(peer, fetch):
    peer.answer, peer.refresh = unsigned_error(401), fetch
    async with asyncio.timeout(5):
        with pytest.raises(PeerUnauthorized, match="401"):
            await peer.call(deadline=0.2)
    assert len(peer.seen) == 1


async def test_a_signed_401_is_a_refusal_for_good(peer):
    def refusing(peer, _to):
        answer = peer.signed(b'{"StatusCode":{"Code":"017"}}', status=401)
        return web.Response(**answer | {"headers": answer["headers"] | {"P2P-Identity": "proven"}})

    peer.answer = refusing
    with pytest.raises(PeerRejected, match="017") as caught:
        await peer.call()
    assert (caught.value.code, peer.fresh) == ("017", 0)


# Rotation, between two nodes.


async def starts(pair) -> str:
    return (await pair.a.post(START, authorize_start())).json["AuthorizationStatus"]


@pytest.mark.parametrize("who", ["a", "b"])
async def test_a_running_node_uses_a_new_key_and_its_peers_follow(stopped, who):
    async with stopped.running("a") as a, stopped.running("b") as b:
        assert await starts(stopped) == "Authorized"
        new = keystore.rotate(stopped.folder / who / "keys", now=time.time(), activation_delay=0, overlap=60).entries[
            -1
        ]
        await {"a": a, "b": b}[who].reload()
        assert await starts(stopped) == "Authorized"
        other = {"a": b, "b": a}[who]
        assert new.public.key_id in {known.key.key_id for known in other._peering.keyring.keys_of(f"node {who}")}


async def test_rotation_reports_why_the_running_node_does_not_use_the_new_key(stopped):
    home = stopped.folder / "a"
    async with stopped.running("a") as a:
        before = a._peering.identity.signer.keys
        new = keystore.rotate(home / "keys", now=time.time(), activation_delay=0, overlap=60).entries[-1]
        (home / "keys" / new.file).chmod(0o644)
        (home / "peers.toml").write_text("[[peer]]\n")
        output = await asyncio.to_thread(cli_keys.reload_running_node, home / "node.toml")
        assert a._peering.identity.signer.keys == before
    assert "The node cannot use all that it has read" in output
    assert f"chmod 600 {home / 'keys' / new.file}" in output
    assert "peers.toml" in output


@pytest.mark.parametrize("rotations", [1, 3])
async def test_a_peer_that_missed_rotations_recovers_by_the_descriptor(stopped, rotations):
    async with stopped.running("a"):
        pass
    home, now = stopped.folder / "b" / "keys", time.time()
    for n in range(rotations):
        keystore.rotate(home, now=now - 1000 + 100 * n, activation_delay=0, overlap=50)
    async with stopped.running("b"), stopped.running("a"):
        assert await starts(stopped) == "Authorized"
    # The new keys are stored: after a restart, nothing is fetched again.
    async with stopped.running("b"), stopped.running("a") as a:
        assert a._peering.keyring.owner(keystore.read_own_keys(home).entries[-1].public) == "node b"


async def test_a_key_that_no_trusted_key_endorses_is_not_trusted(stopped):
    """A node at the address of B that has none of its keys is not B."""
    for file in (stopped.folder / "b" / "keys").iterdir():
        file.unlink()
    keystore.generate(stopped.folder / "b" / "keys")
    async with stopped.running("b"), stopped.running("a"):
        answer = await stopped.a.post(START, authorize_start())
    assert answer.json["AuthorizationStatus"] == "NotAuthorized"
    assert "node b" in answer.json["StatusCode"]["AdditionalInfo"]


async def test_a_notification_signed_with_a_new_key_is_accepted_although_its_path_names_no_party(stopped):
    """B does not know A's new key, nor which peer to fetch it from; A sends hello, and tries again."""
    async with stopped.running("a") as a, stopped.running("b"):
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        keystore.rotate(stopped.folder / "a" / "keys", now=time.time(), activation_delay=0, overlap=60)
        await a.reload()
        await stopped.a.post(NOTIFY, notification("Start", session))
        await stopped.contracts.until(lambda book: book.notifications)
