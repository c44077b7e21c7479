"""Answering PullEvseData from the store, by joining stored bytes (OICP 2.3, EMP-02, eRoamingPullEvseData)."""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections.abc import Sequence
from functools import partial

import orjson

from p2p_oicp.clock import wire_time
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import GeoFormat, PullEvseData, SearchCenter
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.paging import PageWanted
from p2p_oicp.roles.state import facts
from p2p_oicp.roles.state.crawls import Crawls
from p2p_oicp.roles.state.notation import in_notation
from p2p_oicp.storage.state import evses, queries
from p2p_oicp.storage.state.evses import Circle, Filters, Found
from p2p_oicp.storage.state.model import Kind

_DATA_ERROR = "022"
_BETWEEN_TURNS = 50


class EvsePulls:
    """Answers pulls of EVSE data; ``source`` is whose: ``""`` our own, None everybody's."""

    def __init__(self, context: RoleContext, source: str | None) -> None:
        self._context = context
        self._source = source
        self._crawls = Crawls()

    async def answer(self, incoming: Incoming[PullEvseData]) -> Answer:
        """Return one page of what is valid, or of what changed since LastCall."""
        asked = PageWanted.of(incoming.query)
        since = await self._since(incoming.message)
        crawl = await self._crawls.get(
            incoming.peer.name if incoming.peer else "",
            hashlib.sha256(incoming.body).digest(),
            is_first=asked.number == 0,
            newest=(await self._context.store.read(evses.NEWEST, source_=self._source))[0]["newest"],
            search=partial(self._search, incoming.message, since),
        )
        ids = crawl.ids[asked.offset : asked.offset + asked.size]
        found = await evses.page(self._context.store, ids, since) if ids else []
        records = await _written(found, incoming.message.geo_coordinates_response_format)
        return asked.answer(records, len(crawl.ids))

    async def _since(self, pull: PullEvseData) -> float | None:
        """Return LastCall in seconds; a time before the oldest change that is still known cannot be answered."""
        if pull.last_call is None:
            return None
        since = pull.last_call.timestamp()
        swept = await self._context.store.read(queries.SWEPT, kind_=Kind.EVSE_DATA)
        if swept and since <= swept[0]["at"]:
            info = f"changes are known since {wire_time(swept[0]['at'])}; pull everything, without LastCall"
            raise Refusal(_DATA_ERROR, f"LastCall {pull.last_call.isoformat()} is too long ago: {info}")
        return since

    async def _search(self, pull: PullEvseData, since: float | None) -> array[int]:
        circle = circle_of(pull.search_center) if pull.search_center else None
        return await evses.search(self._context.store, _filters(pull, self._source), since, circle)


def circle_of(center: SearchCenter) -> Circle:
    """Return the circle that a search means; raises Refusal 022 where the place cannot be read."""
    position = center.geo_coordinates.position
    if position is None:
        raise Refusal(_DATA_ERROR, "SearchCenter: the coordinates cannot be read")
    return Circle(float(position.latitude), float(position.longitude), float(center.radius))


def _filters(pull: PullEvseData, source: str | None) -> Filters:
    return Filters(
        source=source,
        countries=[str(code).upper() for code in pull.country_codes] or None,
        operators=[operator.key for operator in pull.operator_ids] or None,
        modes=[facts.listed([str(mode)]) for mode in pull.authentication_modes] or None,
        accessibility=[str(text) for text in pull.accessibility] or None,
        calibration=[str(text) for text in pull.calibration_law_data_availability] or None,
        renewable=pull.renewable_energy,
        compatible=pull.is_hubject_compatible,
        always_open=pull.is_open_24_hours,
    )


async def _written(found: Sequence[Found], notation: str) -> list[bytes]:
    """Return records as a pull shows them: with operator, time and deltaType, in the notation asked for."""
    records: list[bytes] = []
    heads: dict[tuple[str, bytes], bytes] = {}
    wanted = next((known for known in GeoFormat if known == notation), None)
    for count, one in enumerate(found, start=1):
        if count % _BETWEEN_TURNS == 0:
            await asyncio.sleep(0)
        key = (one.party, one.head)
        operator = heads.setdefault(key, _operator(one)) if key not in heads else heads[key]
        raw = in_notation(one.raw, wanted) if wanted else one.raw
        records.append(b"{%b%b,%b" % (_told(one), operator, raw.lstrip()[1:]))
    return records


def _told(one: Found) -> bytes:
    delta = b'"deltaType":"%b",' % one.delta.encode() if one.delta else b""
    return b'%b"lastUpdate":"%b",' % (delta, wire_time(one.changed_at).encode())


def _operator(one: Found) -> bytes:
    """Return the members that name the operator, without braces."""
    name = orjson.loads(one.head).get("OperatorName")
    members = {"OperatorID": one.party, **({"OperatorName": name} if name else {})}
    return orjson.dumps(members)[1:-1]
