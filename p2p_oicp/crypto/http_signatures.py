"""HTTP Message Signatures (RFC 9421) over a ``Content-Digest`` (RFC 9530), without I/O.

A request's signature covers method, authority, path, query, the digest of the body and its media type. A response's
covers the status, the digest, the media type, and the signature of the request, so that it is valid for this request
only. Everything is signed as bytes on the wire: no canonical form of JSON is involved.

The signature of a request covers the digest, not the body: it is verified before the body is read
(``verify_request_head``), and the body afterwards (``verify_body``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Protocol

import msgspec

from p2p_oicp.crypto.keys import PrivateKey, PublicKey
from p2p_oicp.crypto.signature_base import (
    REQUEST_COMPONENTS,
    RESPONSE_COMPONENTS,
    RESPONSE_COMPONENTS_PREFIX,
    SIGNATURE_LABEL,
    SIGNATURE_PARAMS_PREFIX,
    RequestHead,
    SignedRequestParts,
    SignedResponseParts,
    node_request_base,
    read_signature_inputs,
    request_base,
    required_field,
    response_base,
)
from p2p_oicp.crypto.structured_fields import (
    Component,
    SignatureInput,
    parse_byte_sequences,
    parse_signature_inputs,
    serialize_byte_sequence,
)
from p2p_oicp.errors import ClockMismatch, UnknownKey, VerificationError

_ALGORITHMS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


def content_digest(body: bytes) -> str:
    """Return the value of ``Content-Digest`` for a body as it is on the wire."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def check_digest(field: str, body: bytes) -> None:
    """Verify a body against its ``Content-Digest``.

    Raises:
        VerificationError: No digest of a supported algorithm, or any one that does not match.
    """
    if hmac.compare_digest(field.encode(errors="replace"), content_digest(body).encode()):
        return  # as nodes write it: nothing to parse
    supported_count = 0
    for name, digest in parse_byte_sequences(field, "Content-Digest").items():
        algorithm = _ALGORITHMS.get(name)
        if algorithm is None:  # RFC 9530 §2 lets a recipient ignore it
            continue
        supported_count += 1
        if not hmac.compare_digest(algorithm(body).digest(), digest):
            raise VerificationError("the body is not the one that was signed (Content-Digest)")
    if not supported_count:
        raise VerificationError("Content-Digest has neither sha-256 nor sha-512")


class RequestSigner(Protocol):
    """Authenticates outgoing requests, and verifies their responses.

    ``to`` is the name of the peer; None for other URLs, where nothing is signed or verified.
    """

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """Return the headers to add to a request; ``url`` and ``body`` are exactly what goes on the wire."""

    def verify_response(
        self, *, to: str | None, request_headers: Mapping[str, str], response: SignedResponseParts
    ) -> None:
        """Verify that a response is of the peer ``to``, and for the request with these headers.

        Raises:
            UnknownKey: The signing key is unknown; the peer may have a new one.
            VerificationError: Anything else.
        """


JSON_UTF8 = "application/json; charset=utf-8"
# How far the clocks of two companies may differ, and how long a signature is valid; nonces are stored for as long.
VALIDITY_WINDOW_SECONDS = 300
# Nonces are stored, and their sender chooses them.
MAX_NONCE_LENGTH = 128

_REQUIRED_REQUEST_COMPONENTS = frozenset({"@method", "@authority", "@path", "@query", "content-digest"})
_REQUIRED_RESPONSE_COMPONENTS = frozenset({"@status", "content-digest"})
_INTEGER = re.compile(r"-?[0-9]{1,15}")  # a quoted text may have any number of digits
_KEY_ID_PATTERN = re.compile(r'keyid="?([^";,\s]+)')


class VerifiedSignature(msgspec.Struct, frozen=True):
    """A verified signature.

    Attributes:
        key: The key that made it.
        created: When, by the signer's clock, in seconds since the epoch.
        nonce: Its nonce; empty in a response.
        label: Its label in the headers.
        value: The signature itself, which the signature of the response covers.
    """

    key: PublicKey
    created: int
    nonce: str
    label: str
    value: bytes


class KeyLookup(Protocol):
    """Looks up a key by its id, as ``KeyRing.find`` does."""

    def __call__(self, key_id: str, now: float) -> PublicKey:
        """Return a key; raises UnknownKey, or VerificationError if it is not valid at ``now``."""


