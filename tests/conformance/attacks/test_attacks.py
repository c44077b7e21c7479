"""What attackers try at the peer API. Each row is refused with 401 and 017, says why, and reaches no role.

Node B (the EMP) is called; node A is the CPO DE*GEF, and C is another peer of B, with a key of its own.
"""

import json
import re
import time
from dataclasses import dataclass, field

import pytest
from yarl import URL

from p2p_oicp.crypto import PrivateKey, keystore
from p2p_oicp.crypto.http_signatures import JSON_UTF8, _signature_headers, content_digest
from tests.support.clients import Reply, SigningTestClient
from tests.support.messages import NOTIFY, START, authorize_start, notification

BODY = json.dumps(authorize_start()).encode()
OTHER_BODY = BODY.replace(b"1234ABCD", b"1234ABCE")
C_START = START.replace("DE*GEF", "DE*CCC")


@dataclass
class Attack:
    """A request on its way to node B, and the keys that an attacker may have."""

    caller: SigningTestClient
    c_key: PrivateKey
    path: str = START
    sent_to: str | None = None
    body: bytes = BODY
    sent: bytes | None = None
    parts: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    removed: tuple = ()
    times: int = 1

    async def run(self):
        headers = self.caller.signed(self.path, self.body, **self.parts) | self.headers
        headers = {name: value for name, value in headers.items() if name not in self.removed}
        url = URL(f"{self.caller.base}/api/oicp/{self.sent_to or self.path}", encoded=True)
        for _ in range(self.times):
            async with self.caller._session.post(url, data=self.sent or self.body, headers=headers) as answer:
                reply = Reply(answer.status, dict(answer.headers), await answer.json(content_type=None))
        return reply


def with_parameters(pattern: str, replacement: str):
    """Change the signature's parameters after it was made."""

    def change(attack: Attack) -> None:
        headers = attack.caller.signed(attack.path, attack.body)
        changed = re.sub(pattern, replacement, headers["Signature-Input"])
        assert changed != headers["Signature-Input"]
        attack.headers = headers | {"Signature-Input": changed}

    return change


def covering(components: str, parameters: str = ';created={now};nonce="n"', algorithm: str = ""):
    """Sign less than has to be signed, correctly."""

    def change(attack: Attack) -> None:
        key = attack.caller.key
        text = components + parameters.format(now=int(time.time())) + f';keyid="{key.key_id}"{algorithm}'
        values = {
            "@method": "POST",
            "@authority": attack.caller.base.removeprefix("http://"),
            "@path": f"/api/oicp/{attack.path}",
            "@query": "?",
            "content-digest": content_digest(attack.body),
            "content-type": JSON_UTF8,
        }
        lines = [f'"{name}": {values[name]}' for name in re.findall(r'"([^"]+)"', components)]
        base = "\n".join([*lines, f'"@signature-params": {text}'])
        attack.headers = _signature_headers(key, base, "oicp", text, content_digest(attack.body))

    return change


ALL = '("@method" "@authority" "@path" "@query" "content-digest" "content-type")'


def changes(**values):
    def change(attack: Attack) -> None:
        for name, value in values.items():
            setattr(attack, name, value(attack) if callable(value) else value)

    return change


def signed_at(shift: float):
    return changes(parts=lambda _attack: {"now": time.time() + shift})


def by_c(attack: Attack) -> None:
    attack.caller = SigningTestClient(attack.caller._session, attack.caller.base, attack.c_key)


def by_a_stranger(attack: Attack) -> None:
    attack.caller = SigningTestClient(attack.caller._session, attack.caller.base, PrivateKey.generate())


def c_about_a(path: str, body: dict):
    def change(attack: Attack) -> None:
        by_c(attack)
        attack.path, attack.body = path, json.dumps(body).encode()

    return change


def digest_changed_with_the_body(attack: Attack) -> None:
    attack.sent, attack.headers = OTHER_BODY, {"Content-Digest": content_digest(OTHER_BODY)}


def digest_added_for_another_body(attack: Attack) -> None:
    right = content_digest(BODY)
    attack.headers = {"Content-Digest": f"{right}, sha-512=:AAAA:"}


