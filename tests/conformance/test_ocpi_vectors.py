"""The shared vectors of the OCPI gateway, if they are available: all of them, in both directions, whole."""

from __future__ import annotations

import pytest

from p2p_oicp.ocpi.base import check_object, encode_json
from p2p_oicp.ocpi.commands import (
    ChargingProfileResponse,
    CommandResponse,
    CommandResult,
    ReserveNow,
    StartSession,
)
from p2p_oicp.ocpi.locations import Location
from p2p_oicp.ocpi.sessions import Cdr, Session
from p2p_oicp.ocpi.tariffs import Tariff
from p2p_oicp.ocpi.tokens import AuthorizationInfo, Token
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    AuthorizeStart,
    ChargeDetailRecord,
    ChargingNotification,
    EvseDataRecord,
    validate,
)
from p2p_oicp.oicp.findings import Severity
from p2p_oicp.oicp.pricing import PricingProductDataRecord
from tests.support.ocpi_vectors import VECTORS, canonical, read_vectors, result_of

ALL = read_vectors()
pytestmark = pytest.mark.skipif(not ALL, reason=f"the shared vectors of OCPI are absent: {VECTORS}")


def by_id(vectors):
    return [pytest.param(vector, id=vector["id"]) for vector in vectors]


@pytest.mark.parametrize("vector", by_id(ALL))
def test_the_mapping_gives_the_whole_result_of_a_vector(vector):
    assert canonical(result_of(vector)) == canonical(vector["expected"])


def written_in_ocpi(vector, result):  # noqa: PLR0911 - a line a kind
    """Return what is written in OCPI for a vector, each with its model."""
    body, data = result.get("body"), result.get("data")
    commands = {"START_SESSION": StartSession, "RESERVE_NOW": ReserveNow}
    match vector["kind"]:
        case "location":
            return [(Location, location) for location in result["locations"]]
        case "tariff" | "cdr":
            return [({"tariff": Tariff, "cdr": Cdr}[vector["kind"]], body)]
        case "token" | "session" if result["method"] == "PUT":
            return [({"token": Token, "session": Session}[vector["kind"]], body)]
        case "authorize_answer" if data:
            return [(AuthorizationInfo, data)]
        case "command" if result.get("command") in commands:
            return [(commands[result["command"]], body)]
        case "command_result":
            return [(CommandResult, result)]
    return []


def writing(direction, written):
    """Return the vectors of a direction for which something is written."""
    return by_id(vector for vector in ALL if vector["direction"] == direction and written(vector, vector["expected"]))


@pytest.mark.parametrize("vector", writing("oicp->ocpi", written_in_ocpi))
def test_what_is_written_in_ocpi_is_allowed_by_it(vector):
    objects = written_in_ocpi(vector, result_of(vector))
    assert [finding for model, value in objects for finding in check_object(model, value)] == []


def written_in_oicp(vector, result):  # noqa: PLR0911 - a line a kind
    """Return what is written in OICP for a vector, each with its model."""
    operations = {
        "AuthorizeRemoteStart": AuthorizeRemoteStart,
        "AuthorizeRemoteStop": AuthorizeRemoteStop,
        "AuthorizeRemoteReservationStart": AuthorizeRemoteReservationStart,
    }
    match vector["kind"]:
        case "location":
            return [(EvseDataRecord, record) for record in result["records"]]
        case "tariff":
            return [(PricingProductDataRecord, product) for product in result["products"]]
        case "session":
            return [(ChargingNotification, notification) for notification in result["notifications"]]
        case "cdr" if "record" in result:
            return [(ChargeDetailRecord, result["record"])]
        case "authorize" if "request" in result:
            return [(AuthorizeStart, result["request"])]
        case "authorize_answer":
            return [(AuthorizationStart, result)]
        case "command" if result.get("operation") in operations:
            return [(operations[result["operation"]], result["request"])]
        case "command_result":
            return [(Acknowledgement, result)]
    return []


@pytest.mark.parametrize("vector", writing("ocpi->oicp", written_in_oicp))
def test_what_is_written_in_oicp_is_allowed_by_it(vector):
    messages = [model.from_json(encode_json(value)) for model, value in written_in_oicp(vector, result_of(vector))]
    findings = [finding for message in messages for finding in validate(message)]
    assert [finding for finding in findings if finding.severity is Severity.ERROR] == []


@pytest.mark.parametrize(
    "vector",
    by_id(
        vector for vector in ALL if vector["kind"] in {"charging_profile", "command"} and "data" in vector["expected"]
    ),
)
def test_an_answer_to_a_command_is_allowed_by_ocpi(vector):
    model = ChargingProfileResponse if vector["kind"] == "charging_profile" else CommandResponse
    assert check_object(model, result_of(vector)["data"]) == ()
