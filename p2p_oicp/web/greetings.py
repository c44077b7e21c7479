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

    async def greet(self, peer: Peer) -> None:
        """Say hello to a peer until it has heard; one that is no node, or has no such path, is left alone."""
        failures = 0
        while not await self.introduce(peer):
            failures += 1
            await asyncio.sleep(self._backoff.wait(failures))

    async def introduce(self, peer: Peer) -> bool:
        """Say hello to a peer once; return whether there is nothing more to say."""
        if peer.is_self or peer.profile is not Profile.OICP:
            return True
        url = peer.url.removesuffix("/").removesuffix("/api/oicp") + _HELLO
        hello = orjson.dumps({**self._me, **await self._acquaintances.words_for(peer.name)})
        try:
            _, answer = await self._client.post_json(url, hello, deadline=_DEADLINE_SECONDS, peer=peer.name)
            await self._heard(peer, answer)
        except PeerRejected as error:
            log.info("hello.refused", peer=peer.name, reason=error.reason)
        except PeerError as error:
            log.info("hello.unheard", peer=peer.name, reason=error.reason)
            return False
        return True

    async def _heard(self, peer: Peer, answer: bytes) -> None:
        """Take what a peer answers; if another node has its address by now, it is not the peer's word."""
        try:
            told = orjson.loads(answer)
            named = [self._known(party) for party in _parties(told)]
        except (orjson.JSONDecodeError, HttpProblem):
            return
        if peer in named:
            await self._acquaintances.met(peer.name, told)

    async def hear(self, arrival: Arrival) -> Answer:
        """Wake what waits for the peer that says hello; raises Refusal 017 where it does not prove who it is.

        It is one peer, though it may name parties that nobody here knows as well.
        """
        hello = _hello(arrival.body)
        claimed = next((party for party in _parties(hello) if self._known(party)), None)
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

    def _known(self, party: OperatorID | ProviderID) -> Peer | None:
        """Return the peer whose own party this is; a default route is nobody's own name."""
        if isinstance(party, OperatorID):
            return self._registry.by_operator(party)
        return self._registry.by_provider(party)


def _hello(body: bytes) -> dict[str, Any]:
    try:
        hello = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _no_hello(error) from error
    if not isinstance(hello, dict):
        raise _no_hello("no object")
    return hello


def _parties(hello: Mapping[str, Any]) -> list[OperatorID | ProviderID]:
    try:
        operators = [OperatorID(str(text)) for text in hello.get("operators", ())]
        return [*operators, *(ProviderID(str(text)) for text in hello.get("providers", ()))]
    except (AttributeError, TypeError) as error:
        raise _no_hello(error) from error


def _no_hello(why: object) -> HttpProblem:
    return HttpProblem(400, _DATA_ERROR, f"a hello is a JSON object with name, operators, providers: {why}")
