"""RULES.md, boxes L20 to L23 and L26: clearing houses, WWCP and other systems as peers."""

import asyncio
import json
import re
from contextlib import asynccontextmanager

import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from tests.support.dataset_messages import PULL_DATA, PUSH_DATA, evse, product, pull_data, push_data
from tests.support.messages import (
    A_CPO,
    B_EMP,
    CDR,
    NOTIFY,
    PULL_STATUS,
    PUSH_STATUS,
    REMOTE_START,
    REMOTE_STOP,
    RESERVE,
    START,
    authorize_start,
    cdr,
    notification,
    push_status,
    remote_start,
    remote_stop,
    reserve,
)
from tests.support.nodes import query
from tests.support.partners import ACCEPTED, EMPTY_PAGE, OK, ForeignPartner
from tests.support.sessions import states
from tests.support.waiting import eventually, eventually_equals

HUBS_SESSION, OTHER_SESSION = "b2688855-7f00-0002-6d8e-48d883f6abb6", "00000000-7f00-0002-6d8e-48d883f6abb6"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CONTRACT = {"RemoteIdentification": {"EvcoID": "DE-GDF-C12345678-X"}}
FOREIGN_CPO = "NL*HUB"
PULLED = {
    "data-records": EMPTY_PAGE,
    "status-records": {"EvseStatuses": {"OperatorEvseStatus": []}, "StatusCode": OK},
    "pricing-products": {"PricingProductData": [], "StatusCode": OK},
    "evse-pricing": {"EVSEPricing": [], "StatusCode": OK},
}


@pytest.fixture
async def hub():
    answers = {
        "authorize-remote/start": {**ACCEPTED, "SessionID": HUBS_SESSION},
        "reservation-start-request": {**ACCEPTED, "SessionID": HUBS_SESSION},
        "authorize-remote/stop": ACCEPTED,
        "authorize/start": {
            "AuthorizationStatus": "Authorized", "SessionID": HUBS_SESSION, "ProviderID": "DE-8EO", "StatusCode": OK,
        },
        "authorize/stop": {"AuthorizationStatus": "Authorized", "SessionID": HUBS_SESSION, "StatusCode": OK},
        "charging-notifications": ACCEPTED,
        "charge-detail-record": ACCEPTED,
        **PULLED,
    }  # fmt: skip
    async with ForeignPartner(answers).serving() as partner:
        yield partner


def know(pair, at: str, partner: ForeignPartner, lines: str, others: str = "") -> None:
    file = pair.folder / at / "peers.toml"
    file.write_text(f'[[peer]]\nname = "partner"\nurl = "{partner.url}"\n{lines}\n{others}')


@asynccontextmanager
async def connected(pair, at: str, partner: ForeignPartner, lines: str = "default_route = true", others: str = ""):
    """Run one of the nodes, with the partner as its only peer."""
    know(pair, at, partner, lines, others)
    async with pair.running(at) as node:
        yield node


def caller_of(pair, at: str):
    return pair.b if at == "b" else pair.a


# L20 and L26


@pytest.mark.parametrize("ids", [{}, {"SessionID": OTHER_SESSION}, {"EMPPartnerSessionID": "app-7"}], ids=str)
@pytest.mark.parametrize(
    ("path", "make", "end"),
    [(REMOTE_START, remote_start, "authorize-remote/start"), (RESERVE, reserve, "reservation-start-request")],
    ids=["start", "reservation"],
)
async def test_l20_l26_a_hub_gets_no_session_id_but_our_own_as_that_of_the_emp(stopped, hub, path, make, end, ids):
    hub.answers[end] = lambda body: {**ACCEPTED, **body, "SessionID": HUBS_SESSION}
    async with connected(stopped, "b", hub):
        answer = await stopped.b.post(path, make(**ids))
    (sent,) = hub.bodies(end)
    partner_id, own_id = ids.get("EMPPartnerSessionID"), sent["EMPPartnerSessionID"].rpartition("|")[2]
    assert "SessionID" not in sent
    assert UUID.fullmatch(own_id)
    assert sent["EMPPartnerSessionID"] == (f"{partner_id}|{own_id}" if partner_id else own_id)
    assert (answer.json["Result"], answer.json["SessionID"]) == (True, HUBS_SESSION)
    assert answer.json.get("EMPPartnerSessionID") == partner_id
    assert query(stopped, "b", "SELECT session_id, state FROM sessions") == [(HUBS_SESSION, "authorized")]


