"""RULES.md, box L19: the sender of a charging notification, which has no party in its path."""

from functools import partial

import pytest

from p2p_oicp.crypto.tls import unverified_context
from tests.support.clients import SigningTestClient
from tests.support.messages import NOTIFY, UNKNOWN_SESSION, notification
from tests.support.nodes import configured
from tests.support.signed_nodes import SignedPair

# A message whose sender is known is refused with 400: nobody knows its session. One whose sender is not gets 017.
KNOWN, UNKNOWN = (200, "400"), (401, "017")
START = notification("Start", UNKNOWN_SESSION)
STRANGE = {**START, "OperatorID": "FR*QQQ", "EvseID": "FR*QQQ*E1"}


@pytest.fixture
async def stopped(tmp_path):
    """Two nodes with keys and certificates; B wants signatures by default."""
    async with configured(partial(SignedPair, require=("signature", "mtls")), tmp_path) as pair:
        file = pair.folder / "b" / "node.toml"
        file.write_text(file.read_text().replace('require = ["signature", "mtls"]', 'require = ["signature"]'))
        yield pair


def know(pair, lines: str, *, parties: str = 'operators = ["DE*GEF"]', more: str = "") -> None:
    """Make A a peer of B, with its key and its certificate."""
    entry = f'[[peer]]\nname = "node a"\nurl = "https://127.0.0.1:{pair.ports["a"]}"\n{parties}\n{lines}\n'
    entry += f'public_keys = ["{pair.key("a").public.der_base64}"]\n'
    entry += f'certificates = ["{pair.certificate("a").der_base64}"]\n'
    (pair.folder / "b" / "peers.toml").write_text(entry + more)


def caller(pair, *, signs: bool, shows: bool) -> SigningTestClient:
    tls = pair.caller("b", caller="a").tls if shows else unverified_context()
    return SigningTestClient(pair.http, f"https://127.0.0.1:{pair.ports['b']}", pair.key("a"), tls, signs=signs)


STRANGER = '[[peer]]\nname = "insecure"\nurl = "http://127.0.0.1:9"\noperators = ["NL*INS"]\nsecurity = []\n'
HUB = "default_route = true"
PROOFS = {
    "a peer of mTLS shows its certificate": ('security = ["mtls"]', "", "", False, True, KNOWN),
    "a hub of mTLS shows its certificate": ('security = ["mtls"]', HUB, "", False, True, KNOWN),
    "it does beside an insecure peer": ('security = ["mtls"]', "", STRANGER, False, True, KNOWN),
    "a hub does beside an insecure peer": ('security = ["mtls"]', HUB, STRANGER, False, True, KNOWN),
    "a peer of mTLS only signs": ('security = ["mtls"]', "", "", True, False, UNKNOWN),
    "a peer of mTLS proves nothing": ('security = ["mtls"]', "", "", False, False, UNKNOWN),
    "it proves nothing beside an insecure peer": ('security = ["mtls"]', "", STRANGER, False, False, UNKNOWN),
    "a peer that signs only shows its certificate": ("", "", "", False, True, UNKNOWN),
    "a peer signs": ("", "", "", True, False, KNOWN),
    "a peer signs and shows its certificate": ("", "", "", True, True, KNOWN),
    "a peer of both does": ('security = ["signature", "mtls"]', "", "", True, True, KNOWN),
    "a peer of both only signs": ('security = ["signature", "mtls"]', "", "", True, False, UNKNOWN),
    "a peer of both only shows": ('security = ["signature", "mtls"]', "", "", False, True, UNKNOWN),
    "an insecure peer proves nothing": ("security = []", "", "", False, False, KNOWN),
    "an insecure hub proves nothing": ("security = []", HUB, "", False, False, KNOWN),
    "an insecure peer proves itself all the same": ("security = []", "", "", True, True, KNOWN),
}


@pytest.mark.parametrize(("lines", "hub", "more", "signs", "shows", "expected"), PROOFS.values(), ids=PROOFS)
async def test_l19_the_proof_and_the_peers_own_security_count(stopped, lines, hub, more, signs, shows, expected):
    know(stopped, lines, parties=hub or 'operators = ["DE*GEF"]', more=more)
    async with stopped.running("b"):
        answer = await caller(stopped, signs=signs, shows=shows).post(NOTIFY, STRANGE if hub else START)
    assert (answer.status, answer.code) == expected


async def test_l19_a_certificate_speaks_for_no_other_peer(stopped):
    know(stopped, 'security = ["mtls"]', more=STRANGER)
    async with stopped.running("b"):
        insecure = {**START, "OperatorID": "NL*INS", "EvseID": "NL*INS*E1"}
        answer = await caller(stopped, signs=False, shows=True).post(NOTIFY, insecure)
    assert (answer.status, answer.code) == UNKNOWN


@pytest.mark.parametrize("without", ["OperatorID", "nothing"])
async def test_l19_without_any_proof_the_body_says_whose_security_counts(stopped, without):
    know(stopped, "", more=STRANGER)
    message = {**START, "OperatorID": "NL*INS", "EvseID": "NL*INS*E1"}
    message.pop(without, None)
    async with stopped.running("b"):
        answer = await caller(stopped, signs=False, shows=False).post(NOTIFY, message)
        of_another = await caller(stopped, signs=False, shows=False).post(NOTIFY, START)
    assert ((answer.status, answer.code), (of_another.status, of_another.code)) == (KNOWN, UNKNOWN)


async def test_l19_a_large_or_compressed_body_without_proof_is_not_read(stopped):
    know(stopped, "security = []")
    async with stopped.running("b"):
        client = caller(stopped, signs=False, shows=False)
        large = await client.post(NOTIFY, {**START, "CustomData": "x" * 70_000})
        compressed = await client.post(NOTIFY, START, headers={"Content-Encoding": "gzip"})
    assert (large.status, compressed.status) == (413, 415)
