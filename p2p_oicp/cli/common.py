"""What several commands share: common options, reading inputs, formatting results, durations and times."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import rich.console
import typer
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.logs import printable

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="Settings of the node, as `init` writes them.")
]
DEFAULT_CONFIG = Path("node.toml")
# Which events: filters of different kinds must all hold, those of one kind are alternatives.
EventTypeOption = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="TYPE", help="Only of this type: `cdr`, or `cdr.disputed`; may be repeated."),
]
EventPeerOption = Annotated[list[str] | None, typer.Option("--peer", metavar="NAME", help="Only about this peer.")]
EventPartyOption = Annotated[
    list[str] | None, typer.Option("--party", metavar="ID", help="Only about this operator or provider.")
]
EventEvseOption = Annotated[list[str] | None, typer.Option("--evse", metavar="ID", help="Only about this EVSE.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]

_SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def echo(message: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text, as Typer does, without control characters: much of what is printed was written by others."""
    typer.echo(printable(str(message), keep="\n\t"), err=err, nl=nl)


class Console(rich.console.Console):
    """Escapes control characters in what is printed: only its own reach the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            is_safe = segment.control or segment.text.isprintable()
            yield segment if is_safe else Segment(printable(segment.text, keep="\n"), segment.style)


def read_input(file: str) -> bytes:
    """Return the bytes of a file, or of standard input for ``-``; raise `ConfigurationError`."""
    if file == "-":
        if sys.stdin.isatty():
            echo("Reading from standard input; Ctrl-D ends it.", err=True)
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as exc:
        raise ConfigurationError(
            f"{file}: cannot be read: {exc.strerror}; expected a file with JSON, or - for standard input"
        ) from exc


def create_file(path: Path, content: bytes) -> None:
    """Create a file that does not exist yet, which only its owner may read; raise `OSError`."""
    # O_EXCL: a file or link that appeared meanwhile is not written through; the mode holds from the first byte on.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)


def format_json(value: object) -> str:
    """Return a value as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def toml_value(value: object) -> str:
    """Return a text, or a sequence of texts, as a TOML value."""
    # A JSON string is a TOML basic string, except that TOML requires DEL to be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def parse_duration(text: str, option: str) -> float:
    """Return the seconds of a duration such as 30m, 24h or 7d; raise `ConfigurationError` that names ``option``."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None:
        raise ConfigurationError(f'{option}: "{text}" is no duration; expected one such as 30m, 24h or 7d')
    return float(match[1]) * _SECONDS_PER_UNIT[match[2]]


def parse_date_or_time(text: str, option: str) -> float:
    """Return seconds since the epoch of a date (midnight UTC) or of a time with its offset; raise as `parse_time`."""
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp()
    except ValueError:
        return parse_time(text, option, expected='"2026-03-01" or "2026-03-01T02:00:00+01:00"')


def parse_time(
    text: str, option: str, *, expected: str = 'a time with its offset: "2026-03-01T12:00:00+01:00"'
) -> float:
    """Return seconds since the epoch of a time with its offset; raise `ConfigurationError` that names ``option``."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigurationError(f"{option} {text}: expected {expected}")
    return time.timestamp()
