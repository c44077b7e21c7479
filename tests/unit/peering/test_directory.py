"""What a node knows of its peers, over restarts: whose key is whose, and that no entry keeps it from starting."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from p2p_oicp.crypto import KeyRing, PrivateKey, keystore
from p2p_oicp.crypto.keystore import KeyEndorsement, endorsement_message
from p2p_oicp.crypto.tls import Certificate, self_signed
from p2p_oicp.errors import ConfigurationError, StoreBusy, VerificationError
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peering.agreements import PartyAgreements
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.pairing import peer_from_descriptor
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.descriptor import (
    Descriptor,
    PublishedKey,
    SignedDescriptor,
    publish_keys,
    sign_descriptor,
    verify_descriptor,
)
from p2p_oicp.storage import Store, outbox, peers
from tests.support.clocks import ManualClock

ME = Peer("me", "http://me", providers=(ProviderID("DE-MEE"),), is_self=True)
DAY = 86_400.0


@dataclass
class Company:
    """Another company's node: its keys and its descriptor."""

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

    def descriptor(self, **changes) -> SignedDescriptor:
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
class World:
    """This node's directory, which may be started again."""

    store: Store
    folder: Path
    clock: ManualClock
    ring: KeyRing = field(default_factory=KeyRing)

    async def start(self) -> PeerDirectory:
        """Start (again), with nothing but what is on the disk."""
        file = self.folder / "peers.toml"
        self.registry = PeerRegistry([ME])
        self.directory = PeerDirectory(
            file, is_optional=True, store=self.store, registry=self.registry, keyring=self.ring, clock=self.clock
        )
        await self.directory.load()
        return self.directory

    async def pair(self, company: Company, **changes) -> None:
        signed = company.descriptor(**changes)
        await self.directory.add(peer_from_descriptor(signed, ()), signed)

    @property
    def names(self) -> list[str]:
        return [peer.name for peer in self.registry.all() if not peer.is_self]


@pytest.fixture
async def world(store, tmp_path, clock) -> World:
    made = World(store, tmp_path, clock)
    await made.start()
    return made


@pytest.fixture
def company(tmp_path, clock):
    """Make a company."""
    return lambda name, party="DE-AAA": Company(name, tmp_path / name, clock, party)


# No stored entry prevents a start.

UNUSABLE = {
    "a name with spaces at its ends": ({}, " Alpha ", "no space at its ends"),
    "a long name": ({}, "A" * 65, "1 to 64"),
    "the name of our own backend": ({}, "backend emp", "expected another name"),
    "a name that is no text": ({}, 5, "expected text"),
    "unknown credentials": ({"require": ("dnssec",)}, None, "expected 'signature' or 'mtls'"),
    "no party": ({"providers": ()}, None, "names no party"),
}


@pytest.mark.parametrize(("changes", "alias", "reason"), UNUSABLE.values(), ids=UNUSABLE)
async def test_a_peer_that_could_not_be_read_again_is_not_stored(world, company, changes, alias, reason):
    signed = company("Alpha").descriptor(**changes)
    with pytest.raises(ConfigurationError, match=reason):
        await world.directory.add(peer_from_descriptor(signed, (), alias=alias), signed)
    await world.start()
    assert world.names == []


async def test_an_invalid_stored_peer_is_logged_and_left_out(world, company):
    await world.pair(company("Alpha"))
    for name, entry in (("Broken", b"{"), ("Strange", b'{"name": "Strange"}')):
        await world.store.write(
            partial(peers.upsert_peer, peer_id=name.lower(), name=name, source="paired", entry=entry, now=1.0)
        )
    with capture_logs() as logs:
        await world.start()
    assert world.names == ["Alpha"]
    assert [entry["peer"] for entry in logs if entry["event"] == "peers.stored_peer_invalid"] == ["Broken", "Strange"]


# Keys belong to one peer.


async def test_a_descriptor_that_lists_a_key_of_another_peer_is_refused(world, company):
    victim, other = company("Victim"), company("Aaa", "DE-BBB")
    await world.pair(victim)
    victim.rotate()
    await world.directory.update_descriptor("Victim", victim.descriptor())
    for key in publish_keys(victim.keys):
        other.lists = (key,)
        with pytest.raises(ConfigurationError, match="which is Victim's"):
            await world.pair(other)
    await world.start()
    assert (world.names, world.directory.owner_of(victim.key.public)) == (["Victim"], "Victim")


