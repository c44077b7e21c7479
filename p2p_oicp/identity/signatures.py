"""HTTP Message Signatures (RFC 9421), without I/O: headers and bytes in, headers or a verified signature out.

What is signed is bytes as they are on the wire, never a meaning. A request's signature covers method, authority, path,
query, the digest of the body and its media type. An answer's covers status, digest, media type, and the signature of
the request, so that it proves which question it answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import msgspec

from p2p_oicp.errors import NotProven, UnknownKey
from p2p_oicp.identity.digests import check_digest, content_digest
from p2p_oicp.identity.keys import PrivateKey, PublicKey
from p2p_oicp.identity.seams import AnswerParts, SignedParts
from p2p_oicp.identity.structured import Component, SignatureInput, as_item, byte_sequences, signature_inputs

LABEL = "oicp"
JSON_UTF8 = "application/json; charset=utf-8"
# DESIGN section 7: how far two companies' clocks may be apart, and how long a signature is good for.
WINDOW_SECONDS = 300
LONGEST_NONCE = 128

_REQUEST = '("@method" "@authority" "@path" "@query" "content-digest" "content-type")'
_ANSWER = '("@status" "content-digest" "content-type" "signature";req;key="{label}")'
_MUST_COVER = frozenset({"@method", "@authority", "@path", "@query", "content-digest"})
_ANSWER_MUST_COVER = frozenset({"@status", "content-digest"})
_ANY_ANSWER = _ANSWER.partition("{")[0]
_PARAMETERS = '"@signature-params": '
_KEY_IDS = re.compile(r'keyid="?([^";,\s]+)')


class VerifiedSignature(msgspec.Struct, frozen=True):
    """A signature that was checked: whose key, when (seconds since the epoch), and where it stands in the message."""

    key: PublicKey
    created: int
    nonce: str
    label: str
    value: bytes


class FindKey(Protocol):
    """Looks up a key by its id."""

    def __call__(self, key_id: str, now: float) -> PublicKey:
        """Return the key; raise UnknownKey, or NotProven where it may not be used at ``now``."""


def sign_request(
    key: PrivateKey, *, method: str, authority: str, path: str, query: str, body: bytes, now: float, nonce: str
) -> dict[str, str]:
    """Return the headers of a signed request; ``now`` in seconds since the epoch."""
    created, digest = int(now), content_digest(body)
    parameters = (
        f"{_REQUEST};created={created};expires={created + WINDOW_SECONDS};"
        f'nonce="{nonce}";keyid="{key.key_id}";alg="{key.public.algorithm}"'
    )
    base = (
        f'"@method": {method}\n"@authority": {authority}\n"@path": {path}\n"@query": ?{query}\n'
        f'"content-digest": {digest}\n"content-type": {JSON_UTF8}\n{_PARAMETERS}{parameters}'
    )
    return _headers(key, base, LABEL, parameters, digest)


def sign_answer(key: PrivateKey, *, status: int, body: bytes, to: VerifiedSignature, now: float) -> dict[str, str]:
    """Return the headers of a signed answer to the request that carried the signature ``to``."""
    covered, digest = _ANSWER.format(label=to.label), content_digest(body)
    parameters = f'{covered};created={int(now)};keyid="{key.key_id}";alg="{key.public.algorithm}"'
    base = (
        f'"@status": {status}\n"content-digest": {digest}\n"content-type": {JSON_UTF8}\n'
        f'"signature";req;key="{to.label}": {as_item(to.value)}\n{_PARAMETERS}{parameters}'
    )
    return _headers(key, base, LABEL, parameters, digest)


def verify_request(parts: SignedParts, find: FindKey, now: float) -> VerifiedSignature:
    """Return the signature of a request.

    (1) Among the signatures the first one with a known key counts. (2) It covers what must be covered, and (3) is of
    our time. (4) The body is the one of the digest, and (5) the key made the signature over exactly this.
    Raises UnknownKey, NotProven. Whether it was seen before is the replay guard's business.
    """
    return _verified_request(parts, find, now)


def recheck_request(parts: SignedParts, find: FindKey) -> VerifiedSignature:
    """As ``verify_request``, for a request of the past: whatever its time was."""
    return _verified_request(parts, find, None)


def _verified_request(parts: SignedParts, find: FindKey, now: float | None) -> VerifiedSignature:
    found, value, key = _first_known(parts.headers, find, now or 0.0)  # (1)
    _check_coverage(found, _MUST_COVER)  # (2)
    created = _seconds(found.parameters, "created") if now is None else _check_times(found.parameters, now)  # (3)
    nonce = found.parameters.get("nonce", "")
    if not 0 < len(nonce) <= LONGEST_NONCE:
        raise NotProven("the signature has no usable nonce")
    check_digest(_field(parts.headers, "content-digest"), parts.body)  # (4)
    _check_algorithm(found, key)
    key.verify(value, _base(found, lambda component: _of_request(component, parts)))  # (5)
    return VerifiedSignature(key, created, nonce, found.label, value)


def verify_answer(answer: AnswerParts, sent: Mapping[str, str], find: FindKey, now: float) -> VerifiedSignature:
    """Return the signature of an answer to the request that was sent with the headers ``sent``.

    Raises UnknownKey, NotProven: also where the answer belongs to another question.
    """
    found, value, key = _first_known(answer.headers, find, now)
    _check_coverage(found, _ANSWER_MUST_COVER)
    if not any(component.of_request and component.name == "signature" for component in found.components):
        raise NotProven("the answer's signature does not say which question it answers")
    created = _seconds(found.parameters, "created")
    check_digest(_field(answer.headers, "content-digest"), answer.body)
    _check_algorithm(found, key)
    key.verify(value, _base(found, lambda component: _of_answer(component, answer, sent)))
    return VerifiedSignature(key, created, found.parameters.get("nonce", ""), found.label, value)


def has_signature(headers: Mapping[str, str]) -> bool:
    """Say whether a message claims to be signed."""
    return "Signature-Input" in headers or "Signature" in headers


def key_ids(field: str) -> list[str]:
    """Return which keys a ``Signature-Input`` field names, without reading the rest of it."""
    return _KEY_IDS.findall(field)


def unusual_headers(field: str) -> list[Component]:
    """Return which headers a ``Signature-Input`` field covers, nothing where it is one of ours; raise NotProven."""
    if field.count("(") == 1 and (_REQUEST in field or _ANY_ANSWER in field):
        return []
    covered = [component for found in signature_inputs(field) for component in found.components]
    return [component for component in covered if not component.name.startswith("@")]


def field_of(headers: Mapping[str, str], name: str) -> str | None:
    """Return a field's value, several lines of it joined (RFC 9421, 2.1); None where it is not there."""
    getall = getattr(headers, "getall", None)
    values = getall(name, ()) if getall is not None else _plain(headers, name)
    if len(values) == 1:
        return cast("str", values[0].strip())
    return ", ".join(value.strip() for value in values) if values else None


