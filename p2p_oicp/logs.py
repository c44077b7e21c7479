"""Structured logs: one line per event, with peer, operation, SessionID and Process-ID where they are known.

What others wrote (names, texts, reasons) is in many of them. So in text logs, control characters are escaped: nobody
forges a line, or moves the cursor of who reads it. A database that fails makes everybody report the same at once: of
events with a `StoreError`, one a second is written.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import sys
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict

from p2p_oicp.clock import Clock, SystemClock
from p2p_oicp.errors import StoreError

#: The Process-ID of the request being served. Not `structlog.contextvars`: setting this costs nothing, and most
#: requests log nothing.
PROCESS_ID: ContextVar[str] = ContextVar("process_id", default="")

_STORE_ERROR_INTERVAL_SECONDS = 1.0
# Members of an event that are a stack trace.
_MULTILINE = frozenset({"exception", "stack"})


def _with_process_id(_logger: object, _method: str, event: EventDict) -> EventDict:
    if process_id := PROCESS_ID.get():
        event["process_id"] = process_id
    return event


class _Timestamper:
    """Adds the time of our clock, in the format of structlog's own processor."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        event["timestamp"] = datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return event


class _StoreErrorThrottle:
    """Lets one event a second through of those whose error is a `StoreError`; the next one counts the others."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._next_at = -math.inf
        self._suppressed = 0

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        error = event.get("error")
        if isinstance(error, Exception):
            event["error"] = str(error)
        if not isinstance(error, StoreError):
            return event
        now = self._monotonic()
        if now < self._next_at:
            self._suppressed += 1
            raise structlog.DropEvent
        self._next_at = now + _STORE_ERROR_INTERVAL_SECONDS
        if self._suppressed:
            event["similar_lines_left_out"] = self._suppressed
            self._suppressed = 0
        return event


def printable(text: str, keep: str = "") -> str:
    """Return a text with escapes as in JSON for all characters but printable ones and ``keep``."""
    if text.translate(dict.fromkeys(map(ord, keep))).isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else _escape(char) for char in text)


def _escape(char: str) -> str:
    digits = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{digits[start : start + 4]}" for start in range(0, len(digits), 4))


def _without_control_characters(_logger: object, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = printable(value, keep="\n" if name in _MULTILINE else "")
    return event


class _PrintableFormatter(logging.Formatter):
    """For the records of libraries."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")


class _BestEffortStderr(io.TextIOBase):
    """Standard error, which may be a file on a full disk: a lost line of the log must not fail a request."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logs(log_format: str, level: str, clock: Clock) -> None:
    """Set up the logs of a program, on standard error.

    Args:
        log_format: ``text`` for people, ``json`` for machines.
        level: the name of the lowest level that is written.
        clock: tells the time of each event.
    """
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [_without_control_characters, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            _StoreErrorThrottle(clock.monotonic),
            _with_process_id,
            structlog.processors.add_log_level,
            _Timestamper(clock),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _BestEffortStderr())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def use_stdlib_logging() -> None:
    """Send events to the standard library's logging, unless the embedding program has configured structlog itself."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _StoreErrorThrottle(SystemClock().monotonic),
            _with_process_id,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
