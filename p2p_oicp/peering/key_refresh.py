"""Fresh keys of a peer: fetched when a signature, or a refusal, says that somebody has changed keys.

At most once a minute and peer, so that nobody can make this node ask on and on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import structlog

from p2p_oicp.client import HttpTransport
from p2p_oicp.clock import Clock
from p2p_oicp.crypto.tls import unverified_context
from p2p_oicp.errors import PeerError, VerificationError
from p2p_oicp.oicp.operations import api_root
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peers import Peer, PeerRegistry, Profile
from p2p_oicp.peers.descriptor import DESCRIPTOR_PATH, SignedDescriptor, verify_descriptor

log = structlog.get_logger(__name__)

_DEADLINE_SECONDS = 5.0
_MIN_INTERVAL_SECONDS = 60.0
_RESULT_REUSE_SECONDS = 5.0


async def fetch_descriptor(client: HttpTransport, url: str, clock: Clock) -> SignedDescriptor:
    """Fetch and check the descriptor of the node at ``url``, whatever its certificate; raise PeerError, NotProven."""
    descriptor_url, tls_context = api_root(url) + DESCRIPTOR_PATH, unverified_context()
    _, body = await client.request_json("GET", descriptor_url, deadline=_DEADLINE_SECONDS, tls=tls_context)
    return verify_descriptor(body, clock.time())


class KeyRefresher:
    """Fetches peers' keys; ``introduce`` tells a peer that we are there, so that it may fetch ours."""

    def __init__(
        self, *, registry: PeerRegistry, directory: PeerDirectory, client: HttpTransport, clock: Clock
    ) -> None:
        self._registry = registry
        self._directory = directory
        self._client = client
        self._clock = clock
        self._last_results: dict[str, tuple[float, bool]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self.on_refreshed: Callable[[Peer], Awaitable[None]] | None = None

    async def refresh(self, name: str) -> bool:
        """Fetch the keys of the peer ``name``; say whether there is reason to try again what went wrong.

        Who asks while they are being fetched, or just after, shares the outcome.
        """
        peer = self._registry.by_name(name)
        if peer is None or peer.profile is not Profile.OICP:
            return False
        async with self._locks.setdefault(name, asyncio.Lock()):
            refreshed_at, was_refreshed = self._last_results.get(name, (-math.inf, False))
            age = self._clock.monotonic() - refreshed_at
            if age < _MIN_INTERVAL_SECONDS:
                return was_refreshed and age < _RESULT_REUSE_SECONDS
            is_refreshed = await self._refresh_descriptor(peer)
            self._last_results[name] = (self._clock.monotonic(), is_refreshed)
        if self.on_refreshed is not None:
            await self.on_refreshed(peer)
        return is_refreshed

    async def _refresh_descriptor(self, peer: Peer) -> bool:
        try:
            signed = await fetch_descriptor(self._client, peer.url, self._clock)
            await self._directory.update_descriptor(peer.name, signed)
        except (PeerError, VerificationError) as error:
            log.warning("peer.key_refresh_failed", peer=peer.name, reason=str(error))
            return False
        log.info("peer.keys_refreshed", peer=peer.name, key_id=signed.key.key_id)
        return True
