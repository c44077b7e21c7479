"""A national status feed, sent as one PushEvseStatus (fullLoad) for each operator.

The feed has one group for each operator: ``{"EVSEStatuses": [{"OperatorID", "OperatorName", "EVSEStatusRecord":
[{"EvseID", "EVSEStatus"}]}]}``. Its operator ids are names as often as ids (``CH*SWISSCHARGE`` above ``CH*SWIE…``), and
a group may hold EvseIDs of further operators. So, for each group:

(1) records without a valid EvseID, or with one seen before in the same push, are left out and counted;
(2) a valid OperatorID stays; any other is replaced by the operator of most of the group's EvseIDs;
(3) groups that thereby have the same operator become one push, since each fullLoad would delete the other's EVSEs;
(4) operators of the remaining EvseIDs are the group's sub-operators.

`read_feed` is pure; `send_feed` sends the pushes one after the other and prints a summary.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import typer

from p2p_oicp.cli.client import ApiClient, ApiEndpoint, ApiResponse
from p2p_oicp.errors import ConfigurationError, MessageError, PeerError
from p2p_oicp.oicp import EvseID, OperatorID
from p2p_oicp.oicp.operations import Operation

_GROUP_MEMBERS = ("EVSEStatuses", "EvseStatuses")
_RECORD_MEMBERS = ("EVSEStatusRecord", "EvseStatusRecord")
_STATUS_MEMBERS = ("EVSEStatus", "EvseStatus")
_EXIT_NOT_CONFIGURED = 2


@dataclass(slots=True)
class OperatorPush:
    """All statuses of one operator; ``group_ids`` are the OperatorIDs of its groups in the feed, as they were."""

    operator: OperatorID
    operator_name: str | None
    group_ids: list[str] = field(default_factory=list)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    evse_counts: Counter[OperatorID] = field(default_factory=Counter)
    invalid_ids: list[str] = field(default_factory=list)
    duplicate_ids: list[str] = field(default_factory=list)

    @property
    def sub_operators(self) -> list[OperatorID]:
        """Other operators whose EvseIDs are among the records, most records first."""
        return [operator for operator, _ in self.evse_counts.most_common() if operator != self.operator]

    def message(self) -> bytes:
        """Return the PushEvseStatus that replaces all statuses of this operator."""
        name_member = {} if self.operator_name is None else {"OperatorName": self.operator_name}
        statuses = {"OperatorID": self.operator.text, **name_member, "EvseStatusRecord": list(self.records.values())}
        return orjson.dumps({"ActionType": "fullLoad", "OperatorEvseStatus": statuses})

    def remarks(self) -> list[str]:
        """Return a sentence for each difference between the feed and this push."""
        return [*self._operator_mapping_remarks(), *self._sub_operator_remarks(), *self._skipped_record_remarks()]

    def _operator_mapping_remarks(self) -> Iterable[str]:
        share = f"the operator of {self.evse_counts[self.operator]} of its {self.evse_counts.total()} EvseIDs"
        for name in self.group_ids:
            if not OperatorID(name).is_valid:
                yield f'"{name}" is no OperatorID: sent as {self.operator}, {share}'
        if len(self.group_ids) > 1:
            yield f"{self.operator}: one push of {len(self.group_ids)} groups: {', '.join(self.group_ids)}"

    def _sub_operator_remarks(self) -> Iterable[str]:
        counts = [f"{operator} ({self.evse_counts[operator]})" for operator in self.sub_operators]
        if counts:
            yield f"{self.operator}: EvseIDs of sub-operators: {', '.join(counts)}"

    def _skipped_record_remarks(self) -> Iterable[str]:
        for reason, ids in (("no valid EvseID", self.invalid_ids), ("EvseID repeated", self.duplicate_ids)):
            if ids:
                yield f"{self.operator}: {len(ids)} records left out: {reason}, such as {ids[0]}"


def is_feed(body: bytes) -> bool:
    """Return whether a body has the shape of a feed, not that of an OICP message."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(data, dict) and isinstance(_first_member(data, _GROUP_MEMBERS), list)


def read_feed(body: bytes) -> list[OperatorPush]:
    """Return one push for each operator, in the feed's order; raise `MessageError` if a group cannot be read at all."""
    pushes: dict[OperatorID, OperatorPush] = {}
    for number, group in enumerate(_first_member(orjson.loads(body), _GROUP_MEMBERS) or [], start=1):
        name, records = _parse_group(number, group)
        valid_records = [(EvseID(record["EvseID"]), record) for record in records if _is_valid_record(record)]
        operator = _resolve_operator(number, name, [evse.operator for evse, _ in valid_records])
        # (3) one push for all groups of an operator
        push = pushes.setdefault(operator, OperatorPush(operator, group.get("OperatorName")))
        push.group_ids.append(name)
        push.invalid_ids += [_abbreviated_id(record) for record in records if not _is_valid_record(record)]
        _add_records(push, valid_records)
    return list(pushes.values())


def all_operators(pushes: Iterable[OperatorPush], configured: Sequence[OperatorID] = ()) -> list[OperatorID]:
    """Return every operator that a node needs for these pushes, the configured ones first."""
    operators = dict.fromkeys(configured)
    for push in pushes:
        operators |= dict.fromkeys([push.operator, *push.sub_operators])
    return list(operators)


