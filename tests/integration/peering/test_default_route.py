"""A clearing house as a peer: the default route to and from parties that no other peer handles."""

import pytest

from tests.support.messages import (
    CDR,
    NOTIFY,
    REMOTE_START,
    REMOTE_STOP,
    START,
    STOP,
    authorize_start,
    authorize_stop,
    cdr,
    notification,
    remote_start,
    remote_stop,
)


@pytest.fixture
async def hub(stopped):
    """Two nodes that have each other as default route, without parties."""
    stopped.write_peer("a", "the hub", "b", "default_route = true")
    stopped.write_peer("b", "the hub", "a", "default_route = true")
    async with stopped.running("a"), stopped.running("b"):
        yield stopped


async def test_a_card_is_authorized_by_the_hub(hub):
    answer = await hub.a.post(START, authorize_start())
    assert (answer.json["AuthorizationStatus"], answer.json["ProviderID"]) == ("Authorized", "DE-GDF")


async def test_an_evco_id_of_an_unknown_provider_goes_to_the_hub(hub):
    contract = {"PlugAndChargeIdentification": {"EvcoID": "FR-QQQ-C12345678-X"}}
    await hub.a.post(START, authorize_start(Identification=contract))
    assert [start.identification.evco_id.text for start in hub.contracts.starts] == ["FR-QQQ-C12345678-X"]


async def test_a_session_authorized_by_the_hub_continues_with_the_hub(hub):
    session = (await hub.a.post(START, authorize_start())).json["SessionID"]
    assert (await hub.a.post(NOTIFY, notification("Start", session))).json["Result"] is True
    assert (await hub.a.post(STOP, authorize_stop(session))).code == "000"
    assert (await hub.a.post(CDR, cdr(session))).json["Result"] is True
    await hub.contracts.until(lambda book: book.records and book.notifications)


async def test_the_hub_is_authorized_for_providers_that_are_no_peers(hub):
    answer = await hub.b.post(REMOTE_START, remote_start())
    assert (answer.json["Result"], answer.code) == (True, "000")
    session = answer.json["SessionID"]
    assert (await hub.b.post(REMOTE_STOP, remote_stop(session))).code == "000"


async def test_without_a_default_route_an_unknown_operator_gets_300(pair):
    answer = await pair.b.post(REMOTE_START, remote_start("FR*XYZ*E1"))
    assert (answer.json["Result"], answer.code) == (False, "300")
