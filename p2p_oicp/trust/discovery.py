"""Finding nodes in the local network by multicast DNS (RFC 6762, 6763): addresses, never trust.

A node announces ``_oicp-p2p._tcp.local.`` with the URL of its peer API. Whoever hears of it fetches the node's signed
descriptor there. (1) If the key is one of a peer's, the peer is up: what waits for it is due. (2) Otherwise the node
is a *candidate*, until a person accepts it. (3) Only where nobody has to prove anything may it be accepted at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import structlog
from zeroconf import InterfaceChoice, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from p2p_oicp.clock import Clock
from p2p_oicp.errors import ConfigurationError, NotProven, PeerError
from p2p_oicp.peers import Peer, Source
from p2p_oicp.peers.descriptor import SignedDescriptor
from p2p_oicp.peers.fields import base_url
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust.directory import Directory
from p2p_oicp.trust.fresh_keys import fetch_descriptor
from p2p_oicp.trust.pairing import OurSide, peer_of

log = structlog.get_logger(__name__)

SERVICE = "_oicp-p2p._tcp.local."

_RESOLVE_MILLISECONDS = 3000
_MOST_CANDIDATES = 200
_LONGEST_LABEL = 63


class Discovery:
    """Announces this node and listens for others; an async context manager.

    ``interfaces`` are addresses of this machine, empty = all of them. ``is_up`` is told of peers that were heard.
    Entering it raises ConfigurationError where this machine cannot listen there.
    """

    def __init__(
        self,
        ours: OurSide,
        *,
        directory: Directory,
        client: OicpClient,
        clock: Clock,
        interfaces: Sequence[str],
        auto_accept: bool,
        is_up: Callable[[str], Awaitable[None]],
    ) -> None:
        self._ours = ours
        self._directory = directory
        self._client = client
        self._clock = clock
        self._interfaces = list(interfaces)
        self._auto_accept = auto_accept
        self._is_up = is_up
        self._heard: asyncio.Queue[str] = asyncio.Queue(_MOST_CANDIDATES)
        self.candidates: dict[str, SignedDescriptor] = {}

    async def __aenter__(self) -> Self:
        self._zeroconf = _opened(self._interfaces)
        self._info = self._announcement()
        await self._zeroconf.async_register_service(self._info, allow_name_change=True)
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._noted])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._browser.async_cancel()
        await self._zeroconf.async_unregister_service(self._info)
        await self._zeroconf.async_close()

    async def run(self) -> None:
        """Look at every node that is announced; until cancelled."""
        while True:
            name = await self._heard.get()
            info = AsyncServiceInfo(SERVICE, name)
            if await info.async_request(self._zeroconf.zeroconf, _RESOLVE_MILLISECONDS):
                await self._look_at(info)

    async def accept(self, name: str, fingerprint: str | None = None) -> Peer:
        """Make a candidate a peer; raise ConfigurationError where there is none, or its key is not ``fingerprint``."""
        signed = self.candidates.get(name)
        if signed is None:
            known = ", ".join(self.candidates) or "nobody"
            raise ConfigurationError(f'"{name}" is no candidate; found: {known}')
        if fingerprint is not None and fingerprint != signed.key.key_id:
            raise ConfigurationError(f'"{name}" has another key by now: {signed.key.key_id}')
        peer = peer_of(signed, self._ours.require, source=Source.FOUND)
        await self._directory.add(peer, signed)
        del self.candidates[name]
        return peer

    def _announcement(self) -> AsyncServiceInfo:
        me = self._ours.me
        label = me.name.replace(".", "-").encode()[:_LONGEST_LABEL].decode(errors="ignore")
        port = urlsplit(me.url).port or (443 if me.url.startswith("https") else 80)
        return AsyncServiceInfo(
            SERVICE,
            f"{label}.{SERVICE}",
            port=port,
            properties={"url": me.url, "v": "1"},
            parsed_addresses=self._interfaces or None,
        )

    def _noted(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:  # zeroconf passes these by name
        del zeroconf, service_type
        if state_change is not ServiceStateChange.Removed and name != self._info.name and not self._heard.full():
            self._heard.put_nowait(name)

    async def _look_at(self, info: AsyncServiceInfo) -> None:
        url = (info.decoded_properties or {}).get("url") or ""
        try:
            signed = await fetch_descriptor(self._client, base_url(url), self._clock)
        except (ValueError, PeerError, NotProven) as error:
            log.info("discovery.unusable", service=info.name, url=url, reason=str(error))
            return
        owner = self._directory.owner_of(signed.key)
        if owner == self._ours.me.name or signed.descriptor.url == self._ours.me.url:
            return
        if owner is not None:
            log.info("discovery.peer_is_up", peer=owner)
            await self._is_up(owner)  # (1)
        elif self._auto_accept:
            await self._take(signed)  # (3)
        elif len(self.candidates) < _MOST_CANDIDATES:
            log.info("discovery.candidate", name=signed.descriptor.name, url=url, key_id=signed.key.key_id)
            self.candidates[signed.descriptor.name] = signed  # (2)

    async def _take(self, signed: SignedDescriptor) -> None:
        """Believe a node: its key is not even remembered, since in this mode nobody proves anything."""
        peer = peer_of(signed, self._ours.require, source=Source.FOUND, pinned=False)
        try:
            await self._directory.add(peer, None)
        except ConfigurationError as error:
            log.warning("discovery.conflict", name=peer.name, reason=str(error))
        else:
            log.warning("discovery.believed", peer=peer.name, url=peer.url, meaning="insecure: without any proof")


def _opened(interfaces: list[str]) -> AsyncZeroconf:
    try:
        return AsyncZeroconf(interfaces=interfaces or InterfaceChoice.Default)
    except (OSError, ValueError, RuntimeError) as exc:  # which one depends on the kind of address
        if not interfaces:
            raise ConfigurationError(f"[discovery] mdns: this machine does not let it listen: {exc}") from exc
        given = ", ".join(interfaces)
        raise ConfigurationError(f"[discovery] interfaces: expected addresses of this machine, not {given}") from exc
