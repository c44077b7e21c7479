"""Structured logs: one line per event, with peer, operation, SessionID and Process-ID where they are known."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict

from p2p_oicp.clock import Clock

#: The Process-ID of the request being served. Not `structlog.contextvars`: setting this costs nothing, and most
#: requests log nothing.
PROCESS_ID: ContextVar[str] = ContextVar("process_id", default="")


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
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            _with_process_id,
            structlog.processors.add_log_level,
            _Timestamper(clock),
            *([structlog.processors.format_exc_info] if log_format == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _BestEffortStderr())),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )


def use_stdlib_logging() -> None:
    """Send events to the standard library's logging, unless the embedding program has configured structlog itself."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _with_process_id,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
