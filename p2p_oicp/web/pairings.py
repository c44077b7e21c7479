"""What nodes say among themselves about who they are: descriptor, pairing, un-pairing (DESIGN section 4)."""

from __future__ import annotations

import orjson
import structlog
from aiohttp import web

from p2p_oicp.errors import ConfigurationError, NotProven, Unauthorized
from p2p_oicp.identity import PublicKey, verify_request
from p2p_oicp.peers import Source
from p2p_oicp.peers.descriptor import DESCRIPTOR_PATH, SignedDescriptor, open_descriptor
from p2p_oicp.peers.invitation import PAIRINGS_PATH
from p2p_oicp.roles import Answer
from p2p_oicp.trust import Trust
from p2p_oicp.web.apps import Listener
from p2p_oicp.web.buckets import Buckets
from p2p_oicp.web.gate import Arrival, Gate
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem

log = structlog.get_logger(__name__)

_MOST_BYTES = 256 * 1024
_NOT_OFFERED = "320"
# A person pastes one link; whoever tries more guesses.
_TRIES_PER_SECOND, _TRIES_AT_ONCE = 1 / 12, 5


class PeerPairings:
    """Serves the peer API's part of pairing."""

    def __init__(self, listener: Listener, *, gate: Gate, trust: Trust) -> None:
        self._listener = listener
        self._gate = gate
        self._ours = trust.ours
        self._pairing = trust.pairing
        self._directory = trust.directory
        self._guard = trust.guard
        self._clock = trust.clock
        self._tries = Buckets(trust.clock, per_second=_TRIES_PER_SECOND, at_once=_TRIES_AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        """Return what is served to everybody."""
        return [
            web.get(DESCRIPTOR_PATH, self._listener.handler(self.descriptor)),
            web.post(PAIRINGS_PATH, self._listener.handler(self.pair)),
            web.delete(f"{PAIRINGS_PATH}/self", self._listener.handler(self.part)),
        ]

    async def descriptor(self, _request: web.Request) -> Answer:
        """Serve ``GET /.well-known/oicp-p2p``."""
        return Answer(self._ours.descriptor())

    async def pair(self, request: web.Request) -> Answer:
        """Serve ``POST /p2p/v1/pairings``: somebody joins, with an invitation."""
        arrival = await self._listener.arrive(request, _MOST_BYTES)
        self._tries.take(arrival.address or "", "pairing attempts")
        proof_key, theirs = self._proven(arrival)
        try:
            answer = await self._pairing.welcome(proof_key, theirs)
        except Unauthorized as refused:
            log.warning("pairing.refused", address=arrival.address, reason=refused.info)
            raise
        except ConfigurationError as conflict:
            log.warning("pairing.conflict", address=arrival.address, reason=str(conflict))
            raise HttpProblem(409, DATA_ERROR, f"the inviting node cannot add this peer: {conflict}") from conflict
        log.info("pairing.done", peer=theirs.descriptor.name, key_id=theirs.key.key_id)
        return Answer(answer)

    async def part(self, request: web.Request) -> Answer:
        """Serve ``DELETE /p2p/v1/pairings/self``: a peer un-pairs; it has to prove who it is."""
        arrival = await self._listener.arrive(request, _MOST_BYTES)
        caller = await self._gate.admit(arrival, None)
        if caller.peer is None or not caller.is_proven:
            raise Unauthorized("only a peer that proves who it is can un-pair")
        if caller.peer.source is Source.FILE:
            log.warning("pairing.file_peer_parts", peer=caller.peer.name)
            raise HttpProblem(409, _NOT_OFFERED, "this peer stands in a file, which only a person changes")
        await self._directory.remove(caller.peer.name)
        log.info("pairing.ended", peer=caller.peer.name, by="peer")
        return Answer(orjson.dumps({"removed": True}))

    def _proven(self, arrival: Arrival) -> tuple[PublicKey, SignedDescriptor]:
        """Return the key of the invitation and the descriptor; raise Unauthorized where either proves nothing."""
        now = self._clock.time()
        try:
            body = orjson.loads(arrival.body)
            key = PublicKey.from_line(str(body["proof_key"]))
            theirs = orjson.dumps(body["descriptor"])
        except (ValueError, KeyError, TypeError) as error:
            raise HttpProblem(400, DATA_ERROR, f"a joining node sends descriptor and proof_key: {error}") from error
        try:
            signature = verify_request(arrival.parts, lambda _key_id, _now: key, now)
            self._guard.accept_once(signature, now)
            signed = open_descriptor(theirs, now)
        except NotProven as error:
            raise Unauthorized(str(error)) from error
        arrival.signature = signature
        return key, signed
