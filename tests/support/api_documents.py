"""Checks what a node answers against its own document: nothing is missing, and nothing is undocumented."""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator

from p2p_oicp.server.openapi.documents import Listener, openapi_document


class Documented:
    """The document of a listener, as a judge of answers."""

    def __init__(self, listener: Listener) -> None:
        self.document = openapi_document(listener)
        self._components = {"components": {"schemas": closed(self.document["components"]["schemas"])}}
        self._patterns = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), item) for path, item in self.document["paths"].items()
        ]

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """Return the operation of a request; a path without placeholders comes first."""
        exact = self.document["paths"].get(path)
        items = [exact] if exact else [item for pattern, item in self._patterns if pattern.fullmatch(path)]
        return next(item[method.lower()] for item in items if method.lower() in item)

    def problems(self, method: str, path: str, status: int, answer: object) -> list[str]:
        """Return what the document does not say of an answer."""
        responses = self.operation(method, path)["responses"]
        if str(status) not in responses:
            return [f"HTTP {status} is not documented"]
        (media,) = responses[str(status)]["content"].values()
        validator = Draft202012Validator({**closed(media["schema"]), **self._components})
        return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(answer)]


def closed(schema: Any) -> Any:
    """Return a schema that allows no members but those that it names."""
    if isinstance(schema, dict):
        members = {name: closed(value) for name, value in schema.items()}
        is_closed = isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema
        return members | ({"additionalProperties": False} if is_closed else {})
    return [closed(each) for each in schema] if isinstance(schema, list) else schema
