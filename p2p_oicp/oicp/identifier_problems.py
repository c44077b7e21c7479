"""What is wrong with a malformed identifier, in words (RULES L15).

`find_problem` says it of an identifier, `likely_problems` of a text of which nobody knows what it is to be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from p2p_oicp.oicp.field_types import outer_whitespace
from p2p_oicp.oicp.identifiers import (
    UID,
    ChargingPoolID,
    EvcoID,
    EvseID,
    Identifier,
    OperatorID,
    ProviderID,
    ProviderIDOrAll,
    SessionID,
)

_COMPANY_LENGTH = "has {length} characters behind the country code, 3 are needed"
_PROVIDER_PROBLEMS = ((r"[A-Z]{2}[*-]([A-Z0-9]+)", _COMPANY_LENGTH),)
#: For each identifier, the near misses: an expression for the text in upper case, and what is wrong with such a text;
#: ``{length}`` is the length of the expression's group, ``{part}`` what it matched.
_NEAR_MISSES: Mapping[type[Identifier], Sequence[tuple[str, str]]] = MappingProxyType(
    {
        EvseID: (
            (r"[A-Z]{2}-?[A-Z0-9]{3}-?E[A-Z0-9*-]+", "contains '-', which is not allowed in an EvseID; '*' separates"),
            (r"\+?[0-9]{1,3}-[0-9]{3}-[0-9*-]+", "contains '-', which is not allowed in an EvseID; '*' separates"),
            (r"[A-Z]{2}\*?[A-Z0-9]{3}\*?E([A-Z0-9*]*)", "has {length} characters behind the E, 1 to 30 are needed"),
            (r"[A-Z]{2}\*?([A-Z0-9]{3})\*?[A-DF-Z0-9][A-Z0-9*]*", "has no 'E' behind its operator, {part}"),
            (r"\+[0-9]{7,}", "has no '*' behind the country code, nor behind the operator"),
        ),
        OperatorID: (
            (r"[A-Z]{2}\*([A-Z0-9]+)", _COMPANY_LENGTH),
            (r"\+?[0-9]{1,3}\*([0-9]+)", "has {length} digits behind the country code, 3 are needed"),
            (r"[A-Z]{2}-[A-Z0-9]{3}", "contains '-', which is not allowed in an OperatorID; '*' separates"),
        ),
        ProviderID: _PROVIDER_PROBLEMS,
        ProviderIDOrAll: _PROVIDER_PROBLEMS,
        EvcoID: (
            (r"[A-Z]{2}-?[A-Z0-9]{3}-?C[A-Z0-9]{8}-?", "has no check character behind the instance"),
            (r"[A-Z]{2}[*-][A-Z0-9]{3}[*-][A-Z0-9]{6}[*-]?", "has no check digit behind the instance"),
            (
                r"[A-Z]{2}[*-][A-Z0-9]{3}[*-][A-Z0-9]{6}[*-]?([A-WYZ])",
                "ends in '{part}'; a check digit, or X, is needed",
            ),
            (r"[A-Z]{2}-[A-Z0-9]{3}-[ABD-Z0-9][A-Z0-9]{7,8}-?[A-Z0-9]", "has no 'C' before the instance"),
            (r"[A-Z]{2}-?[A-Z0-9]{3}-C([A-Z0-9]+)-[A-Z0-9]", "has {length} characters behind the C, 8 are needed"),
        ),
        SessionID: (
            (r"\{[A-Z0-9]+(?:-[A-Z0-9]+){4}\}", "stands in braces"),
            (r"[A-Z0-9]{32}", "has no '-' between its five parts"),
        ),
        UID: (
            (r"([0-9A-F]+)", "has {length} hexadecimal digits; a UID has 8, 14 or 20 (4, 7 or 10 bytes)"),
            (r"[0-9A-F]{2}(?:[ :-][0-9A-F]{2})+", "has separators; a UID is written without"),
        ),
        ChargingPoolID: ((r"[A-Z]{2}\*[A-Z0-9]{3}\*[A-OQ-Z0-9*]+", "has no 'P' behind the operator"),),
    }
)
_ALLOWED_CHARACTERS: Mapping[type[Identifier], str] = MappingProxyType(
    {
        EvseID: r"[A-Z0-9*+]",
        OperatorID: r"[A-Z0-9*+]",
        ProviderID: r"[A-Z0-9*-]",
        ProviderIDOrAll: r"[A-Z0-9*-]",
        EvcoID: r"[A-Z0-9*-]",
        SessionID: r"[A-Z0-9-]",
        UID: r"[A-F0-9]",
        ChargingPoolID: r"[A-Z0-9*]",
    }
)


def name_of(identifier_type: type[Identifier]) -> str:
    """Return the name of an identifier in the documents."""
    return ProviderID.__name__ if identifier_type is ProviderIDOrAll else identifier_type.__name__


def find_problem(identifier: Identifier) -> str | None:
    """Return what is wrong with a malformed identifier, as the rest of a sentence; None: nothing in particular."""
    text, identifier_type = identifier.text, type(identifier)
    if not text:
        return "is empty"
    problem = outer_whitespace(text) or _near_miss(text, identifier_type)
    if problem:
        return problem
    allowed = re.compile(_ALLOWED_CHARACTERS[identifier_type], re.ASCII | re.IGNORECASE)
    wrong = next((character for character in text if not (character.isascii() and allowed.match(character))), None)
    if wrong is None:
        return None
    name = "a blank" if wrong == " " else f"'{wrong}'" if wrong.isprintable() else f"U+{ord(wrong):04X}"
    return f"contains {name}, which is not allowed in {_with_article(identifier_type)}"


def likely_problems(text: str) -> list[tuple[type[Identifier], str]]:
    """Return the identifiers that a text nearly is, each with what is wrong with it."""
    types = [identifier_type for identifier_type in _NEAR_MISSES if identifier_type is not ProviderIDOrAll]
    if problem := outer_whitespace(text):
        return [(identifier_type, problem) for identifier_type in types if identifier_type(text.strip()).is_valid]
    return [(identifier_type, problem) for identifier_type in types if (problem := _near_miss(text, identifier_type))]


def _near_miss(text: str, identifier_type: type[Identifier]) -> str | None:
    for pattern, problem in _NEAR_MISSES[identifier_type]:
        if match := re.fullmatch(pattern, text.upper(), re.ASCII):
            part = match[match.lastindex or 0]
            return problem.format(length=len(part), part=part)
    return None


def _with_article(identifier_type: type[Identifier]) -> str:
    name = name_of(identifier_type)
    return f"an {name}" if name[0] in "EO" else f"a {name}"
