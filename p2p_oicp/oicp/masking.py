"""Messages without what identifies a driver: UIDs, EvcoIDs, PINs and their hashes, printed numbers.

For records that people read. A message is masked as text and not parsed: so the beginning of a large one can be masked,
too, and numbers and unknown members stay as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

MASK = "***"
# What is masked wherever it stands must be long enough to stand for nothing else; a UID has 8 characters at least.
_MIN_SECRET_LENGTH = 8
_PROVIDER_OF_EVCO_ID = re.compile(r"[A-Za-z]{2}[*-]?[A-Za-z0-9]{3}(?=[*-])")

_STRING = r'"(?:[^"\\]|\\.)*+"?'
_FLAT = rf'(?:{_STRING}|[^{{}}\[\]"])'
_NESTED = rf"(?:{_FLAT}|[\[{{]{_FLAT}*+[\]}}]?)"
# A name with an escape in it may be any name.
_SECRET_MEMBER = re.compile(
    rf'(?<!\\)"(?P<name>UID|EvcoID|PIN|HashedPIN|LegacyHashData|PrintedNumber|[^"\\]*+(?:\\.[^"\\]*+)++)"\s*+:\s*+'
    rf'(?P<value>{_STRING}|[\[{{]{_NESTED}*+[\]}}]?|[^\s,{{}}\[\]"]++)',
    re.IGNORECASE | re.DOTALL,
)


class MaskedText(msgspec.Struct, frozen=True):
    """A message without what identifies a driver.

    Attributes:
        text: the message, or its beginning; compact JSON if it is whole. None: it is no JSON, and may say anything.
        is_cut: only the beginning is there.
        secrets: what was masked.
    """

    text: str | None
    is_cut: bool = False
    secrets: frozenset[str] = frozenset()


def leave_unmasked(body: bytes, limit: int, secrets: Collection[str] = ()) -> MaskedText:
    """As `mask`, with all that identifies a driver left as it is: for a system that has test data only."""
    del secrets
    text, is_cut = body[:limit].decode("utf-8", errors="replace"), len(body) > limit
    if is_cut:
        return MaskedText(text, is_cut=True)
    try:
        return MaskedText(msgspec.json.format(text.encode(), indent=-1).decode())
    except msgspec.DecodeError:
        return MaskedText(None)


def mask(body: bytes, limit: int, secrets: Collection[str] = ()) -> MaskedText:
    """Return a message, of which at most ``limit`` bytes are read.

    Args:
        body: JSON in UTF-8.
        limit: of a larger message, the beginning is returned.
        secrets: what is masked wherever it stands: an answer may repeat what the request has said.
    """
    is_cut = len(body) > limit
    text = body[:limit].decode("utf-8", errors="replace")
    if not text.lstrip().startswith(("{", "[")):
        return MaskedText(None)
    found: set[str] = set()

    def replacement(match: re.Match[str]) -> str:
        value = match["value"].strip('"')
        if match["value"].startswith('"') and len(value) >= _MIN_SECRET_LENGTH:
            found.add(value)
        provider = _PROVIDER_OF_EVCO_ID.match(value) if match["name"].upper() == "EVCOID" else None
        prefix = f"{provider[0]}-" if provider else ""
        return f'{match[0][: match.start("value") - match.start()]}"{prefix}{MASK}"'

    text = _SECRET_MEMBER.sub(replacement, text)
    for secret in secrets:
        text = text.replace(secret, MASK)
    if is_cut:
        return MaskedText(text, is_cut=True, secrets=frozenset(found))
    try:
        compact = msgspec.json.format(text.encode(), indent=-1).decode()
    except msgspec.DecodeError:
        return MaskedText(None)
    return MaskedText(compact, secrets=frozenset(found))