async def test_l26_a_partner_session_id_that_leaves_no_room_is_sent_alone(stopped, hub):
    async with connected(stopped, "b", hub):
        await stopped.b.post(REMOTE_START, remote_start(EMPPartnerSessionID="x" * 240))
    (sent,) = hub.bodies("authorize-remote/start")
    assert (sent["EMPPartnerSessionID"], "SessionID" in sent) == ("x" * 240, False)


@pytest.mark.parametrize("ids", [{}, {"SessionID": OTHER_SESSION, "CPOPartnerSessionID": "csms-9"}], ids=str)
async def test_l20_l26_a_hub_authorizes_under_its_own_session_id(stopped, hub, ids):
    authorized = hub.answers["authorize/start"]
    hub.answers["authorize/start"] = lambda body: {**authorized, "CPOPartnerSessionID": body["CPOPartnerSessionID"]}
    async with connected(stopped, "a", hub):
        answer = await stopped.a.post(START, authorize_start(**ids))
        (sent,) = hub.bodies("authorize/start")
        # The hub stops it, with what it knows; the CSMS sees its own.
        stop = {**remote_stop(HUBS_SESSION), "CPOPartnerSessionID": sent["CPOPartnerSessionID"]}
        assert (
            await stopped.a_peer.post(REMOTE_STOP.replace(B_EMP, "DE-8EO"), {**stop, "ProviderID": "DE-8EO"})
        ).code == "000"
    assert "SessionID" not in sent
    partner_id = ids.get("CPOPartnerSessionID")
    assert sent["CPOPartnerSessionID"].startswith(f"{partner_id}|" if partner_id else "0")
    assert answer.json["SessionID"] == HUBS_SESSION
    assert answer.json.get("CPOPartnerSessionID") == partner_id
    assert [each.cpo_partner_session_id for each in stopped.csms.stops] == [partner_id]


@pytest.mark.parametrize("partner_id", [None, "app-7"])
@pytest.mark.parametrize("first", ["Start", "End", "CDR"])
async def test_l26_a_start_whose_answer_was_lost_is_found_again(stopped, hub, first, partner_id):
    hub.answers["authorize-remote/start"] = None
    ids = {"EMPPartnerSessionID": partner_id} if partner_id else {}
    async with connected(stopped, "b", hub):
        answer = await stopped.b.post(REMOTE_START, remote_start(**ids))
        assert (answer.json["Result"], answer.code) == (False, "310")
        assert states(stopped, "b") == ["uncertain"]
        echoed = {"EMPPartnerSessionID": hub.bodies("authorize-remote/start")[0]["EMPPartnerSessionID"]}
        if first != "CDR":
            reply = await stopped.b_peer.post(NOTIFY, notification(first, HUBS_SESSION, **echoed))
            assert reply.json["Result"] is True
            # The backend stops what it knows by the id of the answer; the hub by its own.
            stop = await stopped.b.post(REMOTE_STOP, remote_stop(answer.json["SessionID"]))
            assert stop.code == "000"
            assert hub.bodies("authorize-remote/stop")[0]["SessionID"] == HUBS_SESSION
        record = cdr(HUBS_SESSION, Identification=CONTRACT, **echoed)
        assert (await stopped.b_peer.post(CDR, record)).code == "000"
        await stopped.contracts.until(lambda book: book.records)
    received = [*stopped.contracts.notifications, *stopped.contracts.records]
    assert {(each.session_id.text, each.emp_partner_session_id) for each in received} == {(HUBS_SESSION, partner_id)}
    assert query(stopped, "b", "SELECT session_id FROM sessions") == [(HUBS_SESSION,)]


async def test_l26_a_message_that_overtakes_the_answer_belongs_to_the_start(stopped, hub):
    """The hub notifies under its own SessionID while this node still waits for its answer."""

    async def notify_first(body):
        echoed = {"EMPPartnerSessionID": body["EMPPartnerSessionID"]}
        reply = await stopped.b_peer.post(NOTIFY, notification("Start", HUBS_SESSION, **echoed))
        assert reply.json["Result"] is True
        return {**ACCEPTED, "SessionID": HUBS_SESSION}

    hub.answers["authorize-remote/start"] = notify_first
    async with connected(stopped, "b", hub):
        answer = await stopped.b.post(REMOTE_START, remote_start(EMPPartnerSessionID="app-7"))
        again = await stopped.b.post(REMOTE_START, remote_start(EMPPartnerSessionID="app-7"))
    assert (answer.json["Result"], answer.json["SessionID"]) == (True, HUBS_SESSION)
    assert again.json == answer.json
    assert query(stopped, "b", "SELECT session_id, state FROM sessions") == [(HUBS_SESSION, "charging")]


