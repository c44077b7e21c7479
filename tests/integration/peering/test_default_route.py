"""A clearing house as one of the peers: asked for parties that nobody else answers for, and heard for them."""

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
    """Each node knows the other only as its default route, by no party."""
    stopped.write_peer("a", "the hub", "b", "default_route = true")
    stopped.write_peer("b", "the hub", "a", "default_route = true")
    async with stopped.running("a"), stopped.running("b"):
        yield stopped


async def test_a_card_is_asked_about_at_the_hub(hub):
    answer = await hub.a.post(START, authorize_start())
    assert (answer.json["AuthorizationStatus"], answer.json["ProviderID"]) == ("Authorized", "DE-GDF")


async def test_an_evco_id_of_an_unknown_provider_is_asked_about_at_the_hub(hub):
    contract = {"PlugAndChargeIdentification": {"EvcoID": "FR-QQQ-C12345678-X"}}
    await hub.a.post(START, authorize_start(Identification=contract))
    assert [start.identification.evco_id.text for start in hub.contracts.starts] == ["FR-QQQ-C12345678-X"]


async def test_a_session_that_the_hub_authorized_goes_on_with_the_hub(hub):
    session = (await hub.a.post(START, authorize_start())).json["SessionID"]
    assert (await hub.a.post(NOTIFY, notification("Start", session))).json["Result"] is True
    assert (await hub.a.post(STOP, authorize_stop(session))).code == "000"
    assert (await hub.a.post(CDR, cdr(session))).json["Result"] is True
    await hub.contracts.until(lambda book: book.records and book.notifications)


async def test_the_hub_speaks_for_providers_that_are_no_peers(hub):
    answer = await hub.b.post(REMOTE_START, remote_start())
    assert (answer.json["Result"], answer.code) == (True, "000")
    session = answer.json["SessionID"]
    assert (await hub.b.post(REMOTE_STOP, remote_stop(session))).code == "000"


async def test_without_a_default_route_nobody_answers_for_a_stranger(pair):
    answer = await pair.b.post(REMOTE_START, remote_start("FR*XYZ*E1"))
    assert (answer.json["Result"], answer.code) == (False, "300")
