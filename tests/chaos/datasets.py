"""The datasets that a company's system pushes besides statuses: EVSE data, prices, or authentication data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.chaos.backends import Backend
from tests.support import dataset_messages

_PERMANENT_RECORDS = 40
LARGE_PUSH_RECORDS = 3000


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset: where it is pushed, and how a record and a push are built."""

    name: str
    path: str
    record: Callable[[str, int], dict]
    push: Callable[..., dict]


def _authentication_record(name: str, version: int) -> dict:
    identification = {"UID": f"C{name:0>7}", "RFID": "mifareDes", "PrintedNumber": f"{version}"}
    return {"Identification": {"RFIDIdentification": identification}}


# Named as storage.datasets.models.DatasetKind names them.
CPO_DATASETS = (
    DatasetSpec(
        "EVSE_DATA",
        dataset_messages.PUSH_DATA,
        lambda name, version: dataset_messages.evse(name, HotlinePhoneNumber=f"+49{version:08}"),
        dataset_messages.push_data,
    ),
    DatasetSpec(
        "PRICING_PRODUCT",
        dataset_messages.PUSH_PRODUCTS,
        lambda name, version: dataset_messages.product(f"P{name}", price=version / 100),
        dataset_messages.push_products,
    ),
    DatasetSpec(
        "EVSE_PRICING",
        dataset_messages.PUSH_PRICES,
        lambda name, version: dataset_messages.evse_price(name, f"P{version:04}"),
        dataset_messages.push_prices,
    ),
)
AUTHENTICATION = DatasetSpec(
    "AUTHENTICATION", dataset_messages.PUSH_AUTHENTICATION, _authentication_record, dataset_messages.push_authentication
)


@dataclass
class PushedDataset:
    """A dataset as a backend has pushed it, one push after the other; ``records`` is what was acknowledged."""

    backend: Backend
    spec: DatasetSpec
    records: dict[str, dict] = field(default_factory=dict)
    _version: int = 0

    async def replace(self, extra: int = 0) -> None:
        """Push all of it: the records that are never deleted, and ``extra`` others."""
        await self._full_load([f"{number:04}" for number in range(_PERMANENT_RECORDS + extra)])

    async def change(self) -> None:
        """Do one of what backends do: insert, update or delete a few records, or push all of them."""
        deletable = [name for name in self.records if int(name) >= _PERMANENT_RECORDS]
        match self.backend.rng.choice(("insert", "update", "delete", "fullLoad")):
            case "update":
                await self._upsert("update", self.backend.rng.sample(sorted(self.records), 3))
            case "delete" if deletable:
                await self._delete(deletable[:2])
            case "fullLoad":
                await self._full_load([*list(self.records)[:_PERMANENT_RECORDS], *deletable[:5]])
            case _:
                newest = max(map(int, self.records), default=_PERMANENT_RECORDS)
                await self._upsert("insert", [f"{newest + 1:04}", f"{newest + 2:04}"])

    async def _full_load(self, names: Iterable[str]) -> None:
        self.records = await self._push("fullLoad", names)

    async def _upsert(self, action: str, names: Iterable[str]) -> None:
        self.records |= await self._push(action, names)

    async def _delete(self, names: Iterable[str]) -> None:
        for name in await self._push("delete", names):
            del self.records[name]

    async def _push(self, action: str, names: Iterable[str]) -> dict[str, dict]:
        """Push until it is acknowledged; return the records pushed."""
        self._version += 1
        records = {name: self.spec.record(name, self._version) for name in names}
        reply = await self.backend.send_until_answered(self.spec.path, self.spec.push(*records.values(), action=action))
        assert reply.is_positive, (self.spec.name, action, reply)
        return records

    def differs_from(self, stored: Iterable[bytes]) -> bool:
        """Return whether a node has stored other records than were pushed."""
        datasets = sorted(json.dumps(record, sort_keys=True) for record in self.records.values())
        return datasets != sorted(json.dumps(json.loads(raw), sort_keys=True) for raw in stored)
