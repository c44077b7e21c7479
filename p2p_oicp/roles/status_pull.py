"""Answering the three status pulls from the store, by joining stored bytes (OICP 2.3, EMP-02, eRoamingEvseStatus)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import orjson

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import EvseID, PullEvseStatus, PullEvseStatusById, PullEvseStatusByOperatorId
from p2p_oicp.roles.answers import SUCCESS, status_code
from p2p_oicp.roles.context import Answer, Incoming
from p2p_oicp.storage import Row

_NOT_AVAILABLE = "320"
_DATA_ERROR = "022"
_MOST_IDS = 100


def pulled(incoming: Incoming[PullEvseStatus], rows: Sequence[Row]) -> Answer:
    """Return all statuses, or those that are ``EVSEStatus``."""
    if incoming.message.search_center is not None:
        raise Refusal(
            _NOT_AVAILABLE, "SearchCenter needs EVSE data, which this version does not store yet; pull without it"
        )
    wanted = incoming.message.evse_status
    return _answer(row for row in rows if wanted is None or row["status"] == str(wanted))


def pulled_by_operator(incoming: Incoming[PullEvseStatusByOperatorId], rows: Sequence[Row]) -> Answer:
    """Return the statuses of some operators."""
    wanted = {operator.key for operator in incoming.message.operator_id}
    return _answer(row for row in rows if row["operator_key"] in wanted)


def pulled_by_id(incoming: Incoming[PullEvseStatusById], rows: Sequence[Row]) -> Answer:
    """Return the statuses of up to 100 EVSEs; one that nobody knows is ``EvseNotFound`` (box M10)."""
    wanted = {evse_id.key: evse_id for evse_id in incoming.message.evse_id}
    if len(wanted) > _MOST_IDS:
        raise Refusal(_DATA_ERROR, f"{len(wanted)} EvseIDs are asked for; at most {_MOST_IDS} are answered")
    known = {row["evse_key"]: row["record"] for row in rows if row["evse_key"] in wanted}
    records = [known.get(key) or _not_found(evse_id) for key, evse_id in wanted.items()]
    return Answer(b'{"EVSEStatusRecords":{"EvseStatusRecord":[%b]},"StatusCode":%b}' % (b",".join(records), _success()))


def _not_found(evse_id: EvseID) -> bytes:
    return orjson.dumps({"EvseID": evse_id.text, "EvseStatus": "EvseNotFound"})


def _success() -> bytes:
    return orjson.dumps(status_code(SUCCESS))


def _answer(rows: Iterable[Row]) -> Answer:
    groups = [_group(list(of_operator)) for _, of_operator in groupby(rows, lambda row: row["operator_key"])]
    return Answer(b'{"EvseStatuses":{"OperatorEvseStatus":[%b]},"StatusCode":%b}' % (b",".join(groups), _success()))


def _group(rows: list[Row]) -> bytes:
    head = {"OperatorID": rows[0]["operator_id"]}
    if rows[0]["operator_name"]:
        head["OperatorName"] = rows[0]["operator_name"]
    return b'%b,"EvseStatusRecord":[%b]}' % (orjson.dumps(head)[:-1], b",".join(row["record"] for row in rows))
