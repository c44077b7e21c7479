"""Reading inputs and printing results, the same for all commands of the language."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import Finding


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


def as_json(value: object) -> str:
    """Return a value as JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def shown_findings(findings: Iterable[Finding]) -> Iterator[str]:
    """Return findings as lines of text."""
    for found in findings:
        yield f"  {found.severity:12} {found.pointer or '(message)'}  [{found.code}]"
        yield f"  {'':12} {found.message}"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return rows as lines of text, in columns as wide as they need to be."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
