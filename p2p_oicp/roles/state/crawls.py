"""Crawls: a pull that goes on over many pages keeps the list of records that it began with (box P1).

The first page searches, and the list of record ids (8 bytes each) is kept for the pages that follow: page N costs what
page 0 costs, and no record is skipped or comes twice while others come and go. What changes meanwhile is for the next
delta. The first page takes a list that is still up to date, whoever made it.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_MOST_BYTES = 64 * 1024 * 1024
# Each delta is a crawl of its own: with ten peers and one a minute, these are the crawls of three hours.
_MOST_CRAWLS = 2_000
_ENTRY_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class Crawl:
    """What a pull means: record ids in their order, as of a state of the data.

    ``operators`` are what its pages say of the operators, by source and group: looked up once a crawl.
    """

    ids: array[int]
    as_of: object
    operators: dict[tuple[str, str], bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 8 * len(self.ids) + _ENTRY_BYTES


class Crawls:
    """The crawls under way, by caller and request; the least recently used give way.

    ``newest`` returns what tells states of the data apart: its change number, and whose it is.
    """

    def __init__(self, newest: Callable[[], object], most_bytes: int = _MOST_BYTES) -> None:
        self._newest = newest
        self._crawls: OrderedDict[tuple[str, bytes], Crawl] = OrderedDict()
        self._latest: dict[bytes, Crawl] = {}
        self._size = 0
        self._most_bytes = most_bytes

    async def get(
        self, caller: str, request: bytes, *, is_first: bool, search: Callable[[], Awaitable[array[int]]]
    ) -> Crawl:
        """Return the crawl that a page belongs to."""
        key = (caller, request)
        crawl = self._crawls.get(key)
        if crawl is not None and not (is_first and crawl.as_of != self._newest()):
            self._crawls.move_to_end(key)
            return crawl
        crawl = await self._up_to_date(request, search)
        self._forget(key)
        self._crawls[key] = self._latest[request] = crawl
        self._size += crawl.size
        while len(self._crawls) > 1 and (self._size > self._most_bytes or len(self._crawls) > _MOST_CRAWLS):
            self._forget(next(iter(self._crawls)))
        return crawl

    async def _up_to_date(self, request: bytes, search: Callable[[], Awaitable[array[int]]]) -> Crawl:
        newest = self._newest()
        crawl = self._latest.get(request)
        return crawl if crawl is not None and crawl.as_of == newest else Crawl(await search(), newest)

    def _forget(self, key: tuple[str, bytes]) -> None:
        crawl = self._crawls.pop(key, None)
        if crawl is not None:
            self._size -= crawl.size
            if self._latest.get(key[1]) is crawl:
                del self._latest[key[1]]
