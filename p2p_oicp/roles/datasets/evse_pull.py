"""Coordinates in the notation that a pull asks for (GeoCoordinatesResponseFormat, box T7); all else byte for byte.

Crawls: a pull that goes on over many pages keeps the list of records that it began with (box P1).

The first page searches, and the list of record ids (8 bytes each) is kept for the pages that follow: page N costs what
page 0 costs, and no record is skipped or comes twice while others come and go. What changes meanwhile is for the next
delta. The first page takes a list that is still up to date, whoever made it.

Answering PullEvseData from the store, by joining stored bytes (OICP 2.3, EMP-02, eRoamingPullEvseData).
"""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import msgspec
import orjson

from p2p_oicp.clock import format_timestamp
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import GeoCoordinates, GeoFormat, InvalidMessage, PullEvseData, SearchCenter
from p2p_oicp.oicp.message import split_members
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.datasets import types
from p2p_oicp.roles.responses import PageRequest
from p2p_oicp.storage.datasets import evse_search, queries
from p2p_oicp.storage.datasets.evse_search import EvseFilter, SearchArea
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.datasets.queries import RecordLabel, RecordRun

_COORDINATE_MEMBERS = ("GeoCoordinates", "GeoChargingPointEntrance")
_GEO_FORMAT_MEMBERS = {
    GeoFormat.GOOGLE: b'"Google"',
    GeoFormat.DECIMAL_DEGREE: b'"DecimalDegree"',
    GeoFormat.DEGREE_MINUTE_SECONDS: b'"DegreeMinuteSeconds"',
}


def convert_geo_format(raw: bytes, geo_format: GeoFormat) -> bytes:
    """Return a record with its places in a notation; the bytes as they are where they are in it already."""
    if all(member not in raw for other_format, member in _GEO_FORMAT_MEMBERS.items() if other_format is not geo_format):
        return raw
    members = split_members(raw)
    for name in _COORDINATE_MEMBERS:
        if name in members and _GEO_FORMAT_MEMBERS[geo_format] not in bytes(members[name]):
            members[name] = msgspec.Raw(_convert_coordinates(bytes(members[name]), geo_format))
    return msgspec.json.encode(members)


def _convert_coordinates(coordinates: bytes, geo_format: GeoFormat) -> bytes:
    try:
        return GeoCoordinates.from_json(coordinates).to_format(geo_format).to_json()
    except InvalidMessage:
        return coordinates


