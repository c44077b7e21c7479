"""The parts of both roles that deal with state: pushes in, pulls answered."""

from __future__ import annotations

from p2p_oicp.errors import Unauthorized
from p2p_oicp.oicp import (
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
from p2p_oicp.oicp.operation import Party
from p2p_oicp.roles.answers import SUCCESS, acknowledgement
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.state.evse_pull import EvsePulls
from p2p_oicp.roles.state.grouped_pulls import GroupedPulls
from p2p_oicp.roles.state.kinds import KINDS
from p2p_oicp.roles.state.taking import Taken, take_over
from p2p_oicp.storage.state.model import OWN, Kind


class Pushes:
    """Takes pushes, of our own backend where ``party`` owns the kind of state, of peers where it does not."""

    def __init__(self, context: RoleContext, party: Party) -> None:
        self._context = context
        self._party = party

    async def push_evse_data(self, incoming: Incoming[PushEvseData]) -> Answer:
        """Take EVSE data (CPO-02, eRoamingPushEvseData)."""
        return await self._take(incoming, Kind.EVSE_DATA)

    async def push_evse_status(self, incoming: Incoming[PushEvseStatus]) -> Answer:
        """Take statuses (CPO-02, eRoamingPushEvseStatus)."""
        return await self._take(incoming, Kind.EVSE_STATUS)

    async def push_pricing_product_data(self, incoming: Incoming[PushPricingProductData]) -> Answer:
        """Take products (CPO-02, eRoamingPushPricingProductData)."""
        return await self._take(incoming, Kind.PRICING_PRODUCT)

    async def push_evse_pricing(self, incoming: Incoming[PushEVSEPricing]) -> Answer:
        """Take prices of charging spots (CPO-02, eRoamingPushEVSEPricing)."""
        return await self._take(incoming, Kind.EVSE_PRICING)

    async def push_authentication_data(self, incoming: Incoming[PushAuthenticationData]) -> Answer:
        """Take identifications (EMP-02, eRoamingPushAuthenticationData)."""
        return await self._take(incoming, Kind.AUTHENTICATION)

    async def _take(self, incoming: Incoming[Message], number: Kind) -> Answer:
        kind = KINDS[number]
        if incoming.peer is None:
            raise Unauthorized("the push does not say who sends it")
        taken = await take_over(self._context, incoming, kind, incoming.peer)
        if taken.changed and kind.publisher is self._party:
            self._context.bells.ring_all_that_bring(kind.name)
        return acknowledgement(SUCCESS, _remark(taken))


def _remark(taken: Taken) -> str | None:
    if not taken.set_aside:
        return None
    return f"{taken.set_aside} records were set aside; the first: {taken.reason}"


class Pulls:
    """Answers pulls: of peers from our own state where ``party`` owns it, of our backend from everybody's."""

    def __init__(self, context: RoleContext, party: Party) -> None:
        of_cpos, of_emps = (OWN, None) if party is Party.CPO else (None, OWN)
        self._evse_data = EvsePulls(context, of_cpos)
        self._of_cpos = GroupedPulls(context, of_cpos)
        self._of_emps = GroupedPulls(context, of_emps)

    async def pull_evse_data(self, incoming: Incoming[PullEvseData]) -> Answer:
        """Answer with a page of EVSE data."""
        return await self._evse_data.answer(incoming)

    async def pull_evse_status(self, incoming: Incoming[PullEvseStatus]) -> Answer:
        """Answer with statuses."""
        return await self._of_cpos.statuses(incoming)

    async def pull_evse_status_by_id(self, incoming: Incoming[PullEvseStatusById]) -> Answer:
        """Answer with the statuses of some EVSEs."""
        return await self._of_cpos.statuses_by_id(incoming)

    async def pull_evse_status_by_operator_id(self, incoming: Incoming[PullEvseStatusByOperatorId]) -> Answer:
        """Answer with the statuses of some operators' EVSEs."""
        return await self._of_cpos.statuses_of_operators(incoming)

    async def pull_pricing_product_data(self, incoming: Incoming[PullPricingProductData]) -> Answer:
        """Answer with products."""
        return await self._of_cpos.products(incoming)

    async def pull_evse_pricing(self, incoming: Incoming[PullEVSEPricing]) -> Answer:
        """Answer with prices of EVSEs."""
        return await self._of_cpos.evse_prices(incoming)

    async def pull_authentication_data(self, incoming: Incoming[PullAuthenticationData]) -> Answer:
        """Answer with identifications."""
        return await self._of_emps.authentication_data(incoming)
