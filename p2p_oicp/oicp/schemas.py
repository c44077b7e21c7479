"""JSON Schema of each message and an OpenAPI document for each role, generated from the models and the operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from pydantic.json_schema import models_json_schema

from p2p_oicp.oicp.charging import NOTIFICATION_BY_TYPE
from p2p_oicp.oicp.common import Acknowledgement, StatusCode
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.operations import OPERATIONS, Operation, Party
from p2p_oicp.oicp.samples import REQUESTS, RESPONSES, SampleContext, documented_context

SampleMaker: TypeAlias = Callable[[SampleContext], dict[str, Any]]

_NO_EXAMPLES: Mapping[str, Any] = MappingProxyType({})
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COMPONENT = "#/components/schemas/{model}"
#: HTTP statuses whose body is a status code instead of the response of the operation.
_ERROR_STATUSES = {
    "401": "Unauthorized Access (017)",
    "404": "Partner or session not found (300, 400)",
    "429": "Too many requests",
    "503": "Temporarily unavailable",
}


def message_models() -> tuple[type[Message], ...]:
    """Return the models of all messages, each once, in the order of the operations."""
    models: dict[type[Message], None] = {}
    for operation in OPERATIONS:
        models |= dict.fromkeys((*_request_models(operation), operation.response))
    return tuple(models | {Acknowledgement: None})


def _request_models(operation: Operation) -> tuple[type[Message], ...]:
    if operation.name == "ChargingNotifications":
        return tuple(NOTIFICATION_BY_TYPE.values())
    return (operation.request,)


def json_schema(model: type[Message]) -> dict[str, Any]:
    """Return the self-contained JSON Schema of a message."""
    return {"$schema": _DIALECT, **model.model_json_schema(mode="serialization")}


def request_schemas(operation: Operation) -> list[dict[str, Any]]:
    """Return the JSON Schema of each message that an operation may send."""
    return [json_schema(model) for model in _request_models(operation)]


def openapi(role: Party, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the operations that a node in a role serves."""
    served = [operation for operation in OPERATIONS if operation.server is role]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"OICP 2.3, what a node in the role of a {role} serves",
            "version": version,
            "description": "Drawn from the table of operations. Unknown members are allowed everywhere, and kept.",
        },
        "servers": [{"url": "/api/oicp"}],
        "paths": operation_paths(served),
        "components": {"schemas": operation_components(served)},
    }


def operation_paths(served: Sequence[Operation], prefix: str = "") -> dict[str, Any]:
    """Return the paths of operations, as OpenAPI has them, each behind ``prefix``."""
    paths: dict[str, Any] = {}
    for operation in served:
        for path in (operation.path, *operation.aliases):
            same_path = [candidate for candidate in served if path in (candidate.path, *candidate.aliases)]
            paths[f"{prefix}/{path}"] = {"post": _post_operation(path, same_path)}
    return paths


def operation_components(served: Sequence[Operation]) -> dict[str, Any]:
    """Return the schemas of the messages of operations, and of the answers that any of them may get."""
    models: dict[type[Message], None] = {Acknowledgement: None, StatusCode: None}
    for operation in served:
        models |= dict.fromkeys((*_request_models(operation), operation.response))
    _, definitions = models_json_schema([(model, "serialization") for model in models], ref_template=_COMPONENT)
    return {**definitions["$defs"], "Refusal": _REFUSAL_SCHEMA, "ValidationErrors": _VALIDATION_ERRORS_SCHEMA}


def _post_operation(path: str, operations: list[Operation]) -> dict[str, Any]:
    names = [operation.name for operation in operations]
    requests = [model.__name__ for operation in operations for model in _request_models(operation)]
    responses = [*(operation.response.__name__ for operation in operations), Acknowledgement.__name__]
    return {
        "operationId": f"{names[0]}{'Alias' if path != operations[0].path else ''}"
        if len(names) == 1
        else "Or".join(names),
        "summary": "eRoaming" + ", eRoaming".join(names),
        "parameters": _parameters(path, operations[0]),
        "requestBody": {"required": True, "content": _json_content(requests, _examples(REQUESTS, operations))},
        "responses": {
            "200": {
                "description": "The answer, which may be a refusal",
                "content": _json_content(responses, _examples(RESPONSES, operations)),
            },
            "400": {
                "description": "The message cannot be processed",
                "content": _json_content(["ValidationErrors", "Refusal"]),
            },
            **{
                code: {"description": description, "content": _json_content(["Refusal"])}
                for code, description in _ERROR_STATUSES.items()
            },
        },
    }


def _examples(makers: Mapping[str, SampleMaker], operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the samples of these operations as examples, by their names."""
    context = documented_context()
    return {each.name: {"value": makers[each.name](context)} for each in operations if each.name in makers}


def _json_content(models: list[str], examples: Mapping[str, Any] = _NO_EXAMPLES) -> dict[str, Any]:
    """Return the content of a body with one of these schemas."""
    # anyOf, not oneOf: some of them overlap, and oneOf would refuse the documents' own examples (D49, D50).
    references = [{"$ref": _COMPONENT.format(model=model)} for model in dict.fromkeys(models)]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"application/json": {"schema": schema, **({"examples": dict(examples)} if examples else {})}}


def _parameters(path: str, operation: Operation) -> list[dict[str, Any]]:
    name = path.partition("{")[2].partition("}")[0]
    path_parameters = (
        [_parameter(name, "path", "The sending party", required=True, schema={"type": "string"})] if name else []
    )
    if not operation.paged:
        return path_parameters
    page = {"type": "integer", "minimum": 0, "default": 0}
    size = {"type": "integer", "minimum": 1, "maximum": 2000, "default": 20}
    return [
        *path_parameters,
        _parameter("page", "query", "Which page, from 0", required=False, schema=page),
        _parameter("size", "query", "How many records on a page", required=False, schema=size),
    ]


def _parameter(name: str, location: str, description: str, *, required: bool, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": location, "description": description, "required": required, "schema": schema}


_REFUSAL_SCHEMA = {
    "type": "object",
    "required": ["StatusCode"],
    "properties": {"StatusCode": {"$ref": _COMPONENT.format(model="StatusCode")}},
}
_VALIDATION_ERRORS_SCHEMA = {
    "type": "object",
    "required": ["message", "validationErrors"],
    "properties": {
        "message": {"type": "string"},
        "extendedInfo": {"type": ["string", "null"]},
        "validationErrors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["fieldReference", "errorMessage"],
                "properties": {"fieldReference": {"type": "string"}, "errorMessage": {"type": "string"}},
            },
        },
    },
}
