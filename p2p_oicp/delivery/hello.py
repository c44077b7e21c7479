"""Hello: a node that has started, or has new keys, tells its peers, so that they send at once what waits for it.

``POST /p2p/v1/hello`` names the node and its parties, and carries the store epochs (`StoreEpochs`); the response
has the same members. This is the client's side, and what both sides read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import structlog

from p2p_oicp.client import AuthenticatedPeerClient
from p2p_oicp.delivery.store_epochs import StoreEpochs
from p2p_oicp.delivery.wakeup import ExponentialBackoff, WakeupRegistry
from p2p_oicp.errors import PeerError, PeerRejected
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peering.agreements import PartyAgreements
from p2p_oicp.peers import Peer

log = structlog.get_logger(__name__)

HELLO_PATH = "/p2p/v1/hello"
_TIMEOUT_SECONDS = 5.0


class HelloClient:
    """Sends hello to peers.

    Args:
        local_peer: this node's own company, which hello names.
        client: signs the request.
        store_epochs: what is sent of our databases, and received of the peer's.
        wakeups: wakes the replicators of a peer whose database was replaced.
        backoff: how long to wait after failures.
        agreements: which parties both sides have agreed to.
    """

    def __init__(
        self,
        local_peer: Peer,
        *,
        client: AuthenticatedPeerClient,
        store_epochs: StoreEpochs,
        wakeups: WakeupRegistry,
        backoff: ExponentialBackoff,
        agreements: PartyAgreements,
    ) -> None:
        self._client = client
        self._store_epochs = store_epochs
        self._wakeups = wakeups
        self._backoff = backoff
        self._agreements = agreements
        self._identity_members = identity_members(local_peer)

    async def send_once(self, peer: Peer) -> None:
        """Send hello; a failure is logged."""
        try:
            await self._send(peer)
        except PeerError as error:
            log.info("hello.failed", peer=peer.name, reason=error.reason)

    async def send_until_acknowledged(self, peer: Peer) -> None:
        """Send hello to a node until it responds; a peer that is no node of ours, or rejects it, is left alone."""
        failures = 0
        while peer.is_node:
            try:
                await self._send(peer)
            except PeerRejected as error:
                log.info("hello.rejected", peer=peer.name, reason=error.reason)
                return
            except PeerError as error:
                log.info("hello.failed", peer=peer.name, reason=error.reason)
            else:
                return
            failures += 1
            await asyncio.sleep(self._backoff.delay(failures))

    async def _send(self, peer: Peer) -> None:
        agreed = self._agreements.hello_members(peer)
        hello = orjson.dumps({**self._identity_members, **self._store_epochs.hello_members(), **agreed})
        _, body = await self._client.request(peer, "POST", HELLO_PATH, hello, deadline=_TIMEOUT_SECONDS)
        try:
            response = parse_hello(body)
        except ValueError:
            return
        # Another node may have the peer's address by now: its epoch is not the peer's.
        named = parties_of(response)
        if any(peer.handles_party(party) for party in named):
            self._agreements.record_hello(peer, response, named)
            await self._store_epochs.record_hello(peer, response, self._wakeups)


def identity_members(local_peer: Peer) -> dict[str, object]:
    """Return the members by which this node names itself."""
    return {
        "name": local_peer.name,
        "operators": [party.text for party in local_peer.operators],
        "providers": [party.text for party in local_peer.providers],
    }


def parse_hello(body: bytes) -> dict[str, Any]:
    """Return the members of a hello, or of its response; raise ValueError."""
    hello = orjson.loads(body)
    if not isinstance(hello, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - one kind of error for whatever is wrong with the text
    parties_of(hello)
    return hello


def parties_of(hello: Mapping[str, Any]) -> list[OperatorID | ProviderID]:
    """Return the parties that a hello names; raise ValueError."""
    try:
        operators = [OperatorID(str(text)) for text in hello.get("operators", ())]
        return [*operators, *(ProviderID(str(text)) for text in hello.get("providers", ()))]
    except TypeError as error:
        raise ValueError(str(error)) from error
