"""The subset of Structured Fields (RFC 8941) that signatures and digests use.

Only the canonical serialization is accepted: one space between the items of an inner list, none around parameters. The
signature covers this very text (RFC 9421 §2.3), so a signer writes it in this form.

Own code instead of http-sfv, which was measured: it takes 45 µs for the headers of a request where this takes 12 µs,
14 % of a signed AuthorizeStart, and does not keep the received text, which is what is signed.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache

import msgspec

from p2p_oicp.errors import VerificationError

_KEY = r"[a-z*][a-z0-9_.*-]{0,63}"
_STRING = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_VALUE = rf"(?:{_STRING}|-?[0-9]{{1,15}}|[A-Za-z*][!#$%&'*+.^_`|~:/0-9A-Za-z-]*|:[A-Za-z0-9+/=]*:|\?[01])"
_PARAMETER = rf";{_KEY}(?:={_VALUE})?"
_COMPONENT = rf"{_STRING}(?:{_PARAMETER})*"
_SIGNATURE_INPUT_MEMBER = re.compile(
    rf"[ \t]*({_KEY})=(\((?:{_COMPONENT}(?: {_COMPONENT})*)?\))((?:{_PARAMETER})*)[ \t]*(?:,|$)", re.ASCII
)
_BYTE_SEQUENCE_MEMBER = re.compile(rf"[ \t]*({_KEY})=:([A-Za-z0-9+/]*={{0,2}}):[ \t]*(?:,|$)", re.ASCII)
_PARAMETER_PATTERN = re.compile(rf";({_KEY})(?:=({_VALUE}))?", re.ASCII)
_COMPONENT_PATTERN = re.compile(rf"({_STRING})((?:{_PARAMETER})*)", re.ASCII)
# A message has one or two signatures; each further one would cost an unauthenticated sender nothing and us a lookup.
_MAX_MEMBERS = 8


class Component(msgspec.Struct, frozen=True):
    """One covered component (RFC 9421 §2)."""

    #: The identifier as it is serialized, with parameters.
    text: str
    name: str
    #: Whether it is a component of the request (``;req``).
    is_from_request: bool = False
    #: The member of a dictionary field (``;key="…"``).
    key: str | None = None


class CoveredComponents(msgspec.Struct, frozen=True):
    """The covered components of a signature, and the names of those that are the message's own."""

    components: tuple[Component, ...]
    message_component_names: frozenset[str]


class SignatureInput(msgspec.Struct, frozen=True):
    """One member of ``Signature-Input``."""

    label: str
    #: The received text of components and parameters: the value of ``@signature-params``.
    raw: str
    covered: CoveredComponents
    #: The parameters as text, strings without quotes.
    parameters: dict[str, str]

    @property
    def components(self) -> tuple[Component, ...]:
        """The covered components in the order in which they are signed."""
        return self.covered.components


def parse_signature_inputs(field: str) -> list[SignatureInput]:
    """Parse a ``Signature-Input`` field; raises VerificationError."""
    inputs = []
    for match in _match_members(_SIGNATURE_INPUT_MEMBER, field, "Signature-Input"):
        label, covered, parameters = match.groups()
        inputs.append(
            SignatureInput(
                label, covered + parameters, parse_covered_components(covered), _parse_parameters(parameters)
            )
        )
    return inputs


def parse_byte_sequences(field: str, name: str) -> dict[str, bytes]:
    """Parse a dictionary of byte sequences (``Signature``, ``Content-Digest``); raises VerificationError."""
    sequences: dict[str, bytes] = {}
    for match in _match_members(_BYTE_SEQUENCE_MEMBER, field, name):
        try:
            sequences[match[1]] = binascii.a2b_base64(match[2], strict_mode=True)
        except binascii.Error as exc:
            raise VerificationError(f"the {name} header is not base64") from exc
    return sequences


def serialize_byte_sequence(value: bytes) -> str:
    """Return bytes as a Structured Fields item (RFC 8941 §4.1.8)."""
    return f":{base64.b64encode(value).decode()}:"


def _match_members(pattern: re.Pattern[str], field: str, name: str) -> list[re.Match[str]]:
    matches: list[re.Match[str]] = []
    position = 0
    while position < len(field):
        match = pattern.match(field, position)
        if match is None or len(matches) == _MAX_MEMBERS:
            raise VerificationError(f"the {name} header is not as RFC 9421 and RFC 9530 write it")
        matches.append(match)
        position = match.end()
    return matches


# A peer covers the same components in each of its messages. Bounded: unauthenticated clients send any text.
@lru_cache(maxsize=128)
def parse_covered_components(text: str) -> CoveredComponents:
    """Parse an inner list of components; raises VerificationError."""
    components = tuple(_parse_component(match) for match in _COMPONENT_PATTERN.finditer(text))
    if len({component.text for component in components}) != len(components):
        raise VerificationError("a component is covered twice")
    return CoveredComponents(
        components, frozenset(component.name for component in components if not component.is_from_request)
    )


def _parse_component(match: re.Match[str]) -> Component:
    parameters = _parse_parameters(match[2])
    unknown = parameters.keys() - {"req", "key"}
    if unknown:
        raise VerificationError(f"component {match[0]} has a parameter that is not served here")
    return Component(match[0], _unquote(match[1]), "req" in parameters, parameters.get("key"))


def _parse_parameters(text: str) -> dict[str, str]:
    return {name: _unquote(value) for name, value in _PARAMETER_PATTERN.findall(text)}


def _unquote(value: str) -> str:
    if not value.startswith('"'):
        return value
    inner = value[1:-1]
    return re.sub(r"\\(.)", r"\1", inner) if "\\" in inner else inner
