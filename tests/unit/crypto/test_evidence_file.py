"""A stored exchange can be verified later, whatever its signatures cover; an unverified one is reported."""

import json
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace
from multidict import CIMultiDict, CIMultiDictProxy

from p2p_oicp.crypto import KeyRing, KnownKey, PrivateKey, SignedRequestParts, SignedResponseParts, verify_request
from p2p_oicp.crypto.evidence_file import Evidence, _signature_line, is_agreed_by, read_evidence, write_evidence
from p2p_oicp.crypto.exchange import RecordedExchange
from p2p_oicp.crypto.http_signatures import content_digest, verify_response
from p2p_oicp.crypto.structured_fields import serialize_byte_sequence
from p2p_oicp.errors import VerificationError
from p2p_oicp.oicp import SessionID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
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


def exchange(
    covers: Covers,
    operation: str = "AuthorizeStart",
    path: str = PATH,
    question: bytes = QUESTION,
    reply: bytes = ANSWER,
) -> RecordedExchange:
    """An exchange as both sides accept it when it takes place."""
    target = {'"@method"': "POST", '"@authority"': "b.example", '"@path"': path, '"@query"': "?"}
    of_request = target | {name: covers.values[name] for name in covers.of_request}
    request = SignedRequestParts(
        "POST", "b.example", path, "", signed(ASKS, "q", of_request, question, covers.request), question
    )
    request_signature = verify_request(request, FIND, NOW)
    of_answer = {'"@status"': "200", '"signature";req;key="q"': serialize_byte_sequence(request_signature.value)}
    of_answer |= {name: covers.values[name] for name in covers.of_answer}
    answer = SignedResponseParts(200, signed(ANSWERS, "r", of_answer, reply, covers.answer), reply)
    verify_response(answer, request.headers, FIND, NOW)
    return RecordedExchange(float(NOW), operation, sent_by_us=False, peer="A", request=request, response=answer)


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


# Of an exchange: the operation, what both bodies say, and in which role each side has agreed to the session by it.
YES, NAMED, OTHER = {"Result": True}, {"SessionID": SESSION}, {"SessionID": SESSION.replace("f98", "000")}
DOUBTED = {"P2P": {"verdict": "pending", "unconfirmed": True}}
AGREEMENTS = {
    "an authorization": ("AuthorizeStart", NAMED, {"AuthorizationStatus": "Authorized"} | NAMED, "cpo emp"),
    "an authorization with another id": (
        "AuthorizeStart",
        OTHER,
        {"AuthorizationStatus": "Authorized"} | NAMED,
        "cpo emp",
    ),
    "no authorization": ("AuthorizeStart", NAMED, {"AuthorizationStatus": "NotAuthorized"} | NAMED, ""),
    "a remote start": ("AuthorizeRemoteStart", NAMED, YES | NAMED, "cpo emp"),
    "a remote start with another id": ("AuthorizeRemoteStart", OTHER, YES | NAMED, "cpo"),
    "a refused remote start": ("AuthorizeRemoteStart", NAMED, {"Result": False} | NAMED, ""),
    "a CDR": ("ChargeDetailRecord", NAMED, YES | NAMED, "cpo emp"),
    "a CDR that the answer does not name": ("ChargeDetailRecord", NAMED, YES, "cpo"),
    "a CDR that was refused": ("ChargeDetailRecord", NAMED, {"Result": False} | NAMED, ""),
    "a CDR that is only kept": ("ChargeDetailRecord", NAMED, YES | NAMED | DOUBTED, ""),
    "a push that names a session": ("PushEvseData", NAMED, YES, ""),
    "a query that was answered with a session": ("PullEvseStatus", {}, YES | NAMED, ""),
    "a stop": ("AuthorizeStop", NAMED, {"AuthorizationStatus": "Authorized"} | NAMED, ""),
}


@pytest.mark.parametrize(("operation", "question", "reply", "roles"), AGREEMENTS.values(), ids=AGREEMENTS)
def test_only_what_a_key_has_signed_itself_shows_that_its_owner_agreed(operation, question, reply, roles):
    path = "/api/oicp/" + OPERATION_BY_NAME[operation].path.replace("{operatorID}", "DE*GEF").replace(
        "{providerID}", "DE-GDF"
    )
    stored = exchange(Covers(), operation, path, json.dumps(question).encode(), json.dumps(reply).encode())
    evidence = read_stored(stored.serialize()[0])
    assert len(evidence.statements) == 2
    sender = OPERATION_BY_NAME[operation].sender.lower()
    owners = {sender: ASKS.public.key_id, ({"cpo", "emp"} - {sender}).pop(): ANSWERS.public.key_id}
    for role, key_id in owners.items():
        assert is_agreed_by(evidence, {key_id}, role, SessionID(SESSION)) == (role in roles), role
        assert not is_agreed_by(evidence, set(owners.values()) - {key_id}, role, SessionID(SESSION))
