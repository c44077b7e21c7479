"""TOML files that people write; every mistake is one line with file, line, key and what is expected."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from p2p_oicp.errors import ConfigurationError

Location = tuple[str | int, ...]

# What may hide a "key =" that is none: comments and strings. Newlines in long strings stay, so that lines still count.
_OPAQUE = re.compile(r'#[^\n]*|"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL)
_NAME = r'(?:[A-Za-z0-9_-]+|"[^"]*"|\'[^\']*\')'
_KEYS = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEYS})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_KEYS})\s*=")
_DECODER_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")

_EXPECTED = {
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "dict_type": "expected a table of keys",
    "enum": "expected {expected}",
    "finite_number": "expected a finite number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "frozen_set_type": 'expected a list, such as ["…", "…"]',
    "greater_than": "expected a number greater than {gt}",
    "greater_than_equal": "expected a number of at least {ge}",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "less_than_equal": "expected a number of at most {le}",
    "literal_error": "expected {expected}",
    "model_attributes_type": "expected a table of keys",
    "model_type": "expected a table of keys",
    "path_type": "expected a path, as text in quotes",
    "string_too_long": "expected at most {max_length} characters",
    "string_too_short": "expected at least {min_length} character(s)",
    "string_type": "expected text in quotes",
    "too_short": "expected at least {min_length} characters",
    "tuple_type": 'expected a list, such as ["…", "…"]',
}
_KINDS = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a table"}
_TYPE_ERRORS = ("_type", "_parsing", "_from_float")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """What one TOML file says, and on which line it says it."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[Location, int]

    def place(self, location: Location) -> str:
        """Return ``file:line: [table] key`` for a location; the line is that of the nearest known key or table."""
        if not location:
            return str(self.path)
        known = (self.lines[location[:end]] for end in range(len(location), 0, -1) if location[:end] in self.lines)
        line = next(known, None)
        return f"{self.path}{'' if line is None else f':{line}'}: {self._key(location)}"

    def _key(self, location: Location) -> str:
        head, *names = [str(step) for step in location if isinstance(step, str)]
        value = self.data.get(head)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return " ".join([f"[[{head}]]", *names])
        if isinstance(value, dict):
            return " ".join([f"[{head}]", *names])
        return head


def read_toml(path: Path) -> TomlFile:
    """Read a TOML file; raise `ConfigurationError` if it is absent, unreadable or not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise ConfigurationError(f"{path}: no such file; `p2p-oicp init DIR --name …` writes one") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path}: not UTF-8 text (byte {exc.start}); save it as UTF-8") from exc
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        return TomlFile(path, tomllib.loads(text), _key_lines(text))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(_broken_toml(path, text, str(exc))) from exc


def _broken_toml(path: Path, text: str, complaint: str) -> str:
    place = _DECODER_PLACE.search(complaint)
    what = _DECODER_PLACE.sub("", complaint)
    line, column = place.groups() if place else (None, None)
    if line is None:
        return f"{path}:{text.rstrip().count(chr(10)) + 1}: not valid TOML: {what} at the end of the file"
    return f"{path}:{line}: not valid TOML: {what} (column {column})"


def _key_lines(text: str) -> dict[Location, int]:
    lines: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(_without_opaque_text(text).split("\n"), start=1):
        if header := _HEADER.match(line):
            table = _names(header[2])
            lines.setdefault(table, number)
            if header[1] == "[[":
                table = (*table, sum(1 for known in lines if known[:-1] == table and isinstance(known[-1], int)))
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            names = _names(assignment[1])
            for end in range(1, len(names) + 1):
                lines.setdefault((*table, *names[:end]), number)
    return lines


def _names(keys: str) -> Location:
    return tuple(name.strip("\"'") for name in re.findall(_NAME, keys))


def _without_opaque_text(text: str) -> str:
    def cover(found: re.Match[str]) -> str:
        opaque = found[0]
        if opaque.startswith(('"""', "'''")):
            return "\n" * opaque.count("\n")
        return "" if opaque.startswith("#") else opaque

    return _OPAQUE.sub(cover, text)


def mistake(error: ValidationError, model: type[BaseModel], place: Callable[[Location], str]) -> ConfigurationError:
    """Return the one line for what `model` found wrong; unknown keys first, since they often explain the rest."""
    found = min(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")
    location = found["loc"]
    return ConfigurationError(f"{place(location)}: {_complaint(found, model, location)}")


def _complaint(found: ErrorDetails, model: type[BaseModel], location: Location) -> str:
    kind, context = found["type"], found.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(str(location[-1]), _keys_beside(model, location))
    if kind == "missing":
        return f"missing; expected: {_description(model, location)}"
    if kind == "value_error":
        return str(context["error"])
    expected = _EXPECTED.get(kind, found["msg"]).format_map(context)
    if kind.endswith(_TYPE_ERRORS):
        return f"{expected}, not {_KINDS.get(type(found['input']), 'this')}"
    return expected


def unknown_key(name: str, known: list[str]) -> str:
    """Return what to say of an unknown key: the nearest known one, or all."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (
        f'unknown key; did you mean "{near[0]}"?'
        if near
        else f"unknown key; expected one of {', '.join(sorted(known))}"
    )


def _keys_beside(model: type[BaseModel], location: Location) -> list[str]:
    *_, last = _models_along(model, location[:-1])
    return list(last.model_fields)


def _description(model: type[BaseModel], location: Location) -> str:
    *_, last = _models_along(model, location[:-1])
    return (last.model_fields[str(location[-1])].description or "a value").rstrip(".")


def _models_along(model: type[BaseModel], location: Location) -> Iterator[type[BaseModel]]:
    yield model
    for step in location:
        if isinstance(step, str):
            annotation = model.model_fields[step].annotation
            nested = (annotation, *get_args(annotation))
            model = next(part for part in nested if isinstance(part, type) and issubclass(part, BaseModel))
            yield model