def sign_request(  # noqa: PLR0913 - what is signed
    key: PrivateKey, *, method: str, authority: str, path: str, query: str, body: bytes, now: float, nonce: str,
    content_type: str = JSON_UTF8,
) -> dict[str, str]:  # fmt: skip
    """Return the headers of a signed request; ``now`` in seconds since the epoch."""
    created, digest = int(now), content_digest(body)
    parameters = (
        f"{REQUEST_COMPONENTS};created={created};expires={created + VALIDITY_WINDOW_SECONDS};"
        f'nonce="{nonce}";keyid="{key.key_id}";alg="{key.public.algorithm}"'
    )
    signature_base = node_request_base(method, authority, path, query, digest, content_type, parameters)
    return _signature_headers(key, signature_base, SIGNATURE_LABEL, parameters, digest)


def sign_response(
    key: PrivateKey, *, status: int, body: bytes, request_signature: VerifiedSignature, now: float
) -> dict[str, str]:
    """Return the headers of a signed response to a request with this signature."""
    components, digest = RESPONSE_COMPONENTS.format(label=request_signature.label), content_digest(body)
    parameters = f'{components};created={int(now)};keyid="{key.key_id}";alg="{key.public.algorithm}"'
    signature_base = (
        f'"@status": {status}\n"content-digest": {digest}\n"content-type": {JSON_UTF8}\n'
        f'"signature";req;key="{request_signature.label}": {serialize_byte_sequence(request_signature.value)}\n'
        f"{SIGNATURE_PARAMS_PREFIX}{parameters}"
    )
    return _signature_headers(key, signature_base, SIGNATURE_LABEL, parameters, digest)


def verify_request_head(head: RequestHead, find_key: KeyLookup, now: float | None) -> VerifiedSignature:
    """Return the signature of a request whose body is not read yet (RFC 9421 §3.2).

    It covers ``Content-Digest``, so ``verify_body`` verifies the body afterwards. Whether the signature was received
    before is checked by ``ReplayCache``.

    Args:
        head: The request.
        find_key: Returns a key by its id.
        now: Seconds since the epoch; None: the signature may be of any time (recorded evidence).

    Raises:
        UnknownKey: No signature is by a known key.
        VerificationError: Anything else; its text has the reason.
    """
    # (1) The first signature by a known key counts; a proxy may have added others (§4.3).
    signature_input, value, key = _select_signature(head.headers, find_key, now or 0.0)
    # (2) It covers everything that changes what the request means (a recorded one: by the rules of its time).
    _check_coverage(signature_input, _REQUIRED_REQUEST_COMPONENTS)
    if now is not None and head.method not in {"GET", "HEAD", "DELETE"} and "Content-Type" in head.headers:
        _check_coverage(signature_input, frozenset({"content-type"}))
    # (3) It was made within the time for which the replay cache keeps nonces.
    parameters = signature_input.parameters
    created = _timestamp_parameter(parameters, "created") if now is None else _check_times(parameters, now)
    nonce = parameters.get("nonce", "")
    if not 0 < len(nonce) <= MAX_NONCE_LENGTH:
        raise VerificationError("the signature has no usable nonce")
    # (4) The key made it over exactly these components.
    _check_algorithm(signature_input, key)
    key.verify(value, request_base(signature_input, head))
    return VerifiedSignature(key, created, nonce, signature_input.label, value)


def verify_body(head: RequestHead, body: bytes) -> None:
    """Verify a body, as it was on the wire, against the head's ``Content-Digest``; raises VerificationError."""
    check_digest(required_field(head.headers, "content-digest"), body)


def verify_request(parts: SignedRequestParts, find_key: KeyLookup, now: float | None) -> VerifiedSignature:
    """Return the signature of a request with its body; arguments and errors are those of ``verify_request_head``."""
    signature = verify_request_head(parts, find_key, now)
    verify_body(parts, parts.body)
    return signature


