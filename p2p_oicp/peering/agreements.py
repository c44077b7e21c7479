"""Parties that two nodes have not agreed on: one of them has got a sub-operator since they were paired (RULES L18).

Each node tells in hello which parties it speaks for, and which of the other's parties it has agreed to. So both know
what is held up, before anything is refused; a peer that does not tell refuses what is sent for such a party (017, 300),
which is recorded as well. All of it is in memory: it is told again with the hello of each start.

`p2p-oicp peers accept` on the other side agrees to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from p2p_oicp.oicp import Identifier, OperatorID, ProviderID
from p2p_oicp.peers import Peer, Source
from p2p_oicp.peers.models import PartyID


class HeldParty(NamedTuple):
    """A party that is held up at a peer, or of a peer.

    Attributes:
        peer: the name of the peer.
        party: as its company writes it.
        key: its canonical form.
        is_ours: whether it is one of ours, of which the peer takes nothing.
        text: for people, with the cure.
    """

    peer: str
    party: str
    key: str
    is_ours: bool
    text: str


class PartyAgreements:
    """What is known of the parties that are not agreed.

    Args:
        local_peer: this node's own company.

    Attributes:
        unagreed: by the id of a peer: our parties of which it takes nothing, by their keys, with the reasons.
        versions: by the id of a peer: a number that changes when it says that other parties are agreed than before.
    """

    def __init__(self, local_peer: Peer) -> None:
        self._local_peer = local_peer
        self._own_parties: dict[str, PartyID] = {party.key: party for party in local_peer.parties}
        self._claimed: dict[str, Sequence[PartyID]] = {}
        self.unagreed: dict[str, dict[str, str]] = {}
        self.versions: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<PartyAgreements unagreed={sum(map(len, self.unagreed.values()))}>"

    def hello_members(self, peer: Peer) -> dict[str, object]:
        """Return the member of a hello to ``peer`` that says which of its parties this node has agreed to."""
        return {"agreed": [party.text for party in peer.parties]}

    def record_hello(self, peer: Peer, hello: Mapping[str, Any], claimed: Sequence[PartyID]) -> None:
        """Record what a peer's hello says of its own parties (``claimed``) and of ours; a malformed member is none."""
        self._claimed[peer.id] = claimed
        agreed = hello.get("agreed")
        if not isinstance(agreed, list):
            return
        keys = {OperatorID(str(text)).key for text in agreed} | {ProviderID(str(text)).key for text in agreed}
        unagreed = dict.fromkeys((key for key in self._own_parties if key not in keys), "")
        if unagreed.keys() != self.unagreed.get(peer.id, {}).keys():
            self.unagreed[peer.id] = unagreed
            self.versions[peer.id] = self.versions.get(peer.id, 0) + 1

    def record_refusal(self, peer: Peer, party: str, reason: str) -> None:
        """Record that a peer takes nothing of one of our parties."""
        self.unagreed.setdefault(peer.id, {})[self._key_of(party)] = reason

    def record_accepted(self, peer: Peer, party: str) -> None:
        """Record that a peer has taken something of one of our parties."""
        if unagreed := self.unagreed.get(peer.id):
            unagreed.pop(self._key_of(party), None)

    def _key_of(self, text: str) -> str:
        return next((key for key, party in self._own_parties.items() if party.text == text), text)

    def held(self, peer: Peer, published: Iterable[Identifier] = ()) -> list[HeldParty]:
        """Return the parties that are held up at a peer and of it; ``published``: those of its newest descriptor."""
        ours = [
            HeldParty(peer.name, self._text_of(key), key, is_ours=True, text=self._own_text(peer, key, reason))
            for key, reason in self.unagreed.get(peer.id, {}).items()
        ]
        claimed = (*published, *self._claimed.get(peer.id, ()))
        theirs = {party.key: party for party in claimed if isinstance(party, OperatorID | ProviderID)}
        return ours + [
            HeldParty(peer.name, party.text, party.key, is_ours=False, text=_foreign_text(peer, party))
            for party in theirs.values()
            if not peer.handles_party(party)
        ]

    def _text_of(self, key: str) -> str:
        party = self._own_parties.get(key)
        return key if party is None else party.text

    def _own_text(self, peer: Peer, key: str, reason: str) -> str:
        words = f" ({reason})" if reason else ""
        cure = f'they run: p2p-oicp peers accept "{self._local_peer.name}", or add it to their peers file'
        return f"{self._text_of(key)} is not agreed with {peer.name} yet{words}; {cure}"


def _foreign_text(peer: Peer, party: PartyID) -> str:
    is_in_file = peer.source is Source.FILE
    cure = "add it to the peers file" if is_in_file else f'run: p2p-oicp peers accept "{peer.name}"'
    return f"{party.text} is not agreed with {peer.name} yet; {cure}"
