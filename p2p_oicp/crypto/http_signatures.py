"""``Content-Digest`` (RFC 9530): what ties a body to the headers that are signed.

The protocols of identity and what passes through them.

HTTP Message Signatures (RFC 9421), without I/O: headers and bytes in, headers or a verified signature out.

What is signed is bytes as they are on the wire, never a meaning. A request's signature covers method, authority, path,
query, the digest of the body and its media type. An answer's covers status, digest, media type, and the signature of
the request, so that it proves which question it answers.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import msgspec

from p2p_oicp.crypto.keys import PrivateKey, PublicKey
from p2p_oicp.crypto.structured_fields import (
    Component,
    SignatureInput,
    parse_byte_sequences,
    parse_signature_inputs,
    serialize_byte_sequence,
)
from p2p_oicp.errors import UnknownKey, VerificationError

_ALGORITHMS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


def content_digest(body: bytes) -> str:
    """Return the field's value for the bytes on the wire."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def check_digest(field: str, body: bytes) -> None:
    """Raise NotProven unless every digest of a known algorithm, and at least one, is that of ``body``."""
    supported_count = 0
    for name, digest in parse_byte_sequences(field, "Content-Digest").items():
        algorithm = _ALGORITHMS.get(name)
        if algorithm is None:
            continue
        supported_count += 1
        if not hmac.compare_digest(algorithm(body).digest(), digest):
            raise VerificationError("the body is not the one that was signed (Content-Digest)")
    if not supported_count:
        raise VerificationError("Content-Digest has neither sha-256 nor sha-512")


class SignedResponseParts(msgspec.Struct, frozen=True):
    """The parts of a received answer that its giver can be proved from; ``body`` is what was on the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RequestSigner(Protocol):
    """Proves our identity on outgoing requests, and holds the answers to the one of whoever was asked.

    ``to`` is the name of the peer, None where nobody in particular is called: then nothing is signed or checked.
    """

    def sign(self, *, to: str | None, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """Return the headers to add; ``url`` and ``body`` are exactly what goes on the wire."""

    def verify_response(
        self, *, to: str | None, request_headers: Mapping[str, str], response: SignedResponseParts
    ) -> None:
        """Raise NotProven unless ``answer`` proves that ``to`` gave it to the request with the headers ``sent``."""


class RequestHead(msgspec.Struct, frozen=True):
    """What a signature proves of a received request before its body is read.

    Attributes:
        path: as on the wire, percent-encoded.
        query: without its ``?``.
        headers: a mapping that ignores case.
    """

    method: str
    authority: str
    path: str
    query: str
    headers: Mapping[str, str]


class SignedRequestParts(RequestHead, frozen=True):
    """A received request as it was signed; ``body`` is what was on the wire, before any Content-Encoding is undone."""

    body: bytes


SIGNATURE_LABEL = "oicp"
JSON_UTF8 = "application/json; charset=utf-8"
# DESIGN section 7: how far two companies' clocks may be apart, and how long a signature is good for.
VALIDITY_WINDOW_SECONDS = 300
MAX_NONCE_LENGTH = 128

_REQUEST_COMPONENTS = '("@method" "@authority" "@path" "@query" "content-digest" "content-type")'
_RESPONSE_COMPONENTS = '("@status" "content-digest" "content-type" "signature";req;key="{label}")'
_REQUIRED_REQUEST_COMPONENTS = frozenset({"@method", "@authority", "@path", "@query", "content-digest"})
_REQUIRED_RESPONSE_COMPONENTS = frozenset({"@status", "content-digest"})
_RESPONSE_COMPONENTS_PREFIX = _RESPONSE_COMPONENTS.partition("{")[0]
_SIGNATURE_PARAMS_PREFIX = '"@signature-params": '
_KEY_ID_PATTERN = re.compile(r'keyid="?([^";,\s]+)')


class VerifiedSignature(msgspec.Struct, frozen=True):
    """A signature that was checked: whose key, when (seconds since the epoch), and where it stands in the message."""

    key: PublicKey
    created: int
    nonce: str
    label: str
    value: bytes


class KeyLookup(Protocol):
    """Looks up a key by its id."""

    def __call__(self, key_id: str, now: float) -> PublicKey:
        """Return the key; raise UnknownKey, or NotProven where it may not be used at ``now``."""


def sign_request(
    key: PrivateKey, *, method: str, authority: str, path: str, query: str, body: bytes, now: float, nonce: str
) -> dict[str, str]:
    """Return the headers of a signed request; ``now`` in seconds since the epoch."""
    created, digest = int(now), content_digest(body)
    parameters = (
        f"{_REQUEST_COMPONENTS};created={created};expires={created + VALIDITY_WINDOW_SECONDS};"
        f'nonce="{nonce}";keyid="{key.key_id}";alg="{key.public.algorithm}"'
    )
    signature_base = (
        f'"@method": {method}\n"@authority": {authority}\n"@path": {path}\n"@query": ?{query}\n'
        f'"content-digest": {digest}\n"content-type": {JSON_UTF8}\n{_SIGNATURE_PARAMS_PREFIX}{parameters}'
    )
    return _signature_headers(key, signature_base, SIGNATURE_LABEL, parameters, digest)


def sign_response(
    key: PrivateKey, *, status: int, body: bytes, request_signature: VerifiedSignature, now: float
) -> dict[str, str]:
    """Return the headers of a signed answer to the request that carried the signature ``to``."""
    components, digest = _RESPONSE_COMPONENTS.format(label=request_signature.label), content_digest(body)
    parameters = f'{components};created={int(now)};keyid="{key.key_id}";alg="{key.public.algorithm}"'
    signature_base = (
        f'"@status": {status}\n"content-digest": {digest}\n"content-type": {JSON_UTF8}\n'
        f'"signature";req;key="{request_signature.label}": {serialize_byte_sequence(request_signature.value)}\n'
        f"{_SIGNATURE_PARAMS_PREFIX}{parameters}"
    )
    return _signature_headers(key, signature_base, SIGNATURE_LABEL, parameters, digest)


def verify_request_head(head: RequestHead, find_key: KeyLookup, now: float) -> VerifiedSignature:
    """Return the signature of a request whose body is not read yet.

    It covers ``Content-Digest``, so that `verify_body` proves the body afterwards. Whether the same signature was
    received before is the business of `ReplayCache`.

    Raises:
        UnknownKey: no signature is by a key that ``find_key`` knows.
        VerificationError: anything else; its text says what.
    """
    return _verify_head(head, find_key, now)


def verify_body(head: RequestHead, body: bytes) -> None:
    """Raise VerificationError unless ``body``, as it was on the wire, is the one of the head's ``Content-Digest``."""
    check_digest(_required_field(head.headers, "content-digest"), body)


