"""What is stored, over HTTP: ``GET /admin/v1/sessions``, ``cdrs``, ``evses``, ``quarantine`` and ``tokens``.

Each list has filters of its own, ``limit`` (100, at most 1000) and ``cursor``. The answer has the records and the
``cursor`` of the next page, which is null at the end. ``sessions/{SessionID}``, ``cdrs/{SessionID}`` and
``evses/{EvseID}`` show one with all that is known of it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

import msgspec
import orjson
from aiohttp import web

from p2p_oicp.delivery.node_protocol import CDR_VERDICT
from p2p_oicp.oicp import EvseID, OperatorID, SessionID, StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import record_endpoints
from p2p_oicp.server.openapi.endpoints import Endpoint
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError, parse_whole_number
from p2p_oicp.storage import Row, Store, evse_lists, listings, sessions
from p2p_oicp.storage.cdrs import CdrState
from p2p_oicp.storage.paging import Listing, PageQuery
from p2p_oicp.storage.sessions import SessionState
from p2p_oicp.storage.statements import Statement

_DEFAULT_LIMIT, _MAX_LIMIT = 100, 1000
_ROLES = frozenset({"cpo", "emp"})
_FLAGS: Mapping[str, int] = {"true": 1, "false": 0}
_CDR_OPERATIONS = frozenset({"ChargeDetailRecord", CDR_VERDICT})

FilterParser = Callable[[str], object]


def _one_of(values: frozenset[str]) -> FilterParser:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(f"expected {', '.join(sorted(values))}")
        return text

    return parse


def _parse_flag(text: str) -> int:
    if text not in _FLAGS:
        raise ValueError("expected true or false")
    return _FLAGS[text]


def _parse_since(text: str) -> float:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time needs its offset, as in 2026-03-01T00:00:00Z")
    return at.timestamp()


def _parse_country(text: str) -> str:
    return text.upper()


def _parse_token(text: str) -> str:
    return text.upper().replace("-", "").replace("*", "")


def _parse_evse(text: str) -> str:
    return EvseID(text).key


class _Listed(NamedTuple):
    """A list: its pages, the name of its member in the answer, its filters by their names in the query."""

    listing: Listing
    to_json: Callable[[Row], listings.Json]
    filters: Mapping[str, tuple[str, FilterParser]]
    count_of_state: Statement | None = None


_LISTS: Mapping[str, _Listed] = {
    "sessions": _Listed(
        listings.SESSIONS,
        listings.session_to_json,
        {
            "state": ("state_", _one_of(frozenset(SessionState))),
            "role": ("role_", _one_of(_ROLES)),
            "peer": ("peer_", str),
            "evse": ("evse_", _parse_evse),
            "since": ("since_", _parse_since),
        },
        listings.SESSIONS_IN_STATE,
    ),
    "cdrs": _Listed(
        listings.CDRS,
        listings.cdr_to_json,
        {
            "state": ("state_", _one_of(frozenset(CdrState))),
            "role": ("role_", _one_of(_ROLES)),
            "peer": ("peer_", str),
            "since": ("since_", _parse_since),
            "unconfirmed": ("unconfirmed_", _parse_flag),
            "doubtful": ("doubtful_", _parse_flag),
        },
        listings.CDRS_IN_STATE,
    ),
    "evses": _Listed(
        evse_lists.EVSES,
        evse_lists.evse_to_json,
        {
            "operator": ("operator_", lambda text: OperatorID(text).key),
            "country": ("country_", _parse_country),
            "evse": ("evse_", _parse_evse),
            "peer": ("source_", str),
        },
    ),
    "quarantine": _Listed(
        listings.QUARANTINE,
        listings.quarantined_to_json,
        {"peer": ("source_", str), "operation": ("operation_", str)},
    ),
    "tokens": _Listed(listings.TOKENS, listings.token_to_json, {"token": ("token_", _parse_token)}),
}


class RecordAdminApi:
    """Shows what is stored."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        one: list[tuple[Endpoint, Callable[[str], Awaitable[dict[str, object]]]]] = [
            (record_endpoints.SHOW_SESSION, self._session),
            (record_endpoints.SHOW_CDR, self._cdr),
            (record_endpoints.SHOW_EVSE, self._evse),
        ]
        lists = record_endpoints.LISTS.items()
        return [
            *(endpoint.route(pipeline, partial(self._list, name)) for name, endpoint in lists),
            *(each.route(pipeline, partial(_show, show, each.names_in_path[0])) for each, show in one),
        ]

    async def _list(self, name: str, context: RequestContext) -> OperationResponse:
        listed, query = _LISTS[name], context.http.query
        limit = min(parse_whole_number(query.get("limit", str(_DEFAULT_LIMIT))), _MAX_LIMIT)
        filters: dict[str, object] = {}
        for key in set(query) - {"limit", "cursor"}:
            if key not in listed.filters:
                raise _bad_query(key, f"no filter of this list; expected {', '.join(listed.filters)}, limit, cursor")
            parameter, parse = listed.filters[key]
            try:
                filters[parameter] = parse(query[key])
            except ValueError as error:
                raise _bad_query(key, str(error)) from error
        if listed.count_of_state is not None and "state_" in filters:
            filters |= await self._few(listed.count_of_state, filters["state_"])
        # One more than asked for says whether there is another page.
        found, parameters = _page(listed.listing, query.get("cursor", ""), {**filters, "limit": limit + 1})
        rows = await self._store.query_bulk(found.statement, **parameters)
        page = rows[:limit]
        is_last = len(rows) <= limit or not page
        cursor = None if is_last else _encode_cursor(found.position_after(page[-1]))
        return _response({name: [listed.to_json(row) for row in page], "cursor": cursor})

    async def _few(self, count_of_state: Statement, state: object) -> dict[str, object]:
        """Return what lets a list read the rows of a state that few rows have: a look into an index tells how many."""
        (row,) = await self._store.query(count_of_state, state_=state, limit=listings.MAX_FEW + 1)
        return {listings.FEW: 1} if row["records"] <= listings.MAX_FEW else {}

    async def _session(self, text: str) -> dict[str, object]:
        key = SessionID(text).key
        rows = await self._store.query(sessions.BY_KEY, key_=key)
        records = await self._store.query(listings.CDRS_OF_SESSION, key_=key)
        messages = await self._store.query(listings.MESSAGES_OF_SESSION, key_=key)
        found = []
        for row in rows:
            role = row["role"]
            events = await self._store.query(sessions.EVENTS, role_=role, key_=key)
            found.append(
                {
                    **listings.session_to_json(row),
                    "records": [listings.cdr_to_json(each) for each in records if each["role"] == role],
                    "messages": [listings.message_to_json(each) for each in messages if each["role"] == role],
                    "events": [listings.session_event_to_json(each) for each in events],
                }
            )
        return {"sessions": found}

    async def _cdr(self, text: str) -> dict[str, object]:
        key = SessionID(text).key
        messages = await self._store.query(listings.MESSAGES_OF_SESSION, key_=key)
        waiting = [listings.message_to_json(row) for row in messages if row["operation"] in _CDR_OPERATIONS]
        return {
            "cdrs": [
                {
                    **listings.cdr_to_json(row),
                    "messages": [each for each in waiting if each["role"] == row["role"]],
                    "record": msgspec.Raw(row["body"]),
                }
                for row in await self._store.query(listings.CDRS_OF_SESSION, key_=key)
            ]
        }

    async def _evse(self, text: str) -> dict[str, object]:
        rows = await self._store.query(evse_lists.EVSE_BY_KEY, key_=EvseID(text).key)
        return {"evses": [evse_lists.evse_to_json(row) for row in rows]}


