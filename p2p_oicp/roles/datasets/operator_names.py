"""The names of operators, for peers that want OperatorID and OperatorName with every EVSE (RULES L21).

WWCP reads no EVSE record without OperatorID and OperatorName in the record itself, and no statuses without an
OperatorName, which OICP has as optional. What is known of an operator's name comes from its EVSE data; without any, the
OperatorID stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson
from msgspec import Raw

from p2p_oicp.oicp import OperatorID
from p2p_oicp.oicp.message import split_members
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.roles.datasets.types import DatasetType
from p2p_oicp.storage import Store
from p2p_oicp.storage.datasets import queries
from p2p_oicp.storage.datasets.models import OWN, DatasetKind

#: What is named of a peer that wants names.
NAMED_DATASETS = frozenset({DatasetKind.EVSE_DATA, DatasetKind.EVSE_STATUS})


async def with_operator_name(store: Store, source: str, wrapper: bytes) -> bytes:
    """Return the object around an operator's records with an OperatorName; the same bytes if it has one."""
    members = split_members(wrapper)
    if "OperatorName" in members or "OperatorID" not in members:
        return wrapper
    operator = orjson.loads(bytes(members["OperatorID"]))
    known_wrapper = await queries.operator_wrapper(store, source, OperatorID(operator).key)
    name = split_members(known_wrapper).get("OperatorName", Raw(orjson.dumps(operator)))
    return msgspec.json.encode({"OperatorID": members["OperatorID"], "OperatorName": name} | members)


class NamingCodec:
    """The wire format of a dataset of EVSEs for a peer that wants operators named (`delivery.DatasetCodec`).

    Args:
        dataset_type: the dataset.
        store: knows the names of our operators.
    """

    def __init__(self, dataset_type: DatasetType, store: Store) -> None:
        self._dataset_type = dataset_type
        self._store = store

    @property
    def dataset(self) -> DatasetKind:
        return self._dataset_type.dataset

    @property
    def operation(self) -> Operation:
        return self._dataset_type.operation

    @property
    def wrapper_is_versioned(self) -> bool:
        return self._dataset_type.wrapper_is_versioned

    @property
    def allows_empty_push(self) -> bool:
        return self._dataset_type.allows_empty_push

    async def pushed_wrapper(self, wrapper: bytes) -> bytes:
        return await with_operator_name(self._store, OWN, wrapper)

    def push_body(self, wrapper: bytes, records: Sequence[bytes]) -> bytes:
        """Return the JSON of a push behind its first member; EVSE records with their operator."""
        if self.dataset is DatasetKind.EVSE_DATA:
            members = split_members(wrapper)
            operator = {name: members[name] for name in ("OperatorID", "OperatorName") if name in members}
            prefix = msgspec.json.encode(operator)[:-1] + b","
            records = [prefix + record[1:] for record in records]
        return self._dataset_type.push_body(wrapper, records)
