"""Lists in pages: each a statement that reads about as many rows as it returns, at any size of its table.

A page begins behind the last row of the page before, not at an offset. A statement is made for the filters that are
set, and for no others: what is not asked for neither stands in it nor hides an index from the database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from p2p_oicp.storage.statements import Statement
from p2p_oicp.storage.transactions import Row

#: Of a filter that is 0 or 1: both.
ANY = -1


class Order(NamedTuple):
    """A column that says where a page ends: the parameter that the next one begins behind, and the first page's."""

    column: str
    parameter: str
    first: object


class PageQuery(NamedTuple):
    """The statement of a list's pages, and the order that it has them in."""

    statement: Statement
    order: tuple[Order, ...]

    def parameters(self, position: Sequence[object] | None, filters: Mapping[str, object]) -> dict[str, object]:
        """Return the parameters of the page behind ``position``; raise ValueError for one of another order."""
        begin = [each.first for each in self.order]
        if position is not None:
            if [type(each) for each in position] != [type(each) for each in begin]:
                raise ValueError("no position of this list")
            begin = [*position]
        return {**filters, **{each.parameter: value for each, value in zip(self.order, begin, strict=True)}}

    def position_after(self, row: Row) -> list[object]:
        """Return the position behind a row."""
        return [row[each.column] for each in self.order]


class Listing:
    """A list with filters.

    Args:
        select: returns the query for the names of the filters that are set; its pages have ``limit`` rows.
        filters: the names of all filters.
    """

    def __init__(
        self,
        select: Callable[[frozenset[str]], PageQuery],
        filters: Sequence[str],
    ) -> None:
        self._select = select
        self._filters = frozenset(filters)
        self._queries: dict[frozenset[str], PageQuery] = {}

    def page(self, position: Sequence[object] | None = None, **values: object) -> tuple[PageQuery, dict[str, object]]:
        """Return the query of one page and its parameters.

        Args:
            position: the row behind which it begins; None: the first page.
            values: of filters, an empty text or `ANY` for none; ``limit``, and what else the statement names.

        Raises:
            ValueError: the position is one of another list, or of other filters.
        """
        unset = {name for name in self._filters.intersection(values) if values[name] == "" or values[name] == ANY}
        given = {name: value for name, value in values.items() if name not in unset}
        names = self._filters.intersection(given)
        if (query := self._queries.get(names)) is None:
            query = self._queries[names] = self._select(names)
        return query, query.parameters(position, given)
