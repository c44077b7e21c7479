"""A national feed of EVSE data or statuses, sent as one push (fullLoad) for each operator.

A feed has one group for each operator: ``{"EVSEStatuses": [{"OperatorID", "OperatorName", "EVSEStatusRecord":
[{"EvseID", "EVSEStatus"}]}]}``, or ``EVSEData`` with ``EVSEDataRecord``. Its operator ids are names as often as ids
(``CH*SWISSCHARGE`` above ``CH*SWIE…``), a group may hold EvseIDs of further operators, and its records are nearly OICP
only. So, for each group:

(1) records are repaired where their mandatory content is there (`repair_record`); others are left out, and told;
(2) a valid OperatorID stays; any other is replaced by the operator of most of the group's EvseIDs;
(3) groups that thereby have the same operator become one push, since each fullLoad would delete the other's EVSEs;
(4) an EVSE in the groups of two operators stays with its own one, else with the first: the same at each run (L17);
(5) operators of the remaining EvseIDs are the group's sub-operators.

`read_feed` is pure; `send_feed` sends the pushes one after the other and prints a summary.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import orjson

from p2p_oicp.cli.client import ApiClient, ApiEndpoint, ApiResponse
from p2p_oicp.cli.common import echo
from p2p_oicp.cli.progress import show_progress
from p2p_oicp.errors import ConfigurationError, MessageError, PeerError
from p2p_oicp.oicp import EvseDataRecord, EvseID, EvseStatusRecord, Finding, Message, OperatorID, encode
from p2p_oicp.oicp.message import decode
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation
from p2p_oicp.oicp.repair import FEED_REPAIRS, repair_record

_EXIT_NOT_CONFIGURED = 2
_MAX_OPERATOR_NAME = 100
_NAMELESS = "a record without EvseID"


@dataclass(frozen=True, slots=True)
class FeedKind:
    """One kind of feed: the names of its lists, and what its records become."""

    operation: Operation
    group_lists: tuple[str, ...]
    record_lists: tuple[str, ...]
    model: type[Message]
    wrapper_name: str
    list_name: str


FEED_KINDS: Mapping[str, FeedKind] = MappingProxyType(
    {
        kind.operation.command: kind
        for kind in (
            FeedKind(
                OPERATION_BY_NAME["PushEvseData"],
                ("EVSEData", "EvseData"),
                ("EVSEDataRecord", "EvseDataRecord"),
                EvseDataRecord,
                "OperatorEvseData",
                "EvseDataRecord",
            ),
            FeedKind(
                OPERATION_BY_NAME["PushEvseStatus"],
                ("EVSEStatuses", "EvseStatuses"),
                ("EVSEStatusRecord", "EvseStatusRecord"),
                EvseStatusRecord,
                "OperatorEvseStatus",
                "EvseStatusRecord",
            ),
        )
    }
)


@dataclass(frozen=True, slots=True)
class FeedRecord:
    """A record of a feed: its EVSE, its JSON after the repair, and what the repair changed."""

    evse_id: EvseID
    raw: bytes
    repairs: tuple[Finding, ...] = ()


#: A record that is not sent: what it is called in the feed, and the reasons.
LeftOut: TypeAlias = tuple[str, tuple[Finding, ...]]


@dataclass(slots=True)
class OperatorPush:
    """All records of one operator; ``group_ids`` are the OperatorIDs of its groups in the feed, as they were."""

    kind: FeedKind
    operator: OperatorID
    operator_name: str
    group_ids: list[str] = field(default_factory=list)
    records: dict[str, FeedRecord] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    @property
    def evse_counts(self) -> Counter[OperatorID]:
        """The operators of the EvseIDs, each with the number of its records."""
        operators = (record.evse_id.operator for record in self.records.values())
        return Counter(operator for operator in operators if operator is not None)

    @property
    def sub_operators(self) -> list[OperatorID]:
        """Other operators whose EvseIDs are among the records, most records first."""
        return [operator for operator, _ in self.evse_counts.most_common() if operator != self.operator]

    @property
    def is_empty_by_mistake(self) -> bool:
        """Whether no record is usable: a fullLoad would delete what the operator has."""
        return not self.records and bool(self.left_out or self.conflicts)

    def message(self) -> bytes:
        """Return the push that replaces all records of this operator."""
        group = orjson.dumps({"OperatorID": self.operator.text, "OperatorName": self.operator_name})
        records = b",".join(record.raw for record in self.records.values())
        return b'{"ActionType":"fullLoad","%b":%b,"%b":[%b]}}' % (
            self.kind.wrapper_name.encode(),
            group[:-1],
            self.kind.list_name.encode(),
            records,
        )

    def remarks(self) -> list[str]:
        """Return a sentence for each difference between the feed and this push."""
        return [
            *self._operator_remarks(),
            *map(_left_out_remark, self.left_out),
            *self.conflicts,
            *(
                f"{record.evse_id}: repaired: {_in_one_line(record.repairs)}"
                for record in self.records.values()
                if record.repairs
            ),
        ]

    def _operator_remarks(self) -> Iterator[str]:
        counts = self.evse_counts
        share = f"the operator of {counts[self.operator]} of its {counts.total()} EvseIDs"
        for name in self.group_ids:
            if not OperatorID(name).is_valid:
                yield f'"{name}" is no OperatorID: sent as {self.operator}, {share}'
        if len(self.group_ids) > 1:
            yield f"{self.operator}: one push of {len(self.group_ids)} groups: {', '.join(self.group_ids)}"
        listed = [f"{operator} ({counts[operator]})" for operator in self.sub_operators]
        if listed:
            yield f"{self.operator}: EvseIDs of sub-operators: {', '.join(listed)}"


@dataclass(frozen=True, slots=True)
class Feed:
    """What a feed becomes.

    ``problems`` are its groups that cannot be read, ``unassigned`` the records of groups of which nothing says whose
    they are, each with the reasons why it says nothing.
    """

    pushes: list[OperatorPush] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unassigned: list[LeftOut] = field(default_factory=list)

    def remarks(self) -> list[str]:
        """Return a sentence for each group, and each record, that belongs to no push."""
        return [*self.problems, *map(_left_out_remark, self.unassigned)]

    def sums(self) -> Iterator[str]:
        """Return how many records are repaired and left out, by kind."""
        repairs = [record.repairs for push in self.pushes for record in push.records.values() if record.repairs]
        left_out = [findings for push in self.pushes for _, findings in push.left_out]
        left_out += [findings for _, findings in self.unassigned]
        conflicts = sum(len(push.conflicts) for push in self.pushes)
        if repairs:
            yield f"{len(repairs):,} records repaired: {_count_kinds(repairs)}"
        if left_out:
            yield f"{len(left_out):,} records left out: {_count_kinds(left_out)}"
        if conflicts:
            yield f"{conflicts:,} records in the groups of two operators"
        if self.problems:
            yield f"{len(self.problems):,} groups left out"


def _left_out_remark(left_out: LeftOut) -> str:
    return f"{left_out[0]}: left out: {_in_one_line(left_out[1])}"


def _in_one_line(findings: Iterable[Finding]) -> str:
    return "; ".join(map(str, findings))


def _count_kinds(records: Iterable[Sequence[Finding]]) -> str:
    """Return the kinds of findings, most frequent first, each with the number of records that have it."""
    kinds = Counter(kind for findings in records for kind in {_kind_of(finding) for finding in findings})
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())


def _kind_of(finding: Finding) -> str:
    return f"{re.sub(r'/[0-9]+', '', finding.pointer).strip('/')} {finding.code}".strip()


def find_kind(body: bytes) -> FeedKind | None:
    """Return the kind of a feed; None if a body does not have the shape of one, but perhaps that of a message."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict):
        return None
    return next((kind for kind in FEED_KINDS.values() if isinstance(_first_member(data, kind.group_lists), list)), None)