def _first_member(data: Mapping[str, Any], names: Iterable[str]) -> Any:  # noqa: ANN401  # any JSON
    return next((data[name] for name in names if name in data), None)


def _parse_group(number: int, group: Any) -> tuple[str, list[Any]]:  # noqa: ANN401  # any JSON
    records = _first_member(group, _RECORD_MEMBERS) if isinstance(group, dict) else None
    name = group.get("OperatorID") if isinstance(group, dict) else None
    if not isinstance(records, list) or not isinstance(name, str):
        raise MessageError(f"the feed's group {number} has no OperatorID, or no list EVSEStatusRecord")
    return name, records


def _is_valid_record(record: Any) -> bool:  # noqa: ANN401  # any JSON
    return isinstance(record, dict) and isinstance(record.get("EvseID"), str) and EvseID(record["EvseID"]).is_valid


def _abbreviated_id(record: Any) -> str:  # noqa: ANN401  # any JSON
    return repr(record.get("EvseID") if isinstance(record, dict) else record)[:60]


def _resolve_operator(number: int, name: str, operators: Sequence[OperatorID | None]) -> OperatorID:
    declared = OperatorID(name)  # (2)
    if declared.is_valid:
        return declared
    most_common = Counter(operator for operator in operators if operator is not None).most_common(1)
    if not most_common:
        raise MessageError(f'the feed\'s group {number}: "{name}" is no OperatorID, and no EvseID says whose it is')
    return most_common[0][0]


def _add_records(push: OperatorPush, valid_records: Iterable[tuple[EvseID, dict[str, Any]]]) -> None:
    for evse, record in valid_records:
        if evse.key in push.records:  # (1)
            push.duplicate_ids.append(evse.text)
            continue
        push.records[evse.key] = _to_oicp_record(record)
        if evse.operator is not None:  # (4)
            push.evse_counts[evse.operator] += 1


def _to_oicp_record(record: dict[str, Any]) -> dict[str, Any]:
    return {("EvseStatus" if name in _STATUS_MEMBERS else name): value for name, value in record.items()}


def operators_line(body: bytes, configured: Sequence[OperatorID]) -> str:
    """Return the ``operators`` line of a node that may push this feed, the ``configured`` ones first."""
    if not is_feed(body):
        raise ConfigurationError("--list-operators: expected a status feed, an object with a list EVSEStatuses")
    return _operators_setting(all_operators(read_feed(body), configured))


def send_feed(operation: Operation, body: bytes, endpoint: ApiEndpoint, *, timeout: float) -> int:
    """Push every operator of the feed; return the exit code. A refused push does not stop the others."""
    pushes = read_feed(body)
    if missing := _missing_operators(pushes, endpoint):
        typer.echo(_missing_operators_message(pushes, endpoint, missing), err=True)
        return _EXIT_NOT_CONFIGURED
    started = time.perf_counter()
    failures = asyncio.run(_send_pushes(operation, pushes, endpoint, timeout))
    typer.echo(_feed_summary(pushes, failures, time.perf_counter() - started))
    return 1 if failures else 0


def _missing_operators(pushes: Sequence[OperatorPush], endpoint: ApiEndpoint) -> list[OperatorID]:
    if endpoint.operators is None:
        return []
    return [operator for operator in all_operators(pushes) if operator not in endpoint.operators]


def _missing_operators_message(
    pushes: Sequence[OperatorPush], endpoint: ApiEndpoint, missing: Sequence[OperatorID]
) -> str:
    line = _operators_setting(all_operators(pushes, endpoint.operators or ()))
    return (
        f"p2p-oicp: {endpoint.settings_file}: [node] operators lacks {len(missing)} of this feed's operators; "
        f"nothing was sent. Restart the node with this line:\n{line}"
    )


def _operators_setting(operators: Iterable[OperatorID]) -> str:
    return f"operators = {json.dumps([operator.text for operator in operators])}"


async def _send_pushes(
    operation: Operation, pushes: Sequence[OperatorPush], endpoint: ApiEndpoint, timeout_seconds: float
) -> int:
    failures = 0
    async with ApiClient(endpoint, timeout=timeout_seconds) as client:
        for sent_count, push in enumerate(pushes):
            for remark in push.remarks():
                typer.echo(remark)
            try:
                response = await client.post(operation.url(endpoint.url, push.operator.text), push.message())
            except PeerError:
                typer.echo(f"Stopped after {sent_count} of {len(pushes)} operators.", err=True)
                raise
            failures += not response.is_positive
            typer.echo(_push_result_line(push, response))
    return failures


def _push_result_line(push: OperatorPush, response: ApiResponse) -> str:
    size = f"{push.operator}: {len(push.records)} record{'s' if len(push.records) != 1 else ''}"
    if response.is_positive:
        return f"{size} accepted, {response.duration_ms:.0f} ms"
    return f"{size} REFUSED: {response.status_line()}: {' '.join(response.format_body().split())}"


def _feed_summary(pushes: Sequence[OperatorPush], failures: int, seconds: float) -> str:
    records = sum(len(push.records) for push in pushes)
    return f"{len(pushes)} operators, {records} records, {seconds:.2f} s, {failures} failures"
