"""Refusals, findings, and peers that go and come are in the event log of the node that sees them."""

from tests.support import dataset_messages as state
from tests.support.messages import CDR, REMOTE_START, START, UID, authorize_start, cdr, plausible
from tests.support.nodes import pair, start_session, stopped
from tests.support.pairing import Admin
from tests.support.waiting import eventually

__all__ = ["pair", "stopped"]


async def events(pair, at: str, *types: str) -> list[dict]:
    query = "&".join(f"type={each}" for each in types)
    return (await Admin(pair, at).ask("GET", f"/events?limit=1000&{query}"))["events"]


async def found(pair, at: str, type_: str, **members) -> dict:
    async def matching() -> list[dict]:
        return [each for each in await events(pair, at, type_) if members.items() <= each.items()]

    return (await eventually(matching))[0]


async def test_a_refused_request_of_our_own_system_is_there_without_what_it_has_sent(pair):
    await pair.a.post(START, authorize_start(f"{UID}zz"))
    event = await found(pair, "a", "refusal", what="invalid", operation="AuthorizeStart", listener="backend")
    assert "/UID" in event["text"]
    assert UID not in str(event)


async def test_a_refused_request_of_a_peer_is_there_with_its_name(pair):
    start = {"ProviderID": "DE-GDF", "EvseID": "FR*XYZ*E1", "Identification": {"RemoteIdentification": {}}}
    await pair.a_peer.post(REMOTE_START, start)
    await found(pair, "a", "refusal", operation="AuthorizeRemoteStart", peer="node b")


async def test_a_storm_of_requests_of_nobody_has_few_events(pair):
    for number in range(60):
        path = f"charging/v21/providers/DE-N{number:02}/authorize-remote/start"
        refused = await pair.a_peer.post(path, {})
    await found(pair, "a", "refusal", what=refused.code)
    assert len(await events(pair, "a", "refusal")) == 1


async def test_a_doubtful_record_is_a_finding_of_its_session(pair):
    session = await start_session(pair)
    evse = state.evse("1234567*1", ChargingFacilities=[{"PowerType": "DC", "Power": 50}])
    await pair.a.post(state.PUSH_DATA, state.push_data(evse))
    too_much = {"MeterValueEnd": 1050.25, "ConsumedEnergy": 50}
    await pair.a.post(CDR, cdr(session, **(plausible() | too_much)))
    event = await found(pair, "a", "finding", what="doubtful", session_id=session, role="cpo")
    assert "kW deliver" in event["text"]


async def test_another_record_of_a_session_is_a_finding(pair):
    session = await start_session(pair)
    for energy in (10, 11):
        await pair.a.post(CDR, cdr(session, **plausible() | {"ConsumedEnergy": energy}))
    await found(pair, "a", "finding", what="conflicting_cdr", session_id=session)


async def test_a_message_that_was_taken_with_deviations_is_a_finding(pair):
    await pair.a.post(START, authorize_start() | {"OperatorID": "DE*GEF", "PartnerProductID": None})
    session = await start_session(pair)
    await pair.a.post(CDR, cdr(session, **plausible() | {"ConsumedEnergy": "10.5"}))
    event = await found(pair, "a", "finding", what="warning", operation="ChargeDetailRecord")
    assert "ConsumedEnergy" in event["text"]


async def test_a_peer_that_goes_is_down_and_when_it_is_back_up_again(stopped):
    async with stopped.running("a"):
        async with stopped.running("b"):
            await start_session(stopped)
        await stopped.a.post(START, authorize_start())
        await stopped.a.post(state.PUSH_DATA, state.push_data(state.evse("1234567*1")))
        down = await found(stopped, "a", "peer", what="down", peer="node b")
        assert "no connection" in down["text"]
        assert "no connection" in (await found(stopped, "a", "peer", what="not_answering"))["text"]
        async with stopped.running("b"):
            await found(stopped, "a", "peer", what="up", peer="node b")
            await stopped.a.post(START, authorize_start())
            await found(stopped, "a", "peer", what="answering", peer="node b")


async def test_a_party_that_is_not_agreed_is_held_until_it_is(stopped):
    peers = stopped.folder / "b" / "peers.toml"
    agreed = peers.read_text()
    peers.write_text(agreed.replace("DE*GEF", "DE*XYZ"))
    async with stopped.running("a"), stopped.running("b"):
        event = await found(stopped, "a", "peer", what="held")
        assert "DE*GEF is not agreed with node b yet" in event["text"]
        peers.write_text(agreed)
        await found(stopped, "a", "peer", what="agreed", peer="node b")
