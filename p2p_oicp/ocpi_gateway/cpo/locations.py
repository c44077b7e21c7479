"""Locations of a partner, as it sends them: whole, or an EVSE or connector of one (GATEWAY 9.1).

Each change makes the location pending; `location_export` carries it to the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import structlog

from p2p_oicp.errors import PeerError
from p2p_oicp.ocpi.base import ci
from p2p_oicp.ocpi.envelope import OcpiStatus, apply_patch, single_object
from p2p_oicp.ocpi.locations import Location
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.cpo.intake import ObjectIntake, patch_problem, seconds_of
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult, OcpiProblem, unknown_object
from p2p_oicp.ocpi_mapping.terms import CITRINEOS
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.ocpi import objects
from p2p_oicp.storage.ocpi.objects import ObjectID, ObjectKind, ObjectState

log = structlog.get_logger(__name__)

_KIND = ObjectKind.LOCATION


class LocationReceiver:
    """The receiver's interface of locations.

    Args:
        context: of the partner.
        on_changed: is called after each change.
    """

    def __init__(self, context: CpoContext, on_changed: Callable[[], None]) -> None:
        self._context = context
        self._on_changed = on_changed
        self.intake = ObjectIntake(context, _KIND, Location)

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Serve GET, PUT and PATCH of a location, an EVSE or a connector."""
        id_ = self.intake.id_in_path(request.segments, "location_id")
        uid, connector_id = request.segments.get("evse_uid"), request.segments.get("connector_id")
        if request.verb == "GET":
            return ModuleResult(_part_of((await self.intake.get(id_)).value, uid, connector_id))
        if request.verb == "PUT" and uid is None:
            self.intake.check_path(request, "location_id")
            await self.receive(request.body or {})
        else:
            await self._change(request, id_, uid, connector_id)
        return ModuleResult()

    async def _change(self, request: ModuleRequest, id_: ObjectID, uid: str | None, connector_id: str | None) -> None:
        if request.verb == "PATCH" and self._context.settings.profile == CITRINEOS:
            # Its changes are no more than a hint that something is new.
            self._fetch_later(id_, uid)
            return
        try:
            await self._context.write(lambda tx: self._change_in(tx, request, id_, uid, connector_id))
        except OcpiProblem as problem:
            if problem.http_status == HTTPStatus.NOT_FOUND:
                self._fetch_later(id_, None)
            raise
        self._on_changed()

    def _change_in(
        self, tx: Transaction, request: ModuleRequest, id_: ObjectID, uid: str | None, connector_id: str | None
    ) -> None:
        stored = objects.get(tx, id_)
        location = stored.value if stored is not None and stored.state is not ObjectState.DROPPED else None
        if request.verb == "PUT" and location is None:
            raise unknown_object(f"the location {id_.object_key}")
        changed = _changed(location, request.body or {}, uid, connector_id, is_patch=request.verb == "PATCH")
        self.intake.put_in(tx, id_, self.intake.checked(changed))

    async def receive(self, value: Mapping[str, Any]) -> bool:
        """Store a location; return whether it is another one than before."""
        received = await self.intake.put(value)
        if received.is_changed:
            self._on_changed()
        return received.is_changed

    async def remove_others(self, listed: set[ObjectID]) -> int:
        """Empty the locations that a whole list has not; return how many: their EVSEs are deleted."""
        stored = await objects.list_all(self._context.store, self._context.name, _KIND)
        gone = [each for each in stored if each.id not in listed and each.state is not ObjectState.DROPPED]
        for each in gone:
            await self._context.write(lambda tx, each=each: objects.set_state(tx, each, ObjectState.DROPPED, "gone"))  # type: ignore[misc]
        if gone:
            self._on_changed()
        return len(gone)

    def _fetch_later(self, id_: ObjectID, uid: str | None) -> None:
        async def fetch() -> None:
            try:
                await self._fetch(id_, uid)
            except (PeerError, OcpiProblem) as error:
                log.warning(
                    "ocpi.location_not_fetched", partner=id_.partner, location=id_.object_key, reason=str(error)
                )

        self._context.background.start_logged(f"location {id_.object_key} of {id_.partner}", fetch)

    async def _fetch(self, id_: ObjectID, uid: str | None) -> None:
        """Fetch a location from the partner, or one EVSE of it, as it is now."""
        stored = await objects.get_now(self._context.store, id_)
        is_part = uid is not None and stored is not None and stored.state is not ObjectState.DROPPED
        path = [stored.object_id if stored is not None else id_.object_key, *([uid] if is_part and uid else [])]
        reply = await self._context.call("GET", "locations", "SENDER", *path)
        value = single_object(reply.data) if reply.is_success else None
        if value is None:
            reason = f"{reply.status_code} {reply.message}"
            log.warning("ocpi.location_not_fetched", partner=id_.partner, location=id_.object_key, reason=reason)
            return
        if stored is not None and is_part:
            value = _changed(stored.value, value, uid, None, is_patch=False)
        await self.receive(self.intake.checked(value))


