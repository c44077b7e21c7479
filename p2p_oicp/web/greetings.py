"""Hello: a node that has started tells its peers, so that they send at once what they owe it (DESIGN section 4)."""

from __future__ import annotations

import asyncio

import orjson
import structlog

from p2p_oicp.delivery import SignsOfLife
from p2p_oicp.errors import PeerError, Refusal, Unauthorized
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

    def __init__(self, me: Peer, *, registry: PeerRegistry, client: OicpClient, signs: SignsOfLife, gate: Gate) -> None:
        self._registry = registry
        self._gate = gate
        self._client = client
        self._signs = signs
        self._hello = orjson.dumps(
            {
                "name": me.name,
                "operators": [party.text for party in me.operators],
                "providers": [party.text for party in me.providers],
            }
        )

    async def greet_all(self) -> None:
        """Say hello to every peer that is a node; who does not listen, or has no such path, is left alone."""
        await asyncio.gather(*(self.greet(peer) for peer in self._registry.all()))

    async def greet(self, peer: Peer) -> None:
        """Say hello to one peer that is a node."""
        if peer.is_self or peer.profile is not Profile.OICP:
            return
        url = peer.url.removesuffix("/").removesuffix("/api/oicp") + _HELLO
        try:
            await self._client.post_json(url, self._hello, deadline=_DEADLINE_SECONDS, peer=peer.name)
        except PeerError as error:
            log.info("hello.unheard", peer=peer.name, reason=error.reason)

    async def hear(self, arrival: Arrival) -> Answer:
        """Wake what waits for the peer that says hello; raises Refusal 017 where it does not prove who it is."""
        try:
            caller = await self._gate.admit(arrival, _first_party(arrival.body))
        except Unauthorized:
            raise
        except Refusal:
            return Answer(orjson.dumps({"known": False}))
        if caller.peer is not None and not caller.peer.is_self:
            log.info("hello.heard", peer=caller.peer.name)
            await self._signs.heard_from(caller.peer.name)
        return Answer(orjson.dumps({"known": caller.peer is not None}))


def _first_party(body: bytes) -> OperatorID | ProviderID | None:
    try:
        hello = orjson.loads(body)
        operators = [OperatorID(str(text)) for text in hello.get("operators", ())]
        providers = [ProviderID(str(text)) for text in hello.get("providers", ())]
    except (orjson.JSONDecodeError, AttributeError, TypeError) as error:
        info = f"a hello is a JSON object with name, operators, providers: {error}"
        raise HttpProblem(400, _DATA_ERROR, info) from error
    first: OperatorID | ProviderID | None = next(iter(operators), None) or next(iter(providers), None)
    return first
