"""A stored exchange can be verified later, whatever its signatures cover; an unverified one is reported."""

import json
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace
from multidict import CIMultiDict, CIMultiDictProxy

from p2p_oicp.crypto import KeyRing, KnownKey, PrivateKey, SignedRequestParts, SignedResponseParts, verify_request
from p2p_oicp.crypto.evidence_file import Evidence, _signature_line, read_evidence, write_evidence
from p2p_oicp.crypto.exchange import RecordedExchange
from p2p_oicp.crypto.http_signatures import content_digest, verify_response
from p2p_oicp.crypto.structured_fields import serialize_byte_sequence
from p2p_oicp.errors import VerificationError
from tests.support.messages import UNKNOWN_SESSION

ASKS, ANSWERS = PrivateKey.generate(), PrivateKey.generate()
FIND = KeyRing([KnownKey(ASKS.public, "A"), KnownKey(ANSWERS.public, "B")]).find
NOW = 1_800_000_000
SESSION = "f98efba4-02d8-4fa0-b810-9a9d50d2c527"
PATH = "/api/oicp/charging/v21/operators/DE*GEF/authorize/start"
QUESTION, ANSWER = b'{"a":1}', f'{{"SessionID":"{SESSION}"}}'.encode()


@dataclass
class Covers:
    """What the signatures of request and answer cover beside what they must, and the headers that go along."""

    of_request: tuple[str, ...] = ()
    of_answer: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict)
    request: tuple[tuple[str, str], ...] = ()
    answer: tuple[tuple[str, str], ...] = ()


def signed(key: PrivateKey, label: str, covered: dict[str, str], body: bytes, more) -> CIMultiDictProxy:
    covered = covered | {'"content-digest"': covered.get('"content-digest"', content_digest(body))}
    parameters = f'({" ".join(covered)});created={NOW};nonce="n";keyid="{key.key_id}"'
    base = "".join(f"{name}: {value}\n" for name, value in covered.items()) + f'"@signature-params": {parameters}'
    headers = [
        ("Signature-Input", f"{label}={parameters}"),
        ("Signature", f"{label}={serialize_byte_sequence(key.sign(base.encode()))}"),
    ]
    if not any(name == "Content-Digest" for name, _ in more):
        headers.append(("Content-Digest", covered['"content-digest"']))
    return CIMultiDictProxy(CIMultiDict([*headers, *more]))


def exchange(covers: Covers) -> RecordedExchange:
    """An exchange as both sides accept it when it takes place."""
    target = {'"@method"': "POST", '"@authority"': "b.example", '"@path"': PATH, '"@query"': "?"}
    of_request = target | {name: covers.values[name] for name in covers.of_request}
    request = SignedRequestParts(
        "POST", "b.example", PATH, "", signed(ASKS, "q", of_request, QUESTION, covers.request), QUESTION
    )
    request_signature = verify_request(request, FIND, NOW)
    of_answer = {'"@status"': "200", '"signature";req;key="q"': serialize_byte_sequence(request_signature.value)}
    of_answer |= {name: covers.values[name] for name in covers.of_answer}
    answer = SignedResponseParts(200, signed(ANSWERS, "r", of_answer, ANSWER, covers.answer), ANSWER)
    verify_response(answer, request.headers, FIND, NOW)
    return RecordedExchange(float(NOW), "AuthorizeStart", sent_by_us=False, peer="A", request=request, response=answer)


def read_stored(*exchanges: bytes) -> Evidence:
    keys = {key.key_id: (key.public.der_base64, name) for key, name in ((ASKS, "A"), (ANSWERS, "B"))}
    return read_evidence(write_evidence(SESSION, exchanges, keys=keys, descriptors=[], key=ANSWERS, now=0.0))


DATE = (("Date", "Fri, 20 Nov 2026 13:00:00 GMT"),)
TWO_LINES = (("X-Note", "one"), ("X-Note", " two "))
TWO_DIGESTS = (("Content-Digest", content_digest(QUESTION)), ("Content-Digest", "md5=:AAAA:"))
COVERAGE = {
    "what they must": Covers(),
    "the date": Covers(('"date"',), ('"date"',), {'"date"': DATE[0][1]}, DATE, DATE),
    "a header of two lines": Covers(('"x-note"',), (), {'"x-note"': "one, two"}, TWO_LINES),
    "two digests": Covers(
        ('"content-digest"',), (), {'"content-digest"': f"{content_digest(QUESTION)}, md5=:AAAA:"}, TWO_DIGESTS
    ),
    "in the answer, a header of the request": Covers((), ('"date";req',), {'"date";req': DATE[0][1]}, DATE),
    "an empty header": Covers(('"x-note"',), (), {'"x-note"': ""}, (("X-Note", ""),)),
    "a media type in another case": Covers(
        ('"content-type"',), (), {'"content-type"': "text/é"}, (("Content-Type", "text/é"),)
    ),
}


@pytest.mark.parametrize("covers", COVERAGE.values(), ids=COVERAGE)
def test_an_exchange_that_was_verified_when_received_verifies_when_stored(covers):
    found = read_stored(exchange(covers).serialize()[0])
    assert found.unverified == ()
    assert [
        (statement.number, statement.key, statement.signed_at, statement.body) for statement in found.statements
    ] == [
        (1, ASKS.public, NOW, QUESTION),
        (2, ANSWERS.public, NOW, ANSWER),
    ]


NO_TEXT = (("Content-Type", "application/json; x=\udce9"),)  # as it comes from the wire: the byte E9


