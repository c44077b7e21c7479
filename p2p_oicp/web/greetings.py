"""Hello: a node that has started tells its peers, so that they send at once what they owe it (DESIGN section 4)."""

from __future__ import annotations

import asyncio

import orjson
import structlog

from p2p_oicp.delivery import Acquaintances, Backoff, SignsOfLife
from p2p_oicp.errors import PeerError, PeerRejected
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peers import Peer, PeerRegistry, Profile
from p2p_oicp.roles.context import Answer
from p2p_oicp.transport import OicpClient
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
        registry: PeerRegistry,
        client: OicpClient,
        signs: SignsOfLife,
        acquaintances: Acquaintances,
        backoff: Backoff,
    ) -> None:
        self._registry = registry
        self._client = client
        self._signs = signs
        self._acquaintances = acquaintances
        self._backoff = backoff
        self._me = {
            "name": me.name,
            "operators": [party.text for party in me.operators],
            "providers": [party.text for party in me.providers],
        }

    async def greet_all(self) -> None:
        """Say hello to every peer that is a node, until it has heard; one that has no such path is left alone."""
        nodes = [peer for peer in self._registry.all() if not peer.is_self and peer.profile is Profile.OICP]
        await asyncio.gather(*(self._greet(peer) for peer in nodes))

    async def _greet(self, peer: Peer) -> None:
        url = peer.url.removesuffix("/").removesuffix("/api/oicp") + _HELLO
        failures = 0
        while True:
            hello = orjson.dumps({**self._me, **await self._acquaintances.words_for(peer.name)})
            try:
                _, answer = await self._client.post_json(url, hello, deadline=_DEADLINE_SECONDS, peer=peer.name)
                await self._heard(peer, answer)
            except PeerRejected as error:
                log.info("hello.refused", peer=peer.name, reason=error.reason)
                return
            except PeerError as error:
                log.info("hello.unheard", peer=peer.name, reason=error.reason)
            else:
                return
            failures += 1
            await asyncio.sleep(self._backoff.wait(failures))

    async def _heard(self, peer: Peer, answer: bytes) -> None:
        """Take what a peer answers; if another node has its address by now, it is not the peer's word."""
        try:
            told = orjson.loads(answer)
            named = self._named(answer)
        except (orjson.JSONDecodeError, HttpProblem):
            return
        if peer in named:
            await self._acquaintances.met(peer.name, told)

    async def hear(self, body: bytes) -> Answer:
        """Wake what waits for the peer that says hello."""
        peers, words = self._named(body), {}
        for peer in peers:
            log.info("hello.heard", peer=peer.name)
            words = await self._acquaintances.words_for(peer.name)
            await self._acquaintances.met(peer.name, orjson.loads(body))
            await self._signs.heard_from(peer.name)
        return Answer(orjson.dumps({"known": bool(peers), **self._me, **words}))

    def _named(self, body: bytes) -> set[Peer]:
        try:
            hello = orjson.loads(body)
            operators = [OperatorID(str(text)) for text in hello.get("operators", ())]
            providers = [ProviderID(str(text)) for text in hello.get("providers", ())]
        except (orjson.JSONDecodeError, AttributeError, TypeError) as error:
            raise HttpProblem(
                400, _DATA_ERROR, f"a hello is a JSON object with name, operators, providers: {error}"
            ) from error
        found = [self._registry.by_operator(party) for party in operators]
        found += [self._registry.by_provider(party) for party in providers]
        return {peer for peer in found if peer is not None and not peer.is_self}
