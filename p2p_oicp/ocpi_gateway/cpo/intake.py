"""Storing what a partner sends: one object after the other, none older than what is there, in the partner's own words.

A PUT is the same as often as it comes; one that is older than what is stored is acknowledged and not applied. What is
stored is *pending* until something was made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from p2p_oicp.ocpi.base import OcpiObject, ci, encode_json, parse_time, read_object
from p2p_oicp.ocpi.envelope import OcpiStatus, apply_patch
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, OcpiProblem, unknown_object
from p2p_oicp.oicp.findings import InvalidMessage
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.ocpi import objects
from p2p_oicp.storage.ocpi.objects import ObjectID, ObjectKind, ObjectState, StoredObject

# Two forms of an object that come in the same instant are told apart by their times.
_TICK = 1e-5


@dataclass(frozen=True, slots=True)
class Received:
    """What became of an object that came in: as it is stored now, and whether it is another form than before."""

    stored: StoredObject
    is_changed: bool
    previous: StoredObject | None = None


class ObjectIntake:
    """Stores the objects of one kind.

    Args:
        context: of the partner.
        kind: the kind of object.
        model: its model.
    """

    def __init__(self, context: CpoContext, kind: ObjectKind, model: type[OcpiObject]) -> None:
        self._context = context
        self._kind = kind
        self._model = model

    def id_of(self, value: Mapping[str, Any]) -> ObjectID:
        """Return the id of an object; raise OcpiProblem 2001 for one of a party that is not the partner's."""
        party = self._context.owner_of(value)
        if not self._context.partners.get(self._context.name).has_party(*party):
            info = f"{party.country_code}*{party.party_id} is none of your parties"
            raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, info)
        return ObjectID.of(self._context.name, self._kind, *party, str(value["id"]))

    def id_in_path(self, segments: Mapping[str, str], name: str) -> ObjectID:
        """Return the id of the object that a path names; ``name`` is the segment with its id."""
        return self.id_of(
            {"country_code": segments["country_code"], "party_id": segments["party_id"], "id": segments[name]}
        )

    def check_path(self, request: ModuleRequest, name: str) -> None:
        """Raise OcpiProblem 2001 if a path names another object than the body."""
        body = request.body or {}
        for segment, member in (("country_code", "country_code"), ("party_id", "party_id"), (name, "id")):
            if ci(request.segments[segment]) != ci(body.get(member, "")):
                info = f"/{member}: the path has {request.segments[segment]!r}, the body {body.get(member)!r}"
                raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, info)

    async def get(self, id_: ObjectID) -> StoredObject:
        """Return a stored object; raise OcpiProblem for one that is unknown."""
        stored = await objects.get_now(self._context.store, id_)
        if stored is None or stored.state is ObjectState.DROPPED:
            raise unknown_object(f"the {self._kind} {id_.object_key}")
        return stored

    async def put(self, value: Mapping[str, Any]) -> Received:
        """Store an object, unless it is older than what is there, or the same."""
        id_ = self.id_of(value)
        return await self._context.write(lambda tx: self.put_in(tx, id_, value))

    def put_in(self, tx: Transaction, id_: ObjectID, value: Mapping[str, Any]) -> Received:
        """Do the same in a transaction."""
        previous = objects.get(tx, id_)
        now = self._context.clock.time()
        object_id = str(value["id"])
        if previous is not None:
            object_id, now = previous.object_id, max(now, previous.received_at + _TICK)
        body = encode_json({**value, "id": object_id})
        stored = StoredObject(id_, object_id, body, seconds_of(value), now, ObjectState.PENDING)
        if previous is not None:
            is_known = previous.state is not ObjectState.DROPPED
            if is_known and (previous.value == stored.value or stored.last_updated < previous.last_updated):
                return Received(previous, is_changed=False, previous=previous)
            stored = replace(stored, session_key=previous.session_key)
        objects.put(tx, stored)
        return Received(stored, is_changed=True, previous=previous)

    async def patch(self, id_: ObjectID, changes: Mapping[str, Any]) -> Received:
        """Change members of a stored object; raise OcpiProblem if that is impossible."""

        def job(tx: Transaction) -> Received:
            previous = objects.get(tx, id_)
            is_known = previous is not None and previous.state is not ObjectState.DROPPED
            outcome = apply_patch(previous.value if previous is not None and is_known else None, changes)
            if outcome.object is None or previous is None:
                raise patch_problem(outcome.http_status, self._kind, id_.object_key)
            return self.put_in(tx, id_, self.checked({**outcome.object, "id": previous.object_id}))

        return await self._context.write(job)

    def checked(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return an object as it is read; raise OcpiProblem 2001 that names the first mistake."""
        try:
            return read_object(self._model, encode_json(value))[0]
        except InvalidMessage as invalid:
            raise OcpiProblem(
                OcpiStatus.INVALID_PARAMETERS, str(invalid.findings[0]), http_status=HTTPStatus.BAD_REQUEST
            ) from invalid


def patch_problem(http_status: int, kind: ObjectKind, key: str) -> OcpiProblem:
    """Return why a PATCH is refused: the object is unknown, or the time of the change is."""
    if http_status == HTTPStatus.NOT_FOUND:
        return unknown_object(f"the {kind} {key}")
    return OcpiProblem(OcpiStatus.INVALID_PARAMETERS, "/last_updated: is missing, or no time")


def seconds_of(value: Mapping[str, Any]) -> float:
    """Return ``last_updated`` in seconds since the epoch."""
    time = parse_time(str(value.get("last_updated")))
    return 0.0 if time is None else time.timestamp()
