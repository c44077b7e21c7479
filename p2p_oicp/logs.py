"""Structured logs: one line per event, with peer, operation, SessionID and Process-ID where they are known.

What others wrote (names, texts, reasons) is in many of them. So in text logs, control characters are escaped: nobody
forges a line, or moves the cursor of who reads it.

What others do wrong, and what fails, is reported as often as it happens, which is as often as they want. So such events
are limited by `_EventLimiter`: nobody fills the disk by them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict

from p2p_oicp.clock import Clock, SystemClock
from p2p_oicp.errors import StoreError

#: The Process-ID of the request being served. Not `structlog.contextvars`: setting this costs nothing, and most
#: requests log nothing.
PROCESS_ID: ContextVar[str] = ContextVar("process_id", default="")

# Of each event and cause: so many at once, and one a second.
_BURST_LINES = 20.0
_LINES_PER_SECOND = 1.0
# At so many, further causes of an event count as one.
_MAX_CAUSES = 1000
# What is not written as a warning, for it is the fault of others, and limited all the same.
_LIMITED_INFOS = frozenset(
    {
        "hello.received",
        "http.malformed",
        "http.request_rejected",
        "oicp.invalid",
        "oicp.refused",
        "oicp.warnings",
    }
)
_UNLIMITED_METHODS = frozenset({"debug", "info"})
# Members that tell causes apart. Each has few values, or those of our own settings: nobody else can invent one.
_CAUSE_MEMBERS = ("peer", "code", "status", "operation", "role", "dataset", "backend", "worker", "job")
# A database that fails makes everybody report the same: that is one cause, whatever the event.
_STORE_ERROR = ("StoreError",)
_MAX_MESSAGE_LENGTH = 200
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


class _EventLimiter:
    """Lets so many events of a cause through; the next one counts those that were left out.

    A cause is the event with its `_CAUSE_MEMBERS` and the type of its exception, and never what a sender wrote.
    Limited are warnings, errors and `_LIMITED_INFOS`.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._causes: dict[tuple[object, ...], _Allowance] = {}

    def __call__(self, _logger: object, method: str, event: EventDict) -> EventDict:
        error = event.get("error")
        if isinstance(error, Exception):
            event["error"] = str(error)
        if isinstance(error, StoreError):
            left_out = self._take(_STORE_ERROR, burst=1.0)
        elif method in _UNLIMITED_METHODS and event["event"] not in _LIMITED_INFOS:
            return event
        else:
            # True: that which is being handled.
            exception = sys.exc_info()[1] if event.get("exc_info") is True else event.get("exc_info") or error
            values = [event.get(member) for member in _CAUSE_MEMBERS]
            left_out = self._take((event["event"], type(exception).__name__, *map(str, values)), _BURST_LINES)
        if left_out is None:
            raise structlog.DropEvent
        if left_out:
            event["similar_lines_left_out"] = left_out
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """Limit the records of libraries, of which the text without its arguments is the cause."""
        left_out = self._take((record.name, str(record.msg)[:_MAX_MESSAGE_LENGTH]), _BURST_LINES)
        record.__dict__["similar_lines_left_out"] = left_out
        return left_out is not None

    def _take(self, cause: tuple[object, ...], burst: float) -> int | None:
        """Return how many of a cause were left out since the last one that was not; None: leave this one out too."""
        now = self._monotonic()
        allowance = self._causes.get(cause)
        if allowance is None:
            if len(self._causes) >= _MAX_CAUSES:
                cause = cause[:1]
            allowance = self._causes.setdefault(cause, _Allowance(burst, now))
        lines = min(burst, allowance.lines + (now - allowance.updated_at) * _LINES_PER_SECOND)
        allowance.updated_at = now
        if lines < 1.0:
            allowance.lines = lines
            allowance.left_out += 1
            return None
        allowance.lines = lines - 1.0
        left_out, allowance.left_out = allowance.left_out, 0
        return left_out


@dataclass(slots=True)
class _Allowance:
    """How many lines of a cause may be written at once, and how many were left out."""

    lines: float
    updated_at: float
    left_out: int = 0


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
        left_out = getattr(record, "similar_lines_left_out", None)
        text = f"{super().format(record)} (similar lines left out: {left_out})" if left_out else super().format(record)
        return printable(text, keep="\n")


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
        else [_without_control_characters, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_level=False)]
    )
    limiter = _EventLimiter(clock.monotonic)
    structlog.configure(
        processors=[
            limiter,
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
    handler.addFilter(limiter.filter)
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def use_stdlib_logging() -> None:
    """Send events to the standard library's logging, unless the embedding program has configured structlog itself."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _EventLimiter(SystemClock().monotonic),
            _with_process_id,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