def read_feed(kind: FeedKind, body: bytes) -> Feed:
    """Return one push for each operator, in the feed's order."""
    data = decode(body)
    groups = _first_member(data, kind.group_lists) if isinstance(data, dict) else None
    feed = Feed()
    for number, group in enumerate(groups or [], start=1):
        try:
            _read_group(kind, f"the feed's group {number}", group, feed)
        except MessageError as error:
            feed.problems.append(str(error))
        except RecursionError:
            feed.problems.append(f"the feed's group {number} is nested too deeply")
    return feed


def _read_group(kind: FeedKind, title: str, group: Any, feed: Feed) -> None:  # noqa: ANN401  # any JSON
    """Add the records of a group to the push of its operator; raise `MessageError` if there is none."""
    name, raw_records = _parse_group(kind, title, group)
    left_out: list[LeftOut] = []
    usable: list[FeedRecord] = []
    for record in raw_records:
        repaired = repair_record(kind.model, encode(_with_documented_names(record)), FEED_REPAIRS)
        if repaired.errors:
            left_out.append((_name_of(record), repaired.errors))
        else:
            evse_id = EvseID(orjson.loads(repaired.raw)["EvseID"])
            usable.append(FeedRecord(evse_id, repaired.raw, repaired.repairs))
    evse_ids = [*(record.evse_id for record in usable), *(EvseID(evse.upper()) for evse, _ in left_out)]
    operator = _find_operator(name, [evse_id.operator for evse_id in evse_ids])
    if operator is None:
        feed.unassigned.extend(left_out)
        raise MessageError(f'{title}: "{name}" is no OperatorID, and no EvseID says whose it is')
    push = next((push for push in feed.pushes if push.operator == operator), None)  # (3)
    if push is None:
        operator_name = str(group.get("OperatorName") or operator.text)[:_MAX_OPERATOR_NAME]
        push = OperatorPush(kind, operator, operator_name)
        feed.pushes.append(push)
    push.group_ids.append(name)
    push.left_out += left_out
    for feed_record in usable:
        _add_record(push, feed_record, feed.pushes)