async def test_a_retired_key_does_not_suffice_to_pair_again(world, company):
    victim = company("Victim")
    stolen = victim.keys
    await world.pair(victim)
    victim.rotate()
    await world.directory.update_descriptor("Victim", victim.descriptor())
    world.clock.now += 2 * DAY
    victim.keys = stolen
    with pytest.raises(ConfigurationError, match="with another key"):
        await world.pair(victim, url="http://127.0.0.1:10")


# Many rotations.

ROTATIONS = 25


async def rotate_often(world: World, peer: Company) -> None:
    for _ in range(ROTATIONS):
        peer.rotate()
        await world.directory.update_descriptor("Alpha", peer.descriptor())


async def test_after_many_rotations_a_peer_is_trusted_after_a_restart(world, company):
    peer = company("Alpha")
    first = peer.key
    await world.pair(peer)
    await rotate_often(world, peer)
    assert first.key_id not in {known.key.key_id for known in peer.descriptor().descriptor.keys}
    for start in (world.directory.reload, world.start, world.start):
        await start()
        assert world.ring.find(peer.key.key_id, world.clock.now) == peer.key.public
        with pytest.raises(VerificationError, match="of Alpha is retired"):
            world.ring.find(first.key_id, world.clock.now)
    peer.rotate()
    await world.directory.update_descriptor("Alpha", peer.descriptor())
    assert world.directory.owner_of(peer.key.public) == "Alpha"


def write_peers_file(world: World, *lines: str, name: str = "Alpha") -> None:
    """Write a peers file with one peer."""
    keys = ", ".join(f'"{line}"' for line in lines)
    text = f'[[peer]]\nname = "{name}"\nurl = "http://127.0.0.1:9"\nproviders = ["DE-AAA"]\npublic_keys = [{keys}]\n'
    (world.folder / "peers.toml").write_text(text)


async def test_a_newly_pinned_key_is_trusted_beside_those_of_the_descriptor(world, company):
    """Only the person knows of it: the peer has lost its keys, or has two programs with a key each."""
    peer, pinned = company("Alpha"), PrivateKey.generate()
    first = peer.key.public.der_base64
    write_peers_file(world, first)
    await world.directory.reload()
    await rotate_often(world, peer)
    write_peers_file(world, first, pinned.public.der_base64)
    for start in (world.directory.reload, world.start):
        await start()
        assert world.ring.find(pinned.key_id, world.clock.now) == pinned.public
        assert world.ring.find(peer.key.key_id, world.clock.now) == peer.key.public


async def test_a_descriptor_is_discarded_when_the_pin_that_led_to_it_is_removed(world, company):
    peer, pinned = company("Alpha"), PrivateKey.generate()
    write_peers_file(world, peer.key.public.der_base64)
    await world.directory.reload()
    await rotate_often(world, peer)
    write_peers_file(world, pinned.public.der_base64)
    for start in (world.directory.reload, world.start):
        await start()
        assert world.directory.owner_of(peer.key.public) is None
        assert world.ring.find(pinned.key_id, world.clock.now) == pinned.public


# A name is only a label.


async def renamed_in_the_file(world: World, peer: Company) -> None:
    write_peers_file(world, peer.key.public.der_base64, name="Beta")
    await world.directory.reload()


async def removed_and_paired_again(world: World, peer: Company) -> None:
    await world.directory.remove("Alpha")
    signed = peer.descriptor()
    await world.directory.add(peer_from_descriptor(signed, (), alias="Beta"), signed)


RENAMED = {"in the peers file": (True, renamed_in_the_file), "paired again": (False, removed_and_paired_again)}


