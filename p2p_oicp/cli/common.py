"""Options that several commands share.

Reading inputs and printing results, the same for all commands of the language.

Times as people write them: 30m, 24h, 7d.

Times as people write them on the command line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import Finding

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="Settings of the node, as `init` writes them.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")]


def read_input(file: str) -> bytes:
    """Return the bytes of a file, or of standard input for ``-``; raises ConfigurationError."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as exc:
        raise ConfigurationError(
            f"{file}: {exc.strerror}; expected a file with JSON, or - for standard input"
        ) from None


def format_json(value: object) -> str:
    """Return a value as JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def format_findings(findings: Iterable[Finding]) -> Iterator[str]:
    """Return findings as lines of text."""
    for finding in findings:
        yield f"  {finding.severity:12} {finding.pointer or '(message)'}  [{finding.code}]"
        yield f"  {'':12} {finding.message}"


def align_columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return rows as lines of text, in columns as wide as they need to be."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


_SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str, option: str) -> float:
    """Return the seconds of ``text``; raise ConfigurationError naming ``option``."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None:
        raise ConfigurationError(f'{option}: "{text}" is no time; expected one such as 30m, 24h or 7d')
    return float(match[1]) * _SECONDS_PER_UNIT[match[2]]


def parse_time(text: str, option: str) -> float:
    """Return seconds since the epoch of a date, or of a time with its offset; raise `ConfigurationError`."""
    try:
        if len(text) == len("2026-03-01"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp()
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigurationError(f'{option} {text}: expected "2026-03-01" or "2026-03-01T02:00:00+01:00"')
    return time.timestamp()
