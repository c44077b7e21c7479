"""Events have the names of what they are about, and are selected by them."""

import msgspec
import pytest

from p2p_oicp.events import EVENT_DEFINITIONS
from p2p_oicp.events.cloud_events import subject_of
from p2p_oicp.events.types import SUBJECT_MEMBERS, EventData
from p2p_oicp.events.view import EventFilter, EventView, ViewedEvent
from p2p_oicp.oicp import ProviderID
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.storage import event_queries, peers
from p2p_oicp.storage.event_log import EventType, begin_epoch

PEER_ID, NAME = "peer:7", "emp-x"
WRITERS = {
    "added": lambda tx: peers.upsert_peer(tx, PEER_ID, name=NAME, source="paired", entry=b"", now=1.0),
    "changed": lambda tx: peers.update_peer(tx, NAME, PEER_ID, entry=b"", text="publish", now=1.0),
    "removed": lambda tx: peers.delete_peer(tx, NAME, PEER_ID, 1.0),
}
REGISTERED = PeerRegistry([Peer(NAME, "http://emp-x.example", id=PEER_ID, providers=(ProviderID("DE-XYZ"),))])


async def viewed(store, job, registry: PeerRegistry) -> ViewedEvent:
    await store.write(lambda tx: begin_epoch(tx, 0xA))
    await store.write(job)
    [numbered] = await event_queries.events_after(store, 0, 10)
    view = EventView(store, registry, await event_queries.read_epochs(store))
    return await view.view(numbered)


@pytest.mark.parametrize("selection", [PEER_ID, NAME])
@pytest.mark.parametrize("what", WRITERS)
async def test_what_becomes_of_a_peer_is_selected_by_its_name_and_by_its_id(store, what, selection):
    event = await viewed(store, WRITERS[what], REGISTERED)
    assert (event.data.what, event.data.peer, event.data.peer_id) == (what, NAME, PEER_ID)
    assert EventFilter.of(peers=[selection]).selects(event)
    assert not EventFilter.of(peers=["emp-y"]).selects(event)


@pytest.mark.parametrize("selection", [PEER_ID, NAME])
@pytest.mark.parametrize("what", ["added", "removed"])
async def test_so_it_is_while_the_peer_is_not_registered(store, what, selection):
    event = await viewed(store, WRITERS[what], PeerRegistry([]))
    assert EventFilter.of(peers=[selection]).selects(event)


@pytest.mark.parametrize("definition", EVENT_DEFINITIONS, ids=[each.name for each in EVENT_DEFINITIONS])
def test_every_event_has_its_subject(definition):
    sample = msgspec.to_builtins(definition.sample)
    assert any(sample.get(name) for name in SUBJECT_MEMBERS[definition.type])
    if isinstance(definition.sample, EventData):
        assert subject_of(definition.sample) in sample.values()


def test_there_is_no_other_subject():
    assert SUBJECT_MEMBERS.keys() == {*EventType, "events"}
