"""Answering PullEvseData from the store, by joining stored bytes (OICP 2.3, EMP-02, eRoamingPullEvseData)."""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections.abc import Sequence
from functools import partial

from p2p_oicp.clock import wire_time
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import GeoFormat, PullEvseData, SearchCenter
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.paging import PageWanted
from p2p_oicp.roles.state import facts
from p2p_oicp.roles.state.crawls import Crawls
from p2p_oicp.roles.state.notation import in_notation
from p2p_oicp.storage.state import evses, queries
from p2p_oicp.storage.state.evses import Circle, Filters
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
        notation = incoming.message.geo_coordinates_response_format
        page = await evses.page(self._context.store, ids, since, _others(notation))
        if page.is_uniform:
            return asked.answer_joined(page.body, page.records, len(crawl.ids))
        return asked.answer(await self._converted(ids, since, GeoFormat(notation)), len(crawl.ids))

    async def _converted(self, ids: Sequence[int], since: float | None, notation: GeoFormat) -> list[bytes]:
        """Return records with their places in a notation."""
        records: list[bytes] = []
        for count, (told, raw) in enumerate(await evses.apart(self._context.store, ids, since), start=1):
            if count % _BETWEEN_TURNS == 0:
                await asyncio.sleep(0)
            records.append(told + in_notation(raw, notation)[1:])
        return records

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


def _others(notation: str) -> tuple[str, str]:
    """Return the notations that were not asked for; of an unknown one, places stay as they are."""
    if notation not in tuple(GeoFormat):
        return "?", "?"
    first, second = (known for known in GeoFormat if known != notation)
    return first, second
