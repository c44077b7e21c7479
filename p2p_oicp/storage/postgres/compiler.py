"""Compiles for PostgreSQL: statements of SQLAlchemy Core with the casts that asyncpg needs, and the tables.

The tables are made as `schema` has them now, not by the migrations that led there: there has never been another
database of this kind. Texts are compared by their bytes (collation ``C``), numbers have 64 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGDialect_asyncpg
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.expression import ClauseElement

from p2p_oicp.oicp.geo import EARTH_RADIUS_KM
from p2p_oicp.storage.schema import metadata

# The radius search of `datasets.evse_search`, as `oicp.geo` calculates it.
_GREAT_CIRCLE_KM = (
    "CREATE FUNCTION great_circle_km(a_lat FLOAT8, a_lon FLOAT8, b_lat FLOAT8, b_lon FLOAT8) RETURNS FLOAT8 "
    "LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ "
    f"SELECT 2 * {EARTH_RADIUS_KM} * asin(sqrt(least(1, sin(radians(b_lat - a_lat) / 2) ^ 2 "
    "+ cos(radians(a_lat)) * cos(radians(b_lat)) * sin(radians(b_lon - a_lon) / 2) ^ 2))) $$"
)


class _Compiler(PGCompiler_asyncpg):
    def _on_conflict_target(self, clause: Any, **named: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
        # The INSERTs are those of SQLite's dialect, which names columns, or nothing.
        columns = clause.inferred_target_elements or ()
        texts = (self.process(column, **{**named, "include_table": False, "use_schema": False}) for column in columns)
        return f"({', '.join(texts)})" if columns else ""


class _Dialect(PGDialect_asyncpg):
    statement_compiler = _Compiler
    supports_statement_cache = True


_DIALECT = _Dialect()  # type: ignore[no-untyped-call]


def compile_numbered(clause: ClauseElement) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Return the text with ``$1``, ``$2`` …, the parameters in that order, and the values that the statement fixes."""
    compiled = clause.compile(dialect=_DIALECT)
    fixed = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), tuple(compiled.positiontup or ()), fixed  # type: ignore[attr-defined]


def create_statements() -> Iterator[str]:
    """Return what creates all tables, indexes and functions."""
    for table in metadata.sorted_tables:
        yield str(CreateTable(table).compile(dialect=_DIALECT))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield str(CreateIndex(index).compile(dialect=_DIALECT))
    yield _GREAT_CIRCLE_KM
