"""What this node's copy of EVSE data says of a charging spot before anybody is asked (box B1).

The parts of both roles that deal with state: pushes in, pulls answered.
"""

from __future__ import annotations

from p2p_oicp.errors import Refusal, Unauthorized
from p2p_oicp.oicp import (
    EvseID,
    Message,
    PullAuthenticationData,
    PullEvseData,
    PullEVSEPricing,
    PullEvseStatus,
    PullEvseStatusById,
    PullEvseStatusByOperatorId,
    PullPricingProductData,
    PushAuthenticationData,
    PushEvseData,
    PushEVSEPricing,
    PushEvseStatus,
    PushPricingProductData,
)
from p2p_oicp.oicp.operations import Party
from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.datasets.evse_pull import EvseDataPullHandler
from p2p_oicp.roles.datasets.group_pulls import GroupPullHandler
from p2p_oicp.roles.datasets.ingest import IngestResult, ingest_push
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.roles.responses import SUCCESS, acknowledgement_response
from p2p_oicp.storage.datasets import evse_search
from p2p_oicp.storage.datasets.models import OWN, DatasetKind

_UNKNOWN_EVSE, _NOT_COMPATIBLE = "603", "604"


async def check_evse_known(context: Services, evse_id: EvseID) -> None:
    """Raise Refusal 603 for an EVSE that its operator's data does not have, 604 for one that is not compatible.

    An operator that has sent no EVSE data may have any EVSE: its own system knows.
    """
    operator = evse_id.operator
    excluded_sources = context.removed_peers.names()
    knowledge = evse_search.evse_knowledge(
        context.store, evse_id.key, operator.key if operator else "", excluded_sources
    )
    if knowledge.operator_has_data and not knowledge.is_known:
        raise Refusal(_UNKNOWN_EVSE, f"EvseID {evse_id} is not among the EVSE data that {operator} has sent")
    if knowledge.is_known and not knowledge.is_compatible:
        raise Refusal(_NOT_COMPATIBLE, f"EvseID {evse_id} has IsHubjectCompatible false: it takes no remote requests")


class PushHandlers:
    """Takes pushes, of our own backend where ``party`` owns the kind of state, of peers where it does not."""

    def __init__(self, context: Services, party: Party) -> None:
        self._context = context
        self._party = party

    async def push_evse_data(self, request: OperationRequest[PushEvseData]) -> OperationResponse:
        """Take EVSE data (CPO-02, eRoamingPushEvseData)."""
        return await self._ingest(request, DatasetKind.EVSE_DATA)

    async def push_evse_status(self, request: OperationRequest[PushEvseStatus]) -> OperationResponse:
        """Take statuses (CPO-02, eRoamingPushEvseStatus)."""
        return await self._ingest(request, DatasetKind.EVSE_STATUS)

    async def push_pricing_product_data(self, request: OperationRequest[PushPricingProductData]) -> OperationResponse:
        """Take products (CPO-02, eRoamingPushPricingProductData)."""
        return await self._ingest(request, DatasetKind.PRICING_PRODUCT)

    async def push_evse_pricing(self, request: OperationRequest[PushEVSEPricing]) -> OperationResponse:
        """Take prices of charging spots (CPO-02, eRoamingPushEVSEPricing)."""
        return await self._ingest(request, DatasetKind.EVSE_PRICING)

    async def push_authentication_data(self, request: OperationRequest[PushAuthenticationData]) -> OperationResponse:
        """Take identifications (EMP-02, eRoamingPushAuthenticationData)."""
        return await self._ingest(request, DatasetKind.AUTHENTICATION)

    async def _ingest(self, request: OperationRequest[Message], dataset: DatasetKind) -> OperationResponse:
        dataset_type = DATASET_TYPES[dataset]
        if request.peer is None:
            raise Unauthorized("the push does not say who sends it")
        result = await ingest_push(self._context, request, dataset_type, request.peer)
        if result.changed and dataset_type.publisher is self._party:
            self._context.wakeups.notify_dataset(dataset_type.name)
        return acknowledgement_response(SUCCESS, _quarantine_note(result))


def _quarantine_note(result: IngestResult) -> str | None:
    if not result.quarantined:
        return None
    return f"{result.quarantined} records were set aside; the first: {result.reason}"


class PullHandlers:
    """Answers pulls: of peers from our own state where ``party`` owns it, of our backend from everybody's."""

    def __init__(self, context: Services, party: Party) -> None:
        cpo_source, emp_source = (OWN, None) if party is Party.CPO else (None, OWN)
        self._evse_data_pulls = EvseDataPullHandler(context, cpo_source)
        self._cpo_group_pulls = GroupPullHandler(context, cpo_source)
        self._emp_group_pulls = GroupPullHandler(context, emp_source)

    async def pull_evse_data(self, request: OperationRequest[PullEvseData]) -> OperationResponse:
        """Answer with a page of EVSE data."""
        return await self._evse_data_pulls.handle(request)

    async def pull_evse_status(self, request: OperationRequest[PullEvseStatus]) -> OperationResponse:
        """Answer with statuses."""
        return await self._cpo_group_pulls.statuses(request)

    async def pull_evse_status_by_id(self, request: OperationRequest[PullEvseStatusById]) -> OperationResponse:
        """Answer with the statuses of some EVSEs."""
        return await self._cpo_group_pulls.statuses_by_id(request)

    async def pull_evse_status_by_operator_id(
        self, request: OperationRequest[PullEvseStatusByOperatorId]
    ) -> OperationResponse:
        """Answer with the statuses of some operators' EVSEs."""
        return await self._cpo_group_pulls.statuses_of_operators(request)

    async def pull_pricing_product_data(self, request: OperationRequest[PullPricingProductData]) -> OperationResponse:
        """Answer with products."""
        return await self._cpo_group_pulls.products(request)

    async def pull_evse_pricing(self, request: OperationRequest[PullEVSEPricing]) -> OperationResponse:
        """Answer with prices of EVSEs."""
        return await self._cpo_group_pulls.evse_prices(request)

    async def pull_authentication_data(self, request: OperationRequest[PullAuthenticationData]) -> OperationResponse:
        """Answer with identifications."""
        return await self._emp_group_pulls.authentication_data(request)
