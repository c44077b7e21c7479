"""What an invited company tries with its invitation, again or with others' credentials (docs/security.md).

Node A is the CPO DE*GEF and invites; node B is the EMP DE-GDF; others join by hand.
"""

import json
import time

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from p2p_oicp.crypto import PrivateKey, PublicKey, SignedRequestParts, verify_request
from p2p_oicp.crypto.http_signatures import sign_response
from p2p_oicp.crypto.keystore import OwnKey, OwnKeys
from p2p_oicp.peers.descriptor import Invitation, PublishedKey, publish_keys
from tests.support.messages import REMOTE_START, remote_start
from tests.support.pairing import Admin, Forged, attempt, paired


@pytest.fixture
async def unpaired(stopped):
    """Node A runs, and knows nobody."""
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    async with stopped.running("a"):
        yield stopped, Admin(stopped, "a")


async def invited(a: Admin) -> str:
    return (await a.ask("POST", "/peers/invitations"))["link"]


async def test_a_repeated_join_is_answered_and_changes_nothing(unpaired):
    pair, a = unpaired
    link, joiner = await invited(a), Forged()
    assert (await attempt(pair, link, joiner))[0] == 200
    moved = Forged(joiner.key, url="http://127.0.0.1:10", name="another name")
    assert (await attempt(pair, link, moved))[0] == 200
    assert [(peer["name"], peer["url"]) for peer in (await a.ask("GET", "/peers"))["peers"]] == [
        ("thief", "http://127.0.0.1:9")
    ]


OTHER_PARTIES = {
    "one more": {"providers": ["DE-THF", "DE-VIC"]},
    "another": {"providers": ["DE-VIC"]},
    "one in the other role": {"operators": ["DE*VIC"]},
}


@pytest.mark.parametrize("changes", OTHER_PARTIES.values(), ids=OTHER_PARTIES)
async def test_a_repeated_join_for_other_parties_than_agreed_is_refused(unpaired, changes):
    pair, a = unpaired
    link, joiner = await invited(a), Forged()
    await attempt(pair, link, joiner)
    status, info = await attempt(pair, link, Forged(joiner.key, **changes))
    assert (status, info.partition(": ")[2]) == (409, "DE-THF was agreed; for other parties, ask for a new invitation")
    (peer,) = (await a.ask("GET", "/peers"))["peers"]
    assert (peer["operators"], peer["providers"]) == ([], ["DE-THF"])
    # A person agrees to them by another invitation.
    assert (await attempt(pair, await invited(a), Forged(joiner.key, **changes)))[0] == 200


async def removed_here(_pair, a: Admin, _joiner: Forged) -> None:
    await a.ask("DELETE", "/peers/thief")


async def removed_by_the_file(pair, a: Admin, joiner: Forged) -> None:
    """The peer was written into the file under another name, and was taken out of it again."""
    file = pair.folder / "a" / "peers.toml"
    await a.ask("DELETE", "/peers/thief")
    file.write_text(
        '[[peer]]\nname = "other"\nurl = "http://127.0.0.1:9"\nproviders = ["DE-THF"]\n'
        f'public_keys = ["{joiner.key.public.der_base64}"]\n'
    )
    await a.ask("POST", "/reload")
    file.write_text("")
    await a.ask("POST", "/reload")


REMOVALS = {"by a person": removed_here, "and written into the file, and out of it": removed_by_the_file}


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)
async def test_a_removed_peer_cannot_come_back_by_the_invitation_that_it_has_used(unpaired, remove):
    pair, a = unpaired
    link, joiner = await invited(a), Forged()
    await attempt(pair, link, joiner)
    await remove(pair, a, joiner)
    # Order: not more than five attempts, for more are taken for guesses.
    for again in (joiner, Forged(joiner.key, name="new name")):
        assert (await attempt(pair, link, again))[0] == 401
    assert await a.names() == []
    assert (await attempt(pair, await invited(a), joiner))[0] == 200
    assert (await attempt(pair, link, joiner))[0] == 401


async def test_a_peer_that_leaves_cannot_come_back_by_itself_not_after_a_restart_either(stopped):
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    async with stopped.running("a"), stopped.running("b"):
        a, b = Admin(stopped, "a"), Admin(stopped, "b")
        link = await paired(a, b)
        await b.ask("DELETE", "/peers/node%20a")
    async with stopped.running("a"), stopped.running("b"):
        await b.ask("POST", "/peers/join", status=502, link=link)
        assert (await a.names(), await b.names()) == ([], [])


async def test_who_joins_agrees_to_the_parties_that_were_shown_and_to_no_others(unpaired):
    pair, a = unpaired
    link = await invited(a)
    async with pair.running("b"):
        b = Admin(pair, "b")
        for parties, status in ((["DE*GEF", "DE*MORE"], 502), ([], 502), (["DE*GEF"], 200)):
            await b.ask("POST", "/peers/join", status=status, link=link, parties=parties)


