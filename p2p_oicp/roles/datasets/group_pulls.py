"""Answer the pulls that have no pages (statuses, products, prices, authentication data) from the stored bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import orjson

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import (
    EvseID,
    EvseStatusRecord,
    Message,
    PullAuthenticationData,
    PullEVSEPricing,
    PullEvseStatus,
    PullEvseStatusById,
    PullEvseStatusByOperatorId,
    PullPricingProductData,
)
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.datasets.evse_pull import check_last_call, search_area_of
from p2p_oicp.roles.datasets.operator_names import with_operator_name
from p2p_oicp.roles.datasets.publishing import published_keys, view_of_pull
from p2p_oicp.roles.datasets.types import DATASET_TYPES, audience_key
from p2p_oicp.roles.responses import status_code, unread_members_note
from p2p_oicp.storage.datasets import evse_search, queries
from p2p_oicp.storage.datasets.models import ALL_PROVIDERS, DatasetKind
from p2p_oicp.storage.statements import list_parameter
from p2p_oicp.storage.transactions import Row

# OICP EMP-02, eRoamingPullEvseStatusByID: up to 100 EvseIDs.
_MAX_IDS = 100
_SUCCESS_STATUS = orjson.dumps(status_code(StatusCodeValue.SUCCESS))


class GroupPullHandler:
    """Answers pulls of all datasets but EVSE data.

    Args:
        context: the services of the node.
        source: whose data is returned: ``OWN``, or None for the data of all peers and our own.

    """

    def __init__(self, context: Services, source: str | None) -> None:
        self._store = context.store
        self._source = source
        self._removed_peers = context.removed_peers

    async def statuses(self, request: OperationRequest[PullEvseStatus]) -> OperationResponse:
        """Return all statuses, or those with a value of ``EVSEStatus``, or those within a radius."""
        pull, since = request.message, await self._last_call(request.message)
        status_filter = None if pull.evse_status is None else [str(pull.evse_status).lower()]
        keys = None
        if pull.search_center is not None:
            area = search_area_of(pull.search_center)
            keys = await evse_search.find_keys_in_area(self._store, area, self._source, await self._removed_peers.ids())
        rows = await self._load_groups(
            request.peer, DatasetKind.EVSE_STATUS, keys=keys, filter_values=status_filter, since=since
        )
        withdrawn = [] if since is None else await self._deleted_statuses(since)
        return await self._status_response(request.peer, rows, withdrawn)

    async def _last_call(self, pull: PullEvseStatus) -> float | None:
        """Return LastCall, which our own backends may add to the request, in seconds since the epoch.

        Raises:
            Refusal: 022, it is no time, or older than what is known of deleted statuses.

        """
        text = (pull.model_extra or {}).get("LastCall")
        if text is None or self._source is not None:
            return None
        try:
            instant = datetime.fromisoformat(str(text))
        except ValueError:
            instant = None
        if instant is None or instant.tzinfo is None:
            info = "LastCall: expected a time with its offset, as in 2026-03-01T00:00:00Z"
            raise Refusal(StatusCodeValue.DATA_ERROR, info)
        return await check_last_call(self._store, DatasetKind.EVSE_STATUS, instant)

    async def _deleted_statuses(self, since: float) -> list[bytes]:
        """Return the statuses that were withdrawn, as PullEvseStatusByID would: EvseNotFound."""
        rows = await self._store.query_bulk(
            queries.DELETED_SINCE,
            dataset_=DatasetKind.EVSE_STATUS,
            since=since,
            source_=self._source,
            excluded_sources=list_parameter(await self._removed_peers.ids()),
        )
        dataset_type, records = DATASET_TYPES[DatasetKind.EVSE_STATUS], dict[str, list[bytes]]()
        for row in rows:
            evse_id = EvseStatusRecord.from_json(row["raw"]).evse_id
            withdrawn = records.setdefault(row["party"], [])
            withdrawn.append(_placeholder_status(evse_id, "EvseNotFound"))
        return [
            dataset_type.wrap(orjson.dumps({"OperatorID": party}), b",".join(withdrawn))
            for party, withdrawn in records.items()
        ]

    async def statuses_of_operators(self, request: OperationRequest[PullEvseStatusByOperatorId]) -> OperationResponse:
        """Return the statuses of some operators."""
        operator_keys = [operator.key for operator in request.message.operator_id]
        return await self._status_response(
            request.peer, await self._load_groups(request.peer, DatasetKind.EVSE_STATUS, group_keys=operator_keys)
        )

    async def statuses_by_id(self, request: OperationRequest[PullEvseStatusById]) -> OperationResponse:
        """Return up to 100 statuses: ``EvseNotFound`` for an unknown EVSE, ``Unknown`` without a status (RULES M10)."""
        requested = {evse_id.key: evse_id for evse_id in request.message.evse_id}
        if len(requested) > _MAX_IDS:
            raise Refusal(
                StatusCodeValue.DATA_ERROR,
                f"{len(requested)} EvseIDs are asked for; at most {_MAX_IDS} are answered",
            )
        # An EVSE whose status was never pushed is still known by its EVSE data.
        statuses = await self._load_by_key(request.peer, DatasetKind.EVSE_STATUS, requested)
        evse_records = await self._load_by_key(request.peer, DatasetKind.EVSE_DATA, requested.keys() - statuses.keys())
        records = [
            statuses.get(key) or _placeholder_status(evse_id, "Unknown" if key in evse_records else "EvseNotFound")
            for key, evse_id in requested.items()
        ]
        return OperationResponse(
            b'{"EVSEStatusRecords":{"EvseStatusRecord":[%b]},"StatusCode":%b}' % (b",".join(records), _SUCCESS_STATUS)
        )

    async def products(self, request: OperationRequest[PullPricingProductData]) -> OperationResponse:
        """Return the products that some operators offer to this provider or to all."""
        pull = request.message
        # PullPricingProductData has no ProviderID in its body: the provider is the one in the path.
        audiences = _audiences(request.sender_id)
        group_keys = [f"{operator.key}|{audience}" for operator in pull.operator_ids for audience in audiences]
        rows = await self._load_groups(
            request.peer,
            DatasetKind.PRICING_PRODUCT,
            filter_values=audiences,
            group_keys=group_keys,
            since=_timestamp(pull.last_call),
        )
        groups = _wrap_groups(DatasetKind.PRICING_PRODUCT, rows)
        return _under_both_names(b"PricingProductData", b"OperatorPricingProducts", groups, pull)

    async def evse_prices(self, request: OperationRequest[PullEVSEPricing]) -> OperationResponse:
        """Return which products apply at which EVSEs, for this provider or for all."""
        pull = request.message
        rows = await self._load_groups(
            request.peer,
            DatasetKind.EVSE_PRICING,
            filter_values=_audiences(pull.provider_id.text),
            group_keys=[operator.key for operator in pull.operator_ids],
            since=_timestamp(pull.last_call),
        )
        dataset_type = DATASET_TYPES[DatasetKind.EVSE_PRICING]
        # A push of EVSE prices has no object around its records, the response to a pull has one for each operator.
        wrappers = (orjson.dumps({"OperatorID": row["party"]}) for row in rows)
        wrapped_groups = [
            dataset_type.wrap(wrapper, row["records"]) for wrapper, row in zip(wrappers, rows, strict=True)
        ]
        return _under_both_names(b"EVSEPricing", b"OperatorEVSEPricing", wrapped_groups, pull)

    async def authentication_data(self, request: OperationRequest[PullAuthenticationData]) -> OperationResponse:
        """Return all identifications; PINs as hashes."""
        rows = await self._load_groups(request.peer, DatasetKind.AUTHENTICATION)
        wrapped_groups = b",".join(_wrap_groups(DatasetKind.AUTHENTICATION, rows))
        return OperationResponse(
            b'{"ProviderAuthenticationData":[%b],"StatusCode":%b}' % (wrapped_groups, _SUCCESS_STATUS)
        )

    async def _status_response(
        self, peer: Peer | None, rows: Sequence[Row], more: Sequence[bytes] = ()
    ) -> OperationResponse:
        """Return the statuses of all groups; with the names of the operators for peers that want them (RULES L21)."""
        wrap, wrappers = DATASET_TYPES[DatasetKind.EVSE_STATUS].wrap, [bytes(row["wrapper"]) for row in rows]
        if peer is not None and peer.traits.names_operators:
            sources = [row["source"] for row in rows]
            wrappers = [await with_operator_name(self._store, *pair) for pair in zip(sources, wrappers, strict=True)]
        groups = [wrap(wrapper, row["records"]) for wrapper, row in zip(wrappers, rows, strict=True)]
        joined = b",".join([*groups, *more])
        return OperationResponse(
            b'{"EvseStatuses":{"OperatorEvseStatus":[%b]},"StatusCode":%b}' % (joined, _SUCCESS_STATUS)
        )

    async def _load_groups(
        self,
        peer: Peer | None,
        dataset: DatasetKind,
        *,
        filter_values: Sequence[str] | None = None,
        group_keys: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        since: float | None = None,
    ) -> list[Row]:
        """Return what is published to a peer; our own backend has everything."""
        if (view := view_of_pull(peer, dataset, self._store, self._source)) is not None:
            published = await published_keys(view)
            keys = published if keys is None else [*{*keys}.intersection(published)]
        return await queries.records_by_group(
            self._store,
            dataset,
            source=self._source,
            excluded_sources=await self._removed_peers.ids(),
            filter_values=filter_values,
            group_keys=group_keys,
            keys=keys,
            since=since,
        )

    async def _load_by_key(self, peer: Peer | None, dataset: DatasetKind, keys: Iterable[str]) -> dict[str, bytes]:
        found = await queries.records_by_key(
            self._store, dataset, keys, source=self._source, excluded_sources=await self._removed_peers.ids()
        )
        view = view_of_pull(peer, dataset, self._store, self._source)
        if view is None:
            return found
        records = [*found.items()]
        shown = await view.shown(records)
        return dict(record for record, is_shown in zip(records, shown, strict=True) if is_shown)


def _timestamp(instant: datetime | None) -> float | None:
    return None if instant is None else instant.timestamp()


def _audiences(provider: str | None) -> list[str]:
    return [ALL_PROVIDERS] if provider is None else [ALL_PROVIDERS, audience_key(provider)]


def _placeholder_status(evse_id: EvseID, status: str) -> bytes:
    return orjson.dumps({"EvseID": evse_id.text, "EvseStatus": status})


def _wrap_groups(dataset: DatasetKind, rows: Sequence[Row]) -> list[bytes]:
    return [DATASET_TYPES[dataset].wrap(row["wrapper"], row["records"]) for row in rows]


def _under_both_names(
    name: bytes, other_name: bytes, wrapped_groups: Sequence[bytes], pull: Message
) -> OperationResponse:
    """Return a list under both of its names: the documents disagree, and clients read one or the other (D12, D13)."""
    joined = b",".join(wrapped_groups)
    status = orjson.dumps(status_code(StatusCodeValue.SUCCESS, unread_members_note(pull)))
    return OperationResponse(b'{"%b":[%b],"%b":[%b],"StatusCode":%b}' % (name, joined, other_name, joined, status))
