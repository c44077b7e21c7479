"""The table of events has a sentence, a schema and a sample of each."""

import re

import jsonschema
import msgspec
import pytest

from p2p_oicp.events import EVENT_DEFINITIONS, definition_of, format_id, parse_id
from p2p_oicp.events.types import EventData
from p2p_oicp.storage.cdrs import CdrState
from p2p_oicp.storage.event_log import EventType
from p2p_oicp.storage.sessions import SessionState
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
BY_NAME = {each.name: each for each in EVENT_DEFINITIONS}


def whats(event_type: str) -> set[str]:
    return {each.what for each in EVENT_DEFINITIONS if each.type == event_type}


def test_every_type_of_the_event_log_is_in_the_table():
    assert {*EventType} <= {each.type for each in EVENT_DEFINITIONS}
    assert len(BY_NAME) == len(EVENT_DEFINITIONS)


def test_sessions_and_records_have_an_event_for_each_of_their_states():
    assert whats("session") == {*SessionState}
    assert whats("cdr") == {"received", *CdrState}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_sample_is_what_its_schema_says(name):
    definition = BY_NAME[name]
    sample, schema = msgspec.to_builtins(definition.sample), definition.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(sample, schema)
    assert (sample["type"], definition_of(sample["type"], sample["what"])) == (definition.type, definition)
    assert definition.cloud_event_type == f"p2p-oicp.{name}"


@pytest.mark.parametrize("name", BY_NAME)
def test_a_sentence_is_one(name):
    assert re.fullmatch(r"[A-Z][^\n]{20,}\.", BY_NAME[name].sentence)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_page_of_events_names_every_event(name):
    definition = BY_NAME[name]
    rows = re.findall(rf"^\| `{definition.type}` \|.*\n(?:\| \|.*\n)*", PAGE, re.MULTILINE)
    assert [row for row in rows if not definition.what or f"`{definition.what}`" in row]


def test_events_of_the_log_have_an_id_that_holds_database_and_number():
    assert all(isinstance(each.sample, EventData) for each in EVENT_DEFINITIONS if each.type != "events")
    assert parse_id(format_id(0x12BC77DE, 1042)) == (0x12BC77DE, 1042)
    assert parse_id("1042") == (None, 1042)


@pytest.mark.parametrize("text", ["", "x", "-1", "3f9a12bc77de", "3f9a12bc77de-", "3f9a12bc77de-1042 ", "9" * 19, "²"])
def test_an_id_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="expected one such as"):
        parse_id(text)
