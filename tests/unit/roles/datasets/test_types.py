"""What differs between datasets: groups, keys, columns of the index, JSON around the records."""

import json

import msgspec
import pytest

from p2p_oicp.oicp import EvseDataRecord, PullEvseDataRecord
from p2p_oicp.oicp.record_view import record_view_decoder
from p2p_oicp.roles.datasets.types import (
    DATASET_TYPES,
    encode_multivalue,
    evse_index_row,
    geo_format_of,
    strip_pull_members,
)
from p2p_oicp.storage.datasets.models import DatasetKind
from tests.support.dataset_messages import evse, google

DECIMAL = {"DecimalDegree": {"Latitude": "50.93", "Longitude": "11.58"}}
PULLED = {"OperatorID": "DE*GEF", "OperatorName": "GEF"}


def raw(**members) -> bytes:
    return msgspec.json.encode(evse("1", **members))


@pytest.mark.parametrize("members", [{}, {"GeoCoordinates": DECIMAL, "IsHubjectCompatible": False}])
def test_a_record_and_its_view_have_the_same_columns(members):
    view = record_view_decoder(EvseDataRecord)(raw(**members))
    record = EvseDataRecord.from_json(raw(**members))
    assert view is not None
    assert evse_index_row(view, "DEGEF") == evse_index_row(record, "DEGEF")
    assert geo_format_of(view) == geo_format_of(record)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, "Google"),
        ({"GeoChargingPointEntrance": google(50.9, 11.5)}, "Google"),
        ({"GeoCoordinates": DECIMAL}, "DecimalDegree"),
        ({"GeoChargingPointEntrance": DECIMAL}, ""),
    ],
    ids=["one place", "two places", "another notation", "two notations"],
)
def test_the_notation_of_a_record_is_that_of_all_its_coordinates(members, expected):
    assert geo_format_of(EvseDataRecord.from_json(raw(**members))) == expected


@pytest.mark.parametrize(
    "make", [EvseDataRecord.from_json, record_view_decoder(EvseDataRecord)], ids=["record", "view"]
)
def test_a_pushed_record_is_stored_as_it_was_received(make):
    body = raw(unknown=1) if make == EvseDataRecord.from_json else raw()
    assert strip_pull_members(body, make(body)) == body


@pytest.mark.parametrize(
    ("model", "members"),
    [
        (EvseDataRecord, {"deltaType": "insert"}),
        (EvseDataRecord, {"lastUpdate": "2024-01-01T00:00:00Z"}),
        (EvseDataRecord, PULLED),
        (PullEvseDataRecord, {**PULLED, "deltaType": "update"}),
    ],
    ids=["pushed, deltaType", "pushed, lastUpdate", "pushed, operator", "pulled"],
)
def test_members_that_only_pulled_records_have_are_not_stored(model, members):
    body = raw(**members)
    views = [model.from_json(body), record_view_decoder(model)(body)]
    stored = {strip_pull_members(body, record) for record in views if record is not None}
    assert [json.loads(each) for each in stored] == [evse("1")]


@pytest.mark.parametrize(
    ("dataset", "wrapper", "key", "stored"),
    [
        (DatasetKind.EVSE_STATUS, {"OperatorID": "DE*GEF", "EvseStatusRecord": []}, "DEGEF", {"OperatorID": "DE*GEF"}),
        (DatasetKind.EVSE_STATUS, {}, "DEABC", {}),
        (DatasetKind.EVSE_STATUS, {"OperatorID": 5}, "DEABC", {"OperatorID": 5}),
        (DatasetKind.PRICING_PRODUCT, {"OperatorID": "DE*GEF"}, "DEGEF|*", {"OperatorID": "DE*GEF"}),
        (DatasetKind.PRICING_PRODUCT, {"ProviderID": "DE-GDF"}, "DEABC|DEGDF", {"ProviderID": "DE-GDF"}),
    ],
    ids=["named", "of the path", "no id", "for all providers", "for one provider"],
)
def test_the_group_of_a_wrapper(dataset, wrapper, key, stored):
    group = DATASET_TYPES[dataset].group_of_wrapper(json.dumps(wrapper).encode(), "DE*ABC")
    assert (group.key, json.loads(group.wrapper)) == (key, stored)


def test_a_value_is_found_in_an_encoded_list_of_values():
    encoded = encode_multivalue(["REMOTE", "PnC"])
    assert encode_multivalue(["PnC"]) in encoded
    assert encode_multivalue(["Pn"]) not in encoded
