"""The OpenAPI document of the OCPI listener, drawn from the table of modules (`ocpi.modules`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from pydantic.json_schema import models_json_schema

from p2p_oicp.config.ocpi import OCPI_PATH
from p2p_oicp.ocpi.base import OcpiObject
from p2p_oicp.ocpi.credentials import Credentials, Version, VersionDetails
from p2p_oicp.ocpi.enumerations import Role, VersionNumber
from p2p_oicp.ocpi.modules import COMMANDS, Endpoint, Interface, versions
from p2p_oicp.server.ocpi.routes import module_paths
from p2p_oicp.server.openapi.endpoints import JSON
from p2p_oicp.server.openapi.schemas import Json, reference
from p2p_oicp.version import VERSION

_COMPONENT: Final = "#/components/schemas/{model}"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_ENVELOPE: Final = "Envelope"
#: Every path may be answered with these, always with an envelope.
_ERRORS: Mapping[int, str] = MappingProxyType(
    {
        400: "The body cannot be read (2001); the text has the first finding.",
        401: "There is no token of a partner, or it does not open this path.",
        404: "There is no such path or object.",
        405: "The path has no such verb, or the state of the registration does not fit.",
        408: "The body did not arrive in time.",
        413: "The body is larger than 1 MiB.",
        415: "The body is no JSON, or is compressed.",
        417: "Only Expect: 100-continue is served.",
        429: "Too many requests; Retry-After says when to come back.",
        500: "This node failed; its log has the details.",
        503: "Too much to do, or another registration is under way.",
    }
)
_PAGE_PARAMETERS: Final = (
    ("date_from", {"type": "string"}, "Only what was changed since then."),
    ("date_to", {"type": "string"}, "Only what was changed before."),
    ("offset", {"type": "integer", "minimum": 0}, "The place of the first object."),
    ("limit", {"type": "integer", "minimum": 1}, "How many objects; it is lowered to `page_limit`."),
)
_PAGE_HEADERS: Json = {
    "X-Total-Count": {"schema": {"type": "integer"}, "description": "How many objects match."},
    "X-Limit": {"schema": {"type": "integer"}, "description": "How many a page has."},
    "Link": {"schema": {"type": "string"}, "description": "The next page; absent at the last one."},
}


@cache
def ocpi_document() -> Json:
    """Return the OpenAPI 3.1 document of the listener. It is made once, and takes some tenths of a second."""
    paths: dict[str, Json] = {f"{OCPI_PATH}/versions": {"get": _read("getVersions", Version, is_list=True)}}
    for version in versions():
        paths |= _paths_of(version)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "p2p-oicp: the OCPI listener",
            "version": VERSION,
            "description": "What a node serves to OCPI partners. A partner reaches the paths of its own face: `emsp` "
            "for one with charging stations, `cpo` for one with drivers. Unknown members are allowed everywhere.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token` and a blank, followed by the token of the registration in base64.",
                }
            },
        },
    }


def _paths_of(version: VersionNumber) -> dict[str, Json]:
    base = f"{OCPI_PATH}/{version}"
    paths: dict[str, Json] = {
        base: {"get": _read("getVersionDetails", VersionDetails)},
        f"{base}/credentials": {
            "get": _read("getCredentials", Credentials),
            **{
                verb: _operation(
                    f"{verb}Credentials", "credentials", Endpoint(verb.upper(), "", Credentials, Credentials)
                )
                for verb in ("post", "put")
            },
            "delete": _operation("deleteCredentials", "credentials", Endpoint("DELETE")),
        },
    }
    for role in (Role.EMSP, Role.CPO):
        for path, interface, endpoint in module_paths(role, version):
            name = _name(role, interface, endpoint)
            paths.setdefault(path, {})[endpoint.verb.lower()] = _operation(name, str(interface.module), endpoint)
    return paths


def _exchange(verb: str) -> Json:
    endpoint = Endpoint(verb.upper(), "", Credentials, Credentials)
    return _operation(f"{verb}Credentials", "credentials", endpoint)


def _name(role: Role, interface: Interface, endpoint: Endpoint) -> str:
    parts = [part.strip("{}") for part in endpoint.path.split("/") if part]
    words = [endpoint.verb.lower(), str(role).lower(), str(interface.module), *parts]
    return "_".join([*words, "list"] if endpoint.is_paged else words)


def _read(name: str, model: type[OcpiObject], *, is_list: bool = False) -> Json:
    return {
        "operationId": name,
        "tags": ["registration"],
        "responses": {"200": _answer(reference(model.__name__), is_list=is_list), **_errors()},
    }


def _operation(name: str, tag: str, endpoint: Endpoint) -> Json:
    response = reference(endpoint.response.__name__) if endpoint.response is not None else None
    answer = _answer(response, is_list=endpoint.is_paged)
    if endpoint.is_paged:
        answer["headers"] = _PAGE_HEADERS
    parameters = [*_path_parameters(endpoint), *(_page_parameters() if endpoint.is_paged else ())]
    body = _request_body(endpoint)
    return {
        "operationId": name,
        "tags": [tag],
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": body} if body is not None else {}),
        "responses": {"200": answer, **_errors()},
    }


def _answer(data: Json | None, *, is_list: bool = False) -> Json:
    """Return an answer: an envelope, whose ``data`` a refusal does not have."""
    schema: Json = reference(_ENVELOPE)
    if data is not None:
        members = {"data": {"type": "array", "items": data} if is_list else data}
        schema = {"allOf": [schema, {"type": "object", "properties": members}]}
    return {"description": "The answer; a refusal of OCPI has HTTP 200 as well.", "content": {JSON: {"schema": schema}}}


def _errors() -> Json:
    content = {JSON: {"schema": reference(_ENVELOPE)}}
    return {str(status): {"description": text, "content": content} for status, text in _ERRORS.items()}


def _path_parameters(endpoint: Endpoint) -> Iterator[Json]:
    for name in _PLACEHOLDER.findall(endpoint.path):
        is_command = name == "command" and endpoint.path == "/{command}"
        schema: Json = {"type": "string", "minLength": 1, "maxLength": 255}
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "enum": [*map(str, COMMANDS)]} if is_command else schema,
        }


def _page_parameters() -> Iterator[Json]:
    for name, schema, description in _PAGE_PARAMETERS:
        yield {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _request_body(endpoint: Endpoint) -> Json | None:
    if endpoint.request is None:
        return None
    if endpoint.path == "/{command}":
        schema: Json = {"anyOf": [reference(model.__name__) for model in COMMANDS.values()]}
    elif endpoint.verb == "PATCH":
        schema = reference(f"{endpoint.request.__name__}Changes")
    else:
        schema = reference(endpoint.request.__name__)
    is_optional = endpoint.path.endswith("/authorize")
    return {"required": not is_optional, "content": {JSON: {"schema": schema}}}


def _schemas() -> Json:
    """Return the schemas of all objects, of their changes (PATCH), and of the envelope."""
    models: dict[type[OcpiObject], None] = dict.fromkeys((Version, VersionDetails, Credentials, *_models()))
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_COMPONENT)
    schemas: Json = definitions["$defs"]
    changed = {endpoint.request for endpoint in _endpoints() if endpoint.verb == "PATCH"} - {None}
    for name in sorted(model.__name__ for model in changed if model is not None):
        changes = {member: value for member, value in schemas[name].items() if member != "required"}
        description = "Members that change; `last_updated` is one of them. null removes a member."
        schemas[f"{name}Changes"] = {**changes, "required": ["last_updated"], "description": description}
    schemas[_ENVELOPE] = {
        "type": "object",
        "required": ["status_code", "timestamp"],
        "properties": {
            "data": {"description": "Absent where there is none, and in refusals."},
            "status_code": {"type": "integer", "minimum": 1000, "maximum": 4999},
            "status_message": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
        },
    }
    return schemas


def _endpoints() -> Iterator[Endpoint]:
    for version in versions():
        for role in (Role.EMSP, Role.CPO):
            yield from (endpoint for _, _, endpoint in module_paths(role, version))


def _models() -> Iterable[type[OcpiObject]]:
    for endpoint in _endpoints():
        yield from (model for model in (endpoint.request, endpoint.response) if model is not None)
    yield from COMMANDS.values()
