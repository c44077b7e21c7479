"""An object is complete when its constructor returns, and nothing completes it from outside."""

import ast
from collections.abc import Iterator

from tests.meta.source import MODULES, PACKAGE, Function, Module

# Attributes of other libraries' objects that have no other way to be set.
OF_LIBRARIES = {
    "__cause__",  # an exception that is raised elsewhere
    "row_factory",  # sqlite3.Connection
    "isolation_level",  # sqlite3.Connection
    "minimum_version",  # ssl.SSLContext
    "num_tickets",  # ssl.SSLContext
    "verify_mode",  # ssl.SSLContext
    "verify_flags",  # ssl.SSLContext
    "output_size",  # aiohttp's writer of a response
    "metavar",  # an option of Typer, after it has made it
    "samples",  # a metric of prometheus_client
}
# Attributes of our own objects that another module sets nevertheless, each with the reason.
ALLOWED = {
    "oicp.rules.engine: context.message": "the engine reuses one context for all parts: the hottest loop of a push",
}


def test_no_attribute_is_annotated_without_a_value():
    offenders = [
        f"{module.name}:{node.lineno} {ast.unparse(node)}"
        for module in MODULES.values()
        for node in unset_attributes(module)
    ]
    assert not offenders, "\n".join(offenders)


def test_no_attribute_of_another_object_is_assigned():
    offenders = [
        f"{module.name}:{target.lineno} {ast.unparse(target)}"
        for module in MODULES.values()
        for target in foreign_targets(module)
        if f"{module.name.removeprefix(f'{PACKAGE}.')}: {ast.unparse(target)}" not in ALLOWED
    ]
    assert not offenders, "\n".join(offenders)


def unset_attributes(module: Module) -> Iterator[ast.AnnAssign]:
    """Return what a method, or a class with a constructor of its own, announces and does not set."""
    for function in module.functions():
        yield from (
            node
            for node in ast.walk(function)
            if isinstance(node, ast.AnnAssign) and node.value is None and isinstance(node.target, ast.Attribute)
        )
    for class_ in ast.walk(module.tree):
        if isinstance(class_, ast.ClassDef) and constructor_of(class_) is not None:
            yield from (
                node
                for node in class_.body
                if isinstance(node, ast.AnnAssign)
                if node.value is None and "ClassVar" not in ast.unparse(node)
                if ast.unparse(node.target) not in slots_of(class_)
            )


def constructor_of(class_: ast.ClassDef) -> ast.AST | None:
    return next((node for node in class_.body if getattr(node, "name", "") == "__init__"), None)


def slots_of(class_: ast.ClassDef) -> set[str]:
    """Return the names in ``__slots__``; an immutable class annotates them, and sets them past ``__setattr__``."""
    return {
        name.value
        for node in class_.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__"
        for name in ast.walk(node.value)
        if isinstance(name, ast.Constant)
    }


def foreign_targets(module: Module) -> Iterator[ast.Attribute]:
    """Return the attributes that are assigned to an object which this module did not make.

    Not those of ``self`` or ``cls``, of a local object that the function has just made, of a record (a dataclass, a
    Struct) that this module declares itself, and of libraries' objects.
    """
    own_fields = {
        field for class_ in ast.walk(module.tree) if isinstance(class_, ast.ClassDef) for field in fields(class_)
    }
    for function in module.functions():
        made_here = {"self", "cls", *made_in(function)}
        for target in assigned_attributes(function):
            is_own = isinstance(target.value, ast.Name) and target.value.id in made_here
            if not is_own and target.attr not in own_fields | OF_LIBRARIES:
                yield target


def assigned_attributes(function: Function) -> Iterator[ast.Attribute]:
    for node in ast.walk(function):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            for target in targets:
                parts = target.elts if isinstance(target, ast.Tuple) else [target]
                yield from (part for part in parts if isinstance(part, ast.Attribute))


def made_in(function: Function) -> Iterator[str]:
    """Return the local names that hold what a class was called for."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            called = node.value.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name[:1].isupper() or name == "__new__" or name in OF_CONSTRUCTORS:
                yield from (target.id for target in node.targets if isinstance(target, ast.Name))


# Functions of libraries that make an object: it is this function's own.
OF_CONSTRUCTORS = {"connect", "create_default_context"}


def fields(class_: ast.ClassDef) -> Iterator[str]:
    """Return the fields of a class whose constructor is made from its annotations."""
    if constructor_of(class_) is None:
        yield from (
            node.target.id
            for node in class_.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        )
