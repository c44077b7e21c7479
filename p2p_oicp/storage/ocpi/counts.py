"""How much of each OCPI partner waits, is held for a person, and was dropped: for lists, of a node that runs or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import String, func, literal, select, union_all

from p2p_oicp.storage.ocpi.objects import ObjectState
from p2p_oicp.storage.schema import ocpi_objects, ocpi_served, outbox
from p2p_oicp.storage.statements import compiled

_OCPI_PREFIX: Final = "ocpi:"
_WAITING: Final = literal(str(ObjectState.WAITING), String)
#: Rows of ``partner``, ``state``, ``number``: what came of it, what it has not got yet, messages that wait for it.
PARTNER_COUNTS = compiled(
    union_all(
        select(ocpi_objects.c.partner, ocpi_objects.c.state, func.count().label("number")).group_by(
            ocpi_objects.c.partner, ocpi_objects.c.state
        ),
        select(ocpi_served.c.partner, _WAITING, func.count())
        .where(ocpi_served.c.is_outstanding == 1)
        .group_by(ocpi_served.c.partner),
        select(func.substr(outbox.c.destination, len(_OCPI_PREFIX) + 1), _WAITING, func.count())
        .where(outbox.c.destination.like(f"{_OCPI_PREFIX}%"))
        .group_by(outbox.c.destination),
    )
)
# What was carried is counted nowhere.
_COUNTED_AS: Mapping[str, str] = MappingProxyType(
    {
        ObjectState.PENDING: "waiting",
        ObjectState.WAITING: "waiting",
        ObjectState.HELD: "held",
        ObjectState.DROPPED: "dropped",
    }
)


@dataclass(frozen=True, slots=True)
class PartnerCounts:
    """What is counted of one partner; see `PARTNER_COUNTS`.

    Attributes:
        waiting: what it has not got yet, and what came of it and is not carried yet.
        held: what waits for a person.
        dropped: what a person has dropped.
    """

    waiting: int = 0
    held: int = 0
    dropped: int = 0


def read_counts(rows: Iterable[Any]) -> dict[str, PartnerCounts]:
    """Return the counts of each partner that has any, from the rows of `PARTNER_COUNTS`."""
    sums: dict[str, dict[str, int]] = {}
    for row in rows:
        if (what := _COUNTED_AS.get(row["state"])) is not None:
            of_partner = sums.setdefault(row["partner"], {})
            of_partner[what] = of_partner.get(what, 0) + row["number"]
    return {name: PartnerCounts(**of_partner) for name, of_partner in sums.items()}
