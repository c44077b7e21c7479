"""What SQLite and PostgreSQL say in different words, for statements that are written by hand.

A statement is written once, as a function of the dialect (`statements.written`); SQLAlchemy Core knows most of this by
itself. What is the same in both is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one database.

    Attributes:
        is_postgresql: False: SQLite's.
    """

    is_postgresql: bool

    def listed(self, name: str) -> str:
        """Return the texts of the list parameter ``name``: ``key IN ({d.listed('keys')})``."""
        return f"SELECT value FROM {self.elements(name)}"

    def listed_numbers(self, name: str) -> str:
        """Return the whole numbers of the list parameter ``name``."""
        value = "CAST(value AS BIGINT)" if self.is_postgresql else "value"
        return f"SELECT {value} FROM {self.elements(name)}"

    def elements(self, name: str) -> str:
        """Return the list parameter ``name`` as a table with a column ``value``, a text."""
        if self.is_postgresql:
            return f"jsonb_array_elements_text(CAST(:{name} AS JSONB)) AS {name}"
        return f"json_each(:{name})" + ("" if name not in _ALIASED else f" AS {name}")

    def ranges(self, name: str) -> str:
        """Return the list parameter ``name`` of pairs of numbers as a table, for `within`."""
        if self.is_postgresql:
            return f"jsonb_array_elements(CAST(:{name} AS JSONB)) AS {name}"
        return f"json_each(:{name}) AS {name}"

    def within(self, column: str, ranges: str) -> str:
        """Return whether a number is in a pair of `ranges`."""
        if self.is_postgresql:
            first, last = (f"CAST({ranges}.value ->> {place} AS BIGINT)" for place in (0, 1))
        else:
            first, last = (f"json_extract({ranges}.value, '$[{place}]')" for place in (0, 1))
        return f"{column} BETWEEN {first} AND {last}"

    def member(self, column: str, name: str) -> str:
        """Return a member of the JSON object in a column of bytes: a number or, on PostgreSQL, its text."""
        if self.is_postgresql:
            return f"CAST(convert_from({column}, 'UTF8') AS JSON) ->> '{name}'"
        return f"json_extract(CAST({column} AS TEXT), '$.{name}')"  # a text: a blob would be its own binary JSON

    def joined_texts(self, expression: str, separator: str) -> str:
        """Return the aggregate that joins texts, or numbers as texts; ``separator`` is one ASCII character."""
        if self.is_postgresql:
            return f"string_agg(CAST({expression} AS TEXT), {_character(separator, 'chr')})"
        given = "" if separator == "," else f", {_character(separator, 'char')}"  # the default is a comma
        return f"group_concat({expression}{given})"

    def joined_bytes(self, expression: str, separator: str) -> str:
        """Return the aggregate that joins bytes; ``separator`` is one ASCII character."""
        if self.is_postgresql:
            return f"string_agg({expression}, convert_to({_character(separator, 'chr')}, 'UTF8'))"
        return f"CAST(group_concat(CAST({expression} AS TEXT), {_character(separator, 'char')}) AS BLOB)"

    def hex(self, expression: str) -> str:
        """Return bytes as a text of hexadecimal digits."""
        return f"encode({expression}, 'hex')" if self.is_postgresql else f"hex({expression})"

    def contains(self, text: str, part: str) -> str:
        """Return whether a text has another one in it."""
        return f"strpos({text}, {part}) > 0" if self.is_postgresql else f"instr({text}, {part})"

    def greatest(self, *expressions: str) -> str:
        """Return the greatest of some values."""
        return f"{'greatest' if self.is_postgresql else 'max'}({', '.join(expressions)})"

    def truncated(self, expression: str) -> str:
        """Return the whole part of a number that is not negative."""
        return f"floor({expression})" if self.is_postgresql else f"CAST({expression} AS INTEGER)"

    def is_true(self, column: str) -> str:
        """Return whether a column of 0 and 1 is 1."""
        return f"{column} = 1" if self.is_postgresql else column

    def indexed_by(self, index: str) -> str:
        """Return the words that make SQLite use an index; PostgreSQL knows how many rows there are, and chooses."""
        return "" if self.is_postgresql else f"INDEXED BY {index}"


#: Tables of a parameter that a statement joins by their name.
_ALIASED: Final = frozenset({"modes"})
SQLITE: Final = Dialect(is_postgresql=False)
POSTGRESQL: Final = Dialect(is_postgresql=True)


def _character(character: str, function: str) -> str:
    return f"'{character}'" if character.isprintable() else f"{function}({ord(character)})"