async def test_l26_our_id_of_another_session_opens_nothing(stopped, hub):
    async with connected(stopped, "b", hub):
        await stopped.b.post(REMOTE_START, remote_start())
        foreign = notification("Start", OTHER_SESSION, EMPPartnerSessionID="app|0198a5b0-0000-7000-8000-000000000001")
        assert (await stopped.b_peer.post(NOTIFY, foreign)).code == "400"


async def test_l26_a_partner_session_id_of_the_hub_s_own_stays(stopped, hub):
    """Of a session that was opened by the other side, nothing is ours."""
    async with connected(stopped, "b", hub):
        await stopped.b_peer.post(START, authorize_start(SessionID=HUBS_SESSION))
        message = notification("Start", HUBS_SESSION, EMPPartnerSessionID=OTHER_SESSION)
        assert (await stopped.b_peer.post(NOTIFY, message)).code == "000"
        await stopped.contracts.until(lambda book: book.notifications)
    assert stopped.contracts.notifications[0].emp_partner_session_id == OTHER_SESSION


def of(operator: str, record: dict) -> dict:
    return {**record, "EvseID": record["EvseID"].replace(A_CPO, operator)}


async def test_l20_a_hub_is_pulled_for_everything_without_naming_operators(stopped, hub):
    records = [of("NL*ONE", evse("1")), of("FR*TWO", evse("2")), of(A_CPO, evse("3"))]
    labels = {"OperatorName": "of the hub", "lastUpdate": "2026-03-01T10:00:00Z"}
    hub.answers["data-records"] = {
        "content": [{**record, **labels, "OperatorID": record["EvseID"][:6]} for record in records],
        "StatusCode": OK,
    }
    statuses = [
        {
            "OperatorID": id_,
            "OperatorName": "x",
            "EvseStatusRecord": [{"EvseID": f"{id_}*E1", "EvseStatus": "Available"}],
        }
        for id_ in ("NL*ONE", A_CPO)
    ]
    hub.answers["status-records"] = {"EvseStatuses": {"OperatorEvseStatus": statuses}, "StatusCode": OK}
    # What another peer is responsible for is left to it.
    other = f'[[peer]]\nname = "node a"\nurl = "http://127.0.0.1:9"\noperators = ["{A_CPO}"]\n'
    async with connected(stopped, "b", hub, others=other):
        await hub.until_called("evse-pricing")

        async def evse_ids():
            content = (await stopped.b.post(PULL_DATA, pull_data())).json["content"]
            return sorted(record["EvseID"] for record in content)

        await eventually_equals(evse_ids, ["FR*TWO*E2", "NL*ONE*E1"])
        groups = (await stopped.b.post(PULL_STATUS, {"ProviderID": B_EMP})).json["EvseStatuses"]["OperatorEvseStatus"]
        assert [group["OperatorID"] for group in groups] == ["NL*ONE"]
    assert hub.bodies("pricing-products")[0] == {"OperatorIDs": []}
    assert hub.bodies("pricing-products")[1:] == [{"OperatorIDs": ["FR*TWO", "NL*ONE"]}]
    assert query(stopped, "b", "SELECT count(*) FROM quarantine") == [(0,)]


async def test_l20_prices_that_a_hub_answers_at_once_are_not_requested_twice(stopped, hub):
    offer = {"OperatorID": "NL*ONE", "ProviderID": "*", "PricingDefaultPrice": 1, "PricingProductDataRecords": []}
    offer |= {"PricingDefaultPriceCurrency": "EUR", "PricingDefaultReferenceUnit": "HOUR"}
    offer["PricingProductDataRecords"] = [product("AC1")]
    hub.answers["pricing-products"] = {"PricingProductData": [offer], "StatusCode": OK}
    async with connected(stopped, "b", hub):
        await hub.until_called("evse-pricing")
    assert hub.bodies("pricing-products") == [{"OperatorIDs": []}]
    assert query(stopped, "b", "SELECT count(*) FROM dataset_records") == [(1,)]


