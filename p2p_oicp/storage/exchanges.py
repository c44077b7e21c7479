"""Recorded exchanges: what was said to whom, for people who look for a fault.

Evidence is another thing (`storage.evidence`). The newest exchanges are kept in a ring, within bounds of entries and
bytes: `MemoryExchangeRing`, or on disk `exchange_files.FileExchangeRing`. They are numbered from 1; on disk the numbers
go on after a restart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

encode = msgspec.json.Encoder().encode


class RecordedBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A body, masked.

    Attributes:
        bytes: its size, before it was masked.
        json: the body, as JSON; absent where it is not JSON, is cut, or might say what has to be masked.
        start: the beginning of a body that is larger than the limit.
    """

    bytes: int
    json: msgspec.Raw = msgspec.Raw()
    start: str = ""


class Exchange(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One request and its response.

    Attributes:
        number: its number in the ring.
        at: when the request began, in seconds since the epoch.
        seconds: until the response was there, or was given up.
        direction: ``in``: we were called; ``out``: we have called.
        peer: the name of the peer that it is with; empty if it is with a system of our own, or not known.
        backend: the name of our own system that it is with.
        operation: the name of the operation; empty for what nodes say to each other below ``/p2p``.
        method: the HTTP method.
        path: the path of the URL.
        party: the party that the request names as its sender.
        session_id: the SessionID, as the answer or else the request has it.
        evse_id: the EvseID of the request.
        http_status: of the response; None: there was none.
        code: the OICP status code of the response.
        error: why there was no response.
        process_id: the Process-ID of both.
        address: the client's, of an inbound request.
        request: the body of the request; None: it was not read.
        response: the body of the response.
    """

    number: int = 0
    at: float
    seconds: float
    direction: str
    peer: str = ""
    backend: str = ""
    operation: str = ""
    method: str
    path: str
    party: str = ""
    session_id: str = ""
    evse_id: str = ""
    http_status: int | None = None
    code: str = ""
    error: str = ""
    process_id: str = ""
    address: str = ""
    request: RecordedBody | None = None
    response: RecordedBody | None = None


class ExchangeFilter(NamedTuple):
    """Which exchanges are read.

    Attributes:
        after: those with higher numbers, the oldest first; None: the newest.
        limit: at most so many.
        peer: of this peer; of a system of our own ``backend:NAME``.
        operation: of this operation.
        session: of this session: its SessionID, in any case.
    """

    after: int | None = None
    limit: int = 100
    peer: str = ""
    operation: str = ""
    session: str = ""

    def matches(self, exchange: Exchange) -> bool:
        """Whether an exchange is one of them, but for ``after`` and ``limit``."""
        return (
            (not self.peer or self.peer in {exchange.peer, f"backend:{exchange.backend}"})
            and (not self.operation or self.operation == exchange.operation)
            and (not self.session or self.session.lower() == exchange.session_id.lower())
        )


class ExchangePage(NamedTuple):
    """What was read: exchanges with rising numbers, and the numbers of the oldest and the newest that are kept."""

    exchanges: list[Exchange]
    oldest: int
    newest: int


class RingLimits(NamedTuple):
    """How much a ring keeps."""

    entries: int
    bytes: int


class ExchangeRing(Protocol):
    """The newest exchanges; no method is called while another one runs."""

    def append(self, exchanges: Sequence[Exchange]) -> None:
        """Keep exchanges under the next numbers; raise OSError where they cannot be stored."""

    def read(self, selection: ExchangeFilter) -> ExchangePage:
        """Return exchanges."""

    def clear(self) -> None:
        """Delete all; the numbers go on. Raise OSError where they cannot be deleted."""


class MemoryExchangeRing:
    """A ring that ends with the process."""

    def __init__(self, limits: RingLimits) -> None:
        self._limits = limits
        self._entries: deque[tuple[Exchange, int]] = deque()
        self._bytes = 0
        self._newest = 0

    def __repr__(self) -> str:
        return f"<MemoryExchangeRing {len(self._entries)} entries, {self._bytes} bytes>"

    def append(self, exchanges: Sequence[Exchange]) -> None:
        for exchange in exchanges:
            self._newest += 1
            size = len(encode(exchange))
            self._entries.append((msgspec.structs.replace(exchange, number=self._newest), size))
            self._bytes += size
            while self._entries and (len(self._entries) > self._limits.entries or self._bytes > self._limits.bytes):
                self._bytes -= self._entries.popleft()[1]

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def read(self, selection: ExchangeFilter) -> ExchangePage:
        oldest = self._entries[0][0].number if self._entries else self._newest + 1
        exchanges = (entry[0] for entry in self._entries)
        return ExchangePage(select(exchanges, selection), oldest, self._newest)


def select(exchanges: Iterable[Exchange], selection: ExchangeFilter) -> list[Exchange]:
    """Return which of some exchanges, with rising numbers, are read."""
    after = selection.after or 0
    matches = (each for each in exchanges if each.number > after and selection.matches(each))
    if selection.after is None:
        return list(deque(matches, maxlen=selection.limit))
    return [each for each, _ in zip(matches, range(selection.limit), strict=False)]


def encode_page(page: ExchangePage, selection: ExchangeFilter, record: str) -> bytes:
    """Return what was read as JSON, with the number to go on ``after``; ``record`` is the setting."""
    last_shown = page.exchanges[-1].number if page.exchanges else 0
    is_all = len(page.exchanges) < selection.limit
    # A node may have written more since the newest was looked for.
    next_number = max(page.newest, last_shown) if is_all else last_shown or selection.after or 0
    return encode(
        {
            "record": record,
            "exchanges": page.exchanges,
            "next": next_number,
            "oldest": page.oldest,
            "newest": page.newest,
        }
    )
