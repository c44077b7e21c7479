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

from p2p_oicp.client import HttpTransport
from p2p_oicp.clock import Clock
from p2p_oicp.errors import ConfigurationError, PeerError, VerificationError
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.key_refresh import fetch_descriptor
from p2p_oicp.peering.pairing import LocalIdentity, peer_from_descriptor
from p2p_oicp.peers import Peer, Source
from p2p_oicp.peers.descriptor import SignedDescriptor
from p2p_oicp.peers.models import base_url

log = structlog.get_logger(__name__)

SERVICE_TYPE = "_oicp-p2p._tcp.local."

_RESOLVE_TIMEOUT_MILLISECONDS = 3000
_MAX_CANDIDATES = 200
_MAX_LABEL_BYTES = 63


class MdnsDiscovery:
    """Announces this node and listens for others; an async context manager.

    ``interfaces`` are addresses of this machine, empty = all of them. ``is_up`` is told of peers that were heard.
    Entering it raises ConfigurationError where this machine cannot listen there.
    """

    def __init__(
        self,
        identity: LocalIdentity,
        *,
        directory: PeerDirectory,
        client: HttpTransport,
        clock: Clock,
        interfaces: Sequence[str],
        auto_accept: bool,
        on_peer_alive: Callable[[str], Awaitable[None]],
    ) -> None:
        self._identity = identity
        self._directory = directory
        self._client = client
        self._clock = clock
        self._interfaces = list(interfaces)
        self._is_auto_accept_enabled = auto_accept
        self._on_peer_alive = on_peer_alive
        self._announced_names: asyncio.Queue[str] = asyncio.Queue(_MAX_CANDIDATES)
        self.candidates: dict[str, SignedDescriptor] = {}

    async def __aenter__(self) -> Self:
        self._zeroconf = _open_zeroconf(self._interfaces)
        self._service_info = self._own_service_info()
        await self._zeroconf.async_register_service(self._service_info, allow_name_change=True)
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE_TYPE, handlers=[self._on_service_change])
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._browser.async_cancel()
        await self._zeroconf.async_unregister_service(self._service_info)
        await self._zeroconf.async_close()

    async def run(self) -> None:
        """Look at every node that is announced; until cancelled."""
        while True:
            name = await self._announced_names.get()
            info = AsyncServiceInfo(SERVICE_TYPE, name)
            if await info.async_request(self._zeroconf.zeroconf, _RESOLVE_TIMEOUT_MILLISECONDS):
                await self._inspect(info)

    async def accept(self, name: str, fingerprint: str | None = None) -> Peer:
        """Make a candidate a peer; raise ConfigurationError where there is none, or its key is not ``fingerprint``."""
        signed = self.candidates.get(name)
        if signed is None:
            candidate_names = ", ".join(self.candidates) or "nobody"
            raise ConfigurationError(f'"{name}" is no candidate; found: {candidate_names}')
        if fingerprint is not None and fingerprint != signed.key.key_id:
            raise ConfigurationError(f'"{name}" has another key by now: {signed.key.key_id}')
        peer = peer_from_descriptor(signed, self._identity.require, source=Source.DISCOVERED)
        await self._directory.add(peer, signed)
        del self.candidates[name]
        return peer

    def _own_service_info(self) -> AsyncServiceInfo:
        local_peer = self._identity.local_peer
        label = local_peer.name.replace(".", "-").encode()[:_MAX_LABEL_BYTES].decode(errors="ignore")
        port = urlsplit(local_peer.url).port or (443 if local_peer.url.startswith("https") else 80)
        return AsyncServiceInfo(
            SERVICE_TYPE,
            f"{label}.{SERVICE_TYPE}",
            port=port,
            properties={"url": local_peer.url, "v": "1"},
            parsed_addresses=self._interfaces or None,
        )

    def _on_service_change(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:  # zeroconf passes these by name
        del zeroconf, service_type
        if (
            state_change is not ServiceStateChange.Removed
            and name != self._service_info.name
            and not self._announced_names.full()
        ):
            self._announced_names.put_nowait(name)

    async def _inspect(self, info: AsyncServiceInfo) -> None:
        url = (info.decoded_properties or {}).get("url") or ""
        try:
            signed = await fetch_descriptor(self._client, base_url(url), self._clock)
        except (ValueError, PeerError, VerificationError) as error:
            log.info("discovery.descriptor_rejected", service=info.name, url=url, reason=str(error))
            return
        owner = self._directory.owner_of(signed.key)
        if owner == self._identity.local_peer.name or signed.descriptor.url == self._identity.local_peer.url:
            return
        if owner is not None:
            log.info("discovery.peer_seen", peer=owner)
            await self._on_peer_alive(owner)  # (1)
        elif self._is_auto_accept_enabled:
            await self._auto_accept(signed)  # (3)
        elif len(self.candidates) < _MAX_CANDIDATES:
            log.info("discovery.candidate", name=signed.descriptor.name, url=url, key_id=signed.key.key_id)
            self.candidates[signed.descriptor.name] = signed  # (2)

    async def _auto_accept(self, signed: SignedDescriptor) -> None:
        """Believe a node: its key is not even remembered, since in this mode nobody proves anything."""
        peer = peer_from_descriptor(signed, self._identity.require, source=Source.DISCOVERED, pin_credentials=False)
        try:
            await self._directory.add(peer, None)
        except ConfigurationError as error:
            log.warning("discovery.conflict", name=peer.name, reason=str(error))
        else:
            log.warning("discovery.auto_accepted", peer=peer.name, url=peer.url, meaning="insecure: without any proof")


def _open_zeroconf(interfaces: list[str]) -> AsyncZeroconf:
    try:
        return AsyncZeroconf(interfaces=interfaces or InterfaceChoice.Default)
    except (OSError, ValueError, RuntimeError) as exc:  # which one depends on the kind of address
        if not interfaces:
            raise ConfigurationError(f"[discovery] mdns: this machine does not let it listen: {exc}") from exc
        addresses = ", ".join(interfaces)
        raise ConfigurationError(
            f"[discovery] interfaces: expected addresses of this machine, not {addresses}"
        ) from exc