@pytest.mark.parametrize("profile", ["oicp", "hub"])
async def test_l20_a_hub_gets_no_request_of_nodes(stopped, hub, profile):
    hub.answers["authorize-remote/start"] = None
    async with connected(stopped, "b", hub, f'default_route = true\nprofile = "{profile}"'):
        await stopped.b.post(REMOTE_START, remote_start())
        await hub.until_called("evse-pricing")
        assert (await stopped.b.post(REMOTE_STOP, remote_stop(OTHER_SESSION))).code == "400"
    assert [path for path, _ in hub.requests if not path.startswith("/api/oicp/")] == []


async def test_one_failed_dataset_does_not_pull_the_others_again(stopped, hub):
    hub.answers["status-records"] = {"StatusCode": {"Code": "022"}, "EvseStatuses": {"OperatorEvseStatus": []}}
    async with connected(stopped, "b", hub, f'operators = ["{FOREIGN_CPO}"]\npull_interval = 600'):
        await eventually(lambda: len(hub.bodies("status-records")) > 2)
    assert {name: len(hub.bodies(name)) for name in PULLED if name != "status-records"} == {
        "data-records": 1, "pricing-products": 1, "evse-pricing": 1,
    }  # fmt: skip


async def test_a_dataset_that_is_not_offered_is_not_requested_again_and_again(stopped, hub):
    hub.answers["evse-pricing"] = {"StatusCode": {"Code": "320"}, "EVSEPricing": []}
    async with connected(stopped, "b", hub, f'operators = ["{FOREIGN_CPO}"]\npull_interval = 0.2'):
        await eventually(lambda: len(hub.bodies("pricing-products")) > 2)
    assert len(hub.bodies("evse-pricing")) == 1


# L21

WWCP = f'providers = ["{B_EMP}"]\nprofile = "wwcp"'


@pytest.fixture
async def wwcp():
    answers = dict.fromkeys(("records", "pricing-products", "evse-pricing", "push-request", "start", "stop"), ACCEPTED)
    async with ForeignPartner(answers).serving() as partner:
        yield partner


@pytest.mark.parametrize("what", ["start", "stop"])
async def test_l21_reservations_go_to_wwcp_s_paths(stopped, wwcp, what):
    async with connected(stopped, "b", wwcp, f'operators = ["{A_CPO}"]\nprofile = "wwcp"'):
        answer = await stopped.b.post(RESERVE, reserve())
        if what == "stop":
            path = RESERVE.replace("start", "stop")
            assert (await stopped.b.post(path, remote_stop(answer.json["SessionID"]))).code == "000"
    assert answer.code == "000"
    paths = [path for path, _ in wwcp.requests if "reservation" in path]
    assert paths[-1] == f"/api/oicp/charging/v21/providers/{B_EMP}/authorize-remote-reservation/{what}"


async def test_l21_every_evse_record_carries_its_operator(stopped, wwcp):
    async with connected(stopped, "a", wwcp, WWCP):
        await stopped.a.post(PUSH_DATA, push_data(evse("1"), evse("2")))
        body = await wwcp.until_called("data-records")
        await stopped.a.post(PUSH_DATA, push_data(evse("2", RenewableEnergy=False), action="update"))
        await eventually(lambda: len(wwcp.bodies("data-records")) == 2)
    for each in wwcp.bodies("data-records"):
        records = each["OperatorEvseData"]["EvseDataRecord"]
        assert {(record["OperatorID"], record["OperatorName"]) for record in records} == {(A_CPO, "GEF")}
    assert [record["EvseID"] for record in body["OperatorEvseData"]["EvseDataRecord"]] == ["DE*GEF*E1", "DE*GEF*E2"]


def nameless(**statuses: str) -> dict:
    push = push_status(**statuses)
    del push["OperatorEvseStatus"]["OperatorName"]
    return push


@pytest.mark.parametrize(("has_data", "name"), [(True, "GEF"), (False, A_CPO)])
async def test_l21_statuses_always_carry_an_operator_name(stopped, wwcp, has_data, name):
    async with connected(stopped, "a", wwcp, WWCP):
        if has_data:
            await stopped.a.post(PUSH_DATA, push_data(evse("1")))
        assert (await stopped.a.post(PUSH_STATUS, nameless(**{"1": "Available"}))).code == "000"
        body = await wwcp.until_called("status-records")
        pulled = (await stopped.a_peer.post(PULL_STATUS, {"ProviderID": B_EMP})).json
    assert (body["OperatorEvseStatus"]["OperatorID"], body["OperatorEvseStatus"]["OperatorName"]) == (A_CPO, name)
    assert [group["OperatorName"] for group in pulled["EvseStatuses"]["OperatorEvseStatus"]] == [name]


