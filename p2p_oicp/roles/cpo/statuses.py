"""EVSE statuses of our own charging points: taken from our backend, given to EMP peers."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from p2p_oicp.delivery import Parcel
from p2p_oicp.oicp import PullEvseStatus, PullEvseStatusById, PullEvseStatusByOperatorId, PushEvseStatus
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.roles.answers import acknowledgement
from p2p_oicp.roles.context import Answer, Incoming, RoleContext
from p2p_oicp.roles.status_pull import pulled, pulled_by_id, pulled_by_operator
from p2p_oicp.roles.status_push import take_over
from p2p_oicp.storage import Row, Store, statuses

_MOST_RECORDS_A_PUSH = 10_000
_MOST_CHANGES_A_ROUND = 10_000


class Statuses:
    """The CPO side of EVSE statuses."""

    def __init__(self, context: RoleContext) -> None:
        self._context = context

    async def push_evse_status(self, incoming: Incoming[PushEvseStatus]) -> Answer:
        """Take over what our backend pushes, and wake the replication to our peers."""
        applied = await take_over(self._context, incoming, owner=self._context.me, source=statuses.OWN)
        if applied.changed:
            self._context.bells.ring_all()
        return acknowledgement()

    async def pull_evse_status(self, incoming: Incoming[PullEvseStatus]) -> Answer:
        """Answer an EMP peer that pulls."""
        return pulled(incoming, await self._own())

    async def pull_evse_status_by_id(self, incoming: Incoming[PullEvseStatusById]) -> Answer:
        """Answer an EMP peer that asks for some EVSEs."""
        return pulled_by_id(incoming, await self._own())

    async def pull_evse_status_by_operator_id(self, incoming: Incoming[PullEvseStatusByOperatorId]) -> Answer:
        """Answer an EMP peer that asks for some operators."""
        return pulled_by_operator(incoming, await self._own())

    async def _own(self) -> Sequence[Row]:
        return await self._context.store.read(statuses.OF_SOURCE, source_=statuses.OWN)


class StatusReplication:
    """How our statuses reach an EMP peer (``delivery.StateKind``)."""

    name = "evse statuses"
    operation = OPERATION_BY_NAME["PushEvseStatus"]

    async def behind(self, store: Store, cursor: int | None) -> tuple[Sequence[Parcel], int | None]:
        """Return the pushes that lie behind ``cursor``: fullLoads for a new peer, changes in their order otherwise."""
        newest = (await store.read(statuses.NEWEST_CHANGE))[0]["newest"]
        if newest is None or newest == cursor:
            return (), None
        if cursor is None or cursor > newest:
            return await self._full(store), newest
        rows = await store.read(statuses.CHANGED, after=cursor, most=_MOST_CHANGES_A_ROUND)
        return list(_deltas(rows, cursor)), rows[-1]["change"]

    async def _full(self, store: Store) -> list[Parcel]:
        rows = await store.read(statuses.OF_SOURCE, source_=statuses.OWN)
        of_operator: dict[str, list[bytes]] = {}
        for row in rows:
            of_operator.setdefault(row["operator_key"], []).append(row["record"])
        parcels: list[Parcel] = []
        for operator in await store.read(statuses.OWN_OPERATORS):
            records = of_operator.get(operator["operator_key"], [])
            parcels.append(_push("fullLoad", operator, records[:_MOST_RECORDS_A_PUSH]))
            parcels += [
                _push("insert", operator, records[start : start + _MOST_RECORDS_A_PUSH])
                for start in range(_MOST_RECORDS_A_PUSH, len(records), _MOST_RECORDS_A_PUSH)
            ]
        return parcels


def _deltas(rows: Sequence[Row], cursor: int) -> list[Parcel]:
    """Group changes by operator and action; what came and went behind the cursor is never sent."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        is_new = row["created_change"] > cursor
        if row["deleted"]:
            if not is_new:
                groups.setdefault((row["operator_key"], "delete"), []).append(row)
        else:
            groups.setdefault((row["operator_key"], "insert" if is_new else "update"), []).append(row)
    return [_push(action, of[0], [row["record"] for row in of]) for (_, action), of in groups.items()]


def _push(action: str, operator: Row, records: Sequence[bytes]) -> Parcel:
    head: dict[str, str] = {"OperatorID": operator["operator_id"]}
    if operator["operator_name"]:
        head["OperatorName"] = operator["operator_name"]
    group = b'%b,"EvseStatusRecord":[%b]}' % (orjson.dumps(head)[:-1], b",".join(records))
    body = b'{"ActionType":"%b","OperatorEvseStatus":%b}' % (action.encode(), group)
    return Parcel(operator["operator_id"], body)
