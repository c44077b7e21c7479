"""Evidence: what both nodes signed about a session can be verified on any machine."""

import json
from types import SimpleNamespace

import pytest
import structlog

from p2p_oicp.cli.evidence import KeyOwners, format_evidence, read_evidence_file
from p2p_oicp.config import load_settings
from p2p_oicp.crypto import KeyRing, KnownKey, OwnKeys, PrivateKey, SignedRequestParts, SignedResponseParts
from p2p_oicp.crypto.evidence_file import Evidence, read_evidence, write_evidence
from p2p_oicp.crypto.exchange import prepare_exchange
from p2p_oicp.errors import StoreError, VerificationError
from p2p_oicp.node import Node
from p2p_oicp.peering.evidence_recorder import EvidenceService, ExchangeRecorder
from p2p_oicp.peers import PeerRegistry
from p2p_oicp.storage import evidence, open_for_change, tokens
from p2p_oicp.storage.tokens import Token
from tests.support.clients import SigningTestClient
from tests.support.database import HandlersWrites
from tests.support.messages import (
    CDR,
    REMOTE_START,
    START,
    STOP,
    UNKNOWN_SESSION,
    authorize_start,
    authorize_stop,
    cdr,
    remote_start,
)
from tests.support.pairing import Admin, paired

KINDS = ["AuthorizeStart", "AuthorizeStop", "ChargeDetailRecord"]


def shown(content: Evidence) -> str:
    owners = KeyOwners()
    owners.add_descriptors(content.descriptors)
    return format_evidence(content, owners)


async def evidence_of(pair, session: str) -> dict[str, bytes]:
    answers = {name: await Admin(pair, name).ask("GET", f"/evidence/{session}") for name in ("a", "b")}
    return {name: answer["file"].encode() for name, answer in answers.items()}


@pytest.fixture
async def files(pair) -> dict[str, bytes]:
    """The evidence of both nodes, of a session from its start to its CDR."""
    session = (await pair.a.post(START, authorize_start())).json["SessionID"]
    await pair.a.post(STOP, authorize_stop(session))
    await pair.a.post(CDR, cdr(session))
    await pair.at_rest("a")  # B's backend gets the CDR before A has recorded B's response
    return await evidence_of(pair, session)


async def test_the_outcome_of_a_start_and_its_evidence_are_one_transaction(stopped):
    async with stopped.running("a") as a, stopped.running("b"):
        writes = HandlersWrites(a.store)
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        content = read_evidence((await evidence_of(stopped, session))["a"])
    assert (writes.count, len(content.statements)) == (1, 2)


async def test_both_nodes_record_every_request_and_every_response(pair, files):
    a, b = pair.key("a").key_id, pair.key("b").key_id
    for name, file in files.items():
        content = read_evidence(file)
        assert [statement.key.key_id for statement in content.statements] == [a, b] * 3
        assert [statement.description.split(":")[0] for statement in content.statements[::2]] == KINDS
        assert content.signer_key.key_id == pair.key(name).key_id


async def test_messages_are_recorded_as_they_were_sent(files):
    request, response, *_ = read_evidence(files["b"]).statements
    assert json.loads(request.body)["Identification"]["RFIDMifareFamilyIdentification"]["UID"] == "1234ABCD"
    assert json.loads(response.body)["AuthorizationStatus"] == "Authorized"


async def test_i8_i11_evidence_has_the_received_bytes_and_the_backend_gets_what_was_rewritten(stopped):
    body = json.dumps(authorize_start("1234abcd", PartnerProductID=None)).encode()
    async with stopped.running("b"):
        session = (await stopped.b_peer.post(START, body)).json["SessionID"]
        answer = await Admin(stopped, "b").ask("GET", f"/evidence/{session}")
    request, _ = read_evidence(answer["file"].encode()).statements
    assert request.body == body
    (start,) = stopped.contracts.starts
    assert b'"1234ABCD"' in start.to_json()
    assert b"PartnerProductID" not in start.to_json()


