"""Read TOML files with the line number of each key, and turn validation errors into one line for people.

``tomllib`` reports no positions of keys, so ``_key_lines`` finds them with regular expressions; the values come from
``tomllib`` alone.
"""

from __future__ import annotations

import difflib
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from p2p_oicp.errors import ConfigurationError

Location = tuple[str | int, ...]

# Comments and strings may contain what looks like "key =". They are removed, but their newlines stay, to count lines.
_COMMENT_OR_STRING = re.compile(
    r'#[^\n]*|"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL
)
_SIMPLE_KEY = r'(?:[A-Za-z0-9_-]+|"[^"]*"|\'[^\']*\')'
_DOTTED_KEY = rf"{_SIMPLE_KEY}(?:\s*\.\s*{_SIMPLE_KEY})*"
_TABLE_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED_KEY})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED_KEY})\s*=")
_DECODER_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")

#: By the type of pydantic's error: what an operator reads instead of its text.
_EXPECTATIONS = {
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
#: By Python type: what an operator calls the value that was found.
_TYPE_NAMES = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a table"}
_TYPE_ERRORS = ("_type", "_parsing", "_from_float")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """The content of a TOML file, and the line of each key."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[Location, int]

    def locate(self, location: Location) -> str:
        """Return ``file:line: [table] key`` for a location."""
        if not location:
            return str(self.path)
        # A missing key, or an inline table, has no line of its own: the nearest enclosing one is given.
        line_numbers = (
            self.lines[location[:end]] for end in range(len(location), 0, -1) if location[:end] in self.lines
        )
        line = next(line_numbers, None)
        return f"{self.path}{'' if line is None else f':{line}'}: {self._format_key(location)}"

    def _format_key(self, location: Location) -> str:
        first, *names = [str(step) for step in location if isinstance(step, str)]
        value = self.data.get(first)
        if isinstance(value, dict) and names and _is_list_of_tables(value.get(names[0])):
            first, value, names = f"{first}.{names[0]}", value[names[0]], names[1:]
        if _is_list_of_tables(value):
            return " ".join([f"[[{first}]]", *names])
        if isinstance(value, dict):
            return " ".join([f"[{first}]", *names])
        return first


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def read_toml(path: Path) -> TomlFile:
    """Read a TOML file; raises ConfigurationError if it is absent, unreadable or no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise ConfigurationError(f"{path}: no such file; `{_init_command(path)}` writes one") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path}: not UTF-8 text (byte {exc.start}); save it as UTF-8") from exc
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        return TomlFile(path, tomllib.loads(text), _key_lines(text))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(_syntax_error_message(path, text, str(exc))) from exc


def _init_command(path: Path) -> str:
    return f'p2p-oicp init {shlex.quote(str(path.parent))} --name "Your Company" --operator "DE*ABC"'


def _syntax_error_message(path: Path, text: str, decoder_message: str) -> str:
    position = _DECODER_POSITION.search(decoder_message)
    reason = _DECODER_POSITION.sub("", decoder_message)
    line, column = position.groups() if position else (None, None)
    if line is None:
        return f"{path}:{text.rstrip().count(chr(10)) + 1}: not valid TOML: {reason} at the end of the file"
    return f"{path}:{line}: not valid TOML: {reason} (column {column})"


def _key_lines(text: str) -> dict[Location, int]:
    # The first occurrence counts: tomllib refuses a second one, unless it is a further entry of an array of tables.
    lines: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(_strip_comments_and_strings(text).split("\n"), start=1):
        if header := _TABLE_HEADER.match(line):
            table = _split_key(header[2])
            lines.setdefault(table, number)
            # An entry of an array of tables: its location ends with its index, as in pydantic's errors.
            if header[1] == "[[":
                table = (
                    *table,
                    sum(1 for location in lines if location[:-1] == table and isinstance(location[-1], int)),
                )
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            names = _split_key(assignment[1])
            # "a.b = 1" defines the table "a" as well.
            for end in range(1, len(names) + 1):
                lines.setdefault((*table, *names[:end]), number)
    return lines


def _split_key(dotted_key: str) -> Location:
    return tuple(name.strip("\"'") for name in re.findall(_SIMPLE_KEY, dotted_key))


def _strip_comments_and_strings(text: str) -> str:
    def replacement(match: re.Match[str]) -> str:
        text_to_replace = match[0]
        if text_to_replace.startswith(('"""', "'''")):
            return "\n" * text_to_replace.count("\n")
        return "" if text_to_replace.startswith("#") else text_to_replace

    return _COMMENT_OR_STRING.sub(replacement, text)


def configuration_error(
    error: ValidationError, model: type[BaseModel], locate: Callable[[Location], str]
) -> ConfigurationError:
    """Return one line for a validation error.

    Args:
        error: The error of pydantic.
        model: The model that was validated.
        locate: Returns the text for a location: file, line and key, or an environment variable.
    """
    # Unknown keys first: a misspelled key is often the reason of a missing one.
    first_error = min(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")
    location = first_error["loc"]
    return ConfigurationError(f"{locate(location)}: {_error_message(first_error, model, location)}")


def _error_message(error: ErrorDetails, model: type[BaseModel], location: Location) -> str:
    error_type, context = error["type"], error.get("ctx", {})
    if error_type == "extra_forbidden":
        return unknown_key_message(str(location[-1]), _sibling_keys(model, location))
    if error_type == "missing":
        return f"missing; expected: {_description(model, location)}"
    if error_type == "value_error":
        return str(context["error"])
    expected = expectation(error)
    if error_type.endswith(_TYPE_ERRORS):
        return f"{expected}, not {_TYPE_NAMES.get(type(error['input']), 'this')}"
    return expected


def expectation(error: ErrorDetails) -> str:
    """Return what is expected instead of a value, in our words: ``expected a whole number``."""
    return _EXPECTATIONS.get(error["type"], error["msg"]).format_map(error.get("ctx", {}))


def unknown_key_message(name: str, known_keys: list[str]) -> str:
    """Return the text for an unknown key: a similar known key, else all known keys."""
    close_matches = difflib.get_close_matches(name, known_keys, n=1, cutoff=0.5)
    return (
        f'unknown key; did you mean "{close_matches[0]}"?'
        if close_matches
        else f"unknown key; expected one of {', '.join(sorted(known_keys))}"
    )


def _sibling_keys(model: type[BaseModel], location: Location) -> list[str]:
    *_, parent_model = _models_on_path(model, location[:-1])
    return [field.alias or name for name, field in parent_model.model_fields.items()]


def _description(model: type[BaseModel], location: Location) -> str:
    *_, parent_model = _models_on_path(model, location[:-1])
    return (parent_model.model_fields[str(location[-1])].description or "a value").rstrip(".")


def _models_on_path(model: type[BaseModel], location: Location) -> Iterator[type[BaseModel]]:
    yield model
    for step in location:
        if isinstance(step, str):
            annotation = model.model_fields[step].annotation
            # In "tuple[PeerEntry, ...]" and "X | None" the model is one of the arguments.
            types = (annotation, *get_args(annotation))
            model = next(
                candidate for candidate in types if isinstance(candidate, type) and issubclass(candidate, BaseModel)
            )
            yield model
