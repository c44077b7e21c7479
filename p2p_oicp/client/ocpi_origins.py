"""Which servers a partner may name: nothing that it says makes this node call the inside of a network (GATEWAY, 14).

A partner's own server is the one of ``versions_url`` in the settings, or of the command: an operator has chosen it. Any
other server must be called by https, and its name must lead to public addresses only, at the time of the registration;
later it is called under that name alone, and must show a certificate for it. A node whose own OCPI URL is on this
machine, as in tests and demonstrations, may call this machine as well.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from p2p_oicp.client.ocpi import origin_of

_RESOLVE_SECONDS = 5.0
_LOCAL_NAMES = frozenset({"localhost"})


@dataclass(frozen=True, slots=True)
class OriginRule:
    """Which servers one partner may name.

    Attributes:
        trusted: origins that an operator has chosen.
        allows_local: whether servers on this machine are.
    """

    trusted: frozenset[str] = frozenset()
    allows_local: bool = False

    def allows(self, url: str) -> bool:
        """Return whether a URL may be called, as far as its text tells."""
        origin = origin_of(url)
        if not origin or origin in self.trusted:
            return bool(origin)
        host = urlsplit(url).hostname or ""
        if is_local_host(host):
            return self.allows_local
        return url.startswith("https:") and _is_public(host) is not False

    async def check(self, url: str) -> str | None:
        """Return why a URL may not be called; None: it may be."""
        if not self.allows(url):
            return "expected https, and no address of a private network"
        host = urlsplit(url).hostname or ""
        if origin_of(url) in self.trusted or is_local_host(host) or _is_public(host):
            return None
        try:
            addresses = await _resolve(host)
        except (OSError, TimeoutError, UnicodeError):
            return f"the host {host} is not found"
        if all(_is_public(address) for address in addresses):
            return None
        return f"the host {host} leads into a private network"


def rule_for(own_url: str, trusted: Collection[str | None]) -> OriginRule:
    """Return the rule of a node with an OCPI URL of its own, and the URLs that an operator has chosen."""
    origins = frozenset(origin_of(url) for url in trusted if url)
    return OriginRule(origins, allows_local=is_local_host(urlsplit(own_url).hostname or ""))


def is_local_host(host: str) -> bool:
    """Whether a host is this machine, as far as its name tells."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() in _LOCAL_NAMES


def _is_public(host: str) -> bool | None:
    """Return whether an address is one of the public network; None: it is a name."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    # An IPv4 address in IPv6 is judged as what it leads to.
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_global and not address.is_multicast


async def _resolve(host: str) -> set[str]:
    async with asyncio.timeout(_RESOLVE_SECONDS):
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return {str(address[0]) for _, _, _, _, address in found}