_MAX_CACHE_BYTES = 64 * 1024 * 1024
# Each delta is a crawl of its own: with ten peers and one a minute, these are the crawls of three hours.
_MAX_SNAPSHOTS = 2_000
_SNAPSHOT_OVERHEAD_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class PullSnapshot:
    """What a pull means: record ids in their order, as of a state of the data.

    ``operators`` are what its pages say of the operators, by source and group: looked up once a crawl.
    """

    ids: array[int]
    data_version: object
    operators: dict[tuple[str, str], bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 8 * len(self.ids) + _SNAPSHOT_OVERHEAD_BYTES


class PullSnapshotCache:
    """The crawls under way, by caller and request; the least recently used give way.

    ``newest`` returns what tells states of the data apart: its change number, and whose it is.
    """

    def __init__(self, data_version: Callable[[], object], max_bytes: int = _MAX_CACHE_BYTES) -> None:
        self._data_version = data_version
        self._snapshots: OrderedDict[tuple[str, bytes], PullSnapshot] = OrderedDict()
        self._latest_by_request: dict[bytes, PullSnapshot] = {}
        self._size = 0
        self._max_bytes = max_bytes

    async def get(
        self, peer_name: str, request_digest: bytes, *, is_first: bool, search: Callable[[], Awaitable[array[int]]]
    ) -> PullSnapshot:
        """Return the crawl that a page belongs to."""
        key = (peer_name, request_digest)
        snapshot = self._snapshots.get(key)
        if snapshot is not None and not (is_first and snapshot.data_version != self._data_version()):
            self._snapshots.move_to_end(key)
            return snapshot
        snapshot = await self._current_snapshot(request_digest, search)
        self._evict(key)
        self._snapshots[key] = self._latest_by_request[request_digest] = snapshot
        self._size += snapshot.size
        while len(self._snapshots) > 1 and (self._size > self._max_bytes or len(self._snapshots) > _MAX_SNAPSHOTS):
            self._evict(next(iter(self._snapshots)))
        return snapshot

    async def _current_snapshot(
        self, request_digest: bytes, search: Callable[[], Awaitable[array[int]]]
    ) -> PullSnapshot:
        data_version = self._data_version()
        snapshot = self._latest_by_request.get(request_digest)
        return (
            snapshot
            if snapshot is not None and snapshot.data_version == data_version
            else PullSnapshot(await search(), data_version)
        )

    def _evict(self, key: tuple[str, bytes]) -> None:
        snapshot = self._snapshots.pop(key, None)
        if snapshot is not None:
            self._size -= snapshot.size
            if self._latest_by_request.get(key[1]) is snapshot:
                del self._latest_by_request[key[1]]


_DATA_ERROR = "022"
_GEO_FORMATS = frozenset(GeoFormat)


class EvseDataPullHandler:
    """Answers pulls of EVSE data; ``source`` is whose: ``""`` our own, None everybody's."""

    def __init__(self, context: Services, source: str | None) -> None:
        self._context = context
        self._source = source
        self._removed_peers = context.removed_peers
        self._snapshots = PullSnapshotCache(self._data_version)

    async def handle(self, request: OperationRequest[PullEvseData]) -> OperationResponse:
        """Return one page of what is valid, or of what changed since LastCall."""
        page_request = PageRequest.from_query(request.query)
        since = self._last_call_timestamp(request.message)
        snapshot = await self._snapshots.get(
            request.peer.name if request.peer else "",
            request.digest,
            is_first=page_request.number == 0,
            search=partial(self._search, request.message, since),
        )
        parts, count = await self._render_page(
            snapshot, page_request, since, request.message.geo_coordinates_response_format
        )
        return page_request.response_from_parts(parts, count, len(snapshot.ids))

    def _data_version(self) -> tuple[int, list[str] | None]:
        """Return what a list of records depends on: the newest change, and whose copies do not count."""
        return evse_search.last_change(self._context.store, self._source), self._removed_peers.names()

    async def _render_page(
        self, snapshot: PullSnapshot, page_request: PageRequest, since: float | None, geo_format: str
    ) -> tuple[list[bytes], int]:
        """Return records as a pull shows them, with commas between, in many texts; and how many they are."""
        ids = snapshot.ids[page_request.offset : page_request.offset + page_request.size]
        requested_format = GeoFormat(geo_format) if geo_format in _GEO_FORMATS else None
        parts: list[bytes] = []
        count = 0
        for start in range(0, len(ids), queries.PAGE_CHUNK_SIZE):
            if start:
                await asyncio.sleep(0)  # others get their turn
            for run in queries.load_runs(self._context.store, ids[start : start + queries.PAGE_CHUNK_SIZE], since):
                prefix = self._record_prefix(run.label, snapshot)
                parts += (b"," if parts else b"", prefix, _prefix_records(run, prefix, requested_format))
                count += run.record_count
        return parts, count

    def _record_prefix(self, label: RecordLabel, snapshot: PullSnapshot) -> bytes:
        """Return what stands before a record's own members (OICP 2.3, PullEvseDataRecordType)."""
        group_id = label.source, label.group_key
        operator_members = snapshot.operators.get(group_id) or snapshot.operators.setdefault(
            group_id, self._operator_members(label)
        )
        delta_type = b'"deltaType":"%b",' % label.delta_type.encode() if label.delta_type else b""
        return b'{%b"lastUpdate":"%b",%b' % (delta_type, format_timestamp(label.changed_at).encode(), operator_members)

    def _operator_members(self, label: RecordLabel) -> bytes:
        party, wrapper = queries.operator_of(self._context.store, label)
        name = split_members(wrapper).get("OperatorName")
        name_member = b'"OperatorName":%b,' % bytes(name) if name is not None else b""
        return b'"OperatorID":%b,%b' % (orjson.dumps(party), name_member)

    def _last_call_timestamp(self, pull: PullEvseData) -> float | None:
        """Return LastCall in seconds; a time before the oldest change that is still known cannot be answered."""
        if pull.last_call is None:
            return None
        since = pull.last_call.timestamp()
        last_purge = self._context.store.query_inline(queries.LAST_PURGE, dataset_=DatasetKind.EVSE_DATA)
        if last_purge and since <= last_purge[0]["at"]:
            hint = f"changes are known since {format_timestamp(last_purge[0]['at'])}; pull everything, without LastCall"
            raise Refusal(_DATA_ERROR, f"LastCall {pull.last_call.isoformat()} is too long ago: {hint}")
        return since

    async def _search(self, pull: PullEvseData, since: float | None) -> array[int]:
        area = search_area_of(pull.search_center) if pull.search_center else None
        return await evse_search.search(
            self._context.store, _evse_filter(pull, self._source, self._removed_peers.names()), since, area
        )


def _prefix_records(run: RecordRun, prefix: bytes, requested_format: GeoFormat | None) -> bytes:
    """Return records as a pull shows them, but for the first one's opening, in the notation that is wanted."""
    tails = run.record_tails
    if requested_format is not None and run.label.geo_format != requested_format:
        converted = (
            convert_geo_format(b"{" + tail, requested_format)[1:] for tail in tails.split(queries.RECORD_SEPARATOR)
        )
        tails = queries.RECORD_SEPARATOR.join(converted)
    return tails.replace(queries.RECORD_SEPARATOR, b"," + prefix)


def search_area_of(center: SearchCenter) -> SearchArea:
    """Return the circle that a search means; raises Refusal 022 where the place cannot be read."""
    position = center.geo_coordinates.position
    if position is None:
        raise Refusal(_DATA_ERROR, "SearchCenter: the coordinates cannot be read")
    return SearchArea(float(position.latitude), float(position.longitude), float(center.radius))


def _evse_filter(pull: PullEvseData, source: str | None, excluded_sources: list[str] | None) -> EvseFilter:
    return EvseFilter(
        source=source,
        excluded_sources=excluded_sources,
        countries=[str(code).upper() for code in pull.country_codes] or None,
        operators=[operator.key for operator in pull.operator_ids] or None,
        modes=[types.encode_multivalue([str(mode)]) for mode in pull.authentication_modes] or None,
        accessibility=[str(text) for text in pull.accessibility] or None,
        calibration=[str(text) for text in pull.calibration_law_data_availability] or None,
        renewable=pull.renewable_energy,
        compatible=pull.is_hubject_compatible,
        open_24_hours=pull.is_open_24_hours,
    )
