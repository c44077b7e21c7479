"""The accepted connections of a listener that are not open yet.

Who attacks from an address keeps more connections than the listener opens, and connects again at once when one is
closed. Others behind the same address must not wait for all of these. So the connections of an address are in three
groups:

(1) *Whole*: a request has come to its end, with a small body. They are opened first.
(2) *Recent*: the last `_MAX_RECENT` that were accepted. They are opened in their order; where many wait, every other
    time the newest one is.
(3) *Late*: more recent ones have pushed them out. They get what room there is; those of the other groups may each take
    the place of one that is open.

Most connections of an attacker come to rest as late ones, neither opened nor closed: then so few are under way that no
recent one is pushed out any more. Without TLS they are silent, so the newest one is opened first. With TLS nothing
shows that a request is whole, and there are only (2) and (3), whose ClientHello has come already (`ClientHelloWaiter`):
every other turn is of the late ones, in their order, so that nobody whom the beginning of a flood has pushed out waits
until its end. Whose client has hung up is closed, and pushes out no other one.

Addresses take turns, and every other turn is for those from which somebody has proved who he is: an attack from
thousands of addresses keeps no peer waiting.
"""

from __future__ import annotations

import re
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from p2p_oicp.server.connections import AddressCounts
from p2p_oicp.server.limits import SMALL_BODY_BYTES

# Of one address, and no larger part of those that may wait: opened within some tenths of a second.
_MAX_RECENT, _MAX_RECENT_PART = 64, 0.25
# Where more than so many wait, every other time the newest one is opened.
_MANY = 8
_SORT_INTERVAL_SECONDS, _END_INTERVAL_SECONDS = 0.2, 0.02
_MAX_WAIT_SECONDS = 30.0
_MAX_HEAD_BYTES = 16 * 1024
_FRAMING = re.compile(rb"\r\n(?:content-length[ \t]*:[ \t]*(\d{1,9})|transfer-encoding[ \t]*:)", re.IGNORECASE)
_HEAD_END, _CHUNKS_END = b"\r\n\r\n", b"0\r\n\r\n"
_MAX_PROVED_ADDRESSES = 10_000
# Linux tells that the other side will send no more; elsewhere it is found out when the connection is opened.
_END_EVENTS = getattr(select, "POLLRDHUP", 0)
_ERROR_EVENTS = select.POLLHUP | select.POLLERR

_Accepted: TypeAlias = tuple[float, socket.socket]
#: The connections of each address with the times of their accept, the oldest first; whose turn is next comes first.
_Group: TypeAlias = dict[str, deque[_Accepted]]


