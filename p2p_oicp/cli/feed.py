"""A national status feed, turned into one PushEvseStatus (fullLoad) an operator; pure.

The feed has one group an operator: ``{"EVSEStatuses": [{"OperatorID", "OperatorName", "EVSEStatusRecord": [{"EvseID",
"EVSEStatus"}]}]}``. Its operator ids are names as often as ids (``CH*SWISSCHARGE`` above ``CH*SWIE…``), and a group may
hold EvseIDs of further operators. So, for each group:

(1) records without a valid EvseID, or with one seen before in the same push, are left out and counted;
(2) an OperatorID that keeps the OICP grammar stays, any other gives way to the operator of most of the group's EvseIDs;
(3) groups that thereby have the same operator become one push, since each fullLoad would delete the other's EVSEs;
(4) operators of the remaining EvseIDs are the group's sub-operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from p2p_oicp.errors import MessageError
from p2p_oicp.oicp import EvseID, OperatorID

_GROUPS = ("EVSEStatuses", "EvseStatuses")
_RECORDS = ("EVSEStatusRecord", "EvseStatusRecord")
_STATUSES = ("EVSEStatus", "EvseStatus")


@dataclass(slots=True)
class OperatorPush:
    """All statuses of one operator; ``names`` are the ids that its groups had in the feed."""

    operator: OperatorID
    operator_name: str | None
    names: list[str] = field(default_factory=list)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    operators: Counter[OperatorID] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    @property
    def sub_operators(self) -> list[OperatorID]:
        """Other operators whose EvseIDs are among the records, most records first."""
        return [operator for operator, _ in self.operators.most_common() if operator != self.operator]

    def message(self) -> bytes:
        """Return the PushEvseStatus that replaces all that is known of this operator."""
        named = {} if self.operator_name is None else {"OperatorName": self.operator_name}
        statuses = {"OperatorID": self.operator.text, **named, "EvseStatusRecord": list(self.records.values())}
        return orjson.dumps({"ActionType": "fullLoad", "OperatorEvseStatus": statuses})

    def remarks(self) -> list[str]:
        """Return what was changed between the feed and this push, one sentence each."""
        return [*self._mapped(), *self._of_sub_operators(), *self._left_out()]

    def _mapped(self) -> Iterable[str]:
        share = f"the operator of {self.operators[self.operator]} of its {self.operators.total()} EvseIDs"
        for name in self.names:
            if not OperatorID(name).is_valid:
                yield f'"{name}" is no OperatorID: sent as {self.operator}, {share}'
        if len(self.names) > 1:
            yield f"{self.operator}: one push of {len(self.names)} groups: {', '.join(self.names)}"

    def _of_sub_operators(self) -> Iterable[str]:
        counts = [f"{operator} ({self.operators[operator]})" for operator in self.sub_operators]
        if counts:
            yield f"{self.operator}: EvseIDs of sub-operators: {', '.join(counts)}"

    def _left_out(self) -> Iterable[str]:
        for reason, ids in (("no valid EvseID", self.unreadable), ("EvseID repeated", self.repeated)):
            if ids:
                yield f"{self.operator}: {len(ids)} records left out: {reason}, such as {ids[0]}"


def is_feed(body: bytes) -> bool:
    """Say whether a body has the shape of a feed, not that of an OICP message."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(data, dict) and isinstance(_member(data, _GROUPS), list)


def read_feed(body: bytes) -> list[OperatorPush]:
    """Return one push an operator, in the order of the feed; raise `MessageError` if a group cannot be read at all."""
    pushes: dict[OperatorID, OperatorPush] = {}
    for number, group in enumerate(_member(orjson.loads(body), _GROUPS) or [], start=1):
        name, records = _group(number, group)
        readable = [(EvseID(record["EvseID"]), record) for record in records if _is_readable(record)]
        operator = _operator(number, name, [evse.operator for evse, _ in readable])
        push = pushes.setdefault(operator, OperatorPush(operator, group.get("OperatorName")))
        push.names.append(name)
        push.unreadable += [_short(record) for record in records if not _is_readable(record)]
        _add(push, readable)
    return list(pushes.values())


def all_operators(pushes: Iterable[OperatorPush], known: Sequence[OperatorID] = ()) -> list[OperatorID]:
    """Return every operator that a node needs to push these, those it has first."""
    operators = dict.fromkeys(known)
    for push in pushes:
        operators |= dict.fromkeys([push.operator, *push.sub_operators])
    return list(operators)


def _member(data: Mapping[str, Any], names: Iterable[str]) -> Any:  # noqa: ANN401  # any JSON
    return next((data[name] for name in names if name in data), None)


def _group(number: int, group: Any) -> tuple[str, list[Any]]:  # noqa: ANN401  # any JSON
    records = _member(group, _RECORDS) if isinstance(group, dict) else None
    name = group.get("OperatorID") if isinstance(group, dict) else None
    if not isinstance(records, list) or not isinstance(name, str):
        raise MessageError(f"the feed's group {number} has no OperatorID, or no list EVSEStatusRecord")
    return name, records


def _is_readable(record: Any) -> bool:  # noqa: ANN401  # any JSON
    return isinstance(record, dict) and isinstance(record.get("EvseID"), str) and EvseID(record["EvseID"]).is_valid


def _short(record: Any) -> str:  # noqa: ANN401  # any JSON
    return repr(record.get("EvseID") if isinstance(record, dict) else record)[:60]


def _operator(number: int, name: str, operators: Sequence[OperatorID | None]) -> OperatorID:
    given = OperatorID(name)
    if given.is_valid:
        return given
    most = Counter(operator for operator in operators if operator is not None).most_common(1)
    if not most:
        raise MessageError(f'the feed\'s group {number}: "{name}" is no OperatorID, and no EvseID says whose it is')
    return most[0][0]


def _add(push: OperatorPush, readable: Iterable[tuple[EvseID, dict[str, Any]]]) -> None:
    for evse, record in readable:
        if evse.key in push.records:
            push.repeated.append(evse.text)
            continue
        push.records[evse.key] = _as_oicp(record)
        if evse.operator is not None:
            push.operators[evse.operator] += 1


def _as_oicp(record: dict[str, Any]) -> dict[str, Any]:
    return {("EvseStatus" if name in _STATUSES else name): value for name, value in record.items()}
