"""How rules are found and run: by model, and down into the parts of a message that have rules of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from p2p_oicp.oicp.base import Message
from p2p_oicp.oicp.findings import Finding
from p2p_oicp.oicp.kinds import Kind
from p2p_oicp.oicp.likeness import Likeness, Readable
from p2p_oicp.oicp.members import ListOf, Unwrapping
from p2p_oicp.oicp.rules.here import EVERYONE, Here, Scope
from p2p_oicp.oicp.rules.table import RULES, Rule
from p2p_oicp.oicp.tolerant import RecordOf, plan_of


@dataclass(frozen=True, slots=True)
class Course:
    """The rules of a model, and those of its members that have rules somewhere below them."""

    rules: tuple[Rule, ...]
    parts: tuple[str, ...]


@cache
def course_of(kind: type[Message | Likeness]) -> Course:
    """Return what ``check`` does with a message of this model, or with a likeness."""
    model = kind.model if issubclass(kind, Likeness) else kind
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


def check(message: Readable, scope: Scope = EVERYONE) -> list[Finding]:
    """Return what the rules say of a message; of a likeness, whether they say anything."""
    here = Here(message, scope)
    _run(message, here)
    return here.findings


def _run(message: Readable, here: Here) -> None:
    here.message = message
    course = course_of(type(message))
    for rule in course.rules:
        rule(message, here)
    for attribute in course.parts:
        part = getattr(message, attribute)
        if isinstance(part, tuple):
            for position, element in enumerate(part):
                _run_below(element, message, (attribute, position), here)
        elif part is not None:
            _run_below(part, message, (attribute,), here)


def _run_below(part: Readable, above: Readable, way: tuple[str | int, ...], here: Here) -> None:
    here.trail.append((above, way))
    _run(part, here)
    here.trail.pop()