async def test_a_remote_start_is_recorded_as_well(pair):
    session = (await pair.b.post(REMOTE_START, remote_start())).json["SessionID"]
    for file in (await evidence_of(pair, session)).values():
        request, response = read_evidence(file).statements
        assert request.description.startswith("AuthorizeRemoteStart: POST")
        assert request.key.key_id == pair.key("b").key_id
        assert json.loads(response.body)["Result"] is True


async def test_one_changed_byte_anywhere_is_detected(files):
    file = files["a"]
    for place in [*range(0, len(file), 97), *range(len(file) - 200, len(file))]:
        changed = bytearray(file)
        changed[place] ^= 1
        with pytest.raises(VerificationError):
            read_evidence(bytes(changed))


@pytest.mark.parametrize("changed", [b"\n", b" ", b"{}\n"], ids=["a line", "a blank", "more"])
async def test_one_added_byte_is_detected(files, changed):
    with pytest.raises(VerificationError):
        read_evidence(files["a"] + changed)


async def test_the_writer_of_a_file_cannot_change_what_others_signed(pair, files):
    """B writes a file of its own, with another operator: B's signature of the file fits, A's signature does not."""
    content = json.loads(files["b"].split(b"\n")[0])
    request = content["exchanges"][0]["request"]
    request["path"] = request["path"].replace("DE*GEF", "DE*XXX")
    exchanges = [json.dumps(exchange).encode() for exchange in content["exchanges"]]
    keys = {key["owner"]: (key["public_key"], key["owner"]) for key in content["keys"]}
    session = content["session_id"]
    forged = write_evidence(session, exchanges, keys=keys, descriptors=[], key=pair.key("b"), now=0.0)
    content = read_evidence(forged)
    (unproven,) = content.unverified
    assert unproven == "1 and 2 (AuthorizeStart and its response): the signature does not fit what it covers"
    assert [statement.number for statement in content.statements] == [3, 4, 5, 6]


async def test_the_report_names_the_signers_and_the_statements(pair, files, tmp_path):
    (tmp_path / "e").write_bytes(files["a"])
    report = shown(read_evidence_file(tmp_path / "e"))
    assert "6 signed statements, all signatures fit" in report
    assert f"node b ({pair.key('b').key_id})" in report
    assert "DE-GDF" in report


async def test_there_is_no_evidence_of_an_unknown_session(pair):
    answer = await Admin(pair, "a").ask("GET", "/evidence/f98efba4-02d8-4fa0-b810-9a9d50d2c527", status=409)
    assert "no signed exchange" in answer["StatusCode"]["AdditionalInfo"]


@pytest.mark.parametrize("parting", ["a", "b"], ids=["removed by this node", "removed by the other node"])
async def test_statements_of_a_removed_peer_are_verified_with_the_key_that_it_had(stopped, parting):
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    async with stopped.running("a"), stopped.running("b"):
        sides = {name: Admin(stopped, name) for name in ("a", "b")}
        await paired(sides["a"], sides["b"])
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        await sides[parting].ask("DELETE", f"/peers/node%20{'b' if parting == 'a' else 'a'}")
        assert await sides["a"].names() == await sides["b"].names() == []
    async with stopped.running("a"), stopped.running("b"):
        files = await evidence_of(stopped, session)
    for file in files.values():
        content = read_evidence(file)
        assert (len(content.statements), content.unverified) == (2, ())
        report = shown(content)
        assert all(f"{stopped.key(name).key_id}  node {name}, http" in report for name in ("a", "b"))


