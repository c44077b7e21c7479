"""Every operation that a node serves to peers may be repeated: one effect, and the first answer again (box H4)."""

import json
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from p2p_oicp.oicp import OPERATIONS
from p2p_oicp.oicp.operations import Party
from p2p_oicp.simulator.node_files import free_ports
from tests.support import dataset_messages as state
from tests.support.messages import (
    A_CPO,
    B_EMP,
    CDR,
    END_RESERVATION,
    EVSE,
    GET_CDRS,
    NOTIFY,
    PULL_STATUS,
    PUSH_STATUS,
    REMOTE_START,
    REMOTE_STOP,
    RESERVE,
    START,
    STOP,
    authorize_start,
    authorize_stop,
    cdr,
    get_cdrs,
    notification,
    push_status,
    remote_start,
    remote_stop,
    reserve,
)
from tests.support.nodes import Pair, query

TIMES = 12
# Rows that tell of the conversation (how often it was asked, what a peer knows by now), and not of what it was about.
CONVERSATION = {"destinations", "cursors", "session_events", "peer_epochs", "sqlite_sequence"}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory):
    """Two running nodes, for all operations."""
    names = ("a", "a backend", "b", "b backend")
    async with aiohttp.ClientSession() as http:
        made = Pair(tmp_path_factory.mktemp("pair"), http, dict(zip(names, free_ports(len(names)), strict=True)))
        made.write()
        async with made.running("a"), made.running("b"):
            yield made


async def by_card(pair) -> str:
    return (await pair.a.post(START, authorize_start())).json["SessionID"]


async def by_app(pair) -> str:
    return (await pair.b.post(REMOTE_START, remote_start())).json["SessionID"]


async def reserved(pair) -> str:
    return (await pair.b.post(RESERVE, reserve())).json["SessionID"]


async def settled(pair) -> str:
    await pair.a.post(CDR, cdr(session := await by_card(pair)))
    await at_rest(pair, "a")
    return session


async def nothing(_) -> str:
    return str(uuid4())


async def published(pair) -> str:
    """Let node A know everything that can be pulled from it."""
    for path, message in (
        (state.PUSH_DATA, state.push_data(state.evse("1"), state.evse("2"))),
        (PUSH_STATUS, push_status(A="Available")),
        (state.PUSH_PRODUCTS, state.push_products(state.product("p"))),
        (state.PUSH_PRICES, state.push_prices(state.evse_price("1", "p"))),
    ):
        assert (await pair.a.post(path, message)).code == "000"
    return ""


async def publish_identifications(pair) -> str:
    assert (
        await pair.b.post(state.PUSH_AUTHENTICATION, state.push_authentication(state.card_record("AABBCCDD")))
    ).code == "000"
    return ""


OF_A, OF_B = {"OperatorID": A_CPO}, {"ProviderID": B_EMP}
# By operation: what comes before and returns a SessionID, the path, and what is sent. The charging comes first, before
# anybody knows which EVSEs there are.
REPEATED = {
    "AuthorizeStart": (nothing, START, lambda s: authorize_start(SessionID=s)),
    "AuthorizeStop": (by_card, STOP, authorize_stop),
    "ChargingNotifications": (by_card, NOTIFY, lambda s: notification("Start", s)),
    "ChargeDetailRecord": (by_card, CDR, cdr),
    "AuthorizeRemoteStart": (nothing, REMOTE_START, lambda s: remote_start(SessionID=s)),
    "AuthorizeRemoteStop": (by_app, REMOTE_STOP, remote_stop),
    "AuthorizeRemoteReservationStart": (nothing, RESERVE, lambda s: reserve(SessionID=s)),
    "AuthorizeRemoteReservationStop": (reserved, END_RESERVATION, remote_stop),
    "PushEvseData": (nothing, state.PUSH_DATA, lambda _: state.push_data(state.evse("1"))),
    "PushEvseStatus": (nothing, PUSH_STATUS, lambda _: push_status(A="Available", B="Occupied")),
    "PushPricingProductData": (nothing, state.PUSH_PRODUCTS, lambda _: state.push_products(state.product("p"))),
    "PushEVSEPricing": (nothing, state.PUSH_PRICES, lambda _: state.push_prices(state.evse_price("1", "p"))),
    "PullAuthenticationData": (publish_identifications, state.PULL_AUTHENTICATION, lambda _: OF_A),
    "PullEvseData": (published, state.PULL_DATA, lambda _: state.pull_data()),
    "PullEvseStatus": (published, PULL_STATUS, lambda _: OF_B),
    "PullEvseStatusByID": (published, PULL_STATUS, lambda _: {**OF_B, "EvseID": [f"{A_CPO}*EA", EVSE]}),
    "PullEvseStatusByOperatorID": (published, PULL_STATUS, lambda _: {**OF_B, "OperatorID": [A_CPO]}),
    "PullPricingProductData": (published, state.PULL_PRODUCTS, lambda _: {"OperatorIDs": [A_CPO]}),
    "PullEVSEPricing": (published, state.PULL_PRICES, lambda _: {**OF_B, "OperatorIDs": [A_CPO]}),
    "PushAuthenticationData": (
        nothing,
        state.PUSH_AUTHENTICATION,
        lambda _: state.push_authentication(state.card_record("AABBCCDD")),
    ),
    "GetChargeDetailRecords": (settled, GET_CDRS, lambda _: get_cdrs()),
}
SERVER = {operation.name: operation.server for operation in OPERATIONS}


def everything(pair, at: str) -> dict[str, list[tuple]]:
    """Return what a node's store holds, without the times."""
    tables = [name for (name,) in query(pair, at, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    held = {}
    for table in set(tables) - CONVERSATION:
        columns = [row[1] for row in query(pair, at, f"PRAGMA table_info({table})") if not row[1].endswith("_at")]
        held[table] = sorted(query(pair, at, f"SELECT {', '.join(columns)} FROM {table}"), key=repr)
    return held


async def at_rest(pair, at: str) -> dict[str, list[tuple]]:
    """Return the same once everything in the outbox is delivered."""
    await pair.at_rest(at)
    return everything(pair, at)


def heard(pair) -> list[int]:
    """Return how often each backend was called."""
    books = (pair.csms.starts, pair.csms.stops, pair.csms.reservations, pair.csms.reservation_stops)
    books += (pair.contracts.starts, pair.contracts.stops, pair.contracts.notifications, pair.contracts.records)
    return [len(book) for book in books]


async def test_no_operation_is_left_out():
    assert set(REPEATED) == set(SERVER)


@pytest.mark.parametrize("name", REPEATED)
async def test_what_a_peer_repeats_has_one_effect_and_one_answer(pair, name):
    before, path, make = REPEATED[name]
    body = json.dumps(make(await before(pair))).encode()
    at = "a" if SERVER[name] is Party.CPO else "b"
    listener, received = getattr(pair, f"{at}_peer"), heard(pair)
    first = await listener.post(path, body)
    assert first.status == 200, first
    assert first.json.get("StatusCode", {"Code": "000"})["Code"] == "000", first
    effect = await at_rest(pair, at)
    again = [await listener.post(path, body) for _ in range(TIMES - 1)]
    assert [(answer.status, answer.json) for answer in again] == [(first.status, first.json)] * (TIMES - 1)
    assert await at_rest(pair, at) == effect
    assert sum(heard(pair)) - sum(received) <= 1
