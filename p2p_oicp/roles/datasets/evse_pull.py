"""Answer PullEvseData from the store, by joining stored bytes (OICP EMP-02, eRoamingPullEvseData).

**Snapshots.** A pull goes on over many pages. The first page searches, and the list of record ids (8 bytes each) is
cached for the pages that follow: page N costs what page 0 costs, and no record is skipped or returned twice while
others come and go (RULES P1). What changes meanwhile is found by the next delta. A first page shares the snapshot of
any client that sent the same request, as long as the data has not changed since.

**Coordinates** are converted to the notation that the pull asks for (GeoCoordinatesResponseFormat, RULES T7). All else
is returned byte for byte.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import msgspec
import orjson

from p2p_oicp.clock import format_timestamp
from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import GeoCoordinates, GeoFormat, InvalidMessage, PullEvseData, SearchCenter
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.oicp.message import split_members
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.datasets import types
from p2p_oicp.roles.datasets.publishing import PublishedView, view_of_pull
from p2p_oicp.roles.responses import PageRequest, unread_members_note
from p2p_oicp.storage import Store
from p2p_oicp.storage.datasets import change_feed, evse_search, queries
from p2p_oicp.storage.datasets.evse_search import EvseFilter, SearchArea
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.datasets.queries import RecordLabel, RecordRun

_MAX_CACHE_BYTES = 64 * 1024 * 1024
# Each delta is a request of its own: with ten peers and one delta a minute, these are the snapshots of three hours.
_MAX_SNAPSHOTS = 2_000
# An estimate: what a snapshot takes beside its ids.
_SNAPSHOT_OVERHEAD_BYTES = 1_000

_GEO_FORMATS = frozenset(GeoFormat)
_COORDINATE_MEMBERS = ("GeoCoordinates", "GeoChargingPointEntrance")
_GEO_FORMAT_MEMBERS = {
    GeoFormat.GOOGLE: b'"Google"',
    GeoFormat.DECIMAL_DEGREE: b'"DecimalDegree"',
    GeoFormat.DEGREE_MINUTE_SECONDS: b'"DegreeMinuteSeconds"',
}


def convert_geo_format(raw: bytes, geo_format: GeoFormat) -> bytes:
    """Return a record with its coordinates in a notation; the same bytes if they are in it already."""
    # A search for bytes, not a parse: nearly all records are in Google's notation, and so are nearly all pulls.
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


@dataclass(frozen=True, slots=True)
class PullSnapshot:
    """The result of a pull's search.

    Attributes:
        ids: the ids of the records, in the order of the pages.
        data_version: the state of the data that was searched.
        operators: the members that tell the operator of a record, by source and group; filled as pages are rendered.

    """

    ids: array[int]
    data_version: object
    operators: dict[tuple[str, str], bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The size in memory, in bytes (an estimate)."""
        return 8 * len(self.ids) + _SNAPSHOT_OVERHEAD_BYTES


class PullSnapshotCache:
    """Least-recently-used cache of snapshots, by client and request.

    Args:
        data_version: returns a value that is another one after each change of the data.
        max_bytes: the total size; the newest snapshot stays, however large it is.

    """

    def __init__(self, data_version: Callable[[], Awaitable[object]], max_bytes: int = _MAX_CACHE_BYTES) -> None:
        self._data_version = data_version
        self._snapshots: OrderedDict[tuple[str, bytes], PullSnapshot] = OrderedDict()
        self._latest_by_request: dict[bytes, PullSnapshot] = {}
        self._size = 0
        self._max_bytes = max_bytes

    def __repr__(self) -> str:
        return f"<PullSnapshotCache snapshots={len(self._snapshots)} bytes={self._size}>"

    async def get(
        self, peer_id: str, request_digest: bytes, *, is_first: bool, search: Callable[[], Awaitable[array[int]]]
    ) -> PullSnapshot:
        """Return the snapshot that a page belongs to.

        Args:
            peer_id: the client.
            request_digest: identifies the request, without its page.
            is_first: the page is the first one: then a snapshot of older data is not used.
            search: finds the ids, if there is no snapshot.

        """
        key = (peer_id, request_digest)
        snapshot = self._snapshots.get(key)
        if snapshot is not None and not (is_first and snapshot.data_version != await self._data_version()):
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
        # Order: the version before the search. A change in between makes the snapshot newer than its version says,
        # which costs a search; the other way round, the change would never be seen.
        data_version = await self._data_version()
        snapshot = self._latest_by_request.get(request_digest)
        if snapshot is not None and snapshot.data_version == data_version:
            return snapshot
        return PullSnapshot(await search(), data_version)

    def _evict(self, key: tuple[str, bytes]) -> None:
        snapshot = self._snapshots.pop(key, None)
        if snapshot is not None:
            self._size -= snapshot.size
            if self._latest_by_request.get(key[1]) is snapshot:
                del self._latest_by_request[key[1]]


