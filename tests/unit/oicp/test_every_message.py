"""What holds for all messages of all operations."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_oicp.oicp import (
    OPERATION_BY_NAME,
    Finding,
    InvalidMessage,
    Message,
    decode,
    encode,
    read,
    response_model,
    validate,
)
from p2p_oicp.oicp.field_types import FindingCollector
from p2p_oicp.oicp.lenient import ModelField
from tests.support.oicp_examples import REQUESTS, RESPONSES, body


def _model(kind: str, name: str, value: Any) -> type[Message]:
    operation = OPERATION_BY_NAME[name]
    return operation.request if kind == "request" else response_model(operation, body(value))


EXAMPLES = [
    pytest.param(_model(kind, name, value), value, id=f"{name}-{kind}")
    for kind, examples in (("request", REQUESTS), ("response", RESPONSES))
    for name, value in examples.items()
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def _places(value: object, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the way to every part of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, part in inner for place in _places(part, (*way, key)))]


def _with(value: Any, way: tuple[str | int, ...], new: object) -> Any:
    """Return a copy of a JSON value with something else at one place."""
    if not way:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[way[0]] = _with(value[way[0]], way[1:], new)
    return copy


def test_every_operation_has_an_example():
    assert set(REQUESTS) == set(OPERATION_BY_NAME)


@pytest.mark.parametrize(("model", "value"), EXAMPLES)
def test_a_valid_message_has_no_finding(model, value):
    message, warnings = read(model, body(value))
    assert isinstance(message, model)
    assert warnings == []


@pytest.mark.parametrize(("model", "value"), EXAMPLES)
def test_a_message_is_written_in_the_documented_form(model, value):
    written = json.loads(encode(model.from_json(body(value))), parse_float=Decimal)
    expected = json.loads(body(value), parse_float=Decimal)
    for name in expected:
        assert written[name] == expected[name]


@pytest.fixture(autouse=True)
def _lenient_at_every_depth(monkeypatch):
    """Let the tolerant reader read faultless parts as well."""
    monkeypatch.setattr(ModelField, "read", ModelField.read_members)


@pytest.mark.parametrize(("model", "value"), EXAMPLES)
def test_the_strict_and_the_lenient_form_agree_on_a_valid_message(model, value):
    received = body(value)
    notes = FindingCollector()
    model = type(model.from_json(received))
    assert ModelField(model).read(decode(received), "", notes) == model.from_json(received)
    assert notes.findings == []


@pytest.mark.parametrize(("model", "value"), EXAMPLES)
def test_unknown_members_survive_at_every_depth(model, value):
    for way in _places(value):
        part = value
        for step in way:
            part = part[step]
        if isinstance(part, dict):
            stranger = _with(value, way, part | {"X-Stranger": {"of": [1, None]}})
            message = model.from_json(body(stranger))
            assert validate(message) == []
            assert b"X-Stranger" in encode(message)


@pytest.mark.parametrize(("model", "value"), EXAMPLES)
def test_null_in_an_optional_member_is_no_finding(model, value):
    optional = {
        info.alias: None
        for info in type(model.from_json(body(value))).model_fields.values()
        if not info.is_required() and info.alias not in value
    }
    assert validate(model.from_json(body(value | optional))) == []


@settings(max_examples=30)
@pytest.mark.parametrize(("model", "value"), EXAMPLES)
@given(data=st.data())
def test_any_value_in_a_message_is_parsed_or_refused(model, value, data):
    way = data.draw(st.sampled_from(_places(value)))
    received = encode(_with(value, way, data.draw(json_values)))
    try:
        message = model.from_json(received)
    except InvalidMessage as refused:
        findings = refused.findings
    else:
        findings = _parse_leniently(message, received)
        validate(message)
    assert all(finding.message for finding in findings)


def _parse_leniently(message: Message, received: bytes) -> tuple[Finding, ...]:
    """Return the tolerant reader's findings; both readers agree on what they read."""
    assert message.to_json() == received
    notes = FindingCollector()
    again = ModelField(type(message)).read(decode(received), "", notes)
    assert tuple(notes.findings) == message.field_findings
    assert again == message
    return message.field_findings


@given(value=json_values)
def test_no_json_value_breaks_a_parser(value):
    for operation in OPERATION_BY_NAME.values():
        for model in (operation.request, operation.response):
            with suppress(InvalidMessage):
                validate(model.from_json(encode(value)))
