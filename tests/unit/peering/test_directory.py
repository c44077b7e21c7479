"""What a node knows of its peers, over restarts: whose key is whose, and that no entry keeps it from starting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from p2p_oicp.crypto import KeyRing, PrivateKey, keystore
from p2p_oicp.errors import ConfigurationError, StoreBusy, VerificationError
from p2p_oicp.oicp import ProviderID
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.pairing import peer_from_descriptor
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.descriptor import Descriptor, SignedDescriptor, publish_keys, sign_descriptor, verify_descriptor
from p2p_oicp.storage import Store, outbox, peers
from p2p_oicp.storage.statements import Statement
from tests.support.clocks import ManualClock

ME = Peer("me", "http://me", providers=(ProviderID("DE-MEE"),), is_self=True)
DAY = 86_400.0


@dataclass
class Company:
    """Another company's node: its keys, and what it says of itself."""

    name: str
    home: Path
    clock: ManualClock
    party: str = "DE-AAA"
    lists: tuple = ()

    def __post_init__(self) -> None:
        self.keys = keystore.generate(self.home)

    def rotate(self) -> None:
        self.clock.now += 2 * DAY
        self.keys = keystore.rotate(self.home, now=self.clock.now, activation_delay=0, overlap=DAY)

    @property
    def key(self) -> PrivateKey:
        return self.keys.signing_key(self.clock.now)

    def says(self, **changes) -> SignedDescriptor:
        members = {
            "name": self.name,
            "url": "http://127.0.0.1:9",
            "operators": (),
            "providers": (ProviderID(self.party),),
            "keys": (*publish_keys(self.keys), *self.lists),
            "issued_at": self.clock.now,
        }
        return verify_descriptor(sign_descriptor(Descriptor(**members | changes), self.key), self.clock.now)


@dataclass
class Ours:
    """Our node's directory, which may be started again."""

    store: Store
    folder: Path
    clock: ManualClock
    ring: KeyRing = field(default_factory=KeyRing)

    async def start(self) -> PeerDirectory:
        """Start (again), with nothing but what is on the disk."""
        file = self.folder / "peers.toml"
        self.registry = PeerRegistry([ME])
        self.directory = PeerDirectory(
            ME, file, is_optional=True, store=self.store, registry=self.registry, keyring=self.ring, clock=self.clock
        )
        await self.directory.load()
        return self.directory

    async def pair(self, company: Company, **changes) -> None:
        signed = company.says(**changes)
        await self.directory.add(peer_from_descriptor(signed, ()), signed)

    @property
    def names(self) -> list[str]:
        return [peer.name for peer in self.registry.all() if not peer.is_self]


@pytest.fixture
async def ours(store, tmp_path, clock) -> Ours:
    made = Ours(store, tmp_path, clock)
    await made.start()
    return made


@pytest.fixture
def company(tmp_path, clock):
    """Make a company."""
    return lambda name, party="DE-AAA": Company(name, tmp_path / name, clock, party)


# No entry keeps a node from starting.

UNUSABLE = {
    "a name with spaces at its ends": ({}, " Alpha ", "no space at its ends"),
    "a long name": ({}, "A" * 65, "1 to 64"),
    "the name of our own backend": ({}, "backend emp", "expected another name"),
    "a name that is no text": ({}, 5, "expected text"),
    "a proof that is not known here": ({"require": ("dnssec",)}, None, "expected 'signature' or 'mtls'"),
    "no party": ({"providers": ()}, None, "names no party"),
}


@pytest.mark.parametrize(("said", "alias", "reason"), UNUSABLE.values(), ids=UNUSABLE)
async def test_a_peer_that_could_not_be_read_again_is_refused_before_it_is_stored(ours, company, said, alias, reason):
    signed = company("Alpha").says(**said)
    with pytest.raises(ConfigurationError, match=reason):
        await ours.directory.add(peer_from_descriptor(signed, (), alias=alias), signed)
    await ours.start()
    assert ours.names == []


