"""A role is the sum of its parts; each part has the methods of a few operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from p2p_oicp.oicp.operation import Operation
from p2p_oicp.roles.context import Answer, Incoming

Method: TypeAlias = Callable[[Incoming[Any]], Awaitable[Answer]]


class Role:
    """Finds the method that serves an operation."""

    def __init__(self, *parts: object) -> None:
        self._parts = parts

    def method_for(self, operation: Operation) -> Method | None:
        """Return the method, or None where this role does not offer the operation."""
        found = (getattr(part, operation.method, None) for part in self._parts)
        return next((method for method in found if method is not None), None)
