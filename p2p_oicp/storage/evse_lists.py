"""EVSEs for people and programs: in pages, one with each source that has it, and as points of a map."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from sqlalchemy import ColumnElement, Select, and_, bindparam, case, literal, or_, select, union_all

from p2p_oicp.clock import format_timestamp
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.listings import Json, begins_with, time_or_none
from p2p_oicp.storage.paging import Listing, Order, PageQuery
from p2p_oicp.storage.peers import name_of
from p2p_oicp.storage.schema import dataset_records, evse_index, peers
from p2p_oicp.storage.statements import Statement, compiled, listed_numbers
from p2p_oicp.storage.transactions import Row

_status = dataset_records.alias("status")
_evse_columns = (
    dataset_records.c.id,
    dataset_records.c.key,
    dataset_records.c.source.label("source_id"),
    name_of(dataset_records.c.source).label("source"),
    dataset_records.c.raw,
    dataset_records.c.changed_at,
    _status.c.raw.label("status"),
    _status.c.changed_at.label("status_changed_at"),
)
_status_of_same_source = and_(
    _status.c.dataset == int(DatasetKind.EVSE_STATUS),
    _status.c.key == dataset_records.c.key,
    _status.c.source == dataset_records.c.source,
    _status.c.deleted == 0,
)
_is_evse_data = and_(dataset_records.c.dataset == int(DatasetKind.EVSE_DATA), dataset_records.c.deleted == 0)


def _select_evses(filters: frozenset[str]) -> PageQuery:
    """Find the page in the index of pulls, whose rows are short; only then the records are read, and their statuses."""
    # The records themselves are long: many are read only where nothing else is filtered by.
    return _select_by_key() if filters == {"evse_"} else _select_by_index(filters)


def _select_by_key() -> PageQuery:
    key, source = dataset_records.c.key, dataset_records.c.source
    # One bound: of two, the database would begin at the first, and read up to the page.
    begin = case((bindparam("after_") > bindparam("evse_"), bindparam("after_")), else_=bindparam("evse_"))
    behind = or_(key > bindparam("after_"), source > bindparam("after_source_"))
    page = (
        select(dataset_records.c.id)
        .where(_is_evse_data, key >= begin, key < bindparam("evse_") + literal("~"), behind)
        .order_by(key, source)
        .limit(bindparam("limit"))
    )
    order = (Order("key", "after_", ""), Order("source_id", "after_source_", ""))
    return PageQuery(_with_records(page, key, source), order)


def _select_by_index(filters: frozenset[str]) -> PageQuery:
    own = case((bindparam("source_") == "own", literal("")), else_=bindparam("source_"))
    sources = union_all(select(peers.c.id).where(peers.c.name == bindparam("source_")), select(own))
    conditions = {
        "operator_": evse_index.c.operator_key == bindparam("operator_"),
        "country_": evse_index.c.country == bindparam("country_"),
        "evse_": begins_with(evse_index.c.evse_key, "evse_"),
        "source_": evse_index.c.source.in_(sources),
    }
    page = (
        select(evse_index.c.record_id.label("id"))
        .where(
            evse_index.c.record_id > bindparam("after_"),
            evse_index.c.deleted == 0,
            *(conditions[name] for name in sorted(filters)),
        )
        .order_by(evse_index.c.record_id)
        .limit(bindparam("limit"))
    )
    return PageQuery(_with_records(page, dataset_records.c.id), (Order("id", "after_", 0),))


def _with_records(page: Select[tuple[int]], *order: ColumnElement[Any]) -> Statement:
    ids = page.subquery()
    joined = ids.join(dataset_records, dataset_records.c.id == ids.c.id).outerjoin(_status, _status_of_same_source)
    return compiled(select(*_evse_columns).select_from(joined).order_by(*order))


#: EVSE data that is not withdrawn, with the status of the same source.
EVSES = Listing(_select_evses, ("operator_", "country_", "evse_", "source_"))
_points = select(*_evse_columns, evse_index.c.latitude, evse_index.c.longitude).select_from(
    dataset_records.join(evse_index, evse_index.c.record_id == dataset_records.c.id).outerjoin(
        _status, _status_of_same_source
    )
)
#: One EVSE, of each source that has it, with where it is.
EVSE_BY_KEY = compiled(
    _points.where(_is_evse_data, dataset_records.c.key == bindparam("key_")).order_by(dataset_records.c.source)
)
#: EVSEs with where they are, in degrees: those with these ids, or the first whose keys begin so and that are somewhere.
EVSE_POINTS = compiled(
    _points.where(_is_evse_data, dataset_records.c.id.in_(listed_numbers("ids"))).order_by(dataset_records.c.key)
)
EVSE_POINTS_BY_KEY = compiled(
    _points.where(_is_evse_data, begins_with(dataset_records.c.key, "evse_"), evse_index.c.geo_cell.is_not(None))
    .order_by(dataset_records.c.key)
    .limit(bindparam("limit"))
)


def evse_to_json(row: Row) -> Json:
    """Return an EVSE: its record as it is stored, with its numbers as they were written, and its status."""
    status = orjson.loads(row["status"]) if row["status"] else {}
    return {
        "source": row["source"] or "own",
        "changed_at": format_timestamp(row["changed_at"]),
        "status": status.get("EvseStatus"),
        "status_changed_at": time_or_none(row["status_changed_at"]),
        "record": msgspec.Raw(row["raw"]),
    }


def evse_point_to_json(row: Row) -> Json:
    """Return an EVSE as a map shows it."""
    record, status = orjson.loads(row["raw"]), orjson.loads(row["status"]) if row["status"] else {}
    names, address = record.get("ChargingStationNames"), record.get("Address")
    return {
        "evse_id": str(record.get("EvseID") or row["key"]),
        "latitude": row["latitude"],
        "longitude": row["longitude"],
        "status": status.get("EvseStatus"),
        "station": _text_of(names[0] if isinstance(names, list) and names else None, "value"),
        "city": _text_of(address, "City"),
        "source": row["source"] or "own",
    }


def _text_of(record: object, name: str) -> str:
    value = record.get(name) if isinstance(record, dict) else None
    return value if isinstance(value, str) else ""