async def test_an_entry_that_cannot_be_read_is_named_and_the_others_are_peers(ours, company):
    await ours.pair(company("Alpha"))
    for name, entry in (("Broken", b"{"), ("Strange", b'{"name": "Strange"}')):
        await ours.store.write(partial(peers.upsert_peer, name=name, source="paired", entry=entry, now=1.0))
    with capture_logs() as logs:
        await ours.start()
    assert ours.names == ["Alpha"]
    assert [entry["peer"] for entry in logs if entry["event"] == "peers.stored_peer_invalid"] == ["Broken", "Strange"]


# Whose key is whose.


async def test_whoever_lists_a_key_of_another_peer_is_refused_and_takes_it_neither_now_nor_later(ours, company):
    victim, taker = company("Victim"), company("Aaa", "DE-BBB")
    await ours.pair(victim)
    victim.rotate()
    await ours.directory.update_descriptor("Victim", victim.says())
    for key in publish_keys(victim.keys):
        taker.lists = (key,)
        with pytest.raises(ConfigurationError, match="which is Victim's"):
            await ours.pair(taker)
    await ours.start()
    assert (ours.names, ours.directory.owner_of(victim.key.public)) == (["Victim"], "Victim")


async def test_a_retired_key_of_a_peer_is_not_enough_to_pair_in_its_place(ours, company):
    victim = company("Victim")
    stolen = victim.keys
    await ours.pair(victim)
    victim.rotate()
    await ours.directory.update_descriptor("Victim", victim.says())
    ours.clock.now += 2 * DAY
    victim.keys = stolen
    with pytest.raises(ConfigurationError, match="with another key"):
        await ours.pair(victim, url="http://127.0.0.1:10")


# Who has rotated often.

MANY = 25


async def followed(ours: Ours, peer: Company) -> None:
    for _ in range(MANY):
        peer.rotate()
        await ours.directory.update_descriptor("Alpha", peer.says())


async def test_a_peer_that_was_followed_through_many_rotations_is_known_after_a_restart(ours, company):
    peer = company("Alpha")
    first = peer.key
    await ours.pair(peer)
    await followed(ours, peer)
    assert first.key_id not in {known.key.key_id for known in peer.says().descriptor.keys}
    for start in (ours.directory.reload, ours.start, ours.start):
        await start()
        assert ours.ring.find(peer.key.key_id, ours.clock.now) == peer.key.public
        with pytest.raises(VerificationError, match="of Alpha is retired"):
            ours.ring.find(first.key_id, ours.clock.now)
    peer.rotate()
    await ours.directory.update_descriptor("Alpha", peer.says())
    assert ours.directory.owner_of(peer.key.public) == "Alpha"


def enter(ours: Ours, *lines: str, name: str = "Alpha") -> None:
    """Write a peers file with one peer."""
    keys = ", ".join(f'"{line}"' for line in lines)
    text = f'[[peer]]\nname = "{name}"\nurl = "http://127.0.0.1:9"\nproviders = ["DE-AAA"]\npublic_keys = [{keys}]\n'
    (ours.folder / "peers.toml").write_text(text)


async def test_a_key_that_a_person_pins_counts_whatever_was_learned_before(ours, company):
    """Nobody but the person knows of it: the peer has lost its keys, or has two programs with a key each."""
    peer, pinned = company("Alpha"), PrivateKey.generate()
    first = peer.key.public.der_base64
    enter(ours, first)
    await ours.directory.reload()
    await followed(ours, peer)
    enter(ours, first, pinned.public.der_base64)
    for start in (ours.directory.reload, ours.start):
        await start()
        assert ours.ring.find(pinned.key_id, ours.clock.now) == pinned.public
        assert ours.ring.find(peer.key.key_id, ours.clock.now) == peer.key.public


