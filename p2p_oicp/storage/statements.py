"""SQL text, compiled once from the table definitions (docs/decisions/0002): the driver executes text, never objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.expression import ClauseElement

_DIALECT = sqlite.dialect(paramstyle="named")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its text, and the values of the parameters that the statement itself fixes."""

    text: str
    fixed: dict[str, Any]

    def bind(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return ``parameters`` completed by the fixed ones."""
        return {**self.fixed, **parameters} if self.fixed else parameters


def compiled(clause: ClauseElement) -> Statement:
    """Compile ``clause`` for SQLite; ``bindparam(name)`` stays a parameter, literal values become fixed ones."""
    code = clause.compile(dialect=_DIALECT)
    fixed = {name: value for name, value in code.params.items() if value is not None}
    return Statement(str(code), fixed)
