"""Lists: what each shows, and how: as a page, as JSON, as CSV.

A list is one of ``/admin/v1``, with its filters and its pages. Its URL is permanent: filters stand in the query, a page
is the position behind which it goes on. What `Accept` or ``?format=`` prefers decides between the three.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.dashboard.admin_calls import AdminCalls, Json
from p2p_oicp.server.dashboard.rendering import encode_json, masked_json
from p2p_oicp.server.dashboard.requests import SECURITY_HEADERS, PageRequest, PageServer
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage.listings import csv_cell

_PAGE_SIZE = 50
_MAX_EXPORTED = 10_000
_EXPORT_PAGE_SIZE = 1000
_FORMATS = ("html", "json", "csv")


class Cell(NamedTuple):
    """What stands in a cell.

    Attributes:
        text: the text; a time as ISO 8601.
        kind: text, id, state, time, or number.
        url: where it leads.
    """

    text: object
    kind: str = "text"
    url: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and what of a record stands in it."""

    title: str
    cell: Callable[[Json], Cell]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter: its name in the query, its label, and the values that may be chosen; none: any text."""

    name: str
    label: str
    options: Sequence[str] = ()
    hint: str = ""


@dataclass(frozen=True, slots=True)
class ListPage:
    """A list.

    Attributes:
        name: its path below ``/ui``.
        title: its heading.
        lead: a sentence on what it shows.
        path: its path below ``/admin/v1``.
        member: of the answer, that has the records.
        columns: what is shown of a record.
        filters: what selects.
        empty: what a person reads, who has no such records yet.
        mask: returns a record without what identifies a driver, where it has that elsewhere than in messages of OICP;
            then the list can be shown unmasked.
        refresh: the types of events after which it is shown anew.
        fixed: a part of the query that always stands.
        also: what stands above the list: actions and other lists, as pairs of a URL and a label.
        is_newest_last: whether the answer has the newest record last; it is shown first.
    """

    name: str
    title: str
    lead: str
    path: str
    member: str
    columns: Sequence[Column]
    filters: Sequence[Filter] = ()
    empty: str = "Nothing here yet."
    mask: Callable[[Json], Json] | None = None
    refresh: Sequence[str] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    also: Sequence[tuple[str, str]] = ()
    is_newest_last: bool = False


_Pager: TypeAlias = str | None


class ListServer:
    """Serves lists.

    Args:
        admin: has them.
        pages: the frame of a page.
    """

    def __init__(self, admin: AdminCalls, pages: PageServer) -> None:
        self._admin = admin
        self._pages = pages

    async def show(self, listed: ListPage, request: PageRequest) -> OperationResponse:
        """Return one page of a list, or more of it for programs."""
        chosen, query = chosen_format(request), self._filters(listed, request)
        if chosen == "html":
            return await self._page(listed, request, query)
        records, cursor = await self._many(listed, query)
        masked = records if request.reveals else [_masked(each, listed) for each in records]
        if chosen == "json":
            content = encode_json({listed.member: masked, "cursor": cursor})
            return OperationResponse(content, headers=SECURITY_HEADERS)
        name = listed.name.replace("/", "-")
        headers = {**SECURITY_HEADERS, "Content-Disposition": f'attachment; filename="{name}.csv"'}
        return OperationResponse(_csv(listed.columns, masked), content_type="text/csv", headers=headers)

    async def _page(self, listed: ListPage, request: PageRequest, query: Mapping[str, str]) -> OperationResponse:
        records, cursor = await self._read(listed, {**query, "limit": str(_PAGE_SIZE)})
        shown = records if request.reveals else [_masked(each, listed) for each in records]
        rows = [[(column.title, column.cell(record)) for column in listed.columns] for record in shown]
        filters = {name: value for name, value in query.items() if name != "cursor" and name not in listed.fixed}
        return self._pages.page(
            request,
            "list.html",
            title=listed.title,
            listed=listed,
            rows=rows,
            filters=filters,
            first=_url(request.path, filters) if "cursor" in query else None,
            following=_url(request.path, {**filters, "cursor": cursor}) if cursor else None,
            exports={kind: _url(request.path, {**filters, "format": kind}) for kind in ("csv", "json")},
        )

    def _filters(self, listed: ListPage, request: PageRequest) -> dict[str, str]:
        names = {each.name for each in listed.filters} | {"cursor"}
        chosen = {name: value.strip() for name, value in request.query.items() if name in names and value.strip()}
        return {**listed.fixed, **chosen}

    async def _read(self, listed: ListPage, query: Mapping[str, str]) -> tuple[list[Json], _Pager]:
        answer = await self._admin.get(listed.path, query)
        records = answer[listed.member]
        return records[::-1] if listed.is_newest_last else records, answer.get("cursor")

    async def _many(self, listed: ListPage, query: Mapping[str, str]) -> tuple[list[Json], _Pager]:
        """Return the records of many pages, and where the rest begins."""
        records: list[Json] = []
        position = dict(query)
        while True:
            found, cursor = await self._read(listed, {**position, "limit": str(_EXPORT_PAGE_SIZE)})
            records += found
            if cursor is None or len(records) >= _MAX_EXPORTED:
                return records, cursor
            position["cursor"] = cursor


def chosen_format(request: PageRequest) -> str:
    """Return html, json or csv: what the query says, or else what ``Accept`` names first."""
    if (chosen := request.query.get("format")) is not None:
        if chosen not in _FORMATS:
            raise HttpError(400, StatusCodeValue.DATA_ERROR, f"format: expected {', '.join(_FORMATS)}")
        return chosen
    for each in request.accept.split(","):
        match each.partition(";")[0].strip().lower():
            case "text/html" | "*/*":
                return "html"
            case "application/json":
                return "json"
            case "text/csv":
                return "csv"
    return "html"


def _csv(columns: Sequence[Column], records: Sequence[Json]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([column.title for column in columns])
    for record in records:
        cells = (column.cell(record).text for column in columns)
        writer.writerow([csv_cell("" if text is None else text) for text in cells])
    return out.getvalue().encode("utf-8", "replace")


def _masked(record: Json, listed: ListPage) -> Json:
    found: Json = masked_json(record)
    return found if listed.mask is None else found | listed.mask(record)


def _url(path: str, query: Mapping[str, str]) -> str:
    return f"{quote(path)}?{urlencode(query)}" if query else quote(path)
