"""An EMP without a contract system: the node's own list says who may charge."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.crypto.pins import hash_pin, pin_matches
from p2p_oicp.node import Node
from p2p_oicp.storage import open_for_change, open_readonly, tokens
from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.tokens import Token
from tests.support.messages import (
    CDR,
    GET_CDRS,
    NOTIFY,
    START,
    STOP,
    authorize_start,
    authorize_stop,
    cdr,
    get_cdrs,
    notification,
)

EVCO, EVCO_KEY = "DE-GDF-C12345678-X", "DEGDFC12345678X"
LIST = [Token("1234ABCD", "1234ABCD"), Token("AABBCCDD", "AABBCCDD"), Token(EVCO_KEY, EVCO, hash_pin("4711"))]


def qr(pin: str) -> dict:
    return {"QRCodeIdentification": {"EvcoID": EVCO, "PIN": pin}}


def card(uid: str) -> dict:
    return {"RFIDMifareFamilyIdentification": {"UID": uid}}


CAR = {"PlugAndChargeIdentification": {"EvcoID": EVCO}}
STRANGE_CAR = {"PlugAndChargeIdentification": {"EvcoID": "DE-GDF-C87654321-X"}}


@asynccontextmanager
async def listed(stopped, *known: Token):
    settings = load_settings(stopped.folder / "b" / "node.toml")
    with open_for_change(settings.storage.file) as tx:
        for token in known:
            tokens.upsert_token(tx, token, 1.0)
    async with stopped.running("a"), Node(settings):
        yield settings.storage.file


VERDICTS = {
    "a card on the list": (card("1234ABCD"), "000"),
    "a card in lower case": (card("1234abcd"), "000"),
    "a card that is not on it": (card("DDDDDDDD"), "102"),
    "a QR code with its PIN": (qr("4711"), "000"),
    "a QR code with another PIN": (qr("0815"), "101"),
    "a car of the contract": (CAR, "000"),
    "a car that is not on the list": (STRANGE_CAR, "105"),
}


@pytest.mark.parametrize(("identification", "code"), VERDICTS.values(), ids=VERDICTS)
async def test_the_list_says_who_may_charge(stopped, identification, code):
    async with listed(stopped, *LIST):
        answer = await stopped.a.post(START, authorize_start(Identification=identification))
    assert (answer.json["AuthorizationStatus"] == "Authorized", answer.code) == (code == "000", code)


async def test_a_contract_without_a_pin_opens_no_session_by_qr_code(stopped):
    async with listed(stopped, Token(EVCO_KEY, EVCO)):
        assert (await stopped.a.post(START, authorize_start(Identification=qr("4711")))).code == "101"


STOPS = {"the card that started": ("1234ABCD", "000"), "another card on the list": ("AABBCCDD", "102")}


@pytest.mark.parametrize(("uid", "code"), STOPS.values(), ids=STOPS)
async def test_the_medium_that_started_a_session_stops_it(stopped, uid, code):
    async with listed(stopped, *LIST):
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        assert (await stopped.a.post(STOP, authorize_stop(session, uid))).code == code


async def test_notifications_and_records_are_stored_by_the_node(stopped):
    async with listed(stopped, *LIST):
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        assert (await stopped.a.post(NOTIFY, notification("Start", session))).code == "000"
        assert (await stopped.a.post(CDR, cdr(session))).code == "000"
        found = []
        async with asyncio.timeout(10):
            while not found:
                found = (await stopped.b.post(GET_CDRS, get_cdrs())).json["content"]
    assert found == [cdr(session)]


async def test_a_token_that_is_added_beside_the_running_node_is_known_at_once(stopped):
    async with listed(stopped) as file:
        assert (await stopped.a.post(START, authorize_start())).code == "102"
        with open_for_change(file) as tx:
            tokens.upsert_token(tx, LIST[0], 1.0)
        assert (await stopped.a.post(START, authorize_start())).code == "000"


def test_a_list_of_100000_is_queried_by_one_indexed_query(tmp_path):
    file = tmp_path / "node.sqlite3"
    with open_for_change(file) as tx:
        for number in range(100_000):
            tokens.upsert_token(tx, Token(f"{number:08X}", f"{number:08X}"), 1.0)
    with open_readonly(file) as reader:
        plan = Statement(f"EXPLAIN QUERY PLAN {tokens.TOKEN_BY_KEY.text}", tokens.TOKEN_BY_KEY.fixed)
        assert [row["detail"] for row in reader.rows(plan, key_="0000FFFF")] == [
            "SEARCH tokens USING PRIMARY KEY (token_key=?)"
        ]
        assert [len(list(reader.rows(tokens.TOKEN_BY_KEY, key_=f"{number:08X}"))) for number in range(1000)] == [
            1
        ] * 1000


def test_a_pin_of_any_characters_is_hashed():
    long = "ä" * 60
    assert pin_matches(long, hash_pin(long))
    assert not pin_matches("4711", b"not a hash")