@pytest.mark.parametrize(("in_file", "rename"), RENAMED.values(), ids=RENAMED)
async def test_a_rename_moves_messages_and_keys_before_the_listeners_are_called(world, company, in_file, rename):
    peer, seen = company("Alpha"), []
    if in_file:
        write_peers_file(world, peer.key.public.der_base64)
        await world.directory.reload()
        await world.directory.update_descriptor("Alpha", peer.descriptor())
    else:
        await world.pair(peer)
    peer_id = world.directory.id_of("Alpha")
    world.directory.subscribe(lambda change: seen.extend((*change.added, *change.changed)))
    await rename(world, peer)
    assert [(peer.name, peer.id) for peer in seen] == [("Beta", peer_id)]
    assert peer_id != "Alpha"
    assert world.directory.descriptor_of("Beta").key == peer.key.public


async def test_undelivered_messages_of_a_removed_peer_are_logged(world, company):
    await world.pair(company("Alpha"))
    message = {"operation": "Op", "sender_id": None, "role": "cpo", "session_key": "s", "body": b"{}", "now": 1.0}
    await world.store.write(partial(outbox.enqueue, destination=world.directory.id_of("Alpha"), **message))
    with capture_logs() as logs:
        await world.directory.remove("Alpha")
    assert [
        (entry["peer"], entry["messages"]) for entry in logs if entry["event"] == "peer.removed_with_pending_messages"
    ] == [("Alpha", 1)]


async def test_the_watch_reloads_again_after_a_store_error(world, company, monkeypatch):
    monkeypatch.setattr("p2p_oicp.peering.directory._POLL_INTERVAL_SECONDS", 0.01)
    write_peers_file(world, company("Alpha").key.public.der_base64)
    write, full = world.store.write, [StoreBusy("full"), StoreBusy("full")]

    async def busy(job, about):
        if full:
            raise full.pop()
        return await write(job, about=about)

    monkeypatch.setattr(world.store, "write", busy)
    there = asyncio.Event()
    world.directory.subscribe(lambda _: there.set())
    watching = asyncio.create_task(world.directory.watch())
    async with asyncio.timeout(10):
        await there.wait()
    watching.cancel()
    assert (world.names, full) == (["Alpha"], [])


async def test_of_two_concurrent_pairings_for_one_party_one_is_refused(world, company):
    both = await asyncio.gather(world.pair(company("Alpha")), world.pair(company("Beta")), return_exceptions=True)
    assert [type(one) for one in both] == [type(None), ConfigurationError]
    await world.start()
    assert world.names == ["Alpha"]


# What a descriptor lists counts only with a proof, after a restart as well.


def certificate() -> Certificate:
    return Certificate.from_pem(self_signed("a", [], ["127.0.0.1"], now=time.time(), days=1)[1])


async def restarted(world: World) -> None:
    await world.start()


async def as_it_is(world: World) -> None:
    pass


STARTS = {"at once": as_it_is, "after a restart": restarted}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
async def test_a_key_that_is_listed_without_its_signature_is_nobodys(world, company, start):
    thief, victim = company("Aaa"), company("Victim", "DE-BBB")
    thief.lists = publish_keys(victim.keys)
    await world.pair(thief)
    await start(world)
    assert world.directory.owner_of(victim.key.public) is None
    await world.pair(victim)
    await start(world)
    assert world.directory.owner_of(victim.key.public) == "Victim"
    with pytest.raises(VerificationError, match="which is Victim's"):
        await world.directory.update_descriptor("Aaa", thief.descriptor())
    assert "which is Victim's" in world.directory.held_reason(world.registry.by_name("Aaa"))
    thief.lists = ()
    await world.directory.update_descriptor("Aaa", thief.descriptor())
    assert world.directory.held_reason(world.registry.by_name("Aaa")) is None


async def test_an_endorsement_proves_nothing_of_the_endorsed_key(world, company):
    thief, victim = company("Aaa"), PrivateKey.generate()
    signature = base64.b64encode(thief.key.sign(endorsement_message(victim.public, 0.0))).decode()
    thief.lists = (PublishedKey(victim.public, endorsement=KeyEndorsement(thief.key.key_id, signature)),)
    await world.pair(thief)
    assert world.directory.owner_of(victim.public) is None