def _headers(key: PrivateKey, base: str, label: str, parameters: str, digest: str) -> dict[str, str]:
    return {
        "Content-Type": JSON_UTF8,
        "Content-Digest": digest,
        "Signature-Input": f"{label}={parameters}",
        "Signature": f"{label}={as_item(key.sign(base.encode()))}",
    }


def _first_known(headers: Mapping[str, str], find: FindKey, now: float) -> tuple[SignatureInput, bytes, PublicKey]:
    inputs = signature_inputs(_field(headers, "signature-input"))
    values = byte_sequences(_field(headers, "signature"), "Signature")
    unknown: UnknownKey | None = None
    for found in inputs:
        value, key_id = values.get(found.label), found.parameters.get("keyid")
        if value is None or key_id is None:
            continue
        try:
            return found, value, find(key_id, now)
        except UnknownKey as exc:
            unknown = exc
    raise unknown or NotProven("there is no signature with a keyid")


def _check_coverage(found: SignatureInput, must: frozenset[str]) -> None:
    missing = must - found.covered.own
    if missing:
        raise NotProven(f"the signature does not cover {', '.join(sorted(missing))}")


def _check_times(parameters: Mapping[str, str], now: float) -> int:
    created = _seconds(parameters, "created")
    if created > now + WINDOW_SECONDS:
        raise NotProven(f"signed {created - now:.0f} s in the future: check both clocks")
    if created < now - WINDOW_SECONDS:
        raise NotProven(f"signed {now - created:.0f} s ago: too old, or check both clocks")
    if "expires" in parameters and _seconds(parameters, "expires") < now:
        raise NotProven("the signature has expired")
    return created


def _check_algorithm(found: SignatureInput, key: PublicKey) -> None:
    named = found.parameters.get("alg")
    if named is not None and named != key.algorithm:
        raise NotProven(f"the signature says {named}, its key is for {key.algorithm}")


def _seconds(parameters: Mapping[str, str], name: str) -> int:
    try:
        return int(parameters[name])
    except (KeyError, ValueError) as exc:
        raise NotProven(f"the signature does not say when it was {name}") from exc


def _base(found: SignatureInput, value_of: Callable[[Component], str]) -> bytes:
    """Return the bytes that are signed (RFC 9421, 2.5)."""
    lines = [f"{component.text}: {value_of(component)}" for component in found.components]
    lines.append(_PARAMETERS + found.raw)
    try:
        return "\n".join(lines).encode()
    except UnicodeEncodeError as exc:  # bytes of a header that are no UTF-8; RFC 9421, 2.1, wants ASCII
        raise NotProven("the signature covers a header that is no text") from exc


def _of_request(component: Component, parts: SignedParts) -> str:
    if component.of_request:
        raise NotProven("a request cannot cover a request (;req)")
    match component.name:
        case "@method":
            return parts.method
        case "@authority":
            return parts.authority
        case "@path":
            return parts.path
        case "@query":
            return f"?{parts.query}"
    return _header(component, parts.headers)


def _of_answer(component: Component, answer: AnswerParts, sent: Mapping[str, str]) -> str:
    if component.of_request:
        return _header(component, sent)
    return str(answer.status) if component.name == "@status" else _header(component, answer.headers)


def _header(component: Component, headers: Mapping[str, str]) -> str:
    if component.name.startswith("@"):
        raise NotProven(f"the signature covers {component.name}, which is not served here")
    field = _field(headers, component.name)
    if component.key is None:
        return field
    value = byte_sequences(field, component.name).get(component.key)
    if value is None:
        raise NotProven(f'the signature covers {component.name} "{component.key}", which is not there')
    return as_item(value)


def _field(headers: Mapping[str, str], name: str) -> str:
    value = field_of(headers, name)
    if value is None:
        raise NotProven(f"there is no {name} header")
    return value


def _plain(headers: Mapping[str, str], name: str) -> list[str]:
    name = name.lower()
    return [value for key, value in headers.items() if key.lower() == name]
