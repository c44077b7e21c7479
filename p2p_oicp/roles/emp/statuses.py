"""Our copies of the CPO peers' EVSE statuses: taken from the peers, given to our backend."""

from __future__ import annotations

from collections.abc import Sequence

from p2p_oicp.errors import Unauthorized
from p2p_oicp.oicp import PullEvseStatus, PullEvseStatusById, PullEvseStatusByOperatorId, PushEvseStatus
from p2p_oicp.roles.answers import acknowledgement
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.status_pull import pulled, pulled_by_id, pulled_by_operator
from p2p_oicp.roles.status_push import take_over
from p2p_oicp.storage import Row, statuses


class Statuses:
    """The EMP side of EVSE statuses."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context

    async def push_evse_status(self, incoming: Incoming[PushEvseStatus]) -> Answer:
        """Take over what a CPO peer pushes."""
        if incoming.peer is None:
            raise Unauthorized("the push does not say which operator sends it")
        await take_over(self._context, incoming, owner=incoming.peer, source=incoming.peer.name)
        return acknowledgement()

    async def pull_evse_status(self, incoming: Incoming[PullEvseStatus]) -> Answer:
        """Answer our backend from what the peers have pushed."""
        return pulled(incoming, await self._all())

    async def pull_evse_status_by_id(self, incoming: Incoming[PullEvseStatusById]) -> Answer:
        """Answer our backend that asks for some EVSEs."""
        return pulled_by_id(incoming, await self._all())

    async def pull_evse_status_by_operator_id(self, incoming: Incoming[PullEvseStatusByOperatorId]) -> Answer:
        """Answer our backend that asks for some operators."""
        return pulled_by_operator(incoming, await self._all())

    async def _all(self) -> Sequence[Row]:
        return await self._context.store.read(statuses.ALL)
