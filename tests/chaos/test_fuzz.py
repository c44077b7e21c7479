"""Arbitrary bytes: parsers return a message or raise the documented error. The number of examples bounds the time."""

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2p_oicp.client import HttpResponse, read_reply
from p2p_oicp.errors import PeerError
from p2p_oicp.oicp import (
    OPERATIONS,
    EvcoID,
    EvseID,
    InvalidMessage,
    OperatorID,
    ProviderID,
    SessionID,
    find,
    read,
    read_records,
)
from p2p_oicp.oicp.message import as_utf8
from tests.support import messages

quickly = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)

MEMBERS = st.sampled_from(
    [
        "OperatorID",
        "ProviderID",
        "SessionID",
        "EvseID",
        "Identification",
        "Type",
        "ActionType",
        "StatusCode",
        "Result",
        "OperatorEvseStatus",
        "EvseStatusRecord",
        "ConsumedEnergy",
        "SessionStart",
        "RFIDMifareFamilyIdentification",
    ]
) | st.text(max_size=8)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from([messages.A_CPO, messages.B_EMP, messages.EVSE, messages.UNKNOWN_SESSION, "Start", "fullLoad"])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS, inner, max_size=6), max_leaves=20
)
VALID = [
    messages.authorize_start(),
    messages.authorize_stop(messages.UNKNOWN_SESSION),
    messages.remote_start(),
    messages.cdr(messages.UNKNOWN_SESSION),
    messages.notification("Progress", messages.UNKNOWN_SESSION),
    messages.push_status(**{"1": "Available"}),
]


@st.composite
def damaged(draw) -> bytes:
    """A valid message with one value replaced, or with some bytes cut or overwritten."""
    message = json.loads(json.dumps(draw(st.sampled_from(VALID))))
    place = message
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        if not (isinstance(place[key], dict | list) and place[key] and draw(st.booleans())):
            break
        place = place[key]
    place[key] = draw(JSON)
    body = json.dumps(message).encode()
    start = draw(st.integers(0, len(body)))
    match draw(st.sampled_from(["whole", "cut", "overwritten"])):
        case "cut":
            return body[:start]
        case "overwritten":
            return body[:start] + draw(st.binary(max_size=8)) + body[start + draw(st.integers(0, 8)) :]
    return body


BODIES = damaged() | st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())


@each_operation
@quickly
@given(body=BODIES)
def test_a_request_is_read_or_refused(operation, body):
    with contextlib.suppress(InvalidMessage):
        message, _ = read(operation.request, body)
        assert isinstance(message.to_json(), bytes)
    with contextlib.suppress(InvalidMessage):
        list(read_records(operation.request, body).records) if operation.is_push else None


@each_operation
@quickly
@given(body=BODIES, status=st.integers(100, 599), content_type=st.sampled_from(["", "text/html", "application/json"]))
def test_an_answer_is_read_or_a_peer_error(operation, body, status, content_type):
    headers = {"Content-Type": content_type, "Retry-After": "soon"}
    with contextlib.suppress(PeerError):
        read_reply(HttpResponse("peer", status, headers, body), operation, now=0.0)


@settings(quickly, max_examples=150)
@given(path=st.text(max_size=60) | st.sampled_from([each.path for each in OPERATIONS]), body=BODIES)
def test_a_path_is_found_or_not(path, body):
    route = find(path)
    if route is not None:
        assert route.choose(body) in OPERATIONS


@settings(quickly, max_examples=150)
@given(text=st.text(max_size=40))
def test_an_identifier_is_never_refused(text):
    for kind in (EvseID, OperatorID, ProviderID, EvcoID, SessionID):
        identifier = kind(text)
        assert identifier.text == text
        assert identifier == kind(text)
        assert isinstance(identifier.key, str)
        assert identifier.is_valid in {True, False}
    assert EvseID(text).operator is None or EvseID(text).operator.text in text
    assert EvcoID(text).provider is None or EvcoID(text).provider.text in text


@settings(quickly, max_examples=150)
@given(body=st.binary(max_size=80), charset=st.text(max_size=20) | st.sampled_from(["utf-16", "rot13", "zlib", "idna"]))
def test_any_charset_is_decoded_or_refused(body, charset):
    with contextlib.suppress(ValueError):
        as_utf8(body, f"application/json; charset={charset}")