async def test_l21_other_peers_get_statuses_unchanged(stopped, wwcp):
    async with connected(stopped, "a", wwcp, f'providers = ["{B_EMP}"]'):
        await stopped.a.post(PUSH_STATUS, nameless(**{"1": "Available"}))
        body = await wwcp.until_called("status-records")
    assert "OperatorName" not in body["OperatorEvseStatus"]


# L22


@pytest.mark.parametrize(
    ("suffix", "path", "expected"),
    [
        ("", "", "/api/oicp/charging"),
        ("/api/oicp", "", "/api/oicp/charging"),
        ("/rest", "", "/rest/api/oicp/charging"),
        ("//rest//api/oicp/", "", "/rest/api/oicp/charging"),
        ("", 'path = "/OICP/v2.3"', "/OICP/v2.3/charging"),
        ("/OICP/v2.3", 'path = "/OICP/v2.3"', "/OICP/v2.3/charging"),
        ("/rest", 'path = "oicp//"', None),
        ("/rest", 'path = "/oicp//"', "/rest/oicp/charging"),
        ("", 'path = "/"', "/charging"),
    ],
)
async def test_l22_a_peer_s_url_may_have_another_prefix(stopped, hub, suffix, path, expected):
    hub.url += suffix
    lines = f'operators = ["{A_CPO}"]\n{path}'
    if expected is None:
        with pytest.raises(Exception, match="no path"):
            async with connected(stopped, "b", hub, lines):
                pass
        return
    async with connected(stopped, "b", hub, lines):
        assert (await stopped.b.post(REMOTE_START, remote_start())).code == "000"
    (called,) = [called for called, _ in hub.requests if called.endswith("start")]
    assert called == f"{expected}/v21/providers/{B_EMP}/authorize-remote/start"


async def test_l22_a_backend_s_url_may_have_another_prefix(stopped, hub):
    file = stopped.folder / "a" / "node.toml"
    system = f'[[backends]]\nname = "csms"\nrole = "cpo"\nurl = "{hub.url}/csms"\npath = "/hubject"\n'
    file.write_text(file.read_text() + system)
    async with Node(load_settings(file)), stopped.running("b"):
        assert (await stopped.b.post(REMOTE_START, remote_start())).code == "000"
    assert hub.requests[0][0] == f"/csms/hubject/charging/v21/providers/{B_EMP}/authorize-remote/start"


TARGETS = {
    "double slashes": "//api//oicp//{path}",
    "slashes within": "/api/oicp/charging///v21//operators/DE*GEF/authorize//start",
    "absolute form": "http://node.example/api/oicp/{path}",
    "absolute form with double slashes": "http://node.example:1//api/oicp//{path}",
    "an encoded star": "/api/oicp/charging/v21/operators/DE%2AGEF/authorize/start",
}


@pytest.mark.parametrize("listener", ["a backend", "b"])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
async def test_l22_request_targets_in_other_forms_are_served(pair, listener, target):
    body = json.dumps(authorize_start()).encode()
    head = (
        f"POST {target.format(path=START)} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.ports[listener])
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["AuthorizationStatus"] == "Authorized"


# L23


async def test_l23_services_say_what_a_peer_serves_and_not_what_it_may_call(stopped):
    stopped.write_peer("b", "node a", "a", f'operators = ["{A_CPO}"]\nservices = ["ChargeDetailRecord"]')
    async with stopped.running("b"):
        assert (await stopped.b_peer.post(START, authorize_start())).json["AuthorizationStatus"] == "Authorized"
        assert (await stopped.b.post(REMOTE_START, remote_start())).code == "210"


async def test_l23_may_call_says_what_a_peer_may_ask_and_not_what_it_serves(stopped):
    stopped.write_peer("b", "node a", "a", f'operators = ["{A_CPO}"]\nmay_call = ["ChargeDetailRecord"]')
    async with stopped.running("b"), stopped.running("a"):
        answer = await stopped.b_peer.post(START, authorize_start())
        assert (answer.json["AuthorizationStatus"], answer.code) == ("NotAuthorized", "210")
        assert (await stopped.b.post(REMOTE_START, remote_start())).code == "000"