def _add_record(push: OperatorPush, record: FeedRecord, pushes: Iterable[OperatorPush]) -> None:
    key = record.evse_id.key
    other = next((other for other in pushes if key in other.records), None)
    if other is None:
        push.records[key] = record
    elif other is push:
        push.conflicts.append(f"{record.evse_id}: left out: repeated in the group of {push.operator}")
    else:
        is_own = record.evse_id.operator == push.operator  # (4)
        keeper, loser = (push, other) if is_own else (other, push)
        if is_own:
            del other.records[key]
            push.records[key] = record
        text = f"{record.evse_id}: conflict: in the groups of {other.operator} and {push.operator}"
        loser.conflicts.append(f"{text}; only that of {keeper.operator} is sent")


def all_operators(pushes: Iterable[OperatorPush], configured: Sequence[OperatorID] = ()) -> list[OperatorID]:
    """Return every operator that a node needs for these pushes, the configured ones first."""
    operators = dict.fromkeys(configured)
    for push in pushes:
        operators |= dict.fromkeys([push.operator, *push.sub_operators])
    return list(operators)


def _first_member(data: Mapping[str, Any], names: Iterable[str]) -> Any:  # noqa: ANN401  # any JSON
    return next((data[name] for name in names if name in data), None)


def _parse_group(kind: FeedKind, title: str, group: Any) -> tuple[str, list[Any]]:  # noqa: ANN401  # any JSON
    records = _first_member(group, kind.record_lists) if isinstance(group, dict) else None
    if not isinstance(records, list):
        raise MessageError(f"{title} has no list {kind.record_lists[0]}")
    name = group.get("OperatorID")
    return name.strip() if isinstance(name, str) else "null", records


