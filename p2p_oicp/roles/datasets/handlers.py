"""The handlers of both roles for pushes and pulls: each operation with the dataset that it is about."""

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
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.oicp.operations import Party
from p2p_oicp.roles.context import OperationHandler, OperationRequest, OperationResponse, Services
from p2p_oicp.roles.datasets.evse_pull import EvseDataPullHandler
from p2p_oicp.roles.datasets.group_pulls import GroupPullHandler
from p2p_oicp.roles.datasets.ingest import IngestResult, ingest_push
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from p2p_oicp.roles.responses import acknowledgement_response
from p2p_oicp.storage.datasets import evse_search
from p2p_oicp.storage.datasets.models import OWN, DatasetKind


async def check_evse_known(context: Services, evse_id: EvseID) -> None:
    """Check an EVSE against the stored EVSE data before a remote operation on it (RULES B1).

    An operator that has sent no EVSE data may have any EVSE: only its own system can tell.

    Raises:
        Refusal: 603, the operator has sent EVSE data, and the EVSE is not in it; 604, the EVSE takes no remote
            operations.

    """
    operator = evse_id.operator
    excluded_sources = await context.removed_peers.ids()
    knowledge = await evse_search.evse_knowledge(
        context.store, evse_id.key, operator.key if operator else "", excluded_sources
    )
    if knowledge.operator_has_data and not knowledge.is_known:
        raise Refusal(
            StatusCodeValue.UNKNOWN_EVSE_ID, f"EvseID {evse_id} is not among the EVSE data that {operator} has sent"
        )
    if knowledge.is_known and not knowledge.is_compatible:
        raise Refusal(
            StatusCodeValue.EVSE_NOT_COMPATIBLE,
            f"EvseID {evse_id} has IsHubjectCompatible false: it takes no remote requests",
        )


class PushHandlers:
    """Handles the pushes of one role.

    Args:
        context: the services of the node.
        party: the role. It gets pushes of the datasets that it owns from our own backend, and of all others from peers.

    """

    def __init__(self, context: Services, party: Party) -> None:
        self._context = context
        self._party = party

    async def push_evse_data(self, request: OperationRequest[PushEvseData]) -> OperationResponse:
        """Handle eRoamingPushEvseData (OICP CPO-02)."""
        return await self._ingest(request, DatasetKind.EVSE_DATA)

    async def push_evse_status(self, request: OperationRequest[PushEvseStatus]) -> OperationResponse:
        """Handle eRoamingPushEvseStatus (OICP CPO-02)."""
        return await self._ingest(request, DatasetKind.EVSE_STATUS)

    async def push_pricing_product_data(self, request: OperationRequest[PushPricingProductData]) -> OperationResponse:
        """Handle eRoamingPushPricingProductData (OICP CPO-02)."""
        return await self._ingest(request, DatasetKind.PRICING_PRODUCT)

    async def push_evse_pricing(self, request: OperationRequest[PushEVSEPricing]) -> OperationResponse:
        """Handle eRoamingPushEVSEPricing (OICP CPO-02)."""
        return await self._ingest(request, DatasetKind.EVSE_PRICING)

    async def push_authentication_data(self, request: OperationRequest[PushAuthenticationData]) -> OperationResponse:
        """Handle eRoamingPushAuthenticationData (OICP EMP-02)."""
        return await self._ingest(request, DatasetKind.AUTHENTICATION)

    async def _ingest(self, request: OperationRequest[Message], dataset: DatasetKind) -> OperationResponse:
        dataset_type = DATASET_TYPES[dataset]
        if request.peer is None:
            raise Unauthorized("the push does not say who sends it")
        result = await ingest_push(self._context, request, dataset_type, request.peer)
        # Peers get only our own data: a copy of a peer's is passed on to our own backends alone.
        if result.changed:
            self._context.wakeups.notify_dataset(dataset_type.name, is_ours=dataset_type.publisher is self._party)
        return acknowledgement_response(info=_note_of(result))


def _note_of(result: IngestResult) -> str | None:
    quarantined = f"{result.quarantined} records were quarantined; the first: {result.reason}"
    return "; ".join(filter(None, (result.conflict, quarantined if result.quarantined else None))) or None


class PullHandlers:
    """Handles the pulls of one role.

    Args:
        context: the services of the node.
        party: the role. Of the datasets that it owns, a pull (of a peer) gets our own data; of the others, a pull (of
            our own backend) gets the data of all peers.

    """

    def __init__(self, context: Services, party: Party) -> None:
        cpo_source, emp_source = (OWN, None) if party is Party.CPO else (None, OWN)
        self._evse_data_pulls = EvseDataPullHandler(context, cpo_source)
        self._cpo_group_pulls = GroupPullHandler(context, cpo_source)
        self._emp_group_pulls = GroupPullHandler(context, emp_source)

    async def pull_evse_data(self, request: OperationRequest[PullEvseData]) -> OperationResponse:
        """Handle eRoamingPullEvseData (OICP EMP-02): one page."""
        return await self._evse_data_pulls.handle(request)

    async def pull_evse_status(self, request: OperationRequest[PullEvseStatus]) -> OperationResponse:
        """Handle eRoamingPullEvseStatus (OICP EMP-02)."""
        return await self._cpo_group_pulls.statuses(request)

    async def pull_evse_status_by_id(self, request: OperationRequest[PullEvseStatusById]) -> OperationResponse:
        """Handle eRoamingPullEvseStatusByID (OICP EMP-02)."""
        return await self._cpo_group_pulls.statuses_by_id(request)

    async def pull_evse_status_by_operator_id(
        self, request: OperationRequest[PullEvseStatusByOperatorId]
    ) -> OperationResponse:
        """Handle eRoamingPullEvseStatusByOperatorID (OICP EMP-02)."""
        return await self._cpo_group_pulls.statuses_of_operators(request)

    async def pull_pricing_product_data(self, request: OperationRequest[PullPricingProductData]) -> OperationResponse:
        """Handle eRoamingPullPricingProductData (OICP EMP-02)."""
        return await self._cpo_group_pulls.products(request)

    async def pull_evse_pricing(self, request: OperationRequest[PullEVSEPricing]) -> OperationResponse:
        """Handle eRoamingPullEVSEPricing (OICP EMP-02)."""
        return await self._cpo_group_pulls.evse_prices(request)

    async def pull_authentication_data(self, request: OperationRequest[PullAuthenticationData]) -> OperationResponse:
        """Handle eRoamingPullAuthenticationData, which is not in Hubject's documents."""
        return await self._emp_group_pulls.authentication_data(request)


def dataset_handlers(services: Services, party: Party) -> dict[str, OperationHandler]:
    """Return the handlers of all pushes and pulls for the role of ``party``."""
    pushes, pulls = PushHandlers(services, party), PullHandlers(services, party)
    return {
        "PushEvseData": pushes.push_evse_data,
        "PushEvseStatus": pushes.push_evse_status,
        "PushPricingProductData": pushes.push_pricing_product_data,
        "PushEVSEPricing": pushes.push_evse_pricing,
        "PushAuthenticationData": pushes.push_authentication_data,
        "PullEvseData": pulls.pull_evse_data,
        "PullEvseStatus": pulls.pull_evse_status,
        "PullEvseStatusByID": pulls.pull_evse_status_by_id,
        "PullEvseStatusByOperatorID": pulls.pull_evse_status_by_operator_id,
        "PullPricingProductData": pulls.pull_pricing_product_data,
        "PullEVSEPricing": pulls.pull_evse_pricing,
        "PullAuthenticationData": pulls.pull_authentication_data,
    }
