"""Whose EvseIDs and EvcoIDs a sender may use (RULES L10, L25): only its own, and the refusal says so, not 017.

Node A is the CPO DE*GEF, node B the EMP DE-GDF; everything between them is signed, or nothing is (insecure mode).
"""

import pytest

from tests.support.messages import (
    CDR,
    NOTIFY,
    OTHER_CPO,
    REMOTE_START,
    RESERVE,
    START,
    UNKNOWN_SESSION,
    authorize_start,
    cdr,
    notification,
    remote_start,
    reserve,
)

EVSE = {"EvseID": "FR*XYZ*E1"}
DRIVERS = {
    "in an app": {"RemoteIdentification": {"EvcoID": "FR-XYZ-C12345678-X"}},
    "by DIN": {"RemoteIdentification": {"EvcoID": "FR*XYZ*123456*1"}},
    "with a QR code": {"QRCodeIdentification": {"EvcoID": "FR-XYZ-C12345678-X", "PIN": "1234"}},
    "with a car": {"PlugAndChargeIdentification": {"EvcoID": "FR-XYZ-C12345678-X"}},
    "with a card": {
        "RFIDIdentification": {"UID": "1234ABCD", "RFID": "mifareCls", "EvcoID": "FR-XYZ-C12345678-X"},
    },
}
UNNAMED = {"OperatorID": None}
FROM_CPO = {
    "AuthorizeStart": (START, authorize_start(**EVSE)),
    "a notification": (NOTIFY, notification("Start", UNKNOWN_SESSION, **EVSE)),
    "a notification that names nobody": (NOTIFY, notification("Error", UNKNOWN_SESSION, **EVSE, **UNNAMED)),
    "a CDR": (CDR, cdr(UNKNOWN_SESSION, **EVSE)),
}
FROM_EMP = {
    # A remote start has no other identification.
    "remote start": (REMOTE_START, remote_start(Identification=DRIVERS["in an app"])),
    "remote start by DIN": (REMOTE_START, remote_start(Identification=DRIVERS["by DIN"])),
    **{f"reservation {driver}": (RESERVE, reserve(Identification=each)) for driver, each in DRIVERS.items()},
}
MODES = {"signed": ("signature",), "insecure": ()}


@pytest.fixture(params=MODES.values(), ids=MODES)
def require(request) -> tuple[str, ...]:
    """What the two nodes want of each other."""
    return request.param


def refused(answer, code: str) -> None:
    assert (answer.status, answer.code) == (200, code)
    assert "FR" in answer.json["StatusCode"]["AdditionalInfo"]


@pytest.mark.parametrize(("path", "body"), FROM_CPO.values(), ids=FROM_CPO)
async def test_a_cpo_that_uses_a_foreign_evse_id_is_refused_with_018(stopped, require, path, body):
    # Without proof and OperatorID, the EvseID names the sender, who is unknown here.
    is_named = require or body.get("OperatorID", "") is not None
    async with stopped.running("b"):
        refused(await stopped.b_peer.post(path, body), "018" if is_named else "300")
    assert not stopped.contracts.starts
    assert not stopped.contracts.notifications
    assert not stopped.contracts.records


@pytest.mark.parametrize(("path", "body"), FROM_EMP.values(), ids=FROM_EMP)
async def test_an_emp_that_uses_a_foreign_evco_id_is_refused_with_019(stopped, path, body):
    async with stopped.running("a"):
        refused(await stopped.a_peer.post(path, body), "019")
    assert not stopped.csms.starts
    assert not stopped.csms.reservations


@pytest.mark.parametrize("require", [()], ids=["insecure"])
async def test_our_own_backend_is_held_to_its_own_ids_as_well(stopped):
    async with stopped.running("a"), stopped.running("b"):
        for path, body in FROM_CPO.values():
            refused(await stopped.a.post(path, body), "018")
        for path, body in FROM_EMP.values():
            refused(await stopped.b.post(path, body), "019")


async def test_sub_operators_and_sub_providers_are_the_senders_own(stopped):
    for name, party, more in (("a", "DE-GDF", "FR-XYZ"), ("b", "DE*GEF", OTHER_CPO)):
        file = stopped.folder / name / "peers.toml"
        file.write_text(file.read_text().replace(f'["{party}"]', f'["{party}", "{more}"]'))
    async with stopped.running("a"), stopped.running("b"):
        for path, body in FROM_CPO.values():
            assert (await stopped.b_peer.post(path, body)).code not in {"017", "018"}
        for path, body in FROM_EMP.values():
            assert (await stopped.a_peer.post(path, body)).code == "000"


BAD = {"SessionID": "no session"}
ORDER = {
    "the body cannot be read, whatever the id": (authorize_start(**EVSE, **BAD), 400, None),
    "the body's party is another, whatever the id": (authorize_start(**EVSE, OperatorID=OTHER_CPO), 401, "017"),
    "the id is foreign, whatever the contract": (authorize_start(**EVSE), 200, "018"),
    "there is no contract": (authorize_start(), 200, "210"),
}


@pytest.mark.parametrize(("body", "status", "code"), ORDER.values(), ids=ORDER)
async def test_refusals_come_in_the_order_of_l25(stopped, body, status, code):
    with (stopped.folder / "b" / "peers.toml").open("a") as peers:
        peers.write('may_call = ["ChargeDetailRecord"]\n')
    async with stopped.running("b"):
        answer = await stopped.b_peer.post(START, body)
    assert (answer.status, answer.json.get("StatusCode", {}).get("Code")) == (status, code)
