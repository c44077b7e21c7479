"""Pages (OICP 2.3, EMP-02, Pagination): which one is asked for, and the members around its content (boxes P1, P2)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs

import orjson

from p2p_oicp.errors import Refusal
from p2p_oicp.roles.answers import status_code

DEFAULT_SIZE = 20
#: "maximum 2000" (EMP-02, integration guide): a larger size is clamped, and the answer's ``size`` says so.
MOST_SIZE = 2000
_DATA_ERROR = "022"


@dataclass(frozen=True, slots=True)
class PageAsked:
    """The page that a request asks for; ``number`` counts from 0."""

    number: int = 0
    size: int = DEFAULT_SIZE

    @classmethod
    def of(cls, query: str) -> PageAsked:
        """Read ``page`` and ``size`` of a query string; raises Refusal 022 where they are no numbers."""
        told = parse_qs(query)
        size = _number(told, "size", DEFAULT_SIZE)
        return cls(_number(told, "page", 0), min(size, MOST_SIZE) or DEFAULT_SIZE)

    @property
    def start(self) -> int:
        """The place of the page's first element."""
        return self.number * self.size

    def members(self, *, total: int, count: int) -> bytes:
        """Return the members around ``content``, with the success code, from the second brace on."""
        pages = -(-total // self.size)
        return orjson.dumps(
            {
                "number": self.number,
                "size": self.size,
                "totalElements": total,
                "last": self.number + 1 >= pages,
                "totalPages": pages,
                "first": self.number == 0,
                "numberOfElements": count,
                "StatusCode": status_code("000"),
            }
        )


def page_body(content: bytes, asked: PageAsked, *, total: int, count: int) -> bytes:
    """Return a page; ``content`` is its records, joined by commas."""
    return b'{"content":[%b],%b' % (content, asked.members(total=total, count=count)[1:])


def _number(told: dict[str, list[str]], name: str, default: int) -> int:
    text = told.get(name, [str(default)])[-1]
    if not (text.isascii() and text.isdecimal()):
        raise Refusal(_DATA_ERROR, f"{name} is a number from 0 on, not '{text[:20]}'")
    return int(text)