async def test_a_new_key_counts_when_it_has_signed_the_descriptor_beside_the_old_one(world, company):
    peer = company("Alpha")
    await world.pair(peer)
    peer.keys = keystore.rotate(peer.home, now=world.clock.now, activation_delay=60, overlap=60)
    new = peer.keys.entries[-1].private
    await world.directory.update_descriptor("Alpha", peer.descriptor())
    assert world.directory.owner_of(new.public) is None
    signed = sign_descriptor(peer.descriptor().descriptor, peer.key, new)
    await world.directory.update_descriptor("Alpha", verify_descriptor(signed, world.clock.now))
    await world.start()
    assert world.directory.owner_of(new.public) == "Alpha"
    with pytest.raises(VerificationError, match="not valid yet"):
        world.ring.find(new.key_id, world.clock.now)


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
async def test_a_certificate_counts_when_the_peer_has_shown_it(world, company, start):
    thief, victim, shared = company("Aaa"), company("Victim", "DE-BBB"), certificate()
    await world.pair(thief, certificates=(shared.der_base64,))
    await world.pair(victim, certificates=(shared.fingerprint,))
    await start(world)
    assert world.directory.owner_of_certificate(shared.fingerprint) is None
    assert set(world.directory.peers_listing(shared.fingerprint)) == {"Aaa", "Victim"}
    shown = replace(victim.descriptor(certificates=(shared.der_base64,)), shown_certificate=shared.fingerprint)
    await world.directory.update_descriptor("Victim", shown)
    await start(world)
    assert world.directory.owner_of_certificate(shared.fingerprint) == "Victim"
    claimed = replace(thief.descriptor(certificates=(shared.der_base64,)), shown_certificate=shared.fingerprint)
    with pytest.raises(VerificationError, match="which is Victim's"):
        await world.directory.update_descriptor("Aaa", claimed)


async def test_a_certificate_that_a_person_has_pinned_is_that_peers_whatever_others_have_shown(world, company):
    thief, shared = company("Aaa"), certificate()
    signed = replace(thief.descriptor(certificates=(shared.der_base64,)), shown_certificate=shared.fingerprint)
    await world.directory.add(peer_from_descriptor(signed, ()), signed)
    assert world.directory.owner_of_certificate(shared.fingerprint) == "Aaa"
    (world.folder / "peers.toml").write_text(
        '[[peer]]\nname = "Victim"\nurl = "http://127.0.0.1:9"\nproviders = ["DE-BBB"]\n'
        f'certificates = ["{shared.der_base64}"]\n'
    )
    await world.directory.reload()
    assert world.directory.owner_of_certificate(shared.fingerprint) == "Victim"


async def test_a_certificate_that_is_not_listed_any_more_is_nobodys(world, company):
    peer, old = company("Alpha"), certificate()
    shown = replace(peer.descriptor(certificates=(old.der_base64,)), shown_certificate=old.fingerprint)
    await world.directory.add(peer_from_descriptor(shown, ()), shown)
    await world.directory.update_descriptor("Alpha", peer.descriptor(certificates=(certificate().der_base64,)))
    await world.start()
    assert world.directory.owner_of_certificate(old.fingerprint) is None


async def test_two_peers_of_the_file_cannot_have_one_certificate(world):
    shared = certificate()
    entries = [
        f'[[peer]]\nname = "{name}"\nurl = "http://127.0.0.1:9"\nproviders = ["{party}"]\ncertificates = ["{line}"]\n'
        for name, party, line in (("a", "DE-AAA", shared.der_base64), ("b", "DE-BBB", shared.fingerprint))
    ]
    (world.folder / "peers.toml").write_text("".join(entries))
    assert "every peer has its own keys and certificates" in await world.directory.reload()


async def test_a_party_that_a_descriptor_adds_is_held_until_it_is_agreed(world, company):
    peer = company("Alpha")
    await world.pair(peer)
    await world.directory.update_descriptor("Alpha", peer.descriptor(operators=(OperatorID("DE*SUB"),)))
    alpha = world.registry.by_name("Alpha")
    descriptor = world.directory.descriptor_of("Alpha").descriptor
    (held,) = PartyAgreements(ME).held(alpha, descriptor.operators)
    assert held.text == 'DE*SUB is not agreed with Alpha yet; run: p2p-oicp peers accept "Alpha"'
    assert world.registry.by_operator(OperatorID("DE*SUB")) is None
