"""JSON Schemas of requests and answers, put together from a few functions.

A `Component` is a schema with a name. Where it stands within others, a document has a reference to it, and itself once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Component:
    """A schema that a document names; it is equal to none but itself."""

    name: str
    schema: Mapping[str, Any] = field(compare=False)


#: A schema, which may have components anywhere in it.
Schema: TypeAlias = Mapping[str, Any] | Component

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
WHOLE: Json = {"type": "integer", "minimum": 0}
FLAG: Json = {"type": "boolean"}
TIME: Json = {"type": "string", "format": "date-time", "description": "In UTC."}
SECONDS: Json = {"type": "number", "description": "Seconds since 1970, in UTC."}
ANYTHING: Json = {}
OBJECT: Json = {"type": "object"}


def one_of(values: Iterable[str], description: str = "") -> Json:
    """Return the schema of a closed list of texts."""
    return text(description) | {"enum": list(values)}


def text(description: str) -> Json:
    """Return the schema of a text; ``description`` may be empty."""
    return described(TEXT, description)


def described(schema: Mapping[str, Any], description: str) -> Json:
    """Return a schema with another description; none where it is empty."""
    return {**schema, **({"description": description} if description else {})}


def array(items: Schema, description: str = "") -> Json:
    """Return the schema of a list."""
    return described({"type": "array", "items": items}, description)


def nullable(schema: Schema, description: str = "") -> Json:
    """Return the schema of what may be null as well."""
    if isinstance(schema, Component) or "type" not in schema:
        return described({"anyOf": [schema, {"type": "null"}]}, description)
    members = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        members["enum"] = [*schema["enum"], None]
    return described(members, description)


def mapping(values: Schema, description: str = "") -> Json:
    """Return the schema of an object with any names and values of one kind."""
    return described({"type": "object", "additionalProperties": values}, description)


def any_of(*schemas: Schema) -> Json:
    """Return the schema of what fits one of these, or several."""
    return {"anyOf": list(schemas)}


def members_of(members: Mapping[str, Schema], *, optional: Sequence[str] = (), description: str = "") -> Json:
    """Return the schema of an object; of its members, those in ``optional`` may be absent."""
    required = [name for name in members if name not in optional]
    return described(
        {"type": "object", "properties": dict(members), **({"required": required} if required else {})}, description
    )


def record(name: str, description: str, members: Mapping[str, Schema], *, optional: Sequence[str] = ()) -> Component:
    """Return the component of an object, as `members_of`."""
    return Component(name, MappingProxyType(members_of(members, optional=optional, description=description)))


def resolve(schema: Any, components: Json) -> Any:  # noqa: ANN401 - JSON with components in it
    """Return a schema as JSON, with references to its components, which are added to ``components``.

    Raises:
        ValueError: two components have the same name.
    """
    match schema:
        case Component():
            known = components.get(schema.name)
            resolved = resolve(schema.schema, components)
            if known is not None and known != resolved:
                raise ValueError(f"two schemas have the name {schema.name}")
            components[schema.name] = resolved
            return reference(schema.name)
        case Mapping():
            return {name: resolve(value, components) for name, value in schema.items()}
        case list() | tuple():
            return [resolve(each, components) for each in schema]
    return schema


def reference(name: str) -> Json:
    """Return the reference to a component of the document."""
    return {"$ref": f"#/components/schemas/{name}"}
