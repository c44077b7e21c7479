"""Lists in pages: which part is served, with which headers, and what a client asks next (transport_and_format).

Objects are listed in the order of their creation, so that pages do not move while objects are added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100
#: The parameters of a list, in the order in which the link to the next page has them.
_FILTERS = ("date_from", "date_to")
_LINK = re.compile(r"<([^<>]*)>\s*((?:;[^,<]*)*)")
_REL_NEXT = re.compile(r";\s*rel\s*=\s*(\"next\"|next)\s*(?:;|$)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class Page:
    """A page of a list: ``count`` objects from ``first`` on, and the headers of its answer."""

    first: int
    count: int
    headers: Mapping[str, str]


@dataclass(frozen=True)
class PageRequest:
    """What a client asks for."""

    offset: int
    limit: int


def read_page_request(query: Mapping[str, str], *, max_limit: int = MAX_LIMIT) -> PageRequest | None:
    """Read ``offset`` and ``limit``, lowered to ``max_limit``; None: one of both is no such number (2001)."""
    offset, limit = _number(query.get("offset", "0")), _number(query.get("limit", str(DEFAULT_LIMIT)))
    if offset is None or not limit:
        return None
    return PageRequest(offset, min(limit, max_limit))


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def serve_page(url: str, query: Mapping[str, str], request: PageRequest, total: int) -> Page:
    """Return the page that answers a request.

    Args:
        url: Our own public address of the list; the link to the next page is built from it.
        query: The parameters as received: filters stay in the link.
        request: What `read_page_request` returned.
        total: How many objects match, without regard to pages.
    """
    offset, limit = request.offset, request.limit
    headers = {"X-Total-Count": str(total), "X-Limit": str(limit)}
    if offset + limit < total:
        filters = {name: query[name] for name in _FILTERS if name in query}
        following = urlencode({**filters, "offset": offset + limit, "limit": limit})
        headers["Link"] = f'<{url}?{following}>; rel="next"'
    return Page(offset, max(0, min(limit, total - offset)), headers)


def next_page(url: str, request: PageRequest, received: int, headers: Mapping[str, str]) -> str | None:
    """Return the URL of the next page; None: this was the last one.

    A link counts only on the same origin and path: those of some partners lead nowhere. Without one, a full page is not
    the last, unless the total says so; a total that is no more than the page is the page's size and means nothing.

    Args:
        url: The list, perhaps with filters.
        request: What was asked for.
        received: How many objects the page has.
        headers: Those of the answer.
    """
    if not received:
        return None
    names = {name.lower(): value for name, value in headers.items()}
    link = _next_link(names.get("link", ""))
    if link is not None and (target := _join(url, link)):
        return target
    limit, total = _number(names.get("x-limit", "")), _number(names.get("x-total-count", ""))
    page_size = min(limit, request.limit) if limit else request.limit
    next_offset = request.offset + received
    if received < page_size or (total is not None and received < total <= next_offset):
        return None
    return _with_parameters(url, offset=next_offset, limit=request.limit)


def _next_link(header: str) -> str | None:
    matches = (match for match in _LINK.finditer(header) if _REL_NEXT.search(match[2]))
    return next((match[1] for match in matches), None)


def _join(url: str, link: str) -> str | None:
    """Return the address that a link is; None: it is none, or one of another list."""
    try:
        own, target = urlsplit(url), urlsplit(urljoin(url, link))
    except ValueError:  # a host in brackets that is no IPv6 address
        return None
    is_same = (own.scheme, own.netloc, own.path.rstrip("/")) == (target.scheme, target.netloc, target.path.rstrip("/"))
    return urlunsplit(target) if is_same else None


def _with_parameters(url: str, *, offset: int, limit: int) -> str:
    parts = urlsplit(url)
    filters = [(name, value) for name, value in parse_qsl(parts.query) if name not in {"offset", "limit"}]
    query = urlencode([*filters, ("offset", offset), ("limit", limit)])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
