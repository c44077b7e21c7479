"""Limits per caller, by token buckets: how often.

How many requests may be inside at once, so that overload is refused early and costs no memory.

Three lanes at each listener, each with places of its own, so that none stands in the way of another: what a driver
waits for; CDRs and notifications, which their sender repeats; and state (pushes and pulls of many records), a few at a
time, while a bounded number waits before its body is read. So a storm of statuses never keeps an authorization waiting.

In a lane, one caller never gets all places: who has his share is sent away with 429, while the others still come in.
A caller is an address and the party that it claims: all that is known before anything is read and proved, so it keeps
accidents apart, not attackers. Once a peer has proved who it is, a ``Crowd`` counts what it has in all lanes. Where all
places are taken, the answer is 503. The larger ones of the bodies that are being read have a common bound.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from p2p_oicp.clock import Clock
from p2p_oicp.server.problems import HttpError

_SYSTEM_ERROR = "021"
_MAX_BUCKETS = 10_000


class TokenBucketLimiter:
    """One token bucket a caller: ``at_once`` tokens, refilled by ``per_second``."""

    def __init__(self, clock: Clock, *, per_second: float, burst: float) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}

    def acquire(self, key: str, description: str = "requests", per_second: float | None = None) -> None:
        """Take a token of ``caller``, who may have a rate of its own; raise HttpProblem 429 where there is none."""
        now = self._clock.monotonic()
        rate = self._per_second if per_second is None else per_second
        capacity = max(1.0, self._burst if per_second is None else self._burst * rate / self._per_second)
        tokens, updated_at = self._buckets.get(key, (capacity, now))
        tokens = min(capacity, tokens + (now - updated_at) * rate)
        if tokens < 1.0:
            retry_after = math.ceil((1.0 - tokens) / rate)
            self._buckets[key] = (tokens, now)
            raise HttpError(
                429,
                _SYSTEM_ERROR,
                f"too many {description}; try again in {retry_after} s",
                {"Retry-After": str(retry_after)},
            )
        if len(self._buckets) >= _MAX_BUCKETS:
            self._buckets = {
                bucket_key: bucket
                for bucket_key, bucket in self._buckets.items()
                if bucket[0] + (now - bucket[1]) * rate < capacity
            }
        self._buckets[key] = (tokens - 1.0, now)


_CLIENT_SHARE_OF_LANE: Final = 0.75
_BULK_SLOT_TIMEOUT_SECONDS: Final = 10.0
_MAX_CONCURRENT_BODIES: Final = 2  # of the largest allowed size; many more of the usual size
# What a lane's places bound well enough by themselves.
_SMALL_BODY_BYTES: Final = 64 * 1024
#: The HTTP statuses of a node that has too much to do.
OVERLOAD_STATUSES = frozenset({429, 503})
_BULK_SERVICES = ("evsepush", "evsepull", "dynamicpricing", "authdata")
_CDR_SERVICE = "cdrmgmt"
_CDR_PULL_SEGMENT = "providers"

ClientKey: TypeAlias = tuple[str | None, str]
RejectionFactory: TypeAlias = Callable[[str, int], HttpError]


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How many requests one listener takes on.

    ``requests`` are the places of each of the first two lanes: at a few hundred requests a second, what is inside is
    answered in a second, before its caller has given up. ``pushes`` are those of state, for which ``waiting`` may wait.
    """

    requests: int = 256
    pushes: int = 8
    waiting: int = 256

    @property
    def per_peer(self) -> int:
        """How many requests of one peer are answered at a time, in all lanes."""
        return client_share(self.requests)


def client_share(slots: int) -> int:
    """Return how many of the places one caller may have."""
    return max(1, int(slots * _CLIENT_SHARE_OF_LANE))


def overloaded(info: str, *, http_status: int = 503) -> HttpError:
    """Return the answer of a node that has too much to do."""
    return HttpError(http_status, _SYSTEM_ERROR, f"{info}; try again in a moment", {"Retry-After": "1"})


class _AdmissionLane:
    """Places, and who has them."""

    __slots__ = ("_client_share", "_in_use", "_label", "_reject", "_slots", "_slots_by_client")

    def __init__(self, slots: int, label: str, reject: RejectionFactory) -> None:
        self._slots = slots
        self._client_share = client_share(slots)
        self._label = label
        self._reject = reject
        self._in_use = 0
        self._slots_by_client: dict[ClientKey, int] = {}

    def acquire(self, client: ClientKey) -> None:
        """Take a place; raise HttpProblem 429 where the caller has its share, 503 where all are taken."""
        client_slots = self._slots_by_client.get(client, 0)
        if client_slots >= self._client_share:
            raise self._reject(f"{client_slots} {self._label} of yours are being answered", 429)
        if self._in_use >= self._slots:
            raise self._reject(f"{self._in_use} {self._label} are being answered", 503)
        self._in_use += 1
        self._slots_by_client[client] = client_slots + 1

    def release(self, client: ClientKey) -> None:
        """Give the place back."""
        self._in_use -= 1
        self._slots_by_client[client] -= 1
        if not self._slots_by_client[client]:
            del self._slots_by_client[client]


