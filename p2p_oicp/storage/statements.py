"""SQL text, compiled once from the table definitions (docs/decisions/0002): the driver executes text, not objects.

Most statements are written in SQLAlchemy Core and pass through :func:`compiled` when their module is imported. A text
that Core cannot express well (``group_concat``, ``INDEXED BY``, a change of a counter) is written by hand: where the
databases differ, once for both (:func:`written`, with the words of `dialects`). What Core does not know has a helper:
:func:`listed` (membership in a list parameter), :func:`optional` (a parameter that may be NULL), :func:`inserting`,
:func:`inserting_named` and :func:`upserting` (what happens to a row that exists already).

The text for SQLite is made at once; the one for PostgreSQL when it is first used, for most nodes never use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, overload

import orjson
from sqlalchemy import BigInteger, ColumnElement, FunctionElement, Select, Table, Text, bindparam, cast, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.types import TypeEngine

from p2p_oicp.storage.dialects import POSTGRESQL, SQLITE, Dialect

T = TypeVar("T")

_DIALECT = sqlite.dialect(paramstyle="named")
# A parameter of a text by hand; not a cast, ``::``.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]\w*)")


class NumberedText(NamedTuple):
    """A statement for PostgreSQL.

    Attributes:
        text: with ``$1``, ``$2`` … for parameters.
        names: the parameters in that order; none for a whole row.
        fixed: the values of those that the statement itself fixes.
    """

    text: str
    names: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = MappingProxyType({})

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the values of all parameters in their order."""
        return [parameters[name] if name in parameters else self.fixed[name] for name in self.names]


