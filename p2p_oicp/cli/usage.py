"""Our words for wrong options and arguments, which Typer finds, and for what the operating system refuses.

Loaded only when something is wrong: its imports are slow.
"""

from __future__ import annotations

from typing import Any

import typer
from pydantic import ValidationError
from typer.exceptions import TyperException

from p2p_oicp.config.toml import expectation

_INPUT_LENGTH = 60


def is_interruption(error: Exception) -> bool:
    """Return whether a person has pressed Ctrl-C at a question."""
    return isinstance(error, typer.Abort) and isinstance(error.__context__, KeyboardInterrupt)


def is_request_for_help(error: Exception) -> bool:
    """Return whether a command was called with nothing: its help has been printed."""
    return type(error).__name__ == "NoArgsIsHelpError"


def failure_text(error: Exception) -> str:
    """Return one line for an error of Typer or of the operating system, with what to do where that can be known."""
    if isinstance(error, typer.Abort):
        return "there is no terminal to ask at, so nothing was done; an option answers instead (see --help)"
    if isinstance(error, OSError):
        return _system_failure_text(error)
    return _usage_text(error)


def _system_failure_text(error: OSError) -> str:
    # A file that a command knows is reported by the command itself; what is left is mostly the output.
    where = "standard output" if error.filename is None else error.filename
    return f"{where}: {error.strerror or error}"


def _usage_text(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    parameter = getattr(error, "param", None)
    command = context.command_path if context is not None else "p2p-oicp"
    hint = f"see {command} --help"
    if parameter is None:
        text = error.format_message() if isinstance(error, TyperException) else str(error)
        return f"{_lower_first(text.rstrip('.'))}; {hint}"
    name = "/".join(getattr(parameter, "opts", ())) if parameter.param_type_name == "option" else parameter.metavar
    name = (name or parameter.name).strip("[]{}")
    if type(error).__name__ == "MissingParameter":
        return f"{name} is missing: {(parameter.help or '').rstrip('.')}; {hint}"
    return f"{name}: {_expectation(error, parameter)}; {hint}"


def _expectation(error: Exception, parameter: Any) -> str:  # noqa: ANN401 - Typer exports no type of parameters
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return _lower_first(str(error)).rstrip(".")
    first = cause.errors(include_url=False)[0]
    choices = getattr(parameter.type_descriptor, "choices", None)
    expected = f"expected one of {', '.join(map(str, choices))}" if choices else expectation(first)
    value = str(first["input"])
    shown = value if len(value) <= _INPUT_LENGTH else f"{value[:_INPUT_LENGTH]}…"
    return f'{expected}, not "{shown}"'


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
