"""One request that a listener serves, declared once: its route is made of it, and its part of the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from aiohttp import web

from p2p_oicp.server.openapi.schemas import TEXT, WHOLE, Json, Schema, any_of, described, reference, resolve
from p2p_oicp.server.pipeline import Handler, RequestPipeline

JSON = "application/json"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Tag(StrEnum):
    """The parts of the document, in their order."""

    CPO = "OICP: what a CPO sends"
    EMP = "OICP: what an EMP sends"
    STATUS = "Status"
    PEERS = "Peers"
    RECORDS = "Records"
    OUTBOX = "Outbox"
    EVENTS = "Events"
    OCPI = "OCPI partners"
    NODES = "Between nodes"
    HUB = "Hub"
    HEALTH = "Health and documents"


class Access(StrEnum):
    """Who may send a request (DESIGN section 7)."""

    OPEN = "open"
    """Whoever reaches the listener."""
    DETAILS = "details"
    """As `OPEN`; with the token, the answer has more."""
    TOKEN = "token"  # noqa: S105 - a word
    """Our own systems, by the token of the backend API."""
    PEER = "peer"
    """A peer, by its signature or client certificate."""
    INVITATION = "invitation"
    """Whoever has an invitation: its key signs the request."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query."""

    name: str
    schema: Mapping[str, Any]
    description: str
    required: bool = False
    example: object = None

    def to_json(self) -> Json:
        """Return it as OpenAPI has it."""
        members = {"name": self.name, "in": "query", "description": self.description, "required": self.required}
        example = {} if self.example is None else {"example": self.example}
        return {**members, "schema": dict(self.schema), **example}


#: How many records an answer has at most.
LIMIT = Parameter("limit", {**WHOLE, "default": 100}, "How many at most; more than 1000 count as 1000.")


#: What the parts of a path are.
_PATH_PARAMETERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "id": described(WHOLE, "The number of the message."),
        "number": described(WHOLE, "The number of the exchange."),
        "session_id": described(TEXT, "The SessionID, in any case."),
        "evse_id": described(TEXT, "The EvseID, in any spelling."),
        "name": described(TEXT, "The name of the peer; of a system of our own, `backend:NAME`."),
        "action": described(TEXT, "What to do."),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A request and its answer.

    Attributes:
        name: the operationId, by which generated clients name their functions.
        summary: one sentence.
        answer: the schema of the body of HTTP 200.
        answer_types: the media types of that body.
        body: the schema of the request's body; None: it has none.
        body_is_optional: whether it may be left out.
        errors: further HTTP statuses, each with when; those that every path may answer are in the document anyway.
        other_bodies: by the HTTP status of an error, when it is answered, and the schema of a body that is no refusal.
        path_schemas: what parts of the path are, where it is more than their names say.
        example: a body.
    """

    method: str
    path: str
    name: str
    summary: str
    tag: Tag
    answer: Schema
    answer_types: tuple[str, ...] = (JSON,)
    access: Access = Access.TOKEN
    description: str = ""
    query: tuple[Parameter, ...] = ()
    body: Schema | None = None
    body_is_optional: bool = False
    errors: Mapping[int, str] = field(default_factory=dict)
    other_bodies: Mapping[int, tuple[str, Schema]] = field(default_factory=dict)
    path_schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    example: object = None

    def route(self, pipeline: RequestPipeline, handler: Handler, *, needs_token: bool | None = None) -> web.RouteDef:
        """Return the route by which ``handler`` serves it.

        Args:
            pipeline: of the listener.
            handler: serves the request.
            needs_token: where the settings decide; else the declaration does.
        """
        is_protected = self.access not in {Access.OPEN, Access.DETAILS} if needs_token is None else needs_token
        wrapped = pipeline.wrap(handler, needs_token=is_protected)
        return web.get(self.path, wrapped) if self.method == "GET" else web.route(self.method, self.path, wrapped)

    @property
    def names_in_path(self) -> list[str]:
        return _PLACEHOLDER.findall(self.path)

    def parameters(self) -> list[Json]:
        """Return the parameters of path and query as OpenAPI has them."""
        in_path = [
            {"name": name, "in": "path", "required": True, "schema": dict(schema)}
            for name in self.names_in_path
            for schema in [self.path_schemas.get(name) or _PATH_PARAMETERS[name]]
        ]
        return [*in_path, *(each.to_json() for each in self.query)]

    def request_body(self, components: Json) -> Json | None:
        """Return the body of the request as OpenAPI has it, None where it has none."""
        if self.body is None:
            return None
        example = {} if self.example is None else {"example": self.example}
        content = {JSON: {"schema": resolve(self.body, components), **example}}
        return {"required": not self.body_is_optional, "content": content}

    def answer_content(self, components: Json) -> Json:
        """Return the content of the answer as OpenAPI has it."""
        is_of_peers = self.access in {Access.PEER, Access.INVITATION}
        # Between nodes, a refusal in business is HTTP 200, as in OICP.
        answer = any_of(self.answer, reference("Refusal")) if is_of_peers else self.answer
        schema = resolve(answer, components)
        return {media_type: {"schema": schema} for media_type in self.answer_types}


def by_path(endpoints: Iterable[Endpoint]) -> dict[str, list[Endpoint]]:
    """Return the endpoints of each path, in their order."""
    paths: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, []).append(endpoint)
    return paths