def verify_request(parts: SignedRequestParts, find_key: KeyLookup, now: float) -> VerifiedSignature:
    """Return the signature of a request that was read as a whole; raises as `verify_request_head` does."""
    signature = _verify_head(parts, find_key, now)
    verify_body(parts, parts.body)
    return signature


def verify_archived_request(parts: SignedRequestParts, find_key: KeyLookup) -> VerifiedSignature:
    """As `verify_request`, for recorded evidence: the signature may be of any time."""
    signature = _verify_head(parts, find_key, None)
    verify_body(parts, parts.body)
    return signature


def _verify_head(head: RequestHead, find_key: KeyLookup, now: float | None) -> VerifiedSignature:
    """Verify as RFC 9421 §3.2 says; ``now`` None: whatever the signature's time is."""
    # (1) The first signature by a known key counts; a proxy may have added others (§4.3).
    signature_input, value, key = _select_signature(head.headers, find_key, now or 0.0)
    # (2) It covers everything that changes what the request means.
    _check_coverage(signature_input, _REQUIRED_REQUEST_COMPONENTS)
    # (3) It was made within the time for which the replay cache keeps nonces.
    parameters = signature_input.parameters
    created = _timestamp_parameter(parameters, "created") if now is None else _check_times(parameters, now)
    nonce = parameters.get("nonce", "")
    if not 0 < len(nonce) <= MAX_NONCE_LENGTH:
        raise VerificationError("the signature has no usable nonce")
    # (4) The key made it over exactly these components.
    _check_algorithm(signature_input, key)
    key.verify(value, _signature_base(signature_input, lambda component: _request_component_value(component, head)))
    return VerifiedSignature(key, created, nonce, signature_input.label, value)


def verify_response(
    response: SignedResponseParts, request_headers: Mapping[str, str], find_key: KeyLookup, now: float
) -> VerifiedSignature:
    """Return the signature of an answer to the request that was sent with the headers ``sent``.

    Raises UnknownKey, NotProven: also where the answer belongs to another question.
    """
    signature_input, value, key = _select_signature(response.headers, find_key, now)
    _check_coverage(signature_input, _REQUIRED_RESPONSE_COMPONENTS)
    if not any(component.is_from_request and component.name == "signature" for component in signature_input.components):
        raise VerificationError("the answer's signature does not say which question it answers")
    created = _timestamp_parameter(signature_input.parameters, "created")
    check_digest(_required_field(response.headers, "content-digest"), response.body)
    _check_algorithm(signature_input, key)
    key.verify(
        value,
        _signature_base(
            signature_input, lambda component: _response_component_value(component, response, request_headers)
        ),
    )
    return VerifiedSignature(key, created, signature_input.parameters.get("nonce", ""), signature_input.label, value)


def has_signature(headers: Mapping[str, str]) -> bool:
    """Say whether a message claims to be signed."""
    return "Signature-Input" in headers or "Signature" in headers


def key_ids(field: str) -> list[str]:
    """Return which keys a ``Signature-Input`` field names, without reading the rest of it."""
    return _KEY_ID_PATTERN.findall(field)


