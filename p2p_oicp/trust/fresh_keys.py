"""Fresh keys of a peer: fetched when a signature, or a refusal, says that somebody has changed keys.

At most once a minute and peer, so that nobody can make this node ask on and on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.errors import NotProven, PeerError
from p2p_oicp.identity.tls import unverified_context
from p2p_oicp.oicp.operation import root_of
from p2p_oicp.peers import Peer, PeerRegistry, Profile
from p2p_oicp.peers.descriptor import DESCRIPTOR_PATH, SignedDescriptor, open_descriptor
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust.directory import Directory

log = structlog.get_logger(__name__)

_DEADLINE_SECONDS = 5.0
_PAUSE_SECONDS = 60.0
_JUST_NOW_SECONDS = 5.0


async def fetch_descriptor(client: OicpClient, url: str, clock: Clock) -> SignedDescriptor:
    """Fetch and check the descriptor of the node at ``url``, whatever its certificate; raise PeerError, NotProven."""
    where, tls = root_of(url) + DESCRIPTOR_PATH, unverified_context()
    _, body = await client.request_json("GET", where, deadline=_DEADLINE_SECONDS, tls=tls)
    return open_descriptor(body, clock.time())


class FreshKeys:
    """Fetches peers' keys; ``introduce`` tells a peer that we are there, so that it may fetch ours."""

    def __init__(self, *, registry: PeerRegistry, directory: Directory, client: OicpClient, clock: Clock) -> None:
        self._registry = registry
        self._directory = directory
        self._client = client
        self._clock = clock
        self._last: dict[str, tuple[float, bool]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self.introduce: Callable[[Peer], Awaitable[None]] | None = None

    async def fetch(self, name: str) -> bool:
        """Fetch the keys of the peer ``name``; say whether there is reason to try again what went wrong.

        Who asks while they are being fetched, or just after, shares the outcome.
        """
        peer = self._registry.by_name(name)
        if peer is None or peer.profile is not Profile.OICP:
            return False
        async with self._locks.setdefault(name, asyncio.Lock()):
            at, was_fetched = self._last.get(name, (-math.inf, False))
            age = self._clock.monotonic() - at
            if age < _PAUSE_SECONDS:
                return was_fetched and age < _JUST_NOW_SECONDS
            is_fresh = await self._fetch(peer)
            self._last[name] = (self._clock.monotonic(), is_fresh)
        if self.introduce is not None:
            await self.introduce(peer)
        return is_fresh

    async def _fetch(self, peer: Peer) -> bool:
        try:
            signed = await fetch_descriptor(self._client, peer.url, self._clock)
            await self._directory.learn(peer.name, signed)
        except (PeerError, NotProven) as error:
            log.warning("peers.no_fresh_keys", peer=peer.name, reason=str(error))
            return False
        log.info("peers.fresh_keys", peer=peer.name, key_id=signed.key.key_id)
        return True
