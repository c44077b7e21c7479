"""What a partner in a dispute does with an evidence file: `evidence verify` names nobody whom no signature names.

The forger is node B: it seals its own file, with other content, by its own key. Whom it shows the file to has nothing
but the file, and perhaps a peers file of its own.
"""

import json
import re
import time

import pytest
from typer.testing import CliRunner

from p2p_oicp.cli import app
from p2p_oicp.config import load_settings
from p2p_oicp.crypto import PrivateKey, SignedRequestParts, SignedResponseParts, verify_request
from p2p_oicp.crypto.evidence_file import _signature_line, read_evidence
from p2p_oicp.crypto.exchange import RecordedExchange
from p2p_oicp.crypto.http_signatures import sign_request, sign_response
from p2p_oicp.errors import VerificationError
from p2p_oicp.node import Node
from p2p_oicp.peers.descriptor import PublishedKey
from p2p_oicp.simulator.node_files import free_ports
from tests.support.messages import CDR, START, UNKNOWN_SESSION, authorize_start, cdr
from tests.support.nodes import FakeContracts
from tests.support.pairing import Admin, Forged


async def exported(pair, name: str, session: str, **query) -> dict:
    return await Admin(pair, name).ask("GET", f"/evidence/{session}" + "".join(f"?{k}={v}" for k, v in query.items()))


@pytest.fixture
async def evidence(pair):
    """The nodes' keys, and what B has of a session, and of another one."""
    contents = []
    for _ in range(2):
        session = (await pair.a.post(START, authorize_start())).json["SessionID"]
        await pair.a.post(CDR, cdr(session))
        await pair.at_rest("a")
        file = (await exported(pair, "b", session))["file"]
        contents.append(json.loads(file.split("\n")[0]))
    return pair, *contents


@pytest.fixture
def verify(tmp_path):
    """Seal a content, and verify it by the command line; return what is printed, and why it fails."""

    def run(content: dict, key: PrivateKey, *options: str) -> tuple[str, str]:
        line = json.dumps(content).encode()
        (tmp_path / "e").write_bytes(line + b"\n" + _signature_line(key, line) + b"\n")
        done = CliRunner().invoke(app, ["evidence", "verify", str(tmp_path / "e"), *options])
        if done.exception is not None and done.exit_code == 1 and isinstance(done.exception, VerificationError):
            return done.stdout, str(done.exception)
        assert done.exit_code == bool(done.stderr)
        return done.stdout, done.stderr

    return run


def relabelled(content: dict, _other: dict, _pair) -> None:
    content["exchanges"][0]["operation"] = "ChargeDetailRecord"


def with_another_session(content: dict, other: dict, _pair) -> None:
    content["exchanges"].append(other["exchanges"][1])


def for_another_session(content: dict, _other: dict, _pair) -> None:
    content["session_id"] = UNKNOWN_SESSION


def by_unknown_keys(content: dict, _other: dict, _pair) -> None:
    content["descriptors"] = []


def by_the_key_of_another(content: dict, _other: dict, pair) -> None:
    """A descriptor of somebody else, which lists A's key, in place of A's."""
    thief = listing(pair.key("a"))
    content["descriptors"] = [
        json.loads(thief.body) if pair.key("a").key_id in json.dumps(each) else each for each in content["descriptors"]
    ]


def by_the_forger_for_a(content: dict, _other: dict, pair) -> None:
    """An exchange that B has with itself, in which it calls itself A's operator."""
    content["exchanges"] = [json.loads(made_up(pair.key("b"), content["session_id"]))]


def made_up(key: PrivateKey, session: str) -> bytes:
    body = json.dumps(authorize_start(SessionID=session)).encode()
    target = {"method": "POST", "authority": "b.example", "path": f"/api/oicp/{START}", "query": ""}
    request = SignedRequestParts(
        **target, headers=sign_request(key, **target, body=body, now=time.time(), nonce="n"), body=body
    )
    signature = verify_request(request, lambda _key_id, _now: key.public, time.time())
    response = SignedResponseParts(
        200, sign_response(key, status=200, body=body, request_signature=signature, now=time.time()), body
    )
    return RecordedExchange(
        1.0, "AuthorizeStart", sent_by_us=False, peer="a", request=request, response=response
    ).serialize()[0]


def listing(key: PrivateKey) -> Forged:
    own = PrivateKey.generate()
    return Forged(own, keys=(PublishedKey(own.public), PublishedKey(key.public)))


