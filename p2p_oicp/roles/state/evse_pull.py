"""Answering PullEvseData from the store, by joining stored bytes (OICP 2.3, EMP-02, eRoamingPullEvseData)."""

from __future__ import annotations

import asyncio
from array import array
from functools import partial

import orjson

from p2p_oicp.clock import wire_time
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import GeoFormat, PullEvseData, SearchCenter
from p2p_oicp.oicp.base import top_level
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.paging import PageWanted
from p2p_oicp.roles.state import facts
from p2p_oicp.roles.state.crawls import Crawl, Crawls
from p2p_oicp.roles.state.notation import in_notation
from p2p_oicp.storage.state import evses, pages, queries
from p2p_oicp.storage.state.evses import Circle, Filters
from p2p_oicp.storage.state.model import Kind
from p2p_oicp.storage.state.pages import Alike, Label

_DATA_ERROR = "022"
_NOTATIONS = frozenset(GeoFormat)


class EvsePulls:
    """Answers pulls of EVSE data; ``source`` is whose: ``""`` our own, None everybody's."""

    def __init__(self, context: RoleContext, source: str | None) -> None:
        self._context = context
        self._source = source
        self._former = context.former
        self._crawls = Crawls(self._as_of)

    async def answer(self, incoming: Incoming[PullEvseData]) -> Answer:
        """Return one page of what is valid, or of what changed since LastCall."""
        asked = PageWanted.of(incoming.query)
        since = self._since(incoming.message)
        crawl = await self._crawls.get(
            incoming.peer.name if incoming.peer else "",
            incoming.digest,
            is_first=asked.number == 0,
            search=partial(self._search, incoming.message, since),
        )
        told, count = await self._told(crawl, asked, since, incoming.message.geo_coordinates_response_format)
        return asked.answer_joined(told, count, len(crawl.ids))

    def _as_of(self) -> tuple[int, list[str] | None]:
        """Return what a list of records depends on: the newest change, and whose copies do not count."""
        return evses.newest(self._context.store, self._source), self._former.names()

    async def _told(
        self, crawl: Crawl, asked: PageWanted, since: float | None, notation: str
    ) -> tuple[list[bytes], int]:
        """Return records as a pull shows them, with commas between, in many texts; and how many they are."""
        ids = crawl.ids[asked.offset : asked.offset + asked.size]
        wanted = GeoFormat(notation) if notation in _NOTATIONS else None
        told: list[bytes] = []
        count = 0
        for start in range(0, len(ids), pages.MOST_AT_ONCE):
            if start:
                await asyncio.sleep(0)  # others get their turn
            for alike in pages.some(self._context.store, ids[start : start + pages.MOST_AT_ONCE], since):
                opening = self._opening(alike.label, crawl)
                told += (b"," if told else b"", opening, _with_openings(alike, opening, wanted))
                count += alike.records
        return told, count

    def _opening(self, label: Label, crawl: Crawl) -> bytes:
        """Return what stands before a record's own members (OICP 2.3, PullEvseDataRecordType)."""
        whose = label.source, label.group_key
        operator = crawl.operators.get(whose) or crawl.operators.setdefault(whose, self._operator(label))
        delta = b'"deltaType":"%b",' % label.change.encode() if label.change else b""
        return b'{%b"lastUpdate":"%b",%b' % (delta, wire_time(label.changed_at).encode(), operator)

    def _operator(self, label: Label) -> bytes:
        party, head = pages.operator_of(self._context.store, label)
        name = top_level(head).get("OperatorName")
        named = b'"OperatorName":%b,' % bytes(name) if name is not None else b""
        return b'"OperatorID":%b,%b' % (orjson.dumps(party), named)

    def _since(self, pull: PullEvseData) -> float | None:
        """Return LastCall in seconds; a time before the oldest change that is still known cannot be answered."""
        if pull.last_call is None:
            return None
        since = pull.last_call.timestamp()
        swept = self._context.store.look_up(queries.SWEPT, kind_=Kind.EVSE_DATA)
        if swept and since <= swept[0]["at"]:
            info = f"changes are known since {wire_time(swept[0]['at'])}; pull everything, without LastCall"
            raise Refusal(_DATA_ERROR, f"LastCall {pull.last_call.isoformat()} is too long ago: {info}")
        return since

    async def _search(self, pull: PullEvseData, since: float | None) -> array[int]:
        circle = circle_of(pull.search_center) if pull.search_center else None
        return await evses.search(
            self._context.store, _filters(pull, self._source, self._former.names()), since, circle
        )


def _with_openings(alike: Alike, opening: bytes, wanted: GeoFormat | None) -> bytes:
    """Return records as a pull shows them, but for the first one's opening, in the notation that is wanted."""
    rests = alike.rests
    if wanted is not None and alike.label.notation != wanted:
        converted = (in_notation(b"{" + rest, wanted)[1:] for rest in rests.split(pages.BETWEEN))
        rests = pages.BETWEEN.join(converted)
    return rests.replace(pages.BETWEEN, b"," + opening)


def circle_of(center: SearchCenter) -> Circle:
    """Return the circle that a search means; raises Refusal 022 where the place cannot be read."""
    position = center.geo_coordinates.position
    if position is None:
        raise Refusal(_DATA_ERROR, "SearchCenter: the coordinates cannot be read")
    return Circle(float(position.latitude), float(position.longitude), float(center.radius))


def _filters(pull: PullEvseData, source: str | None, gone: list[str] | None) -> Filters:
    return Filters(
        source=source,
        gone=gone,
        countries=[str(code).upper() for code in pull.country_codes] or None,
        operators=[operator.key for operator in pull.operator_ids] or None,
        modes=[facts.listed([str(mode)]) for mode in pull.authentication_modes] or None,
        accessibility=[str(text) for text in pull.accessibility] or None,
        calibration=[str(text) for text in pull.calibration_law_data_availability] or None,
        renewable=pull.renewable_energy,
        compatible=pull.is_hubject_compatible,
        always_open=pull.is_open_24_hours,
    )