class EvseDataPullHandler:
    """Answers pulls of EVSE data.

    Args:
        context: the services of the node.
        source: whose data is returned: ``OWN``, or None for the data of all peers and our own.

    """

    def __init__(self, context: Services, source: str | None) -> None:
        self._context = context
        self._source = source
        self._removed_peers = context.removed_peers
        self._snapshots = PullSnapshotCache(self._data_version)

    async def handle(self, request: OperationRequest[PullEvseData]) -> OperationResponse:
        """Return one page of the live records, or of the changes since LastCall. Raises Refusal 022."""
        page_request = PageRequest.from_query(request.query)
        last_call = request.message.last_call
        since = (
            None if last_call is None else await check_last_call(self._context.store, DatasetKind.EVSE_DATA, last_call)
        )
        view = view_of_pull(request.peer, DatasetKind.EVSE_DATA, self._context.store, self._source)
        if since is not None and view is not None and view.follows_evse_data:
            # A delta would lack what has gone out of the peer's view.
            raise Refusal(StatusCodeValue.DATA_ERROR, "LastCall: not all EVSEs are published; pull everything")
        # The digest is that of the body: page and size are in the query, so all pages of a pull share a snapshot.
        snapshot = await self._snapshots.get(
            request.peer.id if request.peer else "",
            request.digest + (view.text.encode() if view is not None else b""),
            is_first=page_request.number == 0,
            search=partial(self._search, request.message, since, view),
        )
        parts, count = await self._render_page(
            snapshot, page_request, since, request.message.geo_coordinates_response_format
        )
        note = unread_members_note(request.message)
        return page_request.response_from_parts(parts, count, len(snapshot.ids), note)

    async def _data_version(self) -> tuple[tuple[int, int], list[str] | None]:
        """Return what a search depends on: the version of the EVSE data, and the sources that are excluded."""
        return await evse_search.data_version(self._context.store, self._source), await self._removed_peers.ids()

    async def _render_page(
        self, snapshot: PullSnapshot, page_request: PageRequest, since: float | None, geo_format: str
    ) -> tuple[list[bytes], int]:
        """Return the records of a page in parts, with commas between them, and their number.

        Parts are joined once, with the head of the response: a page of some megabytes is not copied twice.
        """
        ids = snapshot.ids[page_request.offset : page_request.offset + page_request.size]
        requested_format = GeoFormat(geo_format) if geo_format in _GEO_FORMATS else None
        parts: list[bytes] = []
        count = 0
        for start in range(0, len(ids), queries.PAGE_CHUNK_SIZE):
            if start:
                await asyncio.sleep(0)  # gives the event loop a turn
            for run in await queries.load_runs(
                self._context.store, ids[start : start + queries.PAGE_CHUNK_SIZE], since
            ):
                prefix = await self._record_prefix(run.label, snapshot)
                parts += (b"," if parts else b"", prefix, _prefix_records(run, prefix, requested_format))
                count += run.record_count
        return parts, count

    async def _record_prefix(self, label: RecordLabel, snapshot: PullSnapshot) -> bytes:
        """Return the members before those of the record itself (OICP 2.3, PullEvseDataRecordType)."""
        group_id = label.source, label.group_key
        operator_members = snapshot.operators.get(group_id)
        if operator_members is None:
            operator_members = snapshot.operators[group_id] = await self._operator_members(label)
        delta_type = b'"deltaType":"%b",' % label.delta_type.encode() if label.delta_type else b""
        return b'{%b"lastUpdate":"%b",%b' % (delta_type, format_timestamp(label.changed_at).encode(), operator_members)

    async def _operator_members(self, label: RecordLabel) -> bytes:
        party, wrapper = await queries.operator_of(self._context.store, label)
        # Mandatory in a pulled record (OICP 2.3, PullEvseDataRecordType): without a known name, the OperatorID is it.
        name = bytes(split_members(wrapper).get("OperatorName", orjson.dumps(party)))
        return b'"OperatorID":%b,"OperatorName":%b,' % (orjson.dumps(party), name)

    async def _search(self, pull: PullEvseData, since: float | None, view: PublishedView | None) -> array[int]:
        area = search_area_of(pull.search_center) if pull.search_center else None
        store, evse_filter = self._context.store, _evse_filter(pull, self._source, await self._removed_peers.ids())
        ids = await evse_search.search(store, evse_filter, since, area)
        if view is None:
            return ids
        rows = await change_feed.load_keyed_records(store, ids, with_deleted=True)
        shown = await view.shown([(key, raw) for _, key, raw in rows])
        published = {number for (number, _, _), is_shown in zip(rows, shown, strict=True) if is_shown}
        return array("q", (number for number in ids if number in published))


async def check_last_call(store: Store, dataset: DatasetKind, last_call: datetime) -> float:
    """Return LastCall in seconds since the epoch.

    Raises:
        Refusal: 022, it is older than the last tombstones that were removed: a delta would lack their deletions.

    """
    since = last_call.timestamp()
    last_purge = await store.query_inline(queries.LAST_PURGE, dataset_=dataset)
    if last_purge and since <= last_purge[0]["at"]:
        hint = f"changes are known since {format_timestamp(last_purge[0]['at'])}; pull everything, without LastCall"
        raise Refusal(StatusCodeValue.DATA_ERROR, f"LastCall {last_call.isoformat()} is too long ago: {hint}")
    return since


def _prefix_records(run: RecordRun, prefix: bytes, requested_format: GeoFormat | None) -> bytes:
    """Return the records of a run with the prefix before each but the first, in the requested notation."""
    tails = run.record_tails
    if requested_format is not None and run.label.geo_format != requested_format:
        converted = (
            convert_geo_format(b"{" + tail, requested_format)[1:] for tail in tails.split(queries.RECORD_SEPARATOR)
        )
        tails = queries.RECORD_SEPARATOR.join(converted)
    return tails.replace(queries.RECORD_SEPARATOR, b"," + prefix)


def search_area_of(center: SearchCenter) -> SearchArea:
    """Return the circle of a SearchCenter. Raises Refusal 022 if its coordinates cannot be read."""
    position = center.geo_coordinates.position
    if position is None:
        raise Refusal(StatusCodeValue.DATA_ERROR, "SearchCenter: the coordinates cannot be read")
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
