"""Run the rules of a message and of its nested objects. Which rules a model has is compiled once and cached."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from p2p_oicp.oicp.field_specs import ListField, OptionalWrapperField
from p2p_oicp.oicp.field_types import FieldType
from p2p_oicp.oicp.findings import Finding
from p2p_oicp.oicp.lenient import ModelField, model_spec
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.record_view import AnyRecord, RecordView
from p2p_oicp.oicp.rules.context import UNRESTRICTED_SCOPE, RuleContext, SenderScope
from p2p_oicp.oicp.rules.registry import RULES, Rule


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of a model, and its attributes that have rules at some level below."""

    rules: tuple[Rule, ...]
    nested_attributes: tuple[str, ...]


@cache
def rules_for(message_type: type[Message | RecordView]) -> RuleSet:
    """Return the rules of a model, or of the model of a record view."""
    model = message_type.model if issubclass(message_type, RecordView) else message_type
    rules = tuple(rule for base in model.__mro__ for rule in RULES.get(base, ()))
    nested_attributes = tuple(
        member.attribute for member in model_spec(model).members if _has_rules(_nested_model(member.field_type))
    )
    return RuleSet(rules, nested_attributes)


def _nested_model(field_type: FieldType) -> type[Message] | None:
    if isinstance(field_type, OptionalWrapperField):
        field_type = field_type.inner
    if isinstance(field_type, ListField):
        field_type = field_type.item
    return field_type.model if isinstance(field_type, ModelField) and issubclass(field_type.model, Message) else None


def _has_rules(model: type[Message] | None) -> bool:
    return model is not None and rules_for(model) != RuleSet((), ())


def check(message: AnyRecord, scope: SenderScope = UNRESTRICTED_SCOPE) -> list[Finding]:
    """Return the findings of the rules on a message.

    On a record view only their presence counts: the pointers are not those of the received bytes.
    """
    context = RuleContext(message, scope)
    _run_rules(message, context)
    return context.findings


def _run_rules(message: AnyRecord, context: RuleContext) -> None:
    context.message = message
    rule_set = rules_for(type(message))
    for rule in rule_set.rules:
        rule(message, context)
    # Order: a message's own rules run before those of its parts, since a part becomes the context's current message.
    for attribute in rule_set.nested_attributes:
        nested = getattr(message, attribute)
        if isinstance(nested, tuple):
            for position, element in enumerate(nested):
                _run_nested_rules(element, message, (attribute, position), context)
        elif nested is not None:
            _run_nested_rules(nested, message, (attribute,), context)


def _run_nested_rules(nested: AnyRecord, parent: AnyRecord, path: tuple[str | int, ...], context: RuleContext) -> None:
    context.parents.append((parent, path))
    _run_rules(nested, context)
    context.parents.pop()
