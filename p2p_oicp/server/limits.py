"""Admission control: reject excess load early, so that overload costs neither memory nor other clients.

**Body room.** A small body occupies nothing but its connection until it is whole. What a larger one has grown to, on
the wire and decompressed, is taken from a budget common to all (503 above); half of it is for proved callers only.

**Lanes.** A request that is authenticated and received needs a slot in a lane of its listener. There are four, so that
a storm in one never delays another: *interactive* (a driver waits), *remote* (a station is waited for, up to a minute),
*settlement* (CDRs and notifications, which their sender repeats) and *bulk* (pushes and pulls of datasets: a few at a
time, a bounded number waiting). One client (a proved peer, else an address) holds at most 75 % of a lane, half of the
remote one (429 above); a full lane is 503. An address is no proof of
anything: this keeps accidents apart, not attackers.

**Per peer.** `PeerLimiter` bounds the rate and the concurrency of an authenticated peer across all lanes (429).

Every refusal says when to try again (Retry-After).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

import msgspec

from p2p_oicp.client import NOT_PROCESSED_HEADER
from p2p_oicp.clock import Clock
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.peers import Peer
from p2p_oicp.server.problems import HttpError

# At so many, those that are full again are dropped.
_MAX_BUCKETS: Final = 10_000
# The rest stays for others: a client that fails does not shut them out.
_CLIENT_SHARE: Final = 0.75
_BULK_SLOT_TIMEOUT_SECONDS: Final = 10.0
# Of the largest allowed size; of bodies of the usual size there is room for many more.
_MAX_CONCURRENT_BODIES: Final = 2
#: Up to this size the connections bound the memory well enough: 1000 of them hold 64 MB.
SMALL_BODY_BYTES: Final = 64 * 1024
_IPV6_HOST_PREFIX_BITS: Final = 64
# By the first segment of a path (``oicp.operations``); all else is settlement.
_BULK_SERVICES = ("evsepush", "evsepull", "dynamicpricing", "authdata")
# GetChargeDetailRecords shares its service with the CDRs, but pages of records are bulk.
_CDR_SERVICE = "cdrmgmt"
_CDR_PULL_SEGMENT = "providers"
# So do remote operations with authorizations.
_CHARGING_SERVICE = "charging"
_PROVIDER_SEGMENT = "providers"
_REMOTE_SLOTS = 128


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How many requests one listener takes on.

    Attributes:
        requests: slots of the interactive lane, and as many of the settlement lane. At a few hundred requests a second,
            256 are answered within a second, before their senders give up.
        pushes: slots of the bulk lane.
        waiting: how many requests may wait for one of these.
        remote: slots of the lane of remote operations.
        remote_share: how many of these one client may hold.
    """

    requests: int = 256
    pushes: int = 8
    waiting: int = 256
    remote: int = _REMOTE_SLOTS
    remote_share: int = _REMOTE_SLOTS // 2

    def for_own_systems(self, concurrent: Iterable[int]) -> AdmissionLimits:
        """Return the limits of the backend API.

        Contract systems may share an address, and remote operations at a CSMS that hangs be of any of them. Each CSMS
        holds up at most as many as it gets at a time: with so many slots for each, others are served by the rest.

        Args:
            concurrent: of each CSMS, how many requests it gets at a time.
        """
        slots = self.remote_share + sum(concurrent)
        return replace(self, remote=slots, remote_share=slots)

    @property
    def per_peer(self) -> int:
        """How many requests of one peer are served at a time, in all lanes."""
        return client_share(self.requests)


def client_share(slots: int) -> int:
    """Return how many of ``slots`` one client may hold."""
    return max(1, int(slots * _CLIENT_SHARE))


