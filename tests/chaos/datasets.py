"""What else a company's system tells its node of than statuses: EVSE data, products and prices, or cards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.chaos.backends import Backend
from tests.support import dataset_messages

_LASTING = 40
LARGE = 3000


@dataclass(frozen=True)
class Kind:
    """One kind of state: where it is pushed, and how a record and a push look."""

    name: str
    path: str
    record: Callable[[str, int], dict]
    push: Callable[..., dict]


def _card(name: str, version: int) -> dict:
    card = {"UID": f"C{name:0>7}", "RFID": "mifareDes", "PrintedNumber": f"{version}"}
    return {"Identification": {"RFIDIdentification": card}}


# Named as storage.datasets.models.DatasetKind names them.
OF_THE_CPO = (
    Kind(
        "EVSE_DATA",
        dataset_messages.PUSH_DATA,
        lambda name, version: dataset_messages.evse(name, HotlinePhoneNumber=f"+49{version:08}"),
        dataset_messages.push_data,
    ),
    Kind(
        "PRICING_PRODUCT",
        dataset_messages.PUSH_PRODUCTS,
        lambda name, version: dataset_messages.product(f"P{name}", price=version / 100),
        dataset_messages.push_products,
    ),
    Kind(
        "EVSE_PRICING",
        dataset_messages.PUSH_PRICES,
        lambda name, version: dataset_messages.evse_price(name, f"P{version:04}"),
        dataset_messages.push_prices,
    ),
)
CARDS = Kind("AUTHENTICATION", dataset_messages.PUSH_AUTHENTICATION, _card, dataset_messages.push_authentication)


@dataclass
class Told:
    """One kind of state as a backend has told it, one push after the other; ``records`` is what was acknowledged."""

    backend: Backend
    kind: Kind
    records: dict[str, dict] = field(default_factory=dict)
    _version: int = 0

    async def replace(self, extra: int = 0) -> None:
        """Tell all of it anew: the records that are never withdrawn, and so many others."""
        await self._full_load([f"{number:04}" for number in range(_LASTING + extra)])

    async def change(self) -> None:
        """Do one of what backends do: insert, change or withdraw a few, or tell all of it anew."""
        passing = [name for name in self.records if int(name) >= _LASTING]
        match self.backend.rng.choice(("insert", "update", "delete", "fullLoad")):
            case "update":
                await self._put("update", self.backend.rng.sample(sorted(self.records), 3))
            case "delete" if passing:
                await self._withdraw(passing[:2])
            case "fullLoad":
                await self._full_load([*list(self.records)[:_LASTING], *passing[:5]])
            case _:
                newest = max(map(int, self.records), default=_LASTING)
                await self._put("insert", [f"{newest + 1:04}", f"{newest + 2:04}"])

    async def _full_load(self, names: Iterable[str]) -> None:
        self.records = await self._tell("fullLoad", names)

    async def _put(self, action: str, names: Iterable[str]) -> None:
        self.records |= await self._tell(action, names)

    async def _withdraw(self, names: Iterable[str]) -> None:
        for name in await self._tell("delete", names):
            del self.records[name]

    async def _tell(self, action: str, names: Iterable[str]) -> dict[str, dict]:
        """Push until it is acknowledged; return the records pushed."""
        self._version += 1
        records = {name: self.kind.record(name, self._version) for name in names}
        answer = await self.backend.insist(self.kind.path, self.kind.push(*records.values(), action=action))
        assert answer.is_yes, (self.kind.name, action, answer)
        return records

    def differs_from(self, stored: Iterable[bytes]) -> bool:
        """Say whether a node knows other records than it was told."""
        told = sorted(json.dumps(record, sort_keys=True) for record in self.records.values())
        return told != sorted(json.dumps(json.loads(raw), sort_keys=True) for raw in stored)