def extra_covered_headers(field: str) -> list[Component]:
    """Return which headers a ``Signature-Input`` field covers, nothing where it is one of ours; raise NotProven."""
    if field.count("(") == 1 and (_REQUEST_COMPONENTS in field or _RESPONSE_COMPONENTS_PREFIX in field):
        return []
    components = [
        component for signature_input in parse_signature_inputs(field) for component in signature_input.components
    ]
    return [component for component in components if not component.name.startswith("@")]


def field_value(headers: Mapping[str, str], name: str) -> str | None:
    """Return a field's value, several lines of it joined (RFC 9421, 2.1); None where it is not there."""
    getall = getattr(headers, "getall", None)
    values = getall(name, ()) if getall is not None else _values_ignoring_case(headers, name)
    if len(values) == 1:
        return cast("str", values[0].strip())
    return ", ".join(value.strip() for value in values) if values else None


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
    inputs = parse_signature_inputs(_required_field(headers, "signature-input"))
    values = parse_byte_sequences(_required_field(headers, "signature"), "Signature")
    unknown_key: UnknownKey | None = None
    for signature_input in inputs:
        value, key_id = values.get(signature_input.label), signature_input.parameters.get("keyid")
        if value is None or key_id is None:
            continue
        try:
            return signature_input, value, find_key(key_id, now)
        except UnknownKey as exc:
            unknown_key = exc
    raise unknown_key or VerificationError("there is no signature with a keyid")


def _check_coverage(signature_input: SignatureInput, required: frozenset[str]) -> None:
    missing = required - signature_input.covered.message_component_names
    if missing:
        raise VerificationError(f"the signature does not cover {', '.join(sorted(missing))}")


def _check_times(parameters: Mapping[str, str], now: float) -> int:
    created = _timestamp_parameter(parameters, "created")
    if created > now + VALIDITY_WINDOW_SECONDS:
        raise VerificationError(f"signed {created - now:.0f} s in the future: check both clocks")
    if created < now - VALIDITY_WINDOW_SECONDS:
        raise VerificationError(f"signed {now - created:.0f} s ago: too old, or check both clocks")
    if "expires" in parameters and _timestamp_parameter(parameters, "expires") < now:
        raise VerificationError("the signature has expired")
    return created


def _check_algorithm(signature_input: SignatureInput, key: PublicKey) -> None:
    algorithm = signature_input.parameters.get("alg")
    if algorithm is not None and algorithm != key.algorithm:
        raise VerificationError(f"the signature says {algorithm}, its key is for {key.algorithm}")


def _timestamp_parameter(parameters: Mapping[str, str], name: str) -> int:
    try:
        return int(parameters[name])
    except (KeyError, ValueError) as exc:
        raise VerificationError(f"the signature does not say when it was {name}") from exc


def _signature_base(signature_input: SignatureInput, component_value: Callable[[Component], str]) -> bytes:
    """Return the bytes that are signed (RFC 9421, 2.5)."""
    lines = [f"{component.text}: {component_value(component)}" for component in signature_input.components]
    lines.append(_SIGNATURE_PARAMS_PREFIX + signature_input.raw)
    try:
        return "\n".join(lines).encode()
    except UnicodeEncodeError as exc:  # bytes of a header that are no UTF-8; RFC 9421, 2.1, wants ASCII
        raise VerificationError("the signature covers a header that is no text") from exc


def _request_component_value(component: Component, head: RequestHead) -> str:
    if component.is_from_request:
        raise VerificationError("a request cannot cover a request (;req)")
    match component.name:
        case "@method":
            return head.method
        case "@authority":
            return head.authority
        case "@path":
            return head.path
        case "@query":
            return f"?{head.query}"
    return _header_component_value(component, head.headers)


def _response_component_value(
    component: Component, response: SignedResponseParts, request_headers: Mapping[str, str]
) -> str:
    if component.is_from_request:
        return _header_component_value(component, request_headers)
    return str(response.status) if component.name == "@status" else _header_component_value(component, response.headers)


def _header_component_value(component: Component, headers: Mapping[str, str]) -> str:
    if component.name.startswith("@"):
        raise VerificationError(f"the signature covers {component.name}, which is not served here")
    field = _required_field(headers, component.name)
    if component.key is None:
        return field
    value = parse_byte_sequences(field, component.name).get(component.key)
    if value is None:
        raise VerificationError(f'the signature covers {component.name} "{component.key}", which is not there')
    return serialize_byte_sequence(value)


def _required_field(headers: Mapping[str, str], name: str) -> str:
    value = field_value(headers, name)
    if value is None:
        raise VerificationError(f"there is no {name} header")
    return value


def _values_ignoring_case(headers: Mapping[str, str], name: str) -> list[str]:
    name = name.lower()
    return [value for key, value in headers.items() if key.lower() == name]
