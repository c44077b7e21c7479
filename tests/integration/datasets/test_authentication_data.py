"""Authentication data: pushed to node B by the EMP's backend, replicated to the CPO's node A; PINs only as hashes."""

import json

import bcrypt
import pytest

from p2p_oicp.clock import SystemClock
from p2p_oicp.crypto.pins import PinGuard
from p2p_oicp.oicp import Identification
from p2p_oicp.storage import tokens
from tests.support.dataset_messages import PUSH_AUTHENTICATION, card_record, push_authentication, qr_record
from tests.support.nodes import peer_id, query
from tests.support.pulls import known, until_known

PINS = PinGuard(SystemClock())
PIN = "4711"
HASH = {"Value": bcrypt.hashpw(PIN.encode(), bcrypt.gensalt(4)).decode(), "Function": "Bcrypt"}
QR = {"QRCodeIdentification": {"EvcoID": "DE-GDF-C12345678-X", "PIN": PIN}}


def identification(members: dict) -> Identification:
    return Identification.from_json(json.dumps(members).encode())


async def test_identifications_reach_the_cpos_node_and_are_deleted_there(pair):
    await pair.b.post(PUSH_AUTHENTICATION, push_authentication(card_record("1234ABCD"), card_record("AABBCCDD")))
    assert await until_known(pair.a, 2) == await known(pair.b_peer)
    await pair.b.post(PUSH_AUTHENTICATION, push_authentication(card_record("1234ABCD"), action="delete"))
    assert (await until_known(pair.a, 1))[0]["RFIDMifareFamilyIdentification"]["UID"] == "AABBCCDD"


async def test_a_pin_is_a_hash_before_it_is_stored_or_sent_anywhere(pair):
    legacy = {**HASH, "LegacyHashData": {"Function": "MD5", "Salt": "abc", "Value": "0123456789"}}
    pushed = push_authentication(qr_record(PIN=PIN), qr_record("DE-GDF-C87654321-X", HashedPIN=legacy))
    assert (await pair.b.post(PUSH_AUTHENTICATION, pushed)).json["Result"] is True
    found = {
        record["QRCodeIdentification"]["EvcoID"]: record["QRCodeIdentification"]
        for record in await until_known(pair.a, 2)
    }
    hashed = found["DE-GDF-C12345678-X"]
    assert "PIN" not in hashed
    assert bcrypt.checkpw(PIN.encode(), hashed["HashedPIN"]["Value"].encode())
    assert found["DE-GDF-C87654321-X"]["HashedPIN"] == legacy
    for name in "ab":
        for file in (pair.folder / name / "data").glob("node.sqlite3*"):
            assert b'"PIN"' not in file.read_bytes()


async def test_the_same_pin_again_is_no_change(stopped):
    async with stopped.running("b"):
        await stopped.b.post(PUSH_AUTHENTICATION, push_authentication(qr_record(PIN=PIN)))
        first = await known(stopped.b_peer)
        await stopped.b.post(PUSH_AUTHENTICATION, push_authentication(qr_record(PIN=PIN)))
        assert await known(stopped.b_peer) == first
        await stopped.b.post(PUSH_AUTHENTICATION, push_authentication(qr_record(PIN="0815")))
        assert await known(stopped.b_peer) != first


@pytest.mark.parametrize(
    ("push", "code"),
    [
        (push_authentication(qr_record("FR-XYZ-C12345678-X", PIN=PIN)), "019"),
        (push_authentication(card_record("1234ABCD"), action="insert"), "009"),
        (push_authentication(card_record("AABBCCDD"), action="update"), "009"),
        (push_authentication(card_record("AABBCCDD"), action="delete"), "000"),
    ],
    ids=["a contract of another provider", "insert of a known", "update of an unknown", "delete of an unknown"],
)
async def test_pushes_are_checked(stopped, push, code):
    async with stopped.running("b"):
        await stopped.b.post(PUSH_AUTHENTICATION, push_authentication(card_record("1234ABCD")))
        assert (await stopped.b.post(PUSH_AUTHENTICATION, push)).code == code
        assert len(await known(stopped.b_peer)) == 1