class AcceptQueue:
    """Connections that wait to be opened: those of each address in turn.

    Args:
        max_waiting: beyond this number, the oldest one of the address that has most of them is closed.
        monotonic: the time, in seconds.
        is_plain: whether requests come without TLS, so that they can be seen.
    """

    def __init__(self, max_waiting: int, monotonic: Callable[[], float], *, is_plain: bool) -> None:
        self._max_waiting = max_waiting
        self._max_recent = min(_MAX_RECENT, max(1, int(max_waiting * _MAX_RECENT_PART)))
        self._monotonic = monotonic
        self._is_plain = is_plain
        self._whole: _Group = {}
        self._recent: _Group = {}
        self._recent_of_proved: _Group = {}
        self._late: _Group = {}
        self._proved_addresses: dict[str, None] = {}  # the one that was proved last at the end
        self._takes = 0
        self._waiting = AddressCounts()
        self._sorted_at = self._looked_for_ends_at = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<AcceptQueue waiting={len(self)}>"

    def mark_proved(self, address: str) -> None:
        """Remember that somebody at ``address`` has proved who he is."""
        self._proved_addresses.pop(address, None)
        self._proved_addresses[address] = None
        if len(self._proved_addresses) > _MAX_PROVED_ADDRESSES:
            del self._proved_addresses[next(iter(self._proved_addresses))]

    def add(self, accepted: socket.socket, address: str) -> None:
        """Add a connection that has just been accepted."""
        if self._has_ended(accepted):
            accepted.close()
            return
        group = self._recent_of_proved if address in self._proved_addresses else self._recent
        recent = group.setdefault(address, deque())
        recent.append((self._monotonic(), accepted))
        self._waiting.add(address)
        if len(recent) > self._max_recent:
            self._make_late(address, group)
        if len(self) > self._max_waiting:
            self.close_oldest()

    def _make_late(self, address: str, group: _Group) -> None:
        """Close the recent ones that have ended meanwhile; if there is none, the oldest one is late from now on."""
        recent, now = group[address], self._monotonic()
        if now - self._looked_for_ends_at > _END_INTERVAL_SECONDS:
            self._looked_for_ends_at = now
            for each in [each for each in recent if self._has_ended(each[1])]:
                recent.remove(each)
                self._close(each[1], address)
        if len(recent) > self._max_recent:
            self._late.setdefault(address, deque()).append(recent.popleft())
        if not recent:  # all have ended
            del group[address]

    def take(self, *, with_late: bool) -> tuple[socket.socket, str] | None:
        """Return the connection that is opened next, and its address; None if none may be opened now.

        Args:
            with_late: whether there is room for a late one, where no other waits.
        """
        now = self._monotonic()
        if now - self._sorted_at > _SORT_INTERVAL_SECONDS:
            self._sorted_at = now
            self._sort_late(now)
        while (taken := self._take_next(with_late=with_late)) is not None:
            if not self._has_ended(taken[0]):
                return taken
            taken[0].close()
        return None

    def _take_next(self, *, with_late: bool) -> tuple[socket.socket, str] | None:
        self._takes += 1
        late = self._late if with_late else {}
        recents = [self._recent, self._recent_of_proved]
        if self._takes & 1:
            recents.reverse()
        groups = [self._whole, *recents]
        groups.insert(0 if self._takes & 2 and not self._is_plain else len(groups), late)
        for group in groups:
            if group:
                return self._take_from(group)
        return None

    def _take_from(self, group: _Group) -> tuple[socket.socket, str]:
        address = next(iter(group))
        queue = group.pop(address)
        _, accepted = queue.pop() if self._is_newest_next(group, queue) else queue.popleft()
        if queue:
            group[address] = queue  # at the end of the line
        self._waiting.remove(address)
        return accepted, address

    def _is_newest_next(self, group: _Group, queue: deque[_Accepted]) -> bool:
        if group is self._late:
            return self._is_plain
        # What comes every other time here and above is independent: different bits of the counter.
        return len(queue) > _MANY and bool(self._takes & 4)

    def _sort_late(self, now: float) -> None:
        """Look at all late ones: a request may be whole now; who has waited for too long, or ended, is closed."""
        late, self._late = self._late, {}
        for address, queue in late.items():
            for accepted_at, accepted in queue:
                if now - accepted_at > _MAX_WAIT_SECONDS or self._has_ended(accepted):
                    self._close(accepted, address)
                    continue
                group = self._whole if self._is_plain and _has_whole_request(accepted) else self._late
                group.setdefault(address, deque()).append((accepted_at, accepted))

    def close_oldest(self) -> bool:
        """Close the oldest connection of the address that has most of them; return False if none waits."""
        if not self._waiting:
            return False
        address = self._waiting.largest
        groups = (self._late, self._recent, self._recent_of_proved, self._whole)
        group = next(group for group in groups if address in group)
        self._close(group[address].popleft()[1], address)
        if not group[address]:
            del group[address]
        return True

    def _close(self, accepted: socket.socket, address: str) -> None:
        accepted.close()
        self._waiting.remove(address)

    def close(self) -> None:
        """Close all."""
        while self.close_oldest():
            pass

    def _has_ended(self, accepted: socket.socket) -> bool:
        """Return whether the client has hung up, before what it has sent can be served."""
        poll = select.poll()
        poll.register(accepted, _END_EVENTS)
        events = next((events for _, events in poll.poll(0)), 0)
        if events & _ERROR_EVENTS or not events:
            return bool(events)
        # It sends no more, and may read: with a whole request, it waits for its response.
        return not self._is_plain or not _has_whole_request(accepted)


def _has_whole_request(accepted: socket.socket) -> bool:
    """Return whether a request has come to its end, or so much that its body is no small one; nothing is consumed."""
    try:
        data = accepted.recv(_MAX_HEAD_BYTES + SMALL_BODY_BYTES, socket.MSG_PEEK)
    except OSError:  # nothing has come; or the client has gone
        return False
    head, found, body = data.partition(_HEAD_END)
    if not found:
        return False
    framing = _FRAMING.search(head)
    if framing is None:
        return True
    if framing[1] is None:
        return body.endswith(_CHUNKS_END) or len(body) >= SMALL_BODY_BYTES
    return len(body) >= min(int(framing[1]), SMALL_BODY_BYTES)
