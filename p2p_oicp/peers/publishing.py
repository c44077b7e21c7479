"""Which of our datasets a peer may see: ``[peer.publish]`` of the peers file. Pure.

A record is published if each list of ``include`` that is about it has a match, and no list of ``exclude`` has one.
EVSEs, their statuses and their prices are matched by EvseID, operator, station and country; products by operator and
ProductID. Station and country stand in the EVSE data alone: without them, such a list does not match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import orjson


def _normalized(text: str) -> str:
    return text.replace("*", "").upper()


@dataclass(frozen=True, slots=True)
class EvseFacts:
    """What a filter looks at: the canonical keys of an EVSE and its operator; station and country of its EVSE data."""

    evse_key: str
    operator_key: str
    station: str = ""
    country: str = ""


@dataclass(frozen=True)
class PublishRule:
    """Lists of what is included or excluded; an empty list says nothing.

    Attributes:
        evse_ids: beginnings of EvseIDs, with or without ``*``; ``?`` is any character.
        operators: the keys of OperatorIDs.
        stations: ChargingStationIDs.
        products: ProductIDs.
        countries: ISO 3166 alpha-3 codes of addresses.
    """

    evse_ids: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()

    @cached_property
    def _evse_pattern(self) -> re.Pattern[str]:
        alternatives = (re.escape(_normalized(text)).replace(r"\?", ".") for text in self.evse_ids)
        return re.compile("|".join(alternatives))

    def matches_of_evse(self, facts: EvseFacts) -> Iterable[bool]:
        """Return, for each list that is about EVSEs, whether it has a match."""
        if self.evse_ids:
            yield self._evse_pattern.match(facts.evse_key) is not None
        if self.operators:
            yield facts.operator_key in self.operators
        if self.stations:
            yield facts.station in self.stations
        if self.countries:
            yield facts.country in self.countries

    def matches_of_product(self, operator_key: str, product: str) -> Iterable[bool]:
        """Return, for each list that is about products, whether it has a match."""
        if self.operators:
            yield operator_key in self.operators
        if self.products:
            yield product in self.products


@dataclass(frozen=True)
class PublishFilter:
    """What of our own data one peer may see."""

    include: PublishRule = field(default_factory=PublishRule)
    exclude: PublishRule = field(default_factory=PublishRule)

    @property
    def depends_on_evse_data(self) -> bool:
        """Whether an EVSE may come into view, or go out of it, by a change of its data."""
        return any(rule.stations or rule.countries for rule in (self.include, self.exclude))

    def shows_evse(self, facts: EvseFacts) -> bool:
        """Return whether EVSE data, statuses and prices of an EVSE are published."""
        return all(self.include.matches_of_evse(facts)) and not any(self.exclude.matches_of_evse(facts))

    def shows_product(self, operator_key: str, product: str) -> bool:
        """Return whether a product is published."""
        included = all(self.include.matches_of_product(operator_key, product))
        return included and not any(self.exclude.matches_of_product(operator_key, product))

    def to_entry(self) -> dict[str, dict[str, list[str]]]:
        """Return the filter as it stands in the peers file."""
        rules = {"include": self.include, "exclude": self.exclude}
        return {
            name: {key: list(values) for key, values in vars(rule).items() if isinstance(values, tuple) and values}
            for name, rule in rules.items()
        }

    def to_text(self) -> str:
        """Return the filter as one text, the same for equal filters."""
        return orjson.dumps(self.to_entry(), option=orjson.OPT_SORT_KEYS).decode()


def parse_filter(text: str) -> PublishFilter | None:
    """Return the filter that ``to_text`` wrote; None for the empty text: everything is published."""
    if not text:
        return None
    entry = orjson.loads(text)
    rules = {name: PublishRule(**{key: tuple(values) for key, values in rule.items()}) for name, rule in entry.items()}
    return PublishFilter(**rules)