@lru_cache(maxsize=4096)
def address_block(address: str) -> str:
    """Return what counts as one client address: of IPv6 the /64, since each host has as many addresses as it wants."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed), _IPV6_HOST_PREFIX_BITS), strict=False))


def overloaded(info: str, http_status: int = 503) -> HttpError:
    """Return the refusal of a node that has too much to do, and has not begun to process the request (RULES L5)."""
    headers = {"Retry-After": "1", NOT_PROCESSED_HEADER: "1"}
    return HttpError(http_status, StatusCodeValue.SYSTEM_ERROR, f"{info}; try again in a moment", headers)


class _ClientCounter:
    """Counts what each client holds, up to a share."""

    __slots__ = ("_counts", "_label", "_share")

    def __init__(self, share: int, label: str) -> None:
        self._share = share
        self._label = label
        self._counts: dict[str, int] = {}

    def acquire(self, client: str) -> None:
        count = self._counts.get(client, 0)
        if count >= self._share:
            raise overloaded(f"{count} {self._label}", 429)
        self._counts[client] = count + 1

    def release(self, client: str) -> None:
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]


class _AdmissionLane:
    """A number of slots, of which one client gets a share."""

    __slots__ = ("_by_client", "_in_use", "_label", "_slots")

    def __init__(self, slots: int, label: str, share: int | None = None) -> None:
        self._slots = slots
        self._label = label
        self._in_use = 0
        self._by_client = _ClientCounter(share or client_share(slots), f"{label} of yours are being answered")

    def acquire(self, client: str) -> None:
        """Take a slot.

        Raises:
            HttpError: 429 where the client holds its share, 503 where all are taken.
        """
        self._by_client.acquire(client)
        if self._in_use >= self._slots:
            self._by_client.release(client)
            raise overloaded(f"{self._in_use} {self._label} are being answered")
        self._in_use += 1

    def release(self, client: str) -> None:
        self._in_use -= 1
        self._by_client.release(client)


# A Struct and no data class: one is made for each request, in a third of the time.
class AdmissionTicket(msgspec.Struct):
    """What one request occupies; only `AdmissionController` changes it.

    Attributes:
        client: the id of a proved peer, else a client address (`address_block`).
        is_proved: its sender was authenticated.
    """

    client: str
    is_proved: bool = False
    lane: _AdmissionLane | None = None
    has_bulk_slot: bool = False
    reserved_bytes: int = 0


class AdmissionController:
    """Admits the requests of one listener, in the order ``reserve_bytes``, ``enter_lane``.

    Args:
        max_body: the largest body of one request, in bytes.
        limits: the numbers of slots.
    """

    def __init__(self, max_body: int, limits: AdmissionLimits) -> None:
        self.max_body = max_body
        self._max_reserved_bytes = _MAX_CONCURRENT_BODIES * max_body
        self._reserved_bytes = 0
        self._reserved_by_unproved = 0
        #: Held while a compressed body that is not small is decompressed: one after the other.
        self.decompression = asyncio.Lock()
        self._interactive_lane = _AdmissionLane(limits.requests, "requests")
        # A station may take most of a minute, and must not keep the authorizations of others waiting.
        self._remote_lane = _AdmissionLane(limits.remote, "remote operations", limits.remote_share)
        self._settlement_lane = _AdmissionLane(limits.requests, "CDRs and notifications")
        self._bulk_lane = _AdmissionLane(limits.pushes + limits.waiting, "pushes and pulls")
        self._bulk_slots = asyncio.Semaphore(limits.pushes)
        self._lanes_by_service = {
            "charging": self._interactive_lane,
            "reservation": self._remote_lane,
            **dict.fromkeys(_BULK_SERVICES, self._bulk_lane),
        }
        self._find_lane = lru_cache(maxsize=1024)(self._lane_of)

    def __repr__(self) -> str:
        return f"<AdmissionController reserved={self._reserved_bytes} of {self._max_reserved_bytes} bytes>"

    def reserve_bytes(self, ticket: AdmissionTicket, size: int) -> None:
        """Reserve memory for the ``size`` bytes that have come of a body so far; raise HttpError 503."""
        additional = size - ticket.reserved_bytes
        if size <= SMALL_BODY_BYTES or additional <= 0:
            return
        is_full = self._reserved_bytes + additional > self._max_reserved_bytes
        if is_full or (
            not ticket.is_proved and self._reserved_by_unproved + additional > self._max_reserved_bytes // 2
        ):
            raise overloaded(f"requests of {self._reserved_bytes} bytes are being read")
        self._count_bytes(ticket, additional)

    def _count_bytes(self, ticket: AdmissionTicket, additional: int) -> None:
        ticket.reserved_bytes += additional
        self._reserved_bytes += additional
        if not ticket.is_proved:
            self._reserved_by_unproved += additional

    def is_interactive(self, path: str) -> bool:
        """Say whether a driver waits for what is asked at ``path`` (below ``/api/oicp/``)."""
        return self._find_lane(path) in {self._interactive_lane, self._remote_lane}

    async def enter_lane(self, ticket: AdmissionTicket, path: str) -> None:
        """Take a slot in the lane of ``path`` (below ``/api/oicp/``); the bulk lane may have to be waited for.

        Raises:
            HttpError: 429 or 503.
        """
        lane = self._find_lane(path)
        # Order: recorded on the ticket at once, so that `release` gives back whatever was acquired when the next step
        # raises or is cancelled.
        lane.acquire(ticket.client)
        ticket.lane = lane
        if lane is self._bulk_lane:
            await self._acquire_bulk_slot()
            ticket.has_bulk_slot = True

    def release(self, ticket: AdmissionTicket) -> None:
        """Give back everything that a request occupies."""
        if ticket.reserved_bytes:
            self._count_bytes(ticket, -ticket.reserved_bytes)
        if ticket.has_bulk_slot:
            self._bulk_slots.release()
        if ticket.lane is not None:
            ticket.lane.release(ticket.client)

    def _lane_of(self, path: str) -> _AdmissionLane:
        service, _, party_segment, _ = f"{path}///".split("/", 3)
        if service == _CDR_SERVICE and party_segment == _CDR_PULL_SEGMENT:
            return self._bulk_lane
        if service == _CHARGING_SERVICE and party_segment == _PROVIDER_SEGMENT:
            return self._remote_lane
        return self._lanes_by_service.get(service, self._settlement_lane)

    async def _acquire_bulk_slot(self) -> None:
        if not self._bulk_slots.locked():  # the usual case needs no timeout
            await self._bulk_slots.acquire()
            return
        try:
            async with asyncio.timeout(_BULK_SLOT_TIMEOUT_SECONDS):
                await self._bulk_slots.acquire()
        except TimeoutError as error:
            raise overloaded("pushes and pulls take long", 429) from error


class TokenBucketLimiter:
    """Token-bucket rate limiter, one bucket per key.

    Args:
        clock: its monotonic time is used.
        per_second: tokens that are added to a bucket.
        burst: tokens of a full bucket.
    """

    def __init__(self, clock: Clock, *, per_second: float, burst: float) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}

    def acquire(self, key: str, description: str = "requests", per_second: float | None = None) -> None:
        """Take a token of ``key``, which may have a rate of its own; raise HttpError 429 where there is none."""
        now = self._clock.monotonic()
        rate = self._per_second if per_second is None else per_second
        capacity = max(1.0, self._burst if per_second is None else self._burst * rate / self._per_second)
        tokens, updated_at = self._buckets.get(key, (capacity, now))
        tokens = min(capacity, tokens + (now - updated_at) * rate)
        if tokens < 1.0:
            retry_after = math.ceil((1.0 - tokens) / rate)
            self._buckets[key] = (tokens, now)
            info = f"too many {description}; try again in {retry_after} s"
            raise HttpError(429, StatusCodeValue.SYSTEM_ERROR, info, {"Retry-After": str(retry_after)})
        if len(self._buckets) >= _MAX_BUCKETS:
            self._drop_full_buckets(now, rate, capacity)
        self._buckets[key] = (tokens - 1.0, now)

    def _drop_full_buckets(self, now: float, rate: float, capacity: float) -> None:
        """Forget keys that have all their tokens again: a new bucket is full as well."""
        self._buckets = {
            key: (tokens, updated_at)
            for key, (tokens, updated_at) in self._buckets.items()
            if tokens + (now - updated_at) * rate < capacity
        }


class RefusalPacer:
    """Spaces the refusals that an address gets: so many a second, after a burst of as many.

    Late, and not by other means: refused before it is verified, whoever shares an address could shut others out. And
    who waits for a refusal does not connect again meanwhile.

    Args:
        clock: its monotonic time is used.
        per_second: how many an address gets without a delay.
        max_seconds: the longest delay.
    """

    def __init__(self, clock: Clock, *, per_second: float, max_seconds: float) -> None:
        self._clock = clock
        self._interval = 1.0 / per_second
        self._max_seconds = max_seconds
        self._due_at: dict[str, float] = {}

    def delay(self, address: str) -> float:
        """Return after how many seconds the next refusal of ``address`` is due."""
        now = self._clock.monotonic()
        if len(self._due_at) >= _MAX_BUCKETS:
            self._due_at = {address: due_at for address, due_at in self._due_at.items() if due_at > now - 1.0}
        # At most one second of those before is unused.
        due_at = max(self._due_at.get(address, -math.inf), now - 1.0) + self._interval
        if due_at - now > self._max_seconds:
            return self._max_seconds
        self._due_at[address] = due_at
        return max(0.0, due_at - now)


class PeerLimiter:
    """Bounds how often and how many at a time each peer is served; a peer's entry may set numbers of its own.

    Args:
        clock: see `TokenBucketLimiter`.
        requests_per_second: the average rate of a peer; twice as many may come at once.
        concurrent: requests of one peer that are served at a time.
    """

    def __init__(self, clock: Clock, *, requests_per_second: float, concurrent: int) -> None:
        self._rate = TokenBucketLimiter(clock, per_second=requests_per_second, burst=2 * requests_per_second)
        self._concurrent = concurrent
        self._in_flight: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<PeerLimiter in_flight={self._in_flight}>"

    def count_request(self, peer: Peer) -> None:
        """Count one request of an authenticated peer; raise HttpError 429 where there are too many a second."""
        self._rate.acquire(peer.name, f"requests of {peer.name}", peer.requests_per_second)

    def acquire(self, peer: Peer | None) -> None:
        """Begin to serve a request; raise HttpError 429 where too many of this peer are being served."""
        name, own_limit = ("", None) if peer is None else (peer.name, peer.concurrent)
        limit = self._concurrent if own_limit is None else own_limit
        in_flight = self._in_flight.get(name, 0)
        if in_flight >= limit:
            raise overloaded(f"{limit} requests of {name} are being answered", http_status=429)
        self._in_flight[name] = in_flight + 1

    def release(self, peer: Peer | None) -> None:
        """End what `acquire` began."""
        name = "" if peer is None else peer.name
        self._in_flight[name] -= 1
        if not self._in_flight[name]:
            del self._in_flight[name]