def verify_response(
    response: SignedResponseParts, request_headers: Mapping[str, str], find_key: KeyLookup, now: float
) -> VerifiedSignature:
    """Return the signature of a response.

    Args:
        response: The response.
        request_headers: The headers of its request as they were sent: the signature covers that of the request.
        find_key: Returns a key by its id.
        now: Seconds since the epoch.

    Raises:
        UnknownKey: No signature is by a known key.
        VerificationError: Anything else; also a response to another request.
    """
    signature_input, value, key = _select_signature(response.headers, find_key, now)
    _check_coverage(signature_input, _REQUIRED_RESPONSE_COMPONENTS)
    if not any(component.is_from_request and component.name == "signature" for component in signature_input.components):
        raise VerificationError("the answer's signature does not say which question it answers")
    # Its time is not checked: it covers the signature of our request, which is a few seconds old.
    created = _timestamp_parameter(signature_input.parameters, "created")
    check_digest(required_field(response.headers, "content-digest"), response.body)
    _check_algorithm(signature_input, key)
    key.verify(value, response_base(signature_input, response, request_headers))
    return VerifiedSignature(key, created, signature_input.parameters.get("nonce", ""), signature_input.label, value)


def has_signature(headers: Mapping[str, str]) -> bool:
    """Return whether a message has a signature, valid or not."""
    return "Signature-Input" in headers or "Signature" in headers


def key_ids(field: str) -> list[str]:
    """Return the ids of the keys in a ``Signature-Input`` field, without parsing the rest of it."""
    return _KEY_ID_PATTERN.findall(field)


def extra_covered_headers(field: str) -> list[Component]:
    """Return the headers that a ``Signature-Input`` field of another form than ours covers."""
    # Fast path: nodes sign in our own form, and each recorded exchange passes here twice.
    if field.count("(") == 1 and (REQUEST_COMPONENTS in field or RESPONSE_COMPONENTS_PREFIX in field):
        return []
    components = [
        component for signature_input in parse_signature_inputs(field) for component in signature_input.components
    ]
    return [component for component in components if not component.name.startswith("@")]


def _signature_headers(
    key: PrivateKey, signature_base: str, label: str, parameters: str, digest: str
) -> dict[str, str]:
    return {
        "Content-Type": JSON_UTF8,
        "Content-Digest": digest,
        "Signature-Input": f"{label}={parameters}",
        "Signature": f"{label}={serialize_byte_sequence(key.sign(signature_base.encode()))}",
    }


def _select_signature(
    headers: Mapping[str, str], find_key: KeyLookup, now: float
) -> tuple[SignatureInput, bytes, PublicKey]:
    inputs = read_signature_inputs(required_field(headers, "signature-input"))
    values = parse_byte_sequences(required_field(headers, "signature"), "Signature")
    unknown_key: UnknownKey | None = None
    for signature_input in inputs:
        value, key_id = values.get(signature_input.label), signature_input.parameters.get("keyid")
        if value is None or key_id is None:
            continue
        try:
            return signature_input, value, find_key(key_id, now)
        except UnknownKey as exc:  # a retired or banned key is none of these: it ends the search
            unknown_key = exc
    raise unknown_key or VerificationError("there is no signature with a keyid")


def _check_coverage(signature_input: SignatureInput, required: frozenset[str]) -> None:
    missing = required - signature_input.covered.message_component_names
    if missing:
        raise VerificationError(f"the signature does not cover {', '.join(sorted(missing))}")


def _check_times(parameters: Mapping[str, str], now: float) -> int:
    created = _timestamp_parameter(parameters, "created")
    if created > now + VALIDITY_WINDOW_SECONDS:
        raise ClockMismatch(f"signed {created - now:.0f} s in the future: check both clocks")
    if created < now - VALIDITY_WINDOW_SECONDS:
        raise ClockMismatch(f"signed {now - created:.0f} s ago: too old, or check both clocks")
    if "expires" in parameters and _timestamp_parameter(parameters, "expires") < now:
        raise VerificationError("the signature has expired")
    return created


def _check_algorithm(signature_input: SignatureInput, key: PublicKey) -> None:
    algorithm = signature_input.parameters.get("alg")
    if algorithm is not None and algorithm != key.algorithm:
        raise VerificationError(f"the signature says {algorithm}, its key is for {key.algorithm}")


def _timestamp_parameter(parameters: Mapping[str, str], name: str) -> int:
    if not _INTEGER.fullmatch(value := parameters.get(name, "")):
        raise VerificationError(f"the signature does not say when it was {name}")
    return int(value)