SESSION = "f98efba4-02d8-4fa0-b810-9a9d50d2c527"
NOTIFICATION = notification("Start", SESSION)
REMOVED_ALL = ("Signature", "Signature-Input", "Content-Digest")
ATTACKS = {
    "nothing proves anything": (changes(removed=REMOVED_ALL), "is not signed"),
    "the signature is stripped": (changes(removed=("Signature",)), "there is no signature header"),
    "its description is stripped": (changes(removed=("Signature-Input",)), "there is no signature-input header"),
    "the digest is stripped": (changes(removed=("Content-Digest",)), "there is no content-digest header"),
    "it is sent again": (changes(times=2), "received before"),
    "it is too old": (signed_at(-301), "too old"),
    "it is of the future": (signed_at(301), "in the future"),
    "it has expired": (covering(ALL, ';created={now};expires=1700000000;nonce="n"'), "has expired"),
    "the body is another": (changes(sent=OTHER_BODY), "not the one that was signed"),
    "body and digest are others": (digest_changed_with_the_body, "does not fit"),
    "a second, wrong digest": (digest_added_for_another_body, "does not fit"),
    "the path is another": (changes(sent_to=START.replace("/start", "/stop")), "does not fit"),
    "the path is written otherwise": (changes(sent_to=START.replace("*", "%2A")), "does not fit"),
    "a query is added": (changes(sent_to=f"{START}?page=0"), "does not fit"),
    "a query is dropped": (changes(path=f"{START}?page=0", sent_to=START), "does not fit"),
    "the method was another": (changes(parts={"method": "PUT"}), "does not fit"),
    "it was meant for another node": (changes(parts={"authority": "other.example"}), "does not fit"),
    "the media type is another": (changes(headers={"Content-Type": "application/json"}), "does not fit"),
    "the key is nobody's": (by_a_stranger, "unknown signing key"),
    "the key is named otherwise": (with_parameters(r'keyid="[^"]*"', 'keyid="A"'), "unknown signing key"),
    "no key is named": (with_parameters(r';keyid="[^"]*"', ""), "no signature with a keyid"),
    "a later time is written in": (with_parameters(r"expires=\d+", "expires=9999999999"), "does not fit"),
    "another nonce is written in": (with_parameters(r'nonce="[^"]*"', 'nonce="other"'), "does not fit"),
    "the nonce is dropped": (covering(ALL, ";created={now}"), "no usable nonce"),
    "the time is dropped": (covering(ALL, ';nonce="n"'), "does not say when"),
    "the time has 400 digits": (covering(ALL, f';created="{"9" * 400}";nonce="n"'), "does not say when"),
    "the time has 15 digits": (covering(ALL, f';created={"9" * 15};nonce="n"'), "in the future"),
    "it expires at a time of 400 digits": (
        covering(ALL, f';created={{now}};expires="{"9" * 400}";nonce="n"'),
        "does not say when",
    ),
    "another algorithm is named": (covering(ALL, algorithm=';alg="ecdsa-p256-sha256"'), "its key is for ed25519"),
    "the path is not signed": (covering(ALL.replace(' "@path"', "")), "does not cover @path"),
    "the query is not signed": (covering(ALL.replace(' "@query"', "")), "does not cover @query"),
    "the address is not signed": (covering(ALL.replace(' "@authority"', "")), "does not cover @authority"),
    "the body is not signed": (covering(ALL.replace(' "content-digest"', "")), "does not cover content-digest"),
    "the media type is not signed": (covering(ALL.replace(' "content-type"', "")), "does not cover content-type"),
    "nothing is signed": (covering("()"), "does not cover"),
    "the description is garbage": (changes(headers={"Signature-Input": 'oicp=("@method'}), "not as RFC 9421"),
    "the signature is garbage": (changes(headers={"Signature": "oicp=:AAAA:"}), "has 64 bytes"),
    "another peer signs for A": (by_c, "node c does not speak for DE*GEF"),
    "another peer names A in its body": (c_about_a(C_START, authorize_start()), "the sender is DE*GEF"),
    "another peer tells of A's session": (c_about_a(NOTIFY, NOTIFICATION), "does not speak for DE*GEF"),
    "a party that nobody has": (changes(path=START.replace("GEF", "ZZZ")), "node a does not speak for DE*ZZZ"),
}  # fmt: skip


