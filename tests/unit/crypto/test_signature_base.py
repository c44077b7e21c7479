"""The form in which nodes sign is read past the parser of structured fields: to the same result, whatever is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from p2p_oicp.crypto.signature_base import (
    RequestHead,
    _request_component_value,
    _signature_base,
    read_signature_inputs,
    request_base,
)
from p2p_oicp.crypto.structured_fields import parse_signature_inputs
from p2p_oicp.errors import VerificationError

PARAMETERS = ';created=1618884473;expires=1618884773;nonce="abc-DEF_1";keyid="SHA256:q/+=";alg="ed25519"'
REQUEST = f'oicp=("@method" "@authority" "@path" "@query" "content-digest" "content-type"){PARAMETERS}'
RESPONSE = (
    'oicp=("@status" "content-digest" "content-type" "signature";req;key="oicp")'
    ';created=1618884473;keyid="SHA256:q/+=";alg="ed25519"'
)
HEADERS = CIMultiDict({"Content-Digest": " sha-256=:abc=: ", "Content-Type": "application/json"})
HEAD = RequestHead("POST", "b.example", "/api/oicp/x", "page=1", HEADERS)


def outcome(read, *arguments):
    try:
        return read(*arguments)
    except VerificationError as error:
        return str(error)


@pytest.mark.parametrize("field", [REQUEST, RESPONSE], ids=["request", "response"])
@given(data=st.data())
def test_a_damaged_field_is_read_as_the_parser_reads_it(field, data):
    position = data.draw(st.integers(0, len(field)))
    removed = data.draw(st.integers(0, 3))
    inserted = data.draw(st.sampled_from(["", '"', "\\", '\\"', ";", "=", " ", "\t", "é", "\n", "7", ",", ";x=1", ")"]))
    damaged = field[:position] + inserted + field[position + removed :]
    assert outcome(read_signature_inputs, damaged) == outcome(parse_signature_inputs, damaged)


@pytest.mark.parametrize("field", [REQUEST, RESPONSE, f"{REQUEST}, {RESPONSE}", REQUEST.replace("oicp=", "sig1=")])
def test_a_whole_field_is_read_as_the_parser_reads_it(field):
    assert outcome(read_signature_inputs, field) == outcome(parse_signature_inputs, field)


@pytest.mark.parametrize(
    "head",
    [
        HEAD,
        RequestHead("POST", "b.example", "/a%20b", "", HEADERS),
        RequestHead("POST", "b.example", "/", "", CIMultiDict({"Content-Digest": "sha-256=:a=:"})),
        RequestHead("POST", "b.example", "/", "", CIMultiDict([*HEADERS.items(), ("Content-Type", "text/plain")])),
        RequestHead("POST", "b.example", "/", "", CIMultiDict({**HEADERS, "Content-Type": "application/\udcff"})),
    ],
    ids=["usual", "without a query", "without a media type", "two media types", "no text"],
)
def test_the_base_of_a_nodes_request_is_that_of_any_request(head):
    (found,) = parse_signature_inputs(REQUEST)
    in_general = outcome(_signature_base, found, lambda component: _request_component_value(component, head))
    assert outcome(request_base, found, head) == in_general
