"""Reading and writing objects of OCPI."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_oicp.ocpi.base import ci, encode_json, format_time, parse_time, read_object
from p2p_oicp.ocpi.credentials import authorization_header, token_candidates
from p2p_oicp.ocpi.locations import Location
from p2p_oicp.ocpi.sessions import Cdr, Session
from p2p_oicp.ocpi.tariffs import Tariff
from p2p_oicp.ocpi.tokens import Token
from p2p_oicp.oicp import AuthorizeStart, InvalidMessage
from p2p_oicp.oicp.lenient import names_in_use
from tests.support.ocpi_objects import cdr, connector, evse, location, session, tariff, token
from tests.support.paths import SHARED

OBJECTS = [
    pytest.param(Location, location(), id="location"),
    pytest.param(Token, token(), id="token"),
    pytest.param(Session, session(), id="session"),
    pytest.param(Cdr, cdr(), id="cdr"),
    pytest.param(Tariff, tariff(), id="tariff"),
]


def read(model, value):
    return read_object(model, json.dumps(value).encode())


@pytest.mark.parametrize(("model", "value"), OBJECTS)
def test_an_object_of_the_standard_has_no_findings_and_stays_as_it_is(model, value):
    assert read(model, value) == (value, ())


@pytest.mark.parametrize(("model", "value"), OBJECTS)
def test_null_is_the_same_as_absent_and_unknown_members_stay(model, value):
    changed = value | {"x_vendor": {"a": [1, None]}, "x_nothing": None}
    assert read(model, changed) == (value | {"x_vendor": {"a": [1, None]}}, ())


@pytest.mark.parametrize(("model", "value"), OBJECTS)
def test_a_mandatory_member_that_is_missing_is_named_with_its_path(model, value):
    absent = {name: member for name, member in value.items() if name != "last_updated"}
    with pytest.raises(InvalidMessage) as invalid:
        read(model, absent)
    assert [finding.pointer for finding in invalid.value.findings] == ["/last_updated"]


@pytest.mark.parametrize(
    ("written", "pointer", "code"),
    [
        (
            location(evses=[evse(connectors=[connector(standard="MCS")])]),
            "/evses/0/connectors/0/standard",
            "unknown-word",
        ),
        (location(last_updated="2026-11-01T10:00:00+02:00"), "/last_updated", "time-with-offset"),
        (location(id="x" * 37), "/id", "too-long"),
        (location(id="Säule"), "/id", "not-ascii"),
        (location(coordinates={"latitude": 53.5, "longitude": "9.98765"}), "/coordinates/latitude", "number-for-text"),
        (location(coordinates={"latitude": "53.5", "longitude": "9.98765"}), "/coordinates/latitude", "malformed"),
    ],
    ids=["word", "offset", "length", "characters", "number", "decimals"],
)
def test_a_deviation_is_read_and_reported(written, pointer, code):
    _, findings = read(Location, written)
    assert [(finding.pointer, finding.code) for finding in findings] == [(pointer, code)]


@pytest.mark.parametrize(
    ("written", "pointer"),
    [
        (location(last_updated="yesterday"), "/last_updated"),
        (location(last_updated="2026-02-30T00:00:00Z"), "/last_updated"),
        (location(evses=[evse(connectors="none")]), "/evses/0/connectors"),
        (location(coordinates={"latitude": True, "longitude": "9.98765"}), "/coordinates/latitude"),
        (location(publish="yes"), "/publish"),
    ],
    ids=["no-time", "no-such-day", "no-list", "no-text", "no-boolean"],
)
def test_a_member_of_another_type_leaves_no_object(written, pointer):
    with pytest.raises(InvalidMessage) as invalid:
        read(Location, written)
    assert [finding.pointer for finding in invalid.value.findings] == [pointer]


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"{", b"\xff"], ids=["list", "number", "text", "open", "bytes"])
def test_what_is_no_object_is_refused(body):
    with pytest.raises(InvalidMessage):
        read_object(Token, body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-10T09:00:00Z", "2026-11-10T09:00:00Z"),
        ("2026-11-10T09:00:00", "2026-11-10T09:00:00Z"),
        ("2026-11-10T09:00:00.2", "2026-11-10T09:00:00.200Z"),
        ("2026-11-10T10:00:00+01:00", "2026-11-10T09:00:00Z"),
    ],
)
def test_a_time_without_zone_is_utc(text, expected):
    assert format_time(parse_time(text)) == expected


@given(st.text(max_size=40))
def test_no_text_fails_the_reading_of_times(text):
    assert parse_time(text) is None or format_time(parse_time(text)).endswith("Z")


def test_numbers_are_exact():
    value, _ = read_object(Session, encode_json(session(kwh=1)).replace(b'"kwh":1', b'"kwh":0.1000'))
    assert str(value["kwh"]) == "0.1000"


def test_ids_are_compared_without_letter_case():
    assert ci("De*gEf ") == ci("DE*GEF")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64))
def test_a_token_is_read_from_its_own_header(secret):
    assert token_candidates(authorization_header(secret)) == [secret]


@pytest.mark.parametrize("header", ["Token", "Token ", "Basic YQ==", "Token /w==", "Token YQ", "", None])
def test_a_header_without_a_token_has_none(header):
    assert token_candidates(header) == []


def test_names_of_ocpi_are_no_names_of_oicp():
    assert "connectors" in names_in_use(Location)
    assert "connectors" not in names_in_use(AuthorizeStart)
    assert "EvseID" not in names_in_use(Location)


EXAMPLES = {"location_example": Location, "session_example": Session, "cdr_example": Cdr, "token_example": Token}
EXAMPLE_FILES = sorted((SHARED / "ocpi" / "spec" / "examples").glob("*_example*.json"))


@pytest.mark.skipif(not EXAMPLE_FILES, reason="the documents of OCPI are absent")
def test_the_examples_of_the_standard_have_no_findings():
    findings = {
        file.name: read_object(model, file.read_bytes())[1]
        for file in EXAMPLE_FILES
        for name, model in EXAMPLES.items()
        if file.name.startswith(name)
    }
    assert len(findings) > 5
    assert {name: found for name, found in findings.items() if found} == {}
