"""Hello: a node that has started tells its peers, so that they send at once what they owe it (DESIGN section 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import structlog

from p2p_oicp.delivery import Acquaintances, Backoff, SignsOfLife
from p2p_oicp.errors import PeerError, PeerRejected, Refusal, Unauthorized
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.oicp.operation import root_of
from p2p_oicp.peers import Peer, PeerRegistry, Profile
from p2p_oicp.roles.context import Answer
from p2p_oicp.transport import OicpClient
from p2p_oicp.web.gate import Arrival, Gate
from p2p_oicp.web.problems import HttpProblem

log = structlog.get_logger(__name__)

_HELLO = "/p2p/v1/hello"
_DEADLINE_SECONDS = 5.0
_DATA_ERROR = "022"


class Greetings:
    """Says hello, and hears it."""

    def __init__(
        self,
        me: Peer,
        *,
        registry: PeerRegistry,
        client: OicpClient,
        signs: SignsOfLife,
        gate: Gate,
        acquaintances: Acquaintances,
        backoff: Backoff,
    ) -> None:
        self._registry = registry
        self._gate = gate
        self._client = client
        self._signs = signs
        self._acquaintances = acquaintances
        self._backoff = backoff
        self._me = {
            "name": me.name,
            "operators": [party.text for party in me.operators],
            "providers": [party.text for party in me.providers],
        }

    async def introduce(self, peer: Peer) -> None:
        """Say hello to one peer, once."""
        try:
            await self._say_hello(peer)
        except PeerError as error:
            log.info("hello.unheard", peer=peer.name, reason=error.reason)

    async def greet(self, peer: Peer) -> None:
        """Say hello to one peer that is a node, until it has heard; one that has no such path is left alone."""
        failures = 0
        while not peer.is_self and peer.profile is Profile.OICP:
            try:
                await self._say_hello(peer)
            except PeerRejected as error:
                log.info("hello.refused", peer=peer.name, reason=error.reason)
                return
            except PeerError as error:
                log.info("hello.unheard", peer=peer.name, reason=error.reason)
            else:
                return
            failures += 1
            await asyncio.sleep(self._backoff.wait(failures))

    async def _say_hello(self, peer: Peer) -> None:
        url = root_of(peer.url) + _HELLO
        hello = orjson.dumps({**self._me, **await self._acquaintances.words_for(peer.name)})
        _, answer = await self._client.post_json(url, hello, deadline=_DEADLINE_SECONDS, peer=peer.name)
        await self._heard(peer, answer)

    async def _heard(self, peer: Peer, answer: bytes) -> None:
        """Take what a peer answers; if another node has its address by now, it is not the peer's word."""
        try:
            told = _hello(answer)
        except HttpProblem:
            return
        if any(peer.answers_for(party) for party in _parties(told)):
            await self._acquaintances.met(peer.name, told)

    async def hear(self, arrival: Arrival) -> Answer:
        """Wake what waits for the peer that says hello; raises Refusal 017 where it does not prove who it is.

        It may name parties that nobody here knows, beside those that it is a peer for.
        """
        hello = _hello(arrival.body)
        claimed = next((party for party in _parties(hello) if self._is_known(party)), None)
        try:
            peer = (await self._gate.admit(arrival, claimed)).peer
        except Unauthorized:
            raise
        except Refusal:
            peer = None
        if peer is None or peer.is_self:
            return Answer(orjson.dumps({"known": False, **self._me}))
        log.info("hello.heard", peer=peer.name)
        words = await self._acquaintances.words_for(peer.name)
        await self._acquaintances.met(peer.name, hello)
        await self._signs.heard_from(peer.name)
        return Answer(orjson.dumps({"known": True, **self._me, **words}))

    def _is_known(self, party: OperatorID | ProviderID) -> bool:
        """Say whether a peer has this very party: who is unknown is not the default route, which stands in for all."""
        peers = self._registry
        own = peers.by_operator(party) if isinstance(party, OperatorID) else peers.by_provider(party)
        return own is not None


def _hello(body: bytes) -> dict[str, Any]:
    try:
        hello = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _no_hello(error) from error
    if not isinstance(hello, dict):
        raise _no_hello("it is no object")
    _parties(hello)
    return hello


def _parties(hello: Mapping[str, Any]) -> list[OperatorID | ProviderID]:
    try:
        operators = [OperatorID(str(text)) for text in hello.get("operators", ())]
        return [*operators, *(ProviderID(str(text)) for text in hello.get("providers", ()))]
    except TypeError as error:
        raise _no_hello(error) from error


def _no_hello(why: object) -> HttpProblem:
    return HttpProblem(400, _DATA_ERROR, f"a hello is a JSON object with name, operators, providers: {why}")
