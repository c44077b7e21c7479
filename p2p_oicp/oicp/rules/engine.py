"""How rules are found and run: by model, and down into the parts of a message that have rules of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.findings import Finding
from p2p_oicp.oicp.kinds import Kind, Notes
from p2p_oicp.oicp.members import ListOf, Unwrapping
from p2p_oicp.oicp.rules.scope import EVERYONE, Scope
from p2p_oicp.oicp.rules.table import RULES, Rule
from p2p_oicp.oicp.tolerant import RecordOf, plan_of


@dataclass(frozen=True, slots=True)
class Course:
    """The rules of a model, and those of its members that have rules somewhere below them."""

    rules: tuple[Rule, ...]
    parts: tuple[str, ...]


@cache
def course_of(model: type[Message]) -> Course:
    """Return what ``check`` does with a message of this model."""
    rules = tuple(rule for base in model.__mro__ for rule in RULES.get(base, ()))
    parts = tuple(member.attribute for member in plan_of(model).members if _has_rules(_model_in(member.kind)))
    return Course(rules, parts)


def _model_in(kind: Kind) -> type[Message] | None:
    if isinstance(kind, Unwrapping):
        kind = kind.inner
    if isinstance(kind, ListOf):
        kind = kind.item
    return kind.model if isinstance(kind, RecordOf) and issubclass(kind.model, Message) else None


def _has_rules(model: type[Message] | None) -> bool:
    return model is not None and course_of(model) != Course((), ())


def check(message: Message, scope: Scope = EVERYONE) -> list[Finding]:
    """Return what the rules say of a message."""
    notes = Notes()
    _walk(message, "", notes, scope)
    return notes.findings


def _walk(message: Message, at: str, notes: Notes, scope: Scope) -> None:
    course = course_of(type(message))
    for rule in course.rules:
        rule(message, at, notes, scope)
    for attribute in course.parts:
        part = message.__dict__[attribute]
        if not part:
            continue
        below = at + message.token(attribute)
        if isinstance(part, tuple):
            for position, element in enumerate(part):
                _walk(element, f"{below}/{position}", notes, scope)
        else:
            _walk(part, below, notes, scope)