@pytest.fixture
async def attacked(stopped):
    c_key = PrivateKey.generate()
    file = stopped.folder / "b" / "peers.toml"
    file.write_text(
        file.read_text()
        + '[[peer]]\nname = "node c"\nurl = "http://127.0.0.1:9"\noperators = ["DE*CCC"]\n'
        + f'public_keys = ["{c_key.public.der_base64}"]\n'
    )
    async with stopped.running("b"):
        yield stopped, Attack(stopped.b_peer, c_key)


def refused(pair, answer, reason: str, accepted: int = 0) -> None:
    assert (answer.status, answer.code) == (401, "017")
    assert reason in answer.json["StatusCode"]["AdditionalInfo"]
    assert len(pair.contracts.starts) == accepted
    assert not pair.contracts.notifications


@pytest.mark.parametrize(("change", "reason"), ATTACKS.values(), ids=ATTACKS)
async def test_an_attack_is_refused_with_its_reason_and_reaches_no_role(attacked, change, reason):
    pair, attack = attacked
    change(attack)
    answer = await attack.run()
    refused(pair, answer, reason, accepted=attack.times - 1)


async def test_without_any_change_the_same_request_is_served(attacked):
    pair, attack = attacked
    answer = await attack.run()
    assert (answer.status, answer.json["AuthorizationStatus"]) == (200, "Authorized")
    assert len(pair.contracts.starts) == 1


async def test_c_may_speak_for_itself(attacked):
    pair, attack = attacked
    by_c(attack)
    attack.path, attack.body = C_START, BODY.replace(b"DE*GEF", b"DE*CCC")
    assert (await attack.run()).status == 200
    assert len(pair.contracts.starts) == 1


def banned(pair) -> None:
    file = pair.folder / "b" / "peers.toml"
    file.write_text(f'banned_keys = ["{pair.key("a").key_id}"]\n' + file.read_text())


async def test_a_banned_key_is_refused(stopped):
    banned(stopped)
    async with stopped.running("b"):
        refused(stopped, await stopped.b_peer.post(START, BODY), "is banned here")


async def test_a_replay_is_refused_after_a_restart_as_well(stopped):
    headers = stopped.b_peer.signed(START, BODY)
    plain = super(SigningTestClient, stopped.b_peer)
    async with stopped.running("b"):
        assert (await plain.post(START, BODY, headers=headers)).status == 200
    async with stopped.running("b"):
        refused(stopped, await plain.post(START, BODY, headers=headers), "received before", accepted=1)


async def test_a_hello_has_to_be_signed_too(attacked):
    pair, _ = attacked
    async with pair.http.post(f"{pair.b_peer.base}/p2p/v1/hello", json={"operators": ["DE*GEF"]}) as answer:
        assert answer.status == 401


async def test_behind_a_proxy_the_public_address_is_what_is_signed(stopped):
    file = stopped.folder / "b" / "node.toml"
    public = 'url = "https://oicp.beta.example/node/api/oicp"\n'
    file.write_text(file.read_text().replace("[peer_api]\n", f"[peer_api]\n{public}"))
    async with stopped.running("b"):
        caller = stopped.b_peer
        at_the_proxy = caller.signed(START, BODY, authority="oicp.beta.example", path=f"/node/api/oicp/{START}")
        plain = super(SigningTestClient, caller)
        assert (await plain.post(START, BODY, headers=at_the_proxy)).status == 200
        answer = await caller.post(START, BODY)
        refused(stopped, answer, "signed for another address? this node is oicp.beta.example", accepted=1)


async def test_a_retired_key_is_refused(stopped):
    """B knows A's new key and that the old one is retired: from A's descriptor."""
    home = stopped.folder / "a" / "keys"
    old = stopped.key("a")
    keystore.rotate(home, now=time.time() - 100, activation_delay=0, overlap=50)
    async with stopped.running("a"), stopped.running("b"):
        answer = await stopped.a.post(START, json.loads(BODY))
        assert answer.json["AuthorizationStatus"] == "Authorized"
        thief = SigningTestClient(stopped.http, stopped.b_peer.base, old)
        refused(stopped, await thief.post(START, OTHER_BODY), "is retired", accepted=1)