async def test_what_was_learned_by_a_key_that_a_person_has_taken_back_is_forgotten(ours, company):
    peer, pinned = company("Alpha"), PrivateKey.generate()
    enter(ours, peer.key.public.der_base64)
    await ours.directory.reload()
    await followed(ours, peer)
    enter(ours, pinned.public.der_base64)
    for start in (ours.directory.reload, ours.start):
        await start()
        assert ours.directory.owner_of(peer.key.public) is None
        assert ours.ring.find(pinned.key_id, ours.clock.now) == pinned.public


# A name is only a label.

DESTINATIONS = Statement("SELECT destination FROM outbox", {})


async def renamed_in_the_file(ours: Ours, peer: Company) -> None:
    enter(ours, peer.key.public.der_base64, name="Beta")
    await ours.directory.reload()


async def removed_and_paired_again(ours: Ours, peer: Company) -> None:
    await ours.directory.remove("Alpha")
    signed = peer.says()
    await ours.directory.add(peer_from_descriptor(signed, (), alias="Beta"), signed)


RENAMED = {"in the peers file": (True, renamed_in_the_file), "paired again": (False, removed_and_paired_again)}


@pytest.mark.parametrize(("in_file", "rename"), RENAMED.values(), ids=RENAMED)
async def test_messages_and_keys_follow_a_peer_to_its_new_name_before_its_workers_begin(ours, company, in_file, rename):
    peer, seen = company("Alpha"), []
    if in_file:
        enter(ours, peer.key.public.der_base64)
        await ours.directory.reload()
        await ours.directory.update_descriptor("Alpha", peer.says())
    else:
        await ours.pair(peer)
    message = {"operation": "Op", "sender_id": None, "role": "cpo", "session_key": "s", "body": b"{}", "now": 1.0}
    await ours.store.write(partial(outbox.enqueue, destination="Alpha", **message))
    ours.directory.subscribe(lambda _: seen.extend(ours.store.query_inline(DESTINATIONS)))
    await rename(ours, peer)
    assert seen[-1]["destination"] == "Beta"
    assert ours.directory.descriptor_of("Beta").key == peer.key.public


async def test_messages_that_are_not_delivered_any_more_are_logged_when_a_peer_is_removed(ours, company):
    await ours.pair(company("Alpha"))
    message = {"operation": "Op", "sender_id": None, "role": "cpo", "session_key": "s", "body": b"{}", "now": 1.0}
    await ours.store.write(partial(outbox.enqueue, destination="Alpha", **message))
    with capture_logs() as logs:
        await ours.directory.remove("Alpha")
    assert [
        (entry["peer"], entry["messages"]) for entry in logs if entry["event"] == "peer.removed_with_pending_messages"
    ] == [("Alpha", 1)]


async def test_what_cannot_be_written_now_is_read_again_by_the_watch(ours, company, monkeypatch):
    monkeypatch.setattr("p2p_oicp.peering.directory._POLL_INTERVAL_SECONDS", 0.01)
    enter(ours, company("Alpha").key.public.der_base64)
    write, full = ours.store.write, [StoreBusy("full"), StoreBusy("full")]

    async def busy(job, *lane):
        if full:
            raise full.pop()
        return await write(job, *lane)

    monkeypatch.setattr(ours.store, "write", busy)
    there = asyncio.Event()
    ours.directory.subscribe(lambda _: there.set())
    watching = asyncio.create_task(ours.directory.watch())
    async with asyncio.timeout(10):
        await there.wait()
    watching.cancel()
    assert (ours.names, full) == (["Alpha"], [])


async def test_of_two_that_claim_one_party_at_the_same_time_one_is_refused_and_the_node_starts_again(ours, company):
    both = await asyncio.gather(ours.pair(company("Alpha")), ours.pair(company("Beta")), return_exceptions=True)
    assert [type(one) for one in both] == [type(None), ConfigurationError]
    await ours.start()
    assert ours.names == ["Alpha"]
