"""Discovery of nodes in the local network by multicast DNS (RFC 6762, 6763): it finds addresses, and trusts nothing.

A node announces ``_oicp-p2p._tcp.local.`` with the URL of its peer API, from which its signed descriptor is fetched.
Any machine can announce any URL: it is called only at an address of the networks that this node discovers in, and each
address at most once a minute. (1) If the key of the descriptor is a peer's, the peer is alive, and its backoff is
reset. (2) Otherwise, only in a node that requires no credentials and only if the settings say so, the node is accepted
as a peer at once, unless one of its parties was a peer and was removed. (3) Otherwise it is a *candidate*, until a
person accepts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import ifaddr
import orjson
import structlog
from zeroconf import InterfaceChoice, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from p2p_oicp.config.base import is_loopback
from p2p_oicp.errors import ConfigurationError, PeerError, VerificationError
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.key_refresh import DescriptorFetcher
from p2p_oicp.peering.pairing import parties_of, peer_from_descriptor
from p2p_oicp.peers import Peer, Source
from p2p_oicp.peers.descriptor import Descriptor, LocalIdentity, SignedDescriptor
from p2p_oicp.peers.models import parse_base_url
from p2p_oicp.storage import Store, peers

log = structlog.get_logger(__name__)

SERVICE_TYPE = "_oicp-p2p._tcp.local."

_RESOLVE_TIMEOUT_MILLISECONDS = 3000
# Any machine of the network can announce names: neither the queue nor the list grows without end.
_MAX_CANDIDATES = 200
_MAX_LABEL_BYTES = 63  # RFC 1035, 2.3.4
_MIN_FETCH_INTERVAL_SECONDS = 60.0


class MdnsDiscovery:
    """Announces this node and browses for others; an async context manager, whose `run` inspects what is announced.

    Args:
        identity: this node.
        directory: the peers.
        store: knows the peers that were removed.
        fetcher: fetches descriptors.
        interfaces: addresses of this machine; empty for all.
        auto_accept: make every node a peer at once.
        on_peer_alive: called with the id of a peer that was announced.

    Raises:
        ConfigurationError: ``auto_accept`` with required credentials; on entering: it cannot listen there.
    """

    def __init__(
        self,
        identity: LocalIdentity,
        *,
        directory: PeerDirectory,
        store: Store,
        fetcher: DescriptorFetcher,
        interfaces: Sequence[str],
        auto_accept: bool,
        on_peer_alive: Callable[[str], Awaitable[None]],
    ) -> None:
        if auto_accept and identity.require:
            raise ConfigurationError(
                "[discovery] auto_accept: only in a node that requires no credentials (require = [])"
            )
        self._identity = identity
        self._directory = directory
        self._store = store
        self._fetcher = fetcher
        self._interfaces = list(interfaces)
        self._is_auto_accept_enabled = auto_accept
        self._on_peer_alive = on_peer_alive
        self._announced: asyncio.Queue[tuple[Zeroconf, str]] = asyncio.Queue(_MAX_CANDIDATES)
        self._stack = AsyncExitStack()
        self._fetched_at: dict[str, float] = {}
        self.candidates: dict[str, SignedDescriptor] = {}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            zeroconf, service_info = _open_zeroconf(self._interfaces), self._own_service_info()
            stack.push_async_callback(zeroconf.async_close)
            # Order: registered before browsing, for only then is it certain which announced name is our own.
            await zeroconf.async_register_service(service_info, allow_name_change=True)
            stack.push_async_callback(zeroconf.async_unregister_service, service_info)
            on_change = partial(self._on_service_change, service_info)
            browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE_TYPE, handlers=[on_change])
            stack.push_async_callback(browser.async_cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        while True:
            zeroconf, name = await self._announced.get()
            info = AsyncServiceInfo(SERVICE_TYPE, name)
            if await info.async_request(zeroconf, _RESOLVE_TIMEOUT_MILLISECONDS):
                await self._inspect(info)

    async def accept(self, name: str, fingerprint: str | None = None, parties: Collection[str] | None = None) -> Peer:
        """Make a candidate a peer and return it.

        Args:
            name: the name in its descriptor.
            fingerprint: the id of the key that a person has compared; None to accept any.
            parties: the ids that it had when a person agreed; None to agree to any.

        Raises:
            ConfigurationError: there is no such candidate, its key or parties are others, or it cannot be added.
        """
        signed = self.candidates.get(name)
        if signed is None:
            candidate_names = ", ".join(self.candidates) or "none"
            raise ConfigurationError(f'"{name}" is no candidate; found: {candidate_names}')
        if fingerprint is not None and fingerprint != signed.key.key_id:
            raise ConfigurationError(f'"{name}" has another key now: {signed.key.key_id}')
        if parties is not None and parties_of(signed.descriptor) != set(parties):
            raise ConfigurationError(f'"{name}" names other parties now: {", ".join(parties_of(signed.descriptor))}')
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
        self,
        own: AsyncServiceInfo,
        zeroconf: Zeroconf,
        service_type: str,  # noqa: ARG002 - zeroconf passes all four by name
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        # Our own name may have been changed at registration, if another node has it.
        if state_change is not ServiceStateChange.Removed and name != own.name and not self._announced.full():
            self._announced.put_nowait((zeroconf, name))

    async def _inspect(self, info: AsyncServiceInfo) -> None:
        url = (info.decoded_properties or {}).get("url") or ""
        try:
            base = parse_base_url(url)
            address = await self._resolve(base)
            if not self._may_fetch(address):
                return
            signed = await self._fetcher.fetch(base, address=address)
        except (ValueError, OSError, PeerError, VerificationError) as error:
            log.info("discovery.descriptor_rejected", service=info.name, url=url, reason=str(error))
            return
        owner = self._directory.owner_of(signed.key)
        if owner == self._identity.local_peer.name or signed.descriptor.url == self._identity.local_peer.url:
            return
        if owner is not None:
            log.info("discovery.peer_seen", peer=owner)
            await self._on_peer_alive(self._directory.id_of(owner))  # (1)
        elif self._is_auto_accept_enabled and not await self._was_removed(signed.descriptor):
            await self._auto_accept(signed)  # (2)
        elif len(self.candidates) < _MAX_CANDIDATES:
            log.info("discovery.candidate", name=signed.descriptor.name, url=url, key_id=signed.key.key_id)
            self.candidates[signed.descriptor.name] = signed  # (3)

    async def _resolve(self, base: str) -> str:
        """Return the address of a URL, ``host:port``, which is then called, whatever its name means a moment later.

        Raises:
            ValueError: it has none in the networks that this node discovers in.
            OSError: its name is unknown.
        """
        parts = urlsplit(base)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        # A node that is at loopback itself is one of several on this machine.
        own_host = urlsplit(self._identity.local_peer.url).hostname or ""
        networks = _local_networks(self._interfaces, with_loopback=is_loopback(own_host))
        for *_, address in await asyncio.get_running_loop().getaddrinfo(host, port):
            ip = ip_address(str(address[0]).partition("%")[0])
            if any(ip in network for network in networks):
                return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"  # noqa: PLR2004 - the version of IP
        raise ValueError(f"{host} is no address of the local network")

    def _may_fetch(self, address: str) -> bool:
        now = self._identity.clock.monotonic()
        recent = {each: at for each, at in self._fetched_at.items() if now - at < _MIN_FETCH_INTERVAL_SECONDS}
        is_allowed = address not in recent and len(recent) < _MAX_CANDIDATES
        self._fetched_at = recent | {address: now} if is_allowed else recent
        return is_allowed

    async def _was_removed(self, descriptor: Descriptor) -> bool:
        parties = {party.key for party in (*descriptor.operators, *descriptor.providers)}
        return any(
            self._directory.find_by_id(row["id"]) is None and not parties.isdisjoint(orjson.loads(row["parties"]))
            for row in await self._store.query(peers.ALL_PEERS)
        )

    async def _auto_accept(self, signed: SignedDescriptor) -> None:
        # Its key is not pinned: it was not verified by anyone, and would lock out the node after a rotation.
        peer = peer_from_descriptor(signed, self._identity.require, source=Source.DISCOVERED, pin_credentials=False)
        try:
            await self._directory.add(peer, None)
        except ConfigurationError as error:
            log.warning("discovery.conflict", name=peer.name, reason=str(error))
        else:
            log.warning(
                "discovery.auto_accepted", peer=peer.name, url=peer.url, meaning="insecure: it is not authenticated"
            )


def _local_networks(interfaces: list[str], *, with_loopback: bool) -> list[IPv4Network | IPv6Network]:
    """Return the networks of these addresses of this machine; without any, of all, with or without loopback ones."""
    found = []
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            address = each.ip if isinstance(each.ip, str) else each.ip[0]
            is_usable = with_loopback or not ip_address(address).is_loopback
            if address in interfaces or (not interfaces and is_usable):
                found.append(ip_network(f"{address}/{each.network_prefix}", strict=False))
    return found


def _open_zeroconf(interfaces: list[str]) -> AsyncZeroconf:
    try:
        return AsyncZeroconf(interfaces=interfaces or InterfaceChoice.Default)
    except (OSError, ValueError, RuntimeError) as exc:  # which one depends on the kind of address
        if not interfaces:
            raise ConfigurationError(f"[discovery] mdns: cannot listen on this machine: {exc}") from exc
        addresses = ", ".join(interfaces)
        raise ConfigurationError(
            f"[discovery] interfaces: expected addresses of this machine, not {addresses}"
        ) from exc