class Inviter:
    """A node that invites, shows one descriptor, and answers with another."""

    def __init__(self, shown: Forged, answered: Forged) -> None:
        self.shown, self.answered = shown, answered
        self.app = web.Application()
        self.app.router.add_get("/.well-known/oicp-p2p", self._descriptor)
        self.app.router.add_post("/p2p/v1/pairings", self._pair)

    async def _descriptor(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.shown.body, content_type="application/json")

    async def _pair(self, request: web.Request) -> web.Response:
        body = await request.read()
        proof = PublicKey.from_base64(json.loads(body)["proof_key"])
        parts = SignedRequestParts("POST", request.host, request.raw_path, "", request.headers, body)
        signature = verify_request(parts, lambda _key_id, _now: proof, time.time())
        answer = json.dumps({"descriptor": json.loads(self.answered.body), "services": None}).encode()
        headers = sign_response(self.shown.key, status=200, body=answer, request_signature=signature, now=time.time())
        return web.Response(body=answer, headers=headers)


INVITER_KEY = PrivateKey.generate()
SUBSTITUTES = {
    "the same": ({}, INVITER_KEY, 200),
    "one more party": ({"providers": ["DE-THF", "DE-VIC"]}, INVITER_KEY, 502),
    "another party": ({"operators": ["DE*VIC"], "providers": []}, INVITER_KEY, 502),
    "another key": ({}, PrivateKey.generate(), 502),
}


@pytest.mark.parametrize(("changes", "key", "status"), SUBSTITUTES.values(), ids=SUBSTITUTES)
async def test_an_inviting_node_cannot_answer_with_another_descriptor_than_it_has_shown(unpaired, changes, key, status):
    _, a = unpaired
    inviter = Inviter(Forged(INVITER_KEY), Forged(key, **changes))
    async with TestServer(inviter.app) as server:
        link = Invitation.new(str(server.make_url("")).rstrip("/"), INVITER_KEY.key_id).link()
        await a.ask("POST", "/peers/join", status=status, link=link)
    assert len(await a.names()) == (status == 200)


def listing(*keys: PublishedKey, certificates: tuple[str, ...] = ()) -> Forged:
    """A node that lists these beside its own key."""
    key = PrivateKey.generate()
    own = publish_keys(OwnKeys((OwnKey(key.public, private=key),)))
    return Forged(key, keys=(*own, *keys), certificates=certificates)


async def test_a_joining_node_that_lists_a_key_of_another_is_refused_with_409(unpaired):
    pair, a = unpaired
    victim = Forged(name="victim", providers=["DE-VIC"])
    assert (await attempt(pair, await invited(a), victim))[0] == 200
    link = await invited(a)
    for key, owner in ((victim.key.public, "victim's"), (pair.key("a").public, "this node's own")):
        status, info = await attempt(pair, link, listing(PublishedKey(key)))
        assert (status, owner in info) == (409, True)
    assert await a.names() == ["victim"]


async def test_who_lists_a_key_first_without_proof_locks_nobody_out(unpaired):
    pair, a = unpaired
    victim = Forged(name="victim", providers=["DE-VIC"])
    assert (await attempt(pair, await invited(a), listing(PublishedKey(victim.key.public))))[0] == 200
    assert (await attempt(pair, await invited(a), victim))[0] == 200
    keys = {peer["name"]: peer["keys"] for peer in (await a.ask("GET", "/peers"))["peers"]}
    assert (keys["victim"], len(keys["thief"])) == ([victim.key.key_id], 1)


# Certificates are public: anyone can list one.
MUTUAL_TLS = pytest.mark.parametrize("require", [("mtls",), ("mtls", "signature")], ids=["mtls", "both"])


async def served(pair) -> bool:
    """Whether node A serves node B, which shows its certificate."""
    return (await pair.b.post(REMOTE_START, remote_start())).code == "000"


@MUTUAL_TLS
async def test_two_nodes_pair_and_serve_each_other_after_a_restart_too(stopped):
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    async with stopped.running("a"), stopped.running("b"):
        await paired(Admin(stopped, "a"), Admin(stopped, "b"))
        assert await served(stopped)
    async with stopped.running("a"):
        # Node B's peer API is not there to show the certificate again: that it was shown is stored.
        answer = await stopped.a_peer.post(REMOTE_START, remote_start())
        assert answer.code == "000"


@MUTUAL_TLS
async def test_a_joining_node_that_lists_the_certificate_of_another_is_refused_with_409(unpaired):
    pair, a = unpaired
    async with pair.running("b"):
        await paired(a, Admin(pair, "b"))
        assert await served(pair)
        link = await invited(a)
        for name, owner in (("b", "node b's"), ("a", "this node's own")):
            for line in (pair.certificate(name).der_base64, pair.certificate(name).fingerprint):
                status, info = await attempt(pair, link, listing(certificates=(line,)))
                assert (status, owner in info) == (409, True)
        assert await a.names() == ["node b"]


@MUTUAL_TLS
async def test_who_lists_a_certificate_first_neither_gets_it_nor_locks_its_owner_out(unpaired):
    pair, a = unpaired
    listed = listing(certificates=(pair.certificate("b").der_base64,))
    assert (await attempt(pair, await invited(a), listed))[0] == 200
    async with pair.running("b"):
        await paired(a, Admin(pair, "b"))
        assert await served(pair)
        path = REMOTE_START.replace("DE-GDF", "DE-THF")
        answer = await pair.a_peer.post(path, remote_start(ProviderID="DE-THF"))
    assert (answer.status, answer.code) == (401, "017")
    assert "node b does not speak for DE-THF" in answer.json["StatusCode"]["AdditionalInfo"]
