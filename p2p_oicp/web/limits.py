"""How many requests may be inside at once, so that overload is refused early and costs no memory.

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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from p2p_oicp.web.problems import HttpProblem

_SHARE: Final = 0.75
_LONGEST_BULK_WAIT_SECONDS: Final = 10.0
_BODIES_AT_ONCE: Final = 2  # of the largest allowed size; many more of the usual size
# What a lane's places bound well enough by themselves.
_SMALL_BODY: Final = 64 * 1024
_SYSTEM_ERROR = "021"
#: The HTTP statuses of a node that has too much to do.
BUSY = frozenset({429, 503})
_STATE_SERVICES = ("evsepush", "evsepull", "dynamicpricing", "authdata")
_RECORDS = "cdrmgmt"
_WHO_PULLS = "providers"

Caller: TypeAlias = tuple[str | None, str]
Refuse: TypeAlias = Callable[[str, int], HttpProblem]


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many requests one listener takes on.

    ``requests`` are the places of each of the first two lanes: at a few hundred requests a second, what is inside is
    answered in a second, before its caller has given up. ``pushes`` are those of state, for which ``waiting`` may wait.
    """

    requests: int = 256
    pushes: int = 8
    waiting: int = 256

    @property
    def of_one_peer(self) -> int:
        """How many requests of one peer are answered at a time, in all lanes."""
        return share_of(self.requests)


def share_of(places: int) -> int:
    """Return how many of the places one caller may have."""
    return max(1, int(places * _SHARE))


def busy(info: str, *, http_status: int = 503) -> HttpProblem:
    """Return the answer of a node that has too much to do."""
    return HttpProblem(http_status, _SYSTEM_ERROR, f"{info}; try again in a moment", {"Retry-After": "1"})


class _Lane:
    """Places, and who has them."""

    __slots__ = ("_inside", "_of", "_places", "_refuse", "_share", "_what")

    def __init__(self, places: int, what: str, refuse: Refuse) -> None:
        self._places = places
        self._share = share_of(places)
        self._what = what
        self._refuse = refuse
        self._inside = 0
        self._of: dict[Caller, int] = {}

    def enter(self, caller: Caller) -> None:
        """Take a place; raise HttpProblem 429 where the caller has its share, 503 where all are taken."""
        mine = self._of.get(caller, 0)
        if mine >= self._share:
            raise self._refuse(f"{mine} {self._what} of yours are being answered", 429)
        if self._inside >= self._places:
            raise self._refuse(f"{self._inside} {self._what} are being answered", 503)
        self._inside += 1
        self._of[caller] = mine + 1

    def leave(self, caller: Caller) -> None:
        """Give the place back."""
        self._inside -= 1
        self._of[caller] -= 1
        if not self._of[caller]:
            del self._of[caller]


@dataclass(slots=True)
class Place:
    """What one request occupies."""

    lane: _Lane
    caller: Caller
    takes_turns: bool
    has_turn: bool = False
    bytes: int = 0


class Doorkeeper:
    """Of one listener; ``max_body`` is the largest body of one request, in bytes; ``turned_away`` counts."""

    def __init__(self, max_body: int, turned_away: Callable[[], None], capacity: Capacity) -> None:
        self.max_body = max_body
        self._turned_away = turned_away
        self._most_bytes = _BODIES_AT_ONCE * max_body
        self._bytes = 0
        drivers = _Lane(capacity.requests, "requests", self._refused)
        self._messages = _Lane(capacity.requests, "CDRs and notifications", self._refused)
        self._state = _Lane(capacity.pushes + capacity.waiting, "pushes and pulls", self._refused)
        self._turns = asyncio.Semaphore(capacity.pushes)
        self._lanes = {"charging": drivers, "reservation": drivers, **dict.fromkeys(_STATE_SERVICES, self._state)}

    def enter(self, path: str, address: str | None) -> Place:
        """Let a request in, before its body is read; raises HttpProblem. Whoever came in calls ``leave`` in the end.

        ``path`` is that below ``/api/oicp/``, ``address`` the caller's.
        """
        service, _, side, party, *_ = f"{path}////".split("/", 4)
        lane = self._lanes.get(service, self._messages)
        if service == _RECORDS and side == _WHO_PULLS:
            lane = self._state
        caller = (address, party)
        lane.enter(caller)
        return Place(lane, caller, takes_turns=lane is self._state)

    async def wait_for_turn(self, place: Place) -> None:
        """Wait until few enough pushes and pulls are being answered; raises HttpProblem."""
        if self._turns.locked():
            await self._wait()
        else:  # the usual case: no bound on the time to set
            await self._turns.acquire()
        place.has_turn = True

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_LONGEST_BULK_WAIT_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise self._refused("pushes and pulls take long", 429) from error

    def make_room(self, place: Place, length: int | None) -> None:
        """Reserve memory for a body of ``length`` bytes, again whenever it has grown; raises HttpProblem.

        For a body of unknown length nothing is reserved before it has come.
        """
        if length is None or length <= _SMALL_BODY:
            return
        more = min(length, self.max_body) - place.bytes
        if self._bytes + more > self._most_bytes:
            raise self._refused(f"requests of {self._bytes} bytes are being read", 503)
        self._bytes += more
        place.bytes += more

    def leave(self, place: Place) -> None:
        """Give back what a request had."""
        self._bytes -= place.bytes
        if place.has_turn:
            self._turns.release()
        place.lane.leave(place.caller)

    def _refused(self, info: str, http_status: int) -> HttpProblem:
        self._turned_away()
        return busy(info, http_status=http_status)


class Crowd:
    """How many requests of each peer are being answered: up to ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: dict[str, int] = {}

    def enter(self, peer: str, most: int | None = None) -> None:
        """Count one in; raises HttpProblem 429 where the peer has too many already (``most``, if it has its own)."""
        limit = self._most if most is None else most
        inside = self._of.get(peer, 0)
        if inside >= limit:
            raise busy(f"{limit} requests of {peer} are being answered", http_status=429)
        self._of[peer] = inside + 1

    def leave(self, peer: str) -> None:
        """Count one out."""
        self._of[peer] -= 1
        if not self._of[peer]:
            del self._of[peer]