async def _show(
    show: Callable[[str], Awaitable[dict[str, object]]], id_name: str, context: RequestContext
) -> OperationResponse:
    text = context.parameter(id_name)
    content = await show(text)
    if not any(content.values()):
        raise HttpError(404, StatusCodeValue.DATA_ERROR, f"there is none of {text[:100]} here")
    return _response(content)


def _response(content: Mapping[str, object]) -> OperationResponse:
    # Not orjson: a record goes out as it came, with its numbers as they were written.
    return OperationResponse(msgspec.json.encode(content))


def _page(listing: Listing, cursor: str, filters: Mapping[str, object]) -> tuple[PageQuery, dict[str, object]]:
    try:
        position = _decode_cursor(cursor) if cursor else None
        return listing.page(position, **filters)
    except (ValueError, binascii.Error) as error:
        raise _bad_query("cursor", "expected the cursor of the page before, unchanged") from error


def _decode_cursor(cursor: str) -> Sequence[object]:
    position = orjson.loads(base64.urlsafe_b64decode(cursor.encode()))
    if not isinstance(position, list):
        raise ValueError("no list")  # noqa: TRY004 - one kind of error for whatever is wrong with it
    return position


def _encode_cursor(position: Sequence[object]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(list(position))).decode()


def _bad_query(name: str, expected: str) -> HttpError:
    return HttpError(400, StatusCodeValue.DATA_ERROR, f"{name}: {expected}")