FORGERIES = {
    "a request that is called another": (relabelled, "this is AuthorizeStart; the file calls it ChargeDetailRecord"),
    "an exchange of another session": (with_another_session, r"this is of session [-0-9a-f]{36}"),
    "the file of another session": (for_another_session, r"this is of session [-0-9a-f]{36}"),
    "keys that nothing ties to a company": (by_unknown_keys, "unknown signing key SHA256:.{43}"),
    "a request for A that B has signed": (by_the_forger_for_a, r"1: DE\*GEF is no party of node b, who has signed it"),
    "a key that a descriptor only lists": (by_the_key_of_another, "unknown signing key SHA256:.{43}"),
}


@pytest.mark.parametrize(("forge", "reason"), FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_evidence_file_fails_with_the_reason(evidence, verify, forge, reason):
    pair, content, other = evidence
    forge(content, other, pair)
    printed, failure = verify(content, pair.key("b"))
    assert re.search(reason, failure)
    assert re.search(f"NOT VERIFIED: .*{reason}", printed)
    assert "all signatures fit" not in printed
    assert "thief (" not in printed


async def test_the_names_that_the_writer_gives_to_keys_are_not_printed(evidence, verify):
    pair, content, _ = evidence
    for key in content["keys"]:
        key["owner"] = "a bank"
    printed, failure = verify(content, pair.key("b"))
    assert (failure, "a bank" in printed) == ("", False)
    assert f"node a ({pair.key('a').key_id})" in printed


async def test_a_peers_file_names_the_owners_of_keys_and_contradicts_who_takes_a_name(evidence, verify):
    pair, content, _ = evidence
    peers = pair.folder / "b" / "peers.toml"
    printed, failure = verify(content, pair.key("b"), "--peers", str(peers))
    assert (failure, f"node a ({pair.key('a').key_id})" in printed) == ("", True)
    by_unknown_keys(content, {}, pair)
    printed, failure = verify(content, pair.key("b"), "--peers", str(peers))
    assert f"node a ({pair.key('a').key_id})" in printed
    assert f"unknown signing key {pair.key('b').key_id}" in failure
    for takes in ({"name": "node a"}, {"name": "another", "operators": ["DE*GEF"]}):
        content["descriptors"] = [json.loads(Forged(**takes).body)]
        _, failure = verify(content, pair.key("b"), "--peers", str(peers))
        assert re.search("a descriptor in it: .* signs with SHA256:.*, which no trusted key endorsed", failure)


async def test_an_export_for_one_partner_contains_nothing_that_another_has_signed(stopped):
    """B and C refuse the same card: C's refusal is no business of B's."""
    home, (port, backend_port) = stopped.folder / "c", free_ports(2)
    home.mkdir()
    c_key = PrivateKey.generate()
    (home / "keys").mkdir(mode=0o700)
    (home / "keys" / "node.key").touch(mode=0o600)
    (home / "keys" / "node.key").write_bytes(c_key.pem())
    text = (stopped.folder / "b" / "node.toml").read_text().replace("node b", "node c").replace("DE-GDF", "DE-CCC")
    for old, new in ((stopped.ports["b"], port), (stopped.ports["b backend"], backend_port)):
        text = text.replace(f"port = {old}", f"port = {new}")
    (home / "node.toml").write_text(text)
    (home / "peers.toml").write_text((stopped.folder / "b" / "peers.toml").read_text())
    with (stopped.folder / "a" / "peers.toml").open("a") as peers:
        peers.write(
            f'[[peer]]\nname = "node c"\nurl = "http://127.0.0.1:{port}"\nproviders = ["DE-CCC"]\n'
            f'public_keys = ["{c_key.public.der_base64}"]\n'
        )
    contracts = FakeContracts(uids=frozenset())
    async with stopped.running("a"), stopped.running("b"), Node(load_settings(home / "node.toml"), emp=contracts):
        request = authorize_start("DDDDDDDD", SessionID=UNKNOWN_SESSION)
        assert (await stopped.a.post(START, request)).json["AuthorizationStatus"] == "NotAuthorized"
        both = await Admin(stopped, "a").ask("GET", f"/evidence/{UNKNOWN_SESSION}", status=409)
        assert "were with node b, node c; say with whom" in both["StatusCode"]["AdditionalInfo"]
        files = {name: (await exported(stopped, "a", UNKNOWN_SESSION, peer=f"node%20{name}"))["file"] for name in "bc"}
    keys = {"a": stopped.key("a").key_id, "b": stopped.key("b").key_id, "c": c_key.key_id}
    for name, other in (("b", "c"), ("c", "b")):
        statements = read_evidence(files[name].encode()).statements
        assert [statement.key.key_id for statement in statements] == [keys["a"], keys[name]]
        assert keys[other] not in files[name]
        assert f"node {other}" not in files[name]