def test_a_header_that_is_no_text_is_stored_readable_if_no_signature_covers_it():
    assert len(read_stored(exchange(Covers(answer=NO_TEXT)).serialize()[0]).statements) == 2


def test_a_header_that_is_no_text_cannot_be_signed():
    request = exchange(COVERAGE["the date"]).request
    headers = CIMultiDict(request.headers)
    headers["Date"] = "\udce9"
    with pytest.raises(VerificationError, match="no text"):
        verify_request(replace(request, headers=headers), FIND, NOW)


def test_an_exchange_lists_the_keys_that_signed_it():
    assert exchange(Covers()).serialize()[1] == [ASKS.key_id, ANSWERS.key_id]


def without_its_date(content: dict) -> None:
    del content["request"]["headers"]["date"]


def with_another_path(content: dict) -> None:
    content["request"]["path"] = "/y"


def by_an_unknown_key(content: dict) -> None:
    headers = content["response"]["headers"]
    headers["Signature-Input"] = headers["Signature-Input"].replace(ANSWERS.key_id, "SHA256:x")


def without_its_answer(content: dict) -> None:
    del content["response"]


def with_another_label(content: dict) -> None:
    content["operation"] = "AuthorizeStop"


BROKEN = {
    "a header that is missing": (
        without_its_date,
        "3 and 4 (AuthorizeStart and its response): there is no date header",
    ),
    "another path": (with_another_path, "3 and 4 (AuthorizeStart and its response): the signature does not fit"),
    "a key that is missing": (by_an_unknown_key, "key SHA256:x is not in the file"),
    "another label": (with_another_label, "this is AuthorizeStart; the file calls it AuthorizeStop"),
    "no answer": (without_its_answer, "3 and 4: this is no exchange: 'response' is absent"),
}


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN)
def test_an_unverified_exchange_is_reported_and_does_not_affect_the_others(change, reason):
    whole = exchange(COVERAGE["the date"]).serialize()[0]
    content = json.loads(whole)
    change(content)
    found = read_stored(whole, json.dumps(content).encode(), whole)
    assert [statement.number for statement in found.statements] == [1, 2, 5, 6]
    (unproven,) = found.unverified
    assert reason in unproven


SEALED = {
    "no session": {"version": 1, "exchanges": [], "keys": [], "descriptors": []},
    "no exchanges": {"version": 1, "session_id": "s", "keys": [], "descriptors": []},
    "exchanges that are a number": {"version": 1, "session_id": "s", "exchanges": 1, "keys": [], "descriptors": []},
    "a list": [],
    "another version": {"version": 2},
}


@pytest.mark.parametrize("content", SEALED.values(), ids=SEALED)
def test_a_signed_file_without_evidence_is_refused(content):
    first = json.dumps(content).encode()
    with pytest.raises(VerificationError, match=r"this is no evidence file|evidence of version 2"):
        read_evidence(first + b"\n" + _signature_line(ASKS, first) + b"\n")


def of(operation: str, path: str, request: dict, response: dict) -> bytes:
    """An exchange of an operation, as it is stored."""
    bodies = [json.dumps(body).encode() for body in (request, response)]
    covered = {'"@method"': "POST", '"@authority"': "b.example", '"@path"': f"/node/api/oicp/{path}", '"@query"': "?"}
    sent = SignedRequestParts(
        "POST", "b.example", covered['"@path"'], "", signed(ASKS, "q", covered, bodies[0], ()), bodies[0]
    )
    value = serialize_byte_sequence(verify_request(sent, FIND, NOW).value)
    headers = signed(ANSWERS, "r", {'"@status"': "200", '"signature";req;key="q"': value}, bodies[1], ())
    answer = SignedResponseParts(200, headers, bodies[1])
    recorded = RecordedExchange(float(NOW), operation, sent_by_us=False, peer="A", request=sent, response=answer)
    return recorded.serialize()[0]


OTHER = {"SessionID": UNKNOWN_SESSION.replace("f98", "000")}
OURS = {"SessionID": SESSION.upper()}
START, STOP, RECORD = (
    ("AuthorizeStart", "charging/v21/operators/DE*GEF/authorize/start"),
    ("AuthorizeStop", "charging/v21/operators/DE*GEF/authorize/stop"),
    ("ChargeDetailRecord", "cdrmgmt/v22/operators/DE*GEF/charge-detail-record"),
)
SESSIONS = {
    "a start that was answered with the session": (START, OTHER, OURS, ""),
    "a start of the session that was answered without one": (START, OURS, {}, ""),
    "a start that was answered with another session": (START, OURS, OTHER, "this is of session 000"),
    "a start of no session": (START, {}, {}, "this names no session"),
    "a stop of the session": (STOP, OURS, {}, ""),
    "a stop of another session, whatever the answer says": (STOP, OTHER, OURS, "this is of session 000"),
    "a record of another session, whatever the answer says": (RECORD, OTHER, OURS, "this is of session 000"),
    "no operation of OICP": (("AuthorizeStart", "charging/v21"), OURS, OURS, "is no path of OICP"),
}


@pytest.mark.parametrize(("operation", "request_body", "response_body", "reason"), SESSIONS.values(), ids=SESSIONS)
def test_the_session_of_an_exchange_is_the_one_that_was_signed(operation, request_body, response_body, reason):
    found = read_stored(of(*operation, request_body, response_body))
    assert (len(found.statements), reason in "".join(found.unverified)) == ((0, True) if reason else (2, True))
