"""Records that may stand only once in a push (RULES M4, M13): charging spots, products."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.evse import EvseDataRecord, EvseStatusRecord
from p2p_oicp.oicp.findings import Finding, Severity
from p2p_oicp.oicp.pricing import EvsePricing, PricingProductDataRecord
from p2p_oicp.oicp.rules.here import Here


class Once:
    """Watches the records of one push go by, and reports one that was there before."""

    def __init__(self) -> None:
        self._first: dict[object, int] = {}

    def see(self, record: Message, position: int) -> Finding | None:
        """Take note of the record at ``position``; return what is wrong, seen from the record."""
        attribute, code, key = _identity(record)
        earlier = self._first.setdefault(key, position)
        if earlier == position:
            return None
        named = getattr(record, attribute)
        said = f"'{named}' is in the records {earlier} and {position} of one push, but may be there once"
        return Finding(Severity.ERROR, record.token(attribute), code, said)


def _identity(record: Message) -> tuple[str, str, object]:
    """Return which member says what a record is about, the code of a second one, and what to compare."""
    if isinstance(record, PricingProductDataRecord):
        return "product_id", "duplicate-product", record.product_id
    if isinstance(record, EvsePricing):
        # The same spot may have other prices for other providers.
        return "evse_id", "duplicate-evse-id", (record.evse_id.key, record.provider_id.key)
    if isinstance(record, (EvseDataRecord, EvseStatusRecord)):
        return "evse_id", "duplicate-evse-id", record.evse_id.key
    raise TypeError(f"{type(record).__name__} may stand more than once in a push")


def once(*way: str) -> Callable[[Message, Here], None]:
    """Return the rule that the records at the end of ``way`` stand there only once."""
    records_of = attrgetter(".".join(way))

    def rule(push: Message, here: Here) -> None:
        seen = Once()
        for position, record in enumerate(records_of(push)):
            if found := seen.see(record, position):
                here.findings.append(found.below(here.pointer(*way, position)))

    return rule
