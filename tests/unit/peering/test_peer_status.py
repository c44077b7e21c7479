"""What is held up at a peer is an event when it begins, and when it ends."""

from p2p_oicp.peering.peer_status import HeldPeersJob
from p2p_oicp.storage.event_queries import events_after
from tests.support.clocks import ManualClock


class Reporter:
    def __init__(self) -> None:
        self.texts = {"peer:1": {"DEABC": "DE*ABC is not agreed", "": "its descriptor names another key"}, "peer:2": {}}

    def held_texts(self) -> dict[str, dict[str, str]]:
        return {peer: dict(texts) for peer, texts in self.texts.items()}


async def written(store) -> list[tuple[str, str, str]]:
    events = [each.event for each in await events_after(store, 0, 100)]
    return [(event.what, event.peer, event.text) for event in events]


async def test_what_is_held_no_more_is_agreed(store):
    reporter = Reporter()
    job = HeldPeersJob(reporter, store, ManualClock())
    await job.run_once()
    before = await written(store)
    assert {what for what, _, _ in before} == {"held"}
    reporter.texts["peer:1"] = {}
    for _ in range(2):
        await job.run_once()
    assert (await written(store))[2:] == [("agreed", "peer:1", "DEABC"), ("agreed", "peer:1", "its descriptor")]


async def test_a_peer_that_is_removed_has_agreed_to_nothing(store):
    reporter = Reporter()
    job = HeldPeersJob(reporter, store, ManualClock())
    await job.run_once()
    held = reporter.texts.pop("peer:1")
    await job.run_once()
    assert len(await written(store)) == 2
    reporter.texts["peer:1"] = held
    await job.run_once()
    assert [what for what, _, _ in await written(store)] == ["held"] * 4