async def test_a_key_counts_as_stored_only_after_a_commit(store, clock):
    key, identity = PrivateKey.generate(), SimpleNamespace(signer=SimpleNamespace(keys=OwnKeys(())), clock=clock)
    directory = SimpleNamespace(descriptor_of=lambda _: None)
    service = EvidenceService(
        identity,
        store=store,
        directory=directory,
        keyring=KeyRing([KnownKey(key.public, "a")]),
        registry=PeerRegistry([]),
        refresh=None,
    )
    headers = {"Signature-Input": f'x=("@status");keyid="{key.key_id}"'}
    body = json.dumps({"SessionID": UNKNOWN_SESSION}).encode()
    exchange = (
        "AuthorizeStart",
        "a",
        SignedRequestParts("POST", "b", "/", "", headers, body),
        SignedResponseParts(200, {}, b""),
        b"",
    )

    def failing(tx) -> None:
        service.recorder.insert(tx, service.recorder.prepare_inbound(*exchange))
        raise StoreError("the disk is full")

    with pytest.raises(StoreError):
        await store.write(failing)
    for _ in range(3):
        await service.recorder.record(service.recorder.prepare_inbound(*exchange))
    assert [tuple(row) for row in await store.query(evidence.KEYS)] == [(key.key_id, key.public.der_base64, "a", None)]


async def test_an_exchange_that_cannot_be_recorded_is_logged_and_its_response_counts(clock):
    async def write(_job: object, about: object) -> None:
        del about
        raise StoreError("the disk is full")

    identity = SimpleNamespace(signer=SimpleNamespace(keys=OwnKeys(())), clock=clock)
    service = EvidenceService(
        identity,
        store=SimpleNamespace(write=write),
        directory=None,
        keyring=KeyRing([]),
        registry=PeerRegistry([]),
        refresh=None,
    )
    body = json.dumps({"SessionID": UNKNOWN_SESSION}).encode()
    exchange = (
        "AuthorizeStart",
        "a",
        SignedRequestParts("POST", "b", "/", "", {}, body),
        SignedResponseParts(200, {}, b""),
        b"",
    )
    for sent_by_us in (True, False):
        with structlog.testing.capture_logs() as logs:
            await service.recorder.record(prepare_exchange(*exchange, sent_by_us=sent_by_us, now=0.0))
        assert [(entry["event"], str(entry["error"])) for entry in logs] == [
            ("evidence.write_failed", "the disk is full")
        ]


async def test_a_key_that_the_peers_file_no_longer_has_is_in_the_evidence(stopped):
    file = stopped.folder / "a" / "peers.toml"
    async with stopped.running("a"), stopped.running("b"):
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        file.write_text(
            file.read_text().replace(stopped.key("b").public.der_base64, PrivateKey.generate().public.der_base64)
        )
        await Admin(stopped, "a").ask("POST", "/reload")
        files = await evidence_of(stopped, session)
    assert [len(read_evidence(file).statements) for file in files.values()] == [2, 2]


VERDICTS = {"a token on the list": ("1234ABCD", "Authorized"), "an unknown token": ("DDDDDDDD", "NotAuthorized")}


@pytest.mark.parametrize(("uid", "status"), VERDICTS.values(), ids=VERDICTS)
async def test_a_decision_of_the_node_itself_is_recorded_in_the_transaction_that_makes_it(
    stopped, monkeypatch, uid, status
):
    monkeypatch.setattr(ExchangeRecorder, "record", None)  # what would record it in a transaction of its own
    settings = load_settings(stopped.folder / "b" / "node.toml")
    with open_for_change(settings.storage.file) as tx:
        tokens.upsert_token(tx, Token("1234ABCD", "1234ABCD"), 1.0)
    request = authorize_start(
        SessionID=UNKNOWN_SESSION, Identification={"RFIDMifareFamilyIdentification": {"UID": uid}}
    )
    async with Node(settings):
        caller = SigningTestClient(stopped.http, stopped.b_peer.base, stopped.key("a"))
        first = await caller.post(START, request)
        again = await caller.post(START, request)
        file = (await Admin(stopped, "b").ask("GET", f"/evidence/{UNKNOWN_SESSION}"))["file"].encode()
    assert (first.json["AuthorizationStatus"], again.json) == (status, first.json)
    content = read_evidence(file)
    a, b = stopped.key("a").key_id, stopped.key("b").key_id
    assert [statement.key.key_id for statement in content.statements] == [a, b] * 2
    assert [json.loads(statement.body) for statement in content.statements[1::2]] == [first.json] * 2