class Statement:
    """One statement for both databases.

    Attributes:
        text: SQLite's, with ``:name`` for parameters.
        fixed: the values of the parameters that the statement itself fixes.
    """

    __slots__ = ("_make_numbered", "_numbered", "fixed", "text")

    def __init__(
        self, text: str, fixed: Mapping[str, Any], make_numbered: Callable[[], NumberedText] | None = None
    ) -> None:
        """Make a statement; ``make_numbered`` returns PostgreSQL's text, by default it is the same."""
        self.text = text
        self.fixed = fixed
        self._make_numbered = make_numbered
        self._numbered: NumberedText | None = None

    def __repr__(self) -> str:
        return f"<Statement {self.text}>"

    def bind(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return ``parameters`` completed by the fixed ones."""
        return {**self.fixed, **parameters} if self.fixed else parameters

    def numbered(self) -> NumberedText:
        """Return the text for PostgreSQL."""
        if self._numbered is None:
            self._numbered = (
                _number(self.text, {}, self.fixed) if self._make_numbered is None else self._make_numbered()
            )
        return self._numbered


class RowStatement:
    """An INSERT or UPDATE that takes a whole row by position: for long rows, 3 µs less than by name.

    Attributes:
        text: SQLite's, with ``?`` for each value.
    """

    __slots__ = ("_numbered", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._numbered: NumberedText | None = None

    def __repr__(self) -> str:
        return f"<RowStatement {self.text}>"

    def numbered(self) -> NumberedText:
        """Return the text for PostgreSQL."""
        if self._numbered is None:
            numbers = count(1)
            self._numbered = NumberedText(re.sub(r"\?", lambda _: f"${next(numbers)}", self.text))
        return self._numbered


def written(
    write: Callable[[Dialect], str], types: Mapping[str, str] | None = None, fixed: Mapping[str, Any] | None = None
) -> Statement:
    """Return a statement that is written by hand, once for both databases.

    Args:
        write: returns the text in the words of a dialect, with ``:name`` for parameters.
        types: PostgreSQL's types of the parameters that it cannot infer: those that are compared with NULL first.
        fixed: the values of parameters that the statement itself fixes.
    """
    values = fixed or {}
    return Statement(write(SQLITE), values, lambda: _number(write(POSTGRESQL), types or {}, values))


def _number(text: str, types: Mapping[str, str], fixed: Mapping[str, Any]) -> NumberedText:
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in names:
            names.append(name)
        parameter = f"${names.index(name) + 1}"
        return f"CAST({parameter} AS {types[name]})" if name in types else parameter

    numbered = _PARAMETER.sub(number, text)
    return NumberedText(numbered, tuple(names), fixed)


def inserting(table: Table, columns: Sequence[str], *, instead: str = "") -> RowStatement:
    """Return the INSERT of rows with these columns.

    Args:
        table: the table that the rows are inserted into.
        columns: in the order of the values of a row.
        instead: what happens to a row that exists already: ``OR IGNORE`` leaves it as it is; by default an error.

    """
    conflict = " ON CONFLICT DO NOTHING" if instead == "OR IGNORE" else ""
    values = f"({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    return RowStatement(f"INSERT INTO {table.name} {values}{conflict}")


def inserting_named(table: Table, *columns: str, instead: str = "") -> Statement:
    """Return the INSERT of one row by the names of its columns.

    ``instead`` is what happens to a row with the same primary key: ``OR IGNORE`` leaves it as it is, ``OR REPLACE``
    sets all of its columns; by default an error.
    """
    statement = insert(table).values({name: bindparam(name) for name in columns})
    if instead == "OR IGNORE":  # in the words that PostgreSQL has, too; SQLite makes the same program of both
        return compiled(statement.on_conflict_do_nothing())
    if instead == "OR REPLACE":
        # Those that are not given, too: ``excluded`` has their defaults. SQLite's own words are a tenth faster there.
        replaced = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
        upsert = statement.on_conflict_do_update(index_elements=[*table.primary_key], set_=replaced)
        in_sqlite = compiled(statement.prefix_with(instead))
        return Statement(in_sqlite.text, in_sqlite.fixed, lambda: _compile_numbered(upsert))
    return compiled(statement)


def upserting(table: Table, *columns: str, key: Sequence[str]) -> Statement:
    """Return the INSERT of one row by the names of its columns, which sets the others of a row with the same key."""
    statement = insert(table).values({name: bindparam(name) for name in columns})
    changed = {name: statement.excluded[name] for name in columns if name not in key}
    return compiled(statement.on_conflict_do_update(index_elements=[table.c[name] for name in key], set_=changed))


def updating(table: Table, columns: Sequence[str], *, key_column: str, fixed_assignment: str = "") -> RowStatement:
    """Return the UPDATE of one row by its key.

    Args:
        table: the table of the row.
        columns: the columns to set, in the order of the values of a row.
        key_column: the column that finds the row; its value is the last one of the row.
        fixed_assignment: one more assignment, the same for all rows (``deleted = 0``).

    """
    assignments = ", ".join([f"{column} = ?" for column in columns] + [fixed_assignment] * bool(fixed_assignment))
    return RowStatement(f"UPDATE {table.name} SET {assignments} WHERE {key_column} = ?")


class _Elements(FunctionElement[Any]):
    """The elements of a JSON array as a table with a column ``value``; ``type_`` is the type of all of them."""

    name = "json_each"
    inherit_cache = True


class _ElementValue(ColumnElement[Any]):
    """A column of `_Elements`, which PostgreSQL has as a text."""

    inherit_cache = False

    def __init__(self, value: ColumnElement[Any], type_: type[TypeEngine[Any]]) -> None:
        self.value = value
        self.type = type_()


@compiles(_Elements)
def _elements_of_sqlite(element: _Elements, compiler: SQLCompiler, **named: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return f"json_each({compiler.process(element.clauses, **named)})"


@compiles(_Elements, "postgresql")
def _elements_of_postgresql(element: _Elements, compiler: SQLCompiler, **named: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return f"jsonb_array_elements_text(CAST({compiler.process(element.clauses, **named)} AS JSONB))"


@compiles(_ElementValue)
def _value_of_sqlite(element: _ElementValue, compiler: SQLCompiler, **named: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return compiler.process(element.value, **named)


@compiles(_ElementValue, "postgresql")
def _value_of_postgresql(element: _ElementValue, compiler: SQLCompiler, **named: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return compiler.process(cast(element.value, element.type), **named)


def listed(name: str) -> Select[tuple[str]]:
    """Return the texts of a list parameter: ``column.in_(listed("keys"))``; bind it with :func:`list_parameter`."""
    return _listed(name, Text)


def listed_numbers(name: str) -> Select[tuple[int]]:
    """Return the whole numbers of a list parameter, as :func:`listed`."""
    return _listed(name, BigInteger)


def _listed(name: str, type_: type[TypeEngine[Any]]) -> Select[tuple[Any]]:
    elements = _Elements(bindparam(name)).table_valued("value")
    return select(_ElementValue(elements.c.value, type_)).select_from(elements)


@overload
def list_parameter(values: Iterable[object]) -> str: ...
@overload
def list_parameter(values: Iterable[object] | None) -> str | None: ...
def list_parameter(values: Iterable[object] | None) -> str | None:
    """Return the value of a :func:`listed` parameter, JSON; None stays None, which does not filter."""
    return None if values is None else orjson.dumps(list(values)).decode()


def optional(name: str, type_: type[TypeEngine[T]]) -> ColumnElement[T]:
    """Return a parameter that may be NULL, with its type: ``or_(optional("source_", Text).is_(None), …)``.

    SQLite needs no type there; other databases cannot infer one from ``:source_ IS NULL``.
    """
    return cast(bindparam(name), type_)


def compiled(clause: ClauseElement) -> Statement:
    """Compile ``clause``; ``bindparam(name)`` stays a parameter, literal values become fixed ones."""
    compiled_clause = clause.compile(dialect=_DIALECT)
    fixed = {name: value for name, value in compiled_clause.params.items() if value is not None}
    return Statement(str(compiled_clause), fixed, lambda: _compile_numbered(clause))


def _compile_numbered(clause: ClauseElement) -> NumberedText:
    # Imported here: a node with SQLite needs none of it.
    from p2p_oicp.storage.postgres.compiler import compile_numbered  # noqa: PLC0415

    return NumberedText(*compile_numbered(clause))


def by_index(statement: Statement, table: Table, index: str) -> Statement:
    """Return a statement that reads ``table`` by this index (SQLite: INDEXED BY): it cannot know better.

    It has no statistics: of a list it does not know that walking an index of all that is filtered by is never slow.
    """
    begin, separator, rest = statement.text.partition(f"FROM {table.name} \n")
    if not separator:
        raise ValueError(f"{table.name} is not the only table of this statement")
    return Statement(f"{begin}FROM {table.name} INDEXED BY {index} \n{rest}", statement.fixed, statement.numbered)