def _with_documented_names(record: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return a record with the names that OICP's tables have: each peer reads those."""
    if not isinstance(record, dict):
        return record
    return {("EvseStatus" if name == "EVSEStatus" else name): value for name, value in record.items()}


def _name_of(record: Any) -> str:  # noqa: ANN401  # any JSON
    members = record.items() if isinstance(record, dict) else ()
    evse_id = next((value for name, value in members if name.casefold() == "evseid"), None)
    return evse_id.strip() if isinstance(evse_id, str) and evse_id.strip() else _NAMELESS


def _find_operator(name: str, operators: Iterable[OperatorID | None]) -> OperatorID | None:
    declared = OperatorID(name)  # (2)
    if declared.is_valid:
        return declared
    most_common = Counter(operator for operator in operators if operator is not None).most_common(1)
    return most_common[0][0] if most_common else None


def operators_line(body: bytes, configured: Sequence[OperatorID]) -> str:
    """Return the ``operators`` line of a node that may push this feed, the ``configured`` ones first."""
    kind = find_kind(body)
    if kind is None:
        lists = " or ".join(kind.group_lists[0] for kind in FEED_KINDS.values())
        raise ConfigurationError(f"--list-operators: expected a feed, an object with a list {lists}")
    return _operators_setting(all_operators(read_feed(kind, body).pushes, configured))


def send_feed(kind: FeedKind, body: bytes, endpoint: ApiEndpoint, *, timeout: float) -> int:
    """Push every operator of the feed; return the exit code. A refused push does not stop the others."""
    feed = read_feed(kind, body)
    if not feed.pushes:
        raise MessageError("; ".join(feed.problems) or "the feed has no group")
    pushes = [push for push in feed.pushes if not push.is_empty_by_mistake]
    if missing := _missing_operators(pushes, endpoint):
        echo(_missing_operators_message(pushes, endpoint, missing), err=True)
        return _EXIT_NOT_CONFIGURED
    echo("".join(f"{remark}\n" for remark in feed.remarks()), nl=False)
    started = time.perf_counter()
    failures = asyncio.run(_send_pushes(feed, endpoint, timeout))
    echo("".join(f"{line}\n" for line in feed.sums()), nl=False)
    echo(_feed_summary(pushes, failures, time.perf_counter() - started))
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


async def _send_pushes(feed: Feed, endpoint: ApiEndpoint, timeout_seconds: float) -> int:
    failures, total, records = 0, len(feed.pushes), sum(len(push.records) for push in feed.pushes)
    async with ApiClient(endpoint, timeout=timeout_seconds) as client:
        with show_progress("Sending", total=records, unit="records") as advance:
            for number, push in enumerate(feed.pushes, start=1):
                for remark in push.remarks():
                    echo(remark)
                if push.is_empty_by_mistake:
                    echo(f"{push.operator}: nothing is sent, for no record is usable ({number} of {total})")
                    continue
                try:
                    response = await client.post(
                        push.kind.operation.url(endpoint.url, push.operator.text), push.message()
                    )
                except PeerError:
                    echo(f"Stopped after {number - 1} of {total} operators.", err=True)
                    raise
                failures += not response.is_positive
                advance(len(push.records))
                echo(f"{_push_result_line(push, response)} ({number} of {total})")
    return failures


def _push_result_line(push: OperatorPush, response: ApiResponse) -> str:
    size = f"{push.operator}: {len(push.records)} record{'s' if len(push.records) != 1 else ''}"
    if response.is_positive:
        return f"{size} accepted, {response.duration_ms:.0f} ms"
    return f"{size} REFUSED: {response.status_line()}: {' '.join(response.format_body().split())}"


def _feed_summary(pushes: Sequence[OperatorPush], failures: int, seconds: float) -> str:
    records = sum(len(push.records) for push in pushes)
    return f"{len(pushes)} operators, {records} records, {seconds:.2f} s, {failures} failures"
