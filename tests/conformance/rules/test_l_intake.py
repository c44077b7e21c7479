"""DESIGN section 8: the closed list of what is rewritten at intake, and nothing else; evidence has what came."""

import hashlib
import json

import pytest

from p2p_oicp.oicp import read_records
from p2p_oicp.oicp.intake import rewrite, rewritten
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from tests.support.dataset_messages import (
    PULL_DATA,
    PULL_PRODUCTS,
    PUSH_DATA,
    PUSH_PRODUCTS,
    evse,
    product,
    pull_data,
    push_data,
    push_products,
)
from tests.support.messages import (
    A_CPO,
    CDR,
    EVSE,
    NOTIFY,
    REMOTE_START,
    START,
    authorize_start,
    card,
    cdr,
    notification,
    remote_start,
)
from tests.support.nodes import query, start_session
from tests.support.partners import OK, ForeignPartner
from tests.support.waiting import eventually_equals

TIMES = [{"Period": [{"begin": "08:00", "end": "18:00"}], "on": "Everyday"}]
TIMED = {**product("AC1"), "IsValid24hours": False, "ProductAvailabilityTimes": TIMES}


def read(operation: str, message: dict):
    return OPERATION_BY_NAME[operation].request.from_json(json.dumps(message).encode())


def record_of(operation: str, push: dict) -> dict:
    """Return the first record of a push as it is stored."""
    stream = read_records(OPERATION_BY_NAME[operation].request, json.dumps(push).encode())
    raw, _, findings = stream.read_at(0)
    return json.loads(rewrite(stream.model, raw, findings))


