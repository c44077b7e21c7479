"""Refreshing a peer's keys and certificates from the descriptor that its node publishes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import urlsplit

import structlog

from p2p_oicp.client import HttpTransport, OutboundRequest
from p2p_oicp.client.replies import raise_for_status
from p2p_oicp.clock import Clock
from p2p_oicp.crypto.tls import unverified_context
from p2p_oicp.errors import PeerError, VerificationError
from p2p_oicp.oicp.operations import api_root
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.descriptor import DESCRIPTOR_PATH, SignedDescriptor, verify_descriptor

log = structlog.get_logger(__name__)

_FETCH_TIMEOUT_SECONDS = 5.0
# At most one fetch a minute and peer: a sender of forged signatures must not make this node call a peer on and on.
_MIN_INTERVAL_SECONDS = 60.0
# Requests that fail together for the same reason share one fetch.
_RESULT_REUSE_SECONDS = 5.0


class DescriptorFetcher:
    """Fetches descriptors of nodes, known or not.

    A descriptor is signed by the node itself, so it is fetched without a request signature and over any TLS
    certificate: that certificate may be the one that has changed. This is what keeps client and trust free of a cycle.
    """

    def __init__(self, transport: HttpTransport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock

    async def fetch(self, url: str, address: str | None = None) -> SignedDescriptor:
        """Return the descriptor of the node at the base URL ``url``; raise PeerError or VerificationError.

        It says by which certificate it came: that one is the node's own, for the node has sent through its connection
        what it has signed.

        Args:
            url: the base URL.
            address: host and port to call in place of those of the URL; None: the name is looked up.
        """
        target, shown = api_root(url) + DESCRIPTOR_PATH, [""]
        called, headers = target, {}
        if address is not None:
            parts = urlsplit(target)
            called, headers = parts._replace(netloc=address).geturl(), {"Host": parts.netloc}
        # Order: a context of its own, so that no connection is reused, and the certificate is that of this handshake.
        context = unverified_context(shown)
        response = await self._transport.send(
            OutboundRequest("GET", called, b"", _FETCH_TIMEOUT_SECONDS, target, headers, context)
        )
        raise_for_status(response, now=self._clock.time(), is_oicp=False)
        signed = verify_descriptor(response.body_as_utf8(), self._clock.time())
        return replace(signed, shown_certificate=shown[-1])


class PeerKeyRefresher:
    """Fetches the keys of a peer when a signature or a refusal says that they have changed (`client.KeyRefresher`)."""

    def __init__(
        self, *, registry: PeerRegistry, directory: PeerDirectory, fetcher: DescriptorFetcher, clock: Clock
    ) -> None:
        self._registry = registry
        self._directory = directory
        self._fetcher = fetcher
        self._clock = clock
        self._last_results: dict[str, tuple[float, bool]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._listeners: list[Callable[[Peer], Awaitable[None]]] = []

    def subscribe(self, listener: Callable[[Peer], Awaitable[None]]) -> None:
        """Call ``listener`` after each fetch, whether it succeeded or not."""
        self._listeners.append(listener)

    async def refresh(self, name: str) -> bool:
        """Fetch the keys of the peer ``name``; return whether that succeeded, so that another attempt may.

        A call during a fetch, or just after it, shares its result.
        """
        peer = self._registry.by_name(name)
        if peer is None or not peer.is_node:
            return False
        async with self._locks.setdefault(name, asyncio.Lock()):
            refreshed_at, was_refreshed = self._last_results.get(name, (-math.inf, False))
            age = self._clock.monotonic() - refreshed_at
            if age < _MIN_INTERVAL_SECONDS:
                return was_refreshed and age < _RESULT_REUSE_SECONDS
            is_refreshed = await self._refresh_descriptor(peer)
            self._last_results[name] = (self._clock.monotonic(), is_refreshed)
        # Order: after the lock is released, for a listener calls the peer (hello), and that may come back here.
        for listener in self._listeners:
            await listener(peer)
        return is_refreshed

    async def _refresh_descriptor(self, peer: Peer) -> bool:
        try:
            signed = await self._fetcher.fetch(peer.url)
            await self._directory.update_descriptor(peer.name, signed)
        except (PeerError, VerificationError) as error:
            log.warning("peer.key_refresh_failed", peer=peer.name, reason=str(error))
            return False
        log.info("peer.keys_refreshed", peer=peer.name, key_id=signed.key.key_id)
        return True
