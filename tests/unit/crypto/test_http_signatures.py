"""Our signatures against the examples of RFC 9421, appendix B, and against another implementation."""

import base64
import datetime as dt
from dataclasses import dataclass, field

import http_message_signatures as other
import pytest
from multidict import CIMultiDict

from p2p_oicp.crypto import KeyRing, KnownKey, PrivateKey, PublicKey, SignedRequestParts, SignedResponseParts
from p2p_oicp.crypto.http_signatures import (
    check_digest,
    content_digest,
    sign_request,
    sign_response,
    verify_request,
    verify_response,
)
from p2p_oicp.crypto.signature_base import request_base, response_base
from p2p_oicp.crypto.structured_fields import parse_byte_sequences, parse_signature_inputs
from p2p_oicp.errors import UnknownKey, VerificationError
from tests.support.keys import p256

# RFC 9421, B.1.4 and B.1.3: keys for testing, published there.
ED25519_SEED = base64.urlsafe_b64decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU=")
ED25519 = "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs="
P256 = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf"
    "w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ=="
)
REQUEST_SHA512 = "WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew=="
ANSWER_SHA512 = "mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ=="
REQUEST = SignedRequestParts(
    "POST",
    "example.com",
    "/foo",
    "param=Value&Pet=dog",
    {
        "Host": "example.com",
        "Date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "Content-Type": "application/json",
        "Content-Digest": f"sha-512=:{REQUEST_SHA512}:",
        "Content-Length": "18",
    },
    b'{"hello": "world"}',
)
ANSWER = SignedResponseParts(
    200,
    {
        "Content-Type": "application/json",
        "Content-Digest": f"sha-512=:{ANSWER_SHA512}:",
        "Content-Length": "23",
    },
    b'{"message": "good dog"}',
)
TRANSFORMED = SignedRequestParts(
    "GET",
    "example.org",
    "/demo",
    "name1=Value1&Name2=value2",
    CIMultiDict([("Accept", "application/json"), ("Accept", "*/*")]),
    b"",
)


def base_of(message, field: str) -> bytes:
    (found,) = parse_signature_inputs(field)
    if isinstance(message, SignedRequestParts):
        return request_base(found, message)
    return response_base(found, message, {})


VECTORS = {
    "B.2.4, an answer with ECDSA P-256": (
        ANSWER,
        P256,
        (
            'sig-b24=("@status" "content-type" "content-digest" "content-length")'
            ';created=1618884473;keyid="test-key-ecc-p256"'
        ),
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==",
    ),
    "B.2.6, a request with Ed25519": (
        REQUEST,
        ED25519,
        (
            'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length")'
            ';created=1618884473;keyid="test-key-ed25519"'
        ),
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
    ),
    "B.4, a message that was transformed on its way": (
        TRANSFORMED,
        ED25519,
        'transform=("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519"',
        "ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA==",
    ),
}


@pytest.mark.parametrize(("message", "key", "field", "signature"), VECTORS.values(), ids=VECTORS)
def test_signatures_of_the_rfc_verify(message, key, field, signature):
    PublicKey.from_base64(key).verify(base64.b64decode(signature), base_of(message, field))


def test_we_sign_as_the_rfc_does():
    message, key, field, signature = VECTORS["B.2.6, a request with Ed25519"]
    private = PrivateKey.from_seed(ED25519_SEED)
    assert private.public.der_base64 == key
    assert private.sign(base_of(message, field)) == base64.b64decode(signature)


def test_the_full_coverage_of_the_rfc_has_the_base_that_is_printed_there():
    covered = '("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length")'
    base = base_of(REQUEST, f'sig-b23={covered};created=1618884473;keyid="test-key-rsa-pss"').decode()
    assert base.split("\n")[3] == '"@query": ?param=Value&Pet=dog'
    assert base.endswith(f'\n"@signature-params": {covered};created=1618884473;keyid="test-key-rsa-pss"')


@pytest.mark.parametrize("message", [REQUEST, ANSWER], ids=["request", "answer"])
def test_digests_of_the_rfc_are_those_of_its_bodies(message):
    check_digest(message.headers["Content-Digest"], message.body)
    with pytest.raises(VerificationError, match="not the one that was signed"):
        check_digest(message.headers["Content-Digest"], message.body + b" ")


DIGESTS = {
    "only one we do not know": "md5=:XrY7u+Ae7tCTyyK7j1rNww==:",
    "one right, one wrong": f"{content_digest(b'x')}, sha-512=:XrY7u+Ae7tCTyyK7j1rNww==:",
    "none": "",
    "something else": "hello",
    "bad base64": "sha-256=:A:",
}


@pytest.mark.parametrize("field", DIGESTS.values(), ids=DIGESTS)
def test_a_wrong_digest_is_refused(field):
    with pytest.raises(VerificationError):
        check_digest(field, b"x")


INPUTS = {
    "no dictionary": "hello",
    "no list": "a=1",
    "two spaces": 'a=("@method"  "@path")',
    "an unfinished string": 'a=("@method)',
    "a component twice": 'a=("@method" "@method")',
    "a parameter we do not serve": 'a=("@query-param";name="x")',
    "too many signatures": ", ".join(f's{n}=("@method")' for n in range(9)),
}


@pytest.mark.parametrize("field", INPUTS.values(), ids=INPUTS)
def test_a_malformed_header_is_refused(field):
    with pytest.raises(VerificationError):
        parse_signature_inputs(field)