MESSAGES = {
    "a null member": ("AuthorizeStart", authorize_start(PartnerProductID=None), authorize_start()),
    "nulls within": (
        "ChargeDetailRecord",
        cdr("s", MeterValueInBetween=None, CalibrationLawVerificationInfo={"PublicKey": None, "MeteringSignatureUrl": "https://x"}),
        cdr("s", CalibrationLawVerificationInfo={"MeteringSignatureUrl": "https://x"}),
    ),
    "a null that OICP does not know": ("AuthorizeStart", authorize_start(Colour=None), authorize_start()),
    "letter case beside null": (
        "AuthorizeStart", authorize_start("1234abcd", SessionID=None), authorize_start("1234ABCD"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("operation", "message", "expected"), MESSAGES.values(), ids=MESSAGES)
def test_what_is_rewritten_of_a_message(operation, message, expected):
    assert json.loads(rewritten(read(operation, message)).to_json()) == expected


UNCHANGED = {
    "as documented": ("AuthorizeStart", authorize_start()),
    "null in what OICP does not know": ("AuthorizeStart", authorize_start(CustomData={"a": None, "b": [None]})),
    "a text with the word": ("AuthorizeStart", authorize_start(PartnerProductID='"x": null')),
    "a signed message": ("AuthorizeStart", authorize_start("1234abcd", PartnerProductID=None, signature="MEUC")),
    "a number as a text": ("ChargeDetailRecord", cdr("s", ConsumedEnergy="22.5")),
    "an unknown value": ("ChargingNotifications", notification("Error", "s", ErrorType="Connector Error")),
}


@pytest.mark.parametrize(("operation", "message"), UNCHANGED.values(), ids=UNCHANGED)
def test_nothing_else_is_rewritten(operation, message):
    received = read(operation, message)
    assert rewritten(received) is received


RECORDS = {
    "a boolean for DynamicInfoAvailable": (
        "PushEvseData", push_data(evse("1", DynamicInfoAvailable=True)), evse("1", DynamicInfoAvailable="true"),
    ),
    "the other boolean": (
        "PushEvseData", push_data(evse("1", DynamicInfoAvailable=False)), evse("1", DynamicInfoAvailable="false"),
    ),
    "null members": (
        "PushEvseData",
        push_data(evse("1", AdditionalInfo=None, Address={**evse("1")["Address"], "Floor": None})),
        evse("1"),
    ),
    "the period of opening times": (
        "PushEvseData",
        push_data(evse("1", IsOpen24Hours=False, OpeningTimes=TIMES)),
        evse("1", IsOpen24Hours=False, OpeningTimes=TIMES),
    ),
    "the periods of a tariff": (
        "PushPricingProductData",
        push_products(TIMED),
        {**TIMED, "ProductAvailabilityTimes": [{"Periods": TIMES[0]["Period"], "on": "Everyday"}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("operation", "push", "expected"), RECORDS.values(), ids=RECORDS)
def test_what_is_rewritten_of_a_record(operation, push, expected):
    assert record_of(operation, push) == expected


async def test_all_sides_get_the_record_as_it_was_rewritten(pair):
    record = evse("1", DynamicInfoAvailable=True, AdditionalInfo=None)
    assert (await pair.a.post(PUSH_DATA, push_data(record))).code == "000"
    assert (await pair.a.post(PUSH_PRODUCTS, push_products(TIMED))).code == "000"

    async def pulled():
        (*content,) = (await pair.b.post(PULL_DATA, pull_data())).json["content"]
        return [(each["DynamicInfoAvailable"], "AdditionalInfo" in each) for each in content]

    async def times():
        offers = (await pair.b.post(PULL_PRODUCTS, {"OperatorIDs": [A_CPO]})).json["PricingProductData"]
        return [[*offer["PricingProductDataRecords"][0]["ProductAvailabilityTimes"][0]] for offer in offers]

    await eventually_equals(pulled, [("true", False)])
    await eventually_equals(times, [["Periods", "on"]])
    # The same again changes nothing, though the stored bytes are others.
    before = query(pair, "a", "SELECT max(change) FROM dataset_records")
    assert (await pair.a.post(PUSH_DATA, push_data(record, action="update"))).code == "000"
    assert query(pair, "a", "SELECT max(change) FROM dataset_records") == before


async def test_null_members_of_requests_and_answers_reach_neither_backend(pair):
    started = await pair.b.post(REMOTE_START, remote_start(PartnerProductID=None, SessionID=None))
    assert started.json["Result"] is True
    assert b"null" not in pair.csms.starts[0].to_json()
    session = started.json["SessionID"]
    contract = {"RemoteIdentification": {"EvcoID": "DE-GDF-C12345678-X"}}
    for path, message in (
        (NOTIFY, notification("Start", session, Identification=contract, MeterValueStart=None)),
        (CDR, cdr(session, Identification=contract, HubOperatorID=None)),
    ):
        assert (await pair.a.post(path, message)).code == "000"
    await pair.contracts.until(lambda book: book.notifications and book.records)
    assert all(b"null" not in each.to_json() for each in (*pair.contracts.notifications, *pair.contracts.records))


async def test_a_verdict_finds_a_cdr_that_was_rewritten_at_the_emp_s_node(pair):
    """Its sender knows it by what it has sent: other nodes may not rewrite it."""
    session = await start_session(pair)
    record = cdr(session, HubOperatorID=None)
    await pair.b_peer.post(CDR, json.dumps(record).encode())
    (digest,) = query(pair, "b", "SELECT hex(digest) FROM cdrs")[0]
    assert digest.lower() == hashlib.sha256(json.dumps(record).encode()).hexdigest()
    assert b"null" not in query(pair, "b", "SELECT body FROM cdrs")[0][0]


async def test_fetched_cdrs_are_rewritten_like_delivered_ones(stopped):
    """GetChargeDetailRecords of a peer that is no node."""
    record = cdr("", EvseID=EVSE.lower(), Identification=card("1234abcd"), HubOperatorID=None)

    async def records(_body):
        return {"content": [{**record, "SessionID": session}], "last": True, "StatusCode": OK}

    async with ForeignPartner({"get-charge-detail-records-request": records}).serving() as cpo:
        port = cpo.url.rpartition(":")[2]
        stopped.ports["foreign"] = int(port)
        stopped.write_peer("b", "foreign", "foreign", f'operators = ["{A_CPO}"]\nprofile = "wwcp"')
        async with stopped.running("b"):
            session = (await stopped.b_peer.post(START, authorize_start())).json["SessionID"]
            await stopped.b.admin("cdrs/reconcile")
            await stopped.contracts.until(lambda book: book.records)
    (received,) = stopped.contracts.records
    assert json.loads(received.to_json()) == cdr(session)