def _part_of(location: dict[str, Any], uid: str | None, connector_id: str | None) -> dict[str, Any]:
    """Return a location, or the EVSE or connector of it that is named; raise OcpiProblem if there is none."""
    if uid is None:
        return location
    evse = _find(location.get("evses") or [], "uid", uid)
    if evse is None:
        raise unknown_object(f"the EVSE {uid}")
    if connector_id is None:
        return evse
    connector = _find(evse.get("connectors") or [], "id", connector_id)
    if connector is None:
        raise unknown_object(f"the connector {connector_id}")
    return connector


def _find(elements: list[dict[str, Any]], name: str, value: str) -> dict[str, Any] | None:
    return next((element for element in elements if ci(element[name]) == ci(value)), None)


def _changed(
    location: dict[str, Any] | None,
    content: Mapping[str, Any],
    uid: str | None,
    connector_id: str | None,
    *,
    is_patch: bool,
) -> dict[str, Any]:
    """Return a location with one of its parts replaced or changed; its own time goes on with that of the part."""
    if uid is None or location is None:
        return _patched(location, content, "location")
    evses = list(location.get("evses") or [])
    evse = _find(evses, "uid", uid)
    if connector_id is not None:
        if evse is None:
            raise unknown_object(f"the EVSE {uid}")
        content = _with_connector(evse, content, connector_id, is_patch=is_patch)
    elif is_patch:
        content = _patched(evse, content, f"EVSE {uid}")
    else:
        _check_id(content, "uid", uid)
    return _replaced(location, "evses", "uid", uid, content)


def _with_connector(
    evse: dict[str, Any], content: Mapping[str, Any], connector_id: str, *, is_patch: bool
) -> dict[str, Any]:
    if is_patch:
        connector = _find(evse.get("connectors") or [], "id", connector_id)
        content = _patched(connector, content, f"connector {connector_id}")
    else:
        _check_id(content, "id", connector_id)
    return _replaced(evse, "connectors", "id", connector_id, content)


def _check_id(content: Mapping[str, Any], name: str, expected: str) -> None:
    if ci(content.get(name, "")) != ci(expected):
        info = f"/{name}: the path has {expected!r}, the body {content.get(name)!r}"
        raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, info)


def _patched(stored: dict[str, Any] | None, changes: Mapping[str, Any], what: str) -> dict[str, Any]:
    outcome = apply_patch(stored, changes)
    if outcome.object is None:
        problem = patch_problem(outcome.http_status, _KIND, what)
        raise problem
    return dict(outcome.object)


def _replaced(parent: dict[str, Any], name: str, key: str, value: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with one element of a list replaced in its place, or added at the end."""
    elements = list(parent.get(name) or [])
    place = next((place for place, each in enumerate(elements) if ci(each[key]) == ci(value)), None)
    if place is None:
        elements.append(dict(content))
    elif seconds_of(content) >= seconds_of(elements[place]):
        elements[place] = {**content, key: elements[place][key]}
    newer = seconds_of(content) > seconds_of(parent)
    return {**parent, name: elements, **({"last_updated": content["last_updated"]} if newer else {})}