def test_a_signature_is_parsed_with_its_parameters():
    (one, two) = parse_signature_inputs(
        'a=("@method" "signature";req;key="sig1");created=1;nonce="x\\"y", b=();alg="ed25519"'
    )
    assert one.label == "a"
    assert [(part.name, part.is_from_request, part.key) for part in one.components] == [
        ("@method", False, None),
        ("signature", True, "sig1"),
    ]
    assert one.parameters == {"created": "1", "nonce": 'x"y'}
    assert (two.components, two.parameters) == ((), {"alg": "ed25519"})
    assert parse_byte_sequences("a=:AAE=:, b=::", "Signature") == {"a": b"\0\1", "b": b""}


# The other implementation: it has to accept what we sign, and we what it signs.


@dataclass
class TheirRequest:
    """A request as the other implementation wants it."""

    method: str
    url: str
    headers: dict
    body: bytes = b""


@dataclass
class TheirResponse:
    """A response as the other implementation wants it."""

    status_code: int
    request: TheirRequest
    headers: dict = field(default_factory=dict)


class Resolver(other.HTTPSignatureKeyResolver):
    def __init__(self, key):
        self.key = key

    def resolve_public_key(self, key_id):
        return self.key.public._key if key_id == self.key.key_id else None

    def resolve_private_key(self, key_id):  # noqa: ARG002 - their shape
        return self.key._key


ALGORITHMS = {"ed25519": other.algorithms.ED25519, "ecdsa-p256-sha256": other.algorithms.ECDSA_P256_SHA256}
BODY = b'{"OperatorID":"DE*GEF"}'
URL = "http://peer.example:8320/api/oicp/charging/v21/operators/DE*GEF/authorize/start?page=0&size=5"
KEYS = pytest.mark.parametrize("key", [PrivateKey.generate(), p256()], ids=lambda key: key.public.algorithm)


def ours(key, now) -> tuple[SignedRequestParts, TheirRequest]:
    path, query = URL.removeprefix("http://peer.example:8320").split("?")
    headers = sign_request(
        key, method="POST", authority="peer.example:8320", path=path, query=query, body=BODY, now=now, nonce="n-1"
    )
    return SignedRequestParts("POST", "peer.example:8320", path, query, headers, BODY), TheirRequest(
        "POST", URL, headers, BODY
    )


@KEYS
def test_the_other_implementation_accepts_our_requests(key):
    _, request = ours(key, dt.datetime.now(dt.UTC).timestamp())
    verifier = other.HTTPMessageVerifier(
        signature_algorithm=ALGORITHMS[key.public.algorithm], key_resolver=Resolver(key)
    )
    (result,) = verifier.verify(request, body=BODY)
    assert result.parameters["keyid"] == key.key_id
    assert result.nonce == "n-1"


@KEYS
def test_the_other_implementation_accepts_our_answers(key):
    now = dt.datetime.now(dt.UTC).timestamp()
    parts, request = ours(key, now)
    signature = verify_request(parts, KeyRing([KnownKey(key.public, "A")]).find, now)
    response = TheirResponse(
        200, request, sign_response(key, status=200, body=b"{}", request_signature=signature, now=now)
    )
    verifier = other.HTTPMessageVerifier(
        signature_algorithm=ALGORITHMS[key.public.algorithm], key_resolver=Resolver(key)
    )
    (result,) = verifier.verify(response, body=b"{}")
    assert any('"signature";req' in component for component in result.covered_components)


@KEYS
def test_we_accept_the_other_implementations_requests_and_answers(key):
    now = dt.datetime.now(dt.UTC)
    path, query = URL.removeprefix("http://peer.example:8320").split("?")
    request = TheirRequest("POST", URL, {}, BODY)
    signer = other.HTTPMessageSigner(signature_algorithm=ALGORITHMS[key.public.algorithm], key_resolver=Resolver(key))
    signer.sign(
        request,
        key_id=key.key_id,
        created=now,
        nonce="n-2",
        label="sig1",
        covered_component_ids=("@method", "@authority", "@path", "@query", "content-digest"),
        body=BODY,
    )
    find = KeyRing([KnownKey(key.public, "A")]).find
    parts = SignedRequestParts("POST", "peer.example:8320", path, query, request.headers, BODY)
    assert verify_request(parts, find, now.timestamp()).nonce == "n-2"

    response = TheirResponse(200, request)
    signer.sign(
        response,
        key_id=key.key_id,
        created=now,
        label="reply",
        covered_component_ids=("@status", "content-digest", '"signature";req;key="sig1"'),
        body=b"{}",
    )
    answer = SignedResponseParts(200, response.headers, b"{}")
    assert verify_response(answer, request.headers, find, now.timestamp()).label == "reply"


def test_of_several_signatures_the_one_with_a_known_key_is_verified():
    key, proxy = PrivateKey.generate(), PrivateKey.generate()
    parts, _ = ours(key, 1000.0)
    foreign, _ = ours(proxy, 1000.0)
    headers = dict(parts.headers)
    for name in ("Signature-Input", "Signature"):
        headers[name] = foreign.headers[name].replace("oicp=", "proxy=", 1) + ", " + headers[name]
    both = SignedRequestParts(parts.method, parts.authority, parts.path, parts.query, headers, parts.body)
    assert verify_request(both, KeyRing([KnownKey(key.public, "A")]).find, 1000.0).key == key.public
    with pytest.raises(UnknownKey):
        verify_request(both, KeyRing().find, 1000.0)
