"""What the database has of one EVSE beside its record: prices, earlier statuses, earlier versions; and samples of many.

All of it is bounded: of an EVSE whose status changes every minute, the newest changes are read, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import and_, bindparam, func, literal, or_, select

from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.listings import begins_with
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import dataset_groups, dataset_records, dataset_versions, evse_index
from p2p_oicp.storage.statements import compiled, list_parameter, listed, listed_numbers
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Row

#: Earlier statuses, and earlier versions of the record, of which so many are read.
MAX_STATUSES, MAX_VERSIONS = 300, 20
# Spread over an operator, these tell of all of its records.
_SAMPLES = 40
_MAX_COUNTED = 10_000
_MAX_PRICES = 200

_versions, _records = dataset_versions.c, dataset_records.c
#: Versions that are valid no more, the newest first.
EARLIER_VERSIONS = compiled(
    select(
        name_of(_versions.source).label("source"), _versions.since, _versions.until, _versions.deleted, _versions.raw
    )
    .where(_versions.dataset == bindparam("dataset_"), _versions.key == bindparam("key_"))
    .order_by(_versions.change.desc())
    .limit(bindparam("limit"))
)
#: What an EVSE costs: which products apply, for which providers. Their keys begin with that of the EVSE and ``|``.
PRICES = compiled(
    select(name_of(_records.source).label("source"), _records.source.label("source_id"), _records.key, _records.raw)
    .where(
        _records.dataset == int(DatasetKind.EVSE_PRICING),
        _records.deleted == 0,
        _records.key >= bindparam("key_") + literal("|"),
        _records.key < bindparam("key_") + literal("|~"),
    )
    .order_by(_records.key)
    .limit(_MAX_PRICES)
)
PRODUCTS = compiled(
    select(_records.source.label("source_id"), _records.key, _records.raw).where(
        _records.dataset == int(DatasetKind.PRICING_PRODUCT),
        _records.deleted == 0,
        _records.key.in_(listed("keys")),
    )
)
#: What an operator takes where no product applies, by provider: it stands in the object around its products.
DEFAULT_PRICES = compiled(
    select(
        name_of(dataset_groups.c.source).label("source"),
        dataset_groups.c.audience,
        dataset_groups.c.wrapper,
        dataset_groups.c.wrapper_since,
    )
    .where(
        dataset_groups.c.dataset == int(DatasetKind.PRICING_PRODUCT),
        begins_with(dataset_groups.c.group_key, "operator_"),
    )
    .order_by(dataset_groups.c.group_key)
    .limit(_MAX_PRICES)
)

_index = evse_index.c
_NEXT_OPERATOR = compiled(
    select(func.min(_index.operator_key).label("operator")).where(_index.operator_key > bindparam("after_"))
)
_counted = (
    select(_index.record_id)
    .where(_index.operator_key == bindparam("operator_"), _index.deleted == 0)
    .limit(_MAX_COUNTED)
    .subquery()
)
_COUNT = compiled(select(func.count().label("evses")).select_from(_counted))
_ENDS = compiled(
    select(func.min(_index.record_id).label("first"), func.max(_index.record_id).label("last")).where(
        _index.operator_key == bindparam("operator_"), _index.deleted == 0
    )
)
_AT = compiled(
    select(_index.record_id)
    .where(_index.operator_key == bindparam("operator_"), _index.deleted == 0, _index.record_id >= bindparam("from_"))
    .order_by(_index.record_id)
    .limit(1)
)
_status = dataset_records.alias("status")
_SAMPLED = compiled(
    select(
        _records.key,
        _records.raw,
        _records.changed_at,
        _status.c.raw.label("status"),
        _status.c.changed_at.label("status_changed_at"),
        _index.latitude,
        _index.longitude,
    )
    .select_from(
        dataset_records.join(evse_index, _index.record_id == _records.id).outerjoin(
            _status,
            and_(
                _status.c.dataset == int(DatasetKind.EVSE_STATUS),
                _status.c.key == _records.key,
                _status.c.source == _records.source,
                _status.c.deleted == 0,
            ),
        )
    )
    .where(_records.id.in_(listed_numbers("ids")), or_(_records.deleted == 0, _records.deleted.is_(None)))
    .order_by(_records.id)
)


async def read_versions(store: Store, kind: DatasetKind, key: str, limit: int) -> list[Row]:
    """Return the versions of a record that are valid no more, the newest first. Raises StoreError."""
    return await store.query(EARLIER_VERSIONS, dataset_=int(kind), key_=key, limit=limit)


async def read_products(store: Store, keys: Iterable[str]) -> dict[tuple[str, str], bytes]:
    """Return products by source and key. Raises StoreError."""
    rows = await store.query(PRODUCTS, keys=list_parameter(sorted(set(keys))))
    return {(row["source_id"], row["key"]): row["raw"] for row in rows}


async def operators_after(store: Store, operator: str, limit: int) -> list[str]:
    """Return the keys of the next operators that have EVSEs, each found by a look into the index. Raises StoreError."""
    found: list[str] = []
    while len(found) < limit:
        (row,) = await store.query(_NEXT_OPERATOR, after_=found[-1] if found else operator)
        if row["operator"] is None:
            break
        found.append(row["operator"])
    return found


async def sample_evses(store: Store, operator: str) -> tuple[int, Sequence[Row]]:
    """Return how many EVSEs an operator has, at most `_MAX_COUNTED`, and some that are spread over all of them.

    Records that an operator has sent together have ids in a row; at steps between the first and the last id, the next
    one is taken, so that old and new ones, large and small stations come together. Raises StoreError.
    """
    (count,) = await store.query(_COUNT, operator_=operator)
    (ends,) = await store.query(_ENDS, operator_=operator)
    if ends["first"] is None:
        return 0, []
    width = max(1, (ends["last"] - ends["first"]) // _SAMPLES)
    ids: dict[int, None] = {}
    for begin in range(ends["first"], ends["last"] + 1, width):
        rows = await store.query(_AT, operator_=operator, from_=begin)
        ids |= dict.fromkeys(row["record_id"] for row in rows)
    return count["evses"], await store.query(_SAMPLED, ids=list_parameter(ids))
