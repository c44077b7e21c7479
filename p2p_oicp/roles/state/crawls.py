"""Crawls: a pull that goes on over many pages keeps the list of records that it began with (box P1).

The first page searches, and the list of record ids (8 bytes each) is kept for the pages that follow: page N costs what
page 0 costs, and no record is skipped or comes twice while others come and go. What changes meanwhile is for the next
delta. The first page takes a list that is still up to date, whoever made it.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_MOST_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 200


@dataclass(frozen=True, slots=True)
class Crawl:
    """What a pull means: record ids in their order, as of a change number."""

    ids: array[int]
    as_of: int


class Crawls:
    """The crawls under way, by caller and request; the least recently used give way."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._crawls: OrderedDict[tuple[str, bytes], Crawl] = OrderedDict()
        self._newest: dict[bytes, Crawl] = {}
        self._most_bytes = most_bytes

    async def get(
        self, caller: str, request: bytes, *, is_first: bool, newest: int, search: Callable[[], Awaitable[array[int]]]
    ) -> Crawl:
        """Return the crawl that a page belongs to; ``newest`` is the change number of the data."""
        key = (caller, request)
        crawl = self._crawls.get(key)
        if crawl is None or (is_first and crawl.as_of != newest):
            crawl = self._newest.get(request)
            if crawl is None or crawl.as_of != newest:
                crawl = Crawl(await search(), newest)
            self._newest[request] = crawl
        self._crawls[key] = crawl
        self._crawls.move_to_end(key)
        self._forget()
        return crawl

    def _forget(self) -> None:
        kept = {id(crawl): len(crawl.ids) * 8 + _ENTRY_BYTES for crawl in self._crawls.values()}
        size = sum(kept.values()) + len(self._crawls) * _ENTRY_BYTES
        while size > self._most_bytes and len(self._crawls) > 1:
            (_, request), crawl = self._crawls.popitem(last=False)
            size -= len(crawl.ids) * 8 + _ENTRY_BYTES
            self._newest.pop(request, None)
