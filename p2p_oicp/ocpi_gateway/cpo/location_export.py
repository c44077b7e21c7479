"""From locations to EVSE data and status of the node: what has changed, in one push a second (GATEWAY 9.1).

Whatever is pending is mapped again, and compared with what was pushed of it. So a change that was stored is pushed, no
matter when the node or this program stopped. Where the node has other EVSEs than was thought (009), the operator's
EVSEs are pushed as a whole. A record that the node refuses costs no other: it is left out, with a finding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from p2p_oicp.concurrency import offload
from p2p_oicp.ocpi.base import encode_json
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.node_calls import NodeRefused
from p2p_oicp.ocpi_mapping.ids import to_evse_id
from p2p_oicp.ocpi_mapping.locations import EvseRecords, to_records
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp import EvseDataRecord, EvseID, InvalidMessage, OperatorID, PushEvseData, PushEvseStatus, read
from p2p_oicp.oicp.enums import ActionType
from p2p_oicp.oicp.message import decode
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.ocpi import evses, findings, objects
from p2p_oicp.storage.ocpi.evses import StoredConnector, StoredEvse
from p2p_oicp.storage.ocpi.findings import StoredFinding
from p2p_oicp.storage.ocpi.objects import ObjectKind, ObjectState, StoredObject

log = structlog.get_logger(__name__)

_KIND = ObjectKind.LOCATION
_BATCH = 500
# Mapping a location takes half a millisecond; more of them are mapped in a thread.
_MAX_INLINE = 20
# In the place of the record of an EVSE that the node may not have yet.
_NOT_PUSHED = b""


@dataclass(frozen=True, slots=True)
class _Mapped:
    """What a location is in OICP, and its EVSEs as they are to be stored."""

    stored: StoredObject
    result: EvseRecords
    evses: dict[str, StoredEvse]

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """Its records, by the key of the EvseID."""
        return {EvseID(record["EvseID"]).key: record for record in self.result.records}


@dataclass(slots=True)
class _Changes:
    """What is pushed for one operator, by the keys of the EVSEs."""

    inserted: dict[str, dict[str, Any]] = field(default_factory=dict)
    updated: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: dict[str, StoredEvse] = field(default_factory=dict)
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)


class LocationExporter:
    """Carries pending locations to the node.

    Args:
        context: of the partner.
        on_tariffs_changed: is called if other tariffs apply at an EVSE than before.
    """

    def __init__(self, context: CpoContext, on_tariffs_changed: Callable[[], None]) -> None:
        self._context = context
        self._on_tariffs_changed = on_tariffs_changed
        self._left_out: dict[str, str] = {}

    async def export(self) -> int:
        """Push what has changed, and return how many locations that is. Raises NodeUnavailable."""
        async with self._context.one_at_a_time("locations"):
            count = 0
            while pending := await self._pending():
                await self._export(pending)
                count += len(pending)
            return count

    async def export_all(self) -> int:
        """Push all EVSEs of each operator as a whole, and return how many. Raises NodeUnavailable."""
        async with self._context.one_at_a_time("locations"):
            return await self._export_all()

    async def _pending(self) -> list[StoredObject]:
        pending = await objects.list_in_state(
            self._context.store, self._context.name, _KIND, ObjectState.PENDING, _BATCH
        )
        # Those that are gone from the partner's list: their EVSEs are still to be deleted.
        return pending or [each for each in await self._dropped() if each.reason == "gone"]

    async def _dropped(self) -> list[StoredObject]:
        return await objects.list_in_state(self._context.store, self._context.name, _KIND, ObjectState.DROPPED, _BATCH)

    async def _map(self, stored: Sequence[StoredObject]) -> list[_Mapped]:
        name, terms = self._context.name, self._context.terms()
        if len(stored) > _MAX_INLINE:
            return await offload(_map_all, name, stored, terms)
        return _map_all(name, stored, terms)

    async def _export(self, pending: Sequence[StoredObject]) -> None:
        mapped = await self._map(pending)
        known = {
            evse.evse_key: evse
            for each in pending
            for evse in await evses.of_location_now(self._context.store, self._context.name, each.object_id)
        }
        changes = self._changes(mapped, known)
        await self._announce(mapped, known)
        try:
            for operator_id, change in changes.items():
                await self._push(operator_id, change)
        except NodeRefused as refused:
            log.warning("ocpi.locations_refused", partner=self._context.name, reason=str(refused))
            await self._export_all()
            return
        await self._store(mapped, known)

    async def _announce(self, mapped: Sequence[_Mapped], known: dict[str, StoredEvse]) -> None:
        """Store EVSEs that are new before the node has them: an EMP may start charging there at once."""
        new = [
            replace(evse, record=_NOT_PUSHED, status="")
            for each in mapped
            for evse in each.evses.values()
            if evse.evse_key not in known
        ]
        if new:
            await self._context.write(lambda tx: evses.put_many(tx, new))

    def _changes(self, mapped: Sequence[_Mapped], known: dict[str, StoredEvse]) -> dict[str, _Changes]:
        changes: defaultdict[str, _Changes] = defaultdict(_Changes)
        current: set[str] = set()
        for each in mapped:
            statuses = {EvseID(status["EvseID"]).key: status for status in each.result.statuses}
            for key, record in each.records.items():
                current.add(key)
                change, earlier = changes[_operator_of(key)], known.get(key)
                if earlier is None or earlier.record == _NOT_PUSHED:
                    change.inserted[key] = record
                elif earlier.record != each.evses[key].record:
                    change.updated[key] = record
                if earlier is None or earlier.status != each.evses[key].status:
                    change.statuses[key] = statuses[key]
        for key, evse in known.items():
            if key not in current and evse.record != _NOT_PUSHED:
                changes[_operator_of(key)].deleted[key] = evse
        return changes

    async def _push(self, operator_id: str, change: _Changes) -> None:
        """Push what has changed; raise NodeRefused if the node has other EVSEs than was thought."""
        if change.deleted:
            # A delete has the whole record, for the node reads it as it reads any other push.
            records: list[Any] = [decode(evse.record) for evse in change.deleted.values()]
            statuses = [{"EvseID": evse.evse_id, "EvseStatus": evse.status} for evse in change.deleted.values()]
            await self._push_records(operator_id, ActionType.DELETE, records)
            await self._push_statuses(operator_id, ActionType.DELETE, statuses)
        for action, changed in ((ActionType.INSERT, change.inserted), (ActionType.UPDATE, change.updated)):
            if changed:
                await self._push_records(operator_id, action, list(changed.values()))
        pushed = [status for status in change.statuses.values() if status["EvseID"] not in self._left_out]
        if pushed:
            await self._push_statuses(operator_id, ActionType.UPDATE, pushed)

    async def _push_records(self, operator_id: str, action: ActionType, records: list[dict[str, Any]]) -> None:
        """Push the records that OICP allows; the others are left out, and reported."""
        valid = []
        for record in records:
            problem = _problem_of(record)
            if problem is None:
                self._left_out.pop(record["EvseID"], None)
                valid.append(record)
                continue
            self._left_out[record["EvseID"]] = problem
            log.warning("ocpi.evse_left_out", partner=self._context.name, evse=record["EvseID"], reason=problem)
        if not valid and action is not ActionType.FULL_LOAD:
            return
        members = {"OperatorID": operator_id, "OperatorName": self._name(), "EvseDataRecord": valid}
        await self._context.node.deliver(PushEvseData, {"ActionType": action, "OperatorEvseData": members})

    async def _push_statuses(self, operator_id: str, action: ActionType, statuses: list[dict[str, Any]]) -> None:
        members = {"OperatorID": operator_id, "OperatorName": self._name(), "EvseStatusRecord": statuses}
        push = {"ActionType": action, "OperatorEvseStatus": members}
        await self._context.node.deliver(PushEvseStatus, push)

    def _name(self) -> str:
        return self._context.terms().operator_name

    async def _export_all(self) -> int:
        """Push everything as it is now; what the node has beside it is deleted by the fullLoad."""
        stored = await objects.list_all(self._context.store, self._context.name, _KIND)
        live = [each for each in stored if each.state is not ObjectState.DROPPED]
        mapped = await self._map(live)
        records: dict[str, dict[str, dict[str, Any]]] = {text: {} for text in self._context.settings.parties}
        statuses: dict[str, list[dict[str, Any]]] = {text: [] for text in self._context.settings.parties}
        by_operator = {OperatorID(text).key: text for text in records}
        for each in mapped:
            for key, record in each.records.items():
                records[by_operator[_operator_of(key)]][key] = record
            for status in each.result.statuses:
                statuses[by_operator[_operator_of(EvseID(status["EvseID"]).key)]].append(status)
        for operator_id, own in records.items():
            await self._push_records(operator_id, ActionType.FULL_LOAD, list(own.values()))
            # Of two EVSEs with one EvseID, the last counts.
            current = {status["EvseID"]: status for status in statuses[operator_id]}
            pushed = [status for evse_id, status in current.items() if evse_id not in self._left_out]
            await self._push_statuses(operator_id, ActionType.FULL_LOAD, pushed)
        known = {
            evse.uid_key + evse.location_key: evse
            for evse in await evses.list_all(self._context.store, self._context.name)
        }
        await self._store([*mapped, *_emptied(stored)], known)
        return sum(map(len, records.values()))

    async def _store(self, mapped: Sequence[_Mapped], known: dict[str, StoredEvse]) -> None:
        """Record what was pushed of these locations; one that has a newer form by now stays pending."""
        current = {(evse.location_key, evse.uid_key): evse for each in mapped for evse in each.evses.values()}
        gone = [evse for evse in known.values() if (evse.location_key, evse.uid_key) not in current]
        earlier = {(evse.location_key, evse.uid_key): evse.connectors for evse in known.values()}
        found = [(each, self._findings(each)) for each in mapped]

        def job(tx: Transaction) -> None:
            evses.remove_many(tx, gone)
            evses.put_many(tx, current.values())
            for each, own in found:
                if each.stored.state is ObjectState.DROPPED:
                    objects.remove(tx, each.stored.id)
                else:
                    objects.set_state(tx, each.stored, ObjectState.CARRIED)
                findings.replace_all(tx, self._context.name, _KIND, each.stored.object_id, own)

        await self._context.write(job)
        if earlier != {key: evse.connectors for key, evse in current.items()}:
            self._on_tariffs_changed()

    def _findings(self, mapped: _Mapped) -> list[StoredFinding]:
        object_id = mapped.stored.object_id
        found = self._context.findings_of(_KIND, object_id, mapped.result.losses)
        for dropped in mapped.result.dropped:
            text = f"EVSE {dropped['evse_uid']} is not offered: {dropped['reason']}"
            found.append(
                self._context.finding(_KIND, object_id, dropped["reason"], text, f"/evses/{dropped['evse_uid']}")
            )
        for record in mapped.result.records:
            if (reason := self._left_out.get(record["EvseID"])) is not None:
                text = f"the node refuses {record['EvseID']}: {reason}"
                found.append(self._context.finding(_KIND, object_id, "refused", text, f"/evses/{record['EvseID']}"))
        return found


def _operator_of(evse_key: str) -> str:
    operator = EvseID(evse_key).operator
    return "" if operator is None else operator.key


def _problem_of(record: dict[str, Any]) -> str | None:
    """Return why the node would refuse a record; None: it is valid."""
    try:
        read(EvseDataRecord, encode_json(record))
    except InvalidMessage as invalid:
        return str(invalid.findings[0])
    return None


def _map_all(partner: str, stored: Sequence[StoredObject], terms: Terms) -> list[_Mapped]:
    return [_mapped(partner, each, terms) for each in stored]


def _mapped(partner: str, stored: StoredObject, terms: Terms) -> _Mapped:
    if stored.state is ObjectState.DROPPED:
        return _Mapped(stored, EvseRecords([], [], [], [], ()), {})
    value = stored.value
    result = to_records(value, terms)
    statuses = {EvseID(status["EvseID"]).key: status["EvseStatus"] for status in result.statuses}
    records = {EvseID(record["EvseID"]).key: record for record in result.records}
    found: dict[str, StoredEvse] = {}
    for evse in value.get("evses") or []:
        key = EvseID(to_evse_id(evse.get("evse_id")) or "").key
        if key in records:
            found[key] = StoredEvse(
                partner,
                stored.object_id,
                evse["uid"],
                key,
                records[key]["EvseID"],
                tuple(StoredConnector(each["id"], tuple(each.get("tariff_ids") or ())) for each in evse["connectors"]),
                tuple(evse.get("capabilities") or ()),
                encode_json(records[key]),
                statuses[key],
            )
    return _Mapped(stored, result, found)


def _emptied(stored: Sequence[StoredObject]) -> list[_Mapped]:
    gone = [each for each in stored if each.state is ObjectState.DROPPED and each.reason == "gone"]
    return [_Mapped(replace(each), EvseRecords([], [], [], [], ()), {}) for each in gone]
