"""What reading and checking a page of 2,000 charging spots costs, beside parsing the same bytes with less.

One run, one process, the best of several rounds; trust the ratios, not the times. Compared are

- ``json.loads``: Python's own parser, nothing checked
- plain models: pydantic's core with the same members and plain types, no rules
- ours: every record read, every rule checked, received bytes kept; as a whole message, and record by record
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import types
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from p2p_oicp.oicp import EvseDataPage, Identifier, PullEvseDataRecord, check_rules, decode, read, read_records

RECORDS = 2_000


def record(number: int) -> dict[str, Any]:
    """Return one charging spot with nearly all members that OICP knows."""
    translations = [{"lang": "en", "value": f"Harbour {number}"}, {"lang": "de", "value": f"Hafen {number}"}]
    coordinates = {"Google": {"Coordinates": f"54.{number:06} 10.122765"}}
    return {
        "deltaType": "insert",
        "lastUpdate": "2024-05-01T10:00:00.000Z",
        "EvseID": f"DE*ABC*E{number}*1",
        "ChargingPoolID": f"DE*ABC*P{number}",
        "ChargingStationID": f"station {number}",
        "ChargingStationNames": translations,
        "HardwareManufacturer": "Harbour Hardware",
        "ChargingStationImage": "https://pictures.example/1",
        "SubOperatorName": "Harbour",
        "Address": {
            "Country": "DEU",
            "City": "Kiel",
            "Street": "Am Kai",
            "PostalCode": "24103",
            "HouseNum": "1",
            "Floor": "0",
            "Region": "SH",
            "ParkingFacility": True,
            "ParkingSpot": "E3",
            "TimeZone": "UTC+01:00",
        },
        "GeoCoordinates": coordinates,
        "Plugs": ["Type 2 Outlet", "CCS Combo 2 Plug (Cable Attached)"],
        "DynamicPowerLevel": True,
        "ChargingFacilities": [
            {"PowerType": "AC_3_PHASE", "Voltage": 400, "Amperage": 32, "Power": 22, "ChargingModes": ["Mode_3"]},
            {"PowerType": "DC", "Voltage": 800, "Amperage": 90, "Power": 150, "ChargingModes": ["Mode_4"]},
        ],
        "RenewableEnergy": True,
        "EnergySource": [{"Energy": "Solar", "Percentage": 80}, {"Energy": "Wind", "Percentage": 20}],
        "EnvironmentalImpact": {"CO2Emission": 30.3, "NuclearWaste": 0.5},
        "CalibrationLawDataAvailability": "Local",
        "AuthenticationModes": ["NFC RFID Classic", "REMOTE", "PnC"],
        "MaxCapacity": 50,
        "PaymentOptions": ["Direct", "Contract"],
        "ValueAddedServices": ["Reservation"],
        "Accessibility": "Free publicly accessible",
        "AccessibilityLocation": "ParkingLot",
        "HotlinePhoneNumber": "+49431123456",
        "AdditionalInfo": translations,
        "ChargingStationLocationReference": translations,
        "GeoChargingPointEntrance": coordinates,
        "IsOpen24Hours": False,
        "OpeningTimes": [{"on": "Everyday", "Period": [{"begin": "06:00", "end": "22:00"}]}],
        "HubOperatorID": "DE*ABC",
        "ClearinghouseID": "1",
        "IsHubjectCompatible": True,
        "DynamicInfoAvailable": "auto",
        "OperatorID": "DE*ABC",
        "OperatorName": "ABC",
    }


def page(records: list[dict[str, Any]]) -> bytes:
    """Return a page as it comes over the wire."""
    count = len(records)
    paging = {"number": 0, "size": count, "totalElements": count, "totalPages": 1, "numberOfElements": count}
    envelope = {"content": records, "last": True, "first": True, "StatusCode": {"Code": "000"}} | paging
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()


@cache
def plain(model: type[BaseModel]) -> type[BaseModel]:
    """Return a model with the same members and no rules: texts, numbers, booleans, lists."""
    fields: dict[str, Any] = {
        name: (plain_type(info.annotation) | None, Field(None, alias=info.alias))
        for name, info in model.model_fields.items()
    }
    return create_model(f"Plain{model.__name__}", __config__=ConfigDict(extra="allow"), **fields)


def plain_type(annotation: Any) -> Any:  # noqa: ANN401
    """Return the plain type of an annotation."""
    while get_origin(annotation) in {Annotated, Union, types.UnionType}:
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is tuple:
        return list[plain_type(get_args(annotation)[0])]  # type: ignore[misc]
    if annotation in (bool, int, float, str):
        return annotation
    if annotation is Decimal:
        return float
    if annotation in (datetime, AwareDatetime):
        return datetime
    return str if issubclass(annotation, (Identifier, StrEnum)) else plain(annotation)


def cost(work: Callable[[], object], rounds: int) -> float:
    """Return the least time that ``work`` took, in microseconds per record."""
    times = []
    for _ in range(rounds):
        gc.collect()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6 / RECORDS


def measure(body: bytes, rounds: int) -> dict[str, float]:
    """Return the cost of each way to read the page."""
    plain_page = plain(EvseDataPage)
    parsed_page = EvseDataPage.from_json(body)

    def count_records(page: bytes) -> int:
        return sum(result.record is not None for result in read_records(EvseDataPage, page))

    if count_records(body) != RECORDS or read(EvseDataPage, body)[1]:
        raise SystemExit("the page is not faultless, so nothing can be measured with it")
    content = read_records(EvseDataPage, body).raw_records
    plain_record = plain(PullEvseDataRecord).model_validate_json
    body_with_warnings = body.replace(b'"DynamicInfoAvailable":"auto"', b'"DynamicInfoAvailable":true')
    return {
        "json.loads": cost(lambda: json.loads(body), rounds),
        "decode (exact decimals)": cost(lambda: decode(body), rounds),
        "plain models, whole page": cost(lambda: plain_page.model_validate_json(body), rounds),
        "plain models, record by record": cost(lambda: [plain_record(raw) and None for raw in content], rounds),
        "ours: parse, whole page": cost(lambda: EvseDataPage.from_json(body), rounds),
        "ours: rules, whole page": cost(lambda: check_rules(parsed_page), rounds),
        "ours: parse + rules, whole page": cost(lambda: read(EvseDataPage, body), rounds),
        "ours: parse + rules, record by record": cost(lambda: count_records(body), rounds),
        "ours: the same, each with a warning": cost(lambda: count_records(body_with_warnings), rounds),
    }


def main() -> None:
    """Print the costs and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    body = page([record(number) for number in range(RECORDS)])
    costs = measure(body, parser.parse_args().rounds)
    plain_page_cost, parse_cost = costs["plain models, whole page"], costs["ours: parse, whole page"]
    record_cost, plain_record_cost = (
        costs["ours: parse + rules, record by record"],
        costs["plain models, record by record"],
    )
    lines = [
        f"{RECORDS} records of {len(body) // RECORDS} bytes, {len(PullEvseDataRecord.model_fields)} members",
        f"{'':40}{'µs/record':>10}{'x plain':>9}{'x json':>9}",
        *(
            f"{name:40}{cost:10.1f}{cost / plain_page_cost:9.2f}{cost / costs['json.loads']:9.2f}"
            for name, cost in costs.items()
        ),
        f"record by record, reading and checking cost {record_cost / plain_record_cost:.2f} of plain models",
        f"the rules cost {costs['ours: rules, whole page'] / parse_cost:.2f} of our own parse",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