EXPIRED = {"UID": "EEEEEEEE", "RFID": "mifareCls", "ExpiryDate": "2020-01-01T00:00:00Z"}
VALID = {"UID": "DDDDDDDD", "RFID": "mifareCls", "ExpiryDate": "2100-01-01T00:00:00Z", "EvcoID": "DE-GDF-C11111111-1"}


@pytest.mark.parametrize(
    ("members", "refusal"),
    [
        ({"RFIDMifareFamilyIdentification": {"UID": "1234abcd"}}, None),
        ({"RFIDMifareFamilyIdentification": {"UID": "DDDDDDDD"}}, None),
        ({"RFIDMifareFamilyIdentification": {"UID": "EEEEEEEE"}}, "102"),
        (QR, None),
        ({"QRCodeIdentification": {"EvcoID": "DEGDFC12345678X", "PIN": "0000"}}, "101"),
        ({"PlugAndChargeIdentification": {"EvcoID": "DE-GDF-C22222222-2"}}, None),
    ],
)
async def test_pushed_identifications_decide_an_authorization(stopped, members, refusal):
    pushed = push_authentication(
        card_record("1234ABCD"),
        {"Identification": {"RFIDIdentification": EXPIRED}},
        {"Identification": {"RFIDIdentification": VALID}},
        qr_record(HashedPIN=HASH),
        {"Identification": {"PlugAndChargeIdentification": {"EvcoID": "DE-GDF-C22222222-2"}}},
    )
    async with stopped.running("a") as node:
        assert (await stopped.a_peer.post(PUSH_AUTHENTICATION, pushed)).json["Result"] is True
        match = await tokens.find_match(node.store, identification(members), 1_800_000_000.0, pins=PINS)
    assert (match.provider_id.text, match.source, match.refusal_code) == (
        "DE-GDF",
        peer_id(stopped, "a", "node b"),
        refusal,
    )


@pytest.mark.parametrize(
    "members",
    [
        {"RFIDMifareFamilyIdentification": {"UID": "99999999"}},
        {"QRCodeIdentification": {"EvcoID": "DE-GDF-C99999999-9", "PIN": PIN}},
        {"PlugAndChargeIdentification": {"EvcoID": "DE-GDF-C12345678-X"}},
    ],
    ids=["unknown card", "unknown contract", "a contract in another form"],
)
async def test_unknown_identifications_are_left_to_the_emp(stopped, members):
    async with stopped.running("a") as node:
        await stopped.a_peer.post(
            PUSH_AUTHENTICATION, push_authentication(card_record("1234ABCD"), qr_record(HashedPIN=HASH))
        )
        assert await tokens.find_match(node.store, identification(members), 0.0, pins=PINS) is None


async def test_a_deleted_identification_does_not_authorize(stopped):
    async with stopped.running("a") as node:
        await stopped.a_peer.post(PUSH_AUTHENTICATION, push_authentication(card_record("1234ABCD")))
        await stopped.a_peer.post(PUSH_AUTHENTICATION, push_authentication())
        members = identification({"RFIDMifareFamilyIdentification": {"UID": "1234ABCD"}})
        assert await tokens.find_match(node.store, members, 0.0, pins=PINS) is None


async def test_an_identification_of_a_removed_peer_does_not_authorize(stopped):
    members = identification({"RFIDMifareFamilyIdentification": {"UID": "1234ABCD"}})
    async with stopped.running("a") as node:
        await stopped.a_peer.post(PUSH_AUTHENTICATION, push_authentication(card_record("1234ABCD")))
        assert await tokens.find_match(node.store, members, 0.0, pins=PINS, excluded_sources=["peer:99"])
        removed = [peer_id(stopped, "a", "node b")]
        assert await tokens.find_match(node.store, members, 0.0, pins=PINS, excluded_sources=removed) is None


async def test_a_pin_in_a_quarantined_record_is_not_stored(stopped):
    both = qr_record(PIN=PIN, HashedPIN=HASH)
    async with stopped.running("a"):
        answer = await stopped.a_peer.post(PUSH_AUTHENTICATION, push_authentication(both, card_record("1234ABCD")))
    assert answer.json["Result"] is True
    ((record,),) = query(stopped, "a", "SELECT record FROM quarantine")
    assert b"HashedPIN" in record
    assert PIN.encode() not in record