@dataclass(slots=True)
class AdmissionSlot:
    """What one request occupies."""

    lane: _AdmissionLane
    client: ClientKey
    is_bulk: bool
    has_bulk_slot: bool = False
    reserved_bytes: int = 0


class AdmissionController:
    """Of one listener; ``max_body`` is the largest body of one request, in bytes; ``turned_away`` counts."""

    def __init__(self, max_body: int, on_rejected: Callable[[], None], limits: AdmissionLimits) -> None:
        self.max_body = max_body
        self._on_rejected = on_rejected
        self._max_reserved_bytes = _MAX_CONCURRENT_BODIES * max_body
        self._reserved_bytes = 0
        interactive_lane = _AdmissionLane(limits.requests, "requests", self._reject)
        self._settlement_lane = _AdmissionLane(limits.requests, "CDRs and notifications", self._reject)
        self._bulk_lane = _AdmissionLane(limits.pushes + limits.waiting, "pushes and pulls", self._reject)
        self._bulk_slots = asyncio.Semaphore(limits.pushes)
        self._lanes_by_service = {
            "charging": interactive_lane,
            "reservation": interactive_lane,
            **dict.fromkeys(_BULK_SERVICES, self._bulk_lane),
        }

    def acquire(self, path: str, client_address: str | None) -> AdmissionSlot:
        """Let a request in, before its body is read; raises HttpProblem. Whoever came in calls ``leave`` in the end.

        ``path`` is that below ``/api/oicp/``, ``address`` the caller's.
        """
        service, _, party_segment, party, *_ = f"{path}////".split("/", 4)
        lane = self._lanes_by_service.get(service, self._settlement_lane)
        if service == _CDR_SERVICE and party_segment == _CDR_PULL_SEGMENT:
            lane = self._bulk_lane
        client = (client_address, party)
        lane.acquire(client)
        return AdmissionSlot(lane, client, is_bulk=lane is self._bulk_lane)

    async def wait_for_bulk_slot(self, slot: AdmissionSlot) -> None:
        """Wait until few enough pushes and pulls are being answered; raises HttpProblem."""
        if self._bulk_slots.locked():
            await self._acquire_bulk_slot()
        else:  # the usual case: no bound on the time to set
            await self._bulk_slots.acquire()
        slot.has_bulk_slot = True

    async def _acquire_bulk_slot(self) -> None:
        try:
            async with asyncio.timeout(_BULK_SLOT_TIMEOUT_SECONDS):
                await self._bulk_slots.acquire()
        except TimeoutError as error:
            raise self._reject("pushes and pulls take long", 429) from error

    def reserve_bytes(self, slot: AdmissionSlot, length: int | None) -> None:
        """Reserve memory for a body of ``length`` bytes, again whenever it has grown; raises HttpProblem.

        For a body of unknown length nothing is reserved before it has come.
        """
        if length is None or length <= _SMALL_BODY_BYTES:
            return
        additional = min(length, self.max_body) - slot.reserved_bytes
        if self._reserved_bytes + additional > self._max_reserved_bytes:
            raise self._reject(f"requests of {self._reserved_bytes} bytes are being read", 503)
        self._reserved_bytes += additional
        slot.reserved_bytes += additional

    def release(self, slot: AdmissionSlot) -> None:
        """Give back what a request had."""
        self._reserved_bytes -= slot.reserved_bytes
        if slot.has_bulk_slot:
            self._bulk_slots.release()
        slot.lane.release(slot.client)

    def _reject(self, info: str, http_status: int) -> HttpError:
        self._on_rejected()
        return overloaded(info, http_status=http_status)


class PeerConcurrencyLimiter:
    """How many requests of each peer are being answered: up to ``most``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_flight: dict[str, int] = {}

    def acquire(self, peer: str, peer_limit: int | None = None) -> None:
        """Count one in; raises HttpProblem 429 where the peer has too many already (``most``, if it has its own)."""
        limit = self._limit if peer_limit is None else peer_limit
        in_flight = self._in_flight.get(peer, 0)
        if in_flight >= limit:
            raise overloaded(f"{limit} requests of {peer} are being answered", http_status=429)
        self._in_flight[peer] = in_flight + 1

    def release(self, peer: str) -> None:
        """Count one out."""
        self._in_flight[peer] -= 1
        if not self._in_flight[peer]:
            del self._in_flight[peer]
