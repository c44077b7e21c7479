"""Traces (W3C Trace Context): which requests of several systems belong together.

A request that comes with ``traceparent`` hands its trace to all requests that are sent on because of it, to peers and
to our own systems, each with an id of its own; ``tracestate`` goes along. A request that comes without one is sent on
without one. What is delivered later, by a worker, begins a trace of its own.

With OpenTelemetry (`spans`), which is an extra, the node adds its own spans to these traces, and begins some.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar

import msgspec

from p2p_oicp.clock import random_hex

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_FIRST_VERSION, _INVALID_VERSION = "00", "ff"
# W3C Trace Context, 3.3.1.5: that many characters at least should be passed on.
_MAX_STATE_LENGTH = 512


class TraceContext(msgspec.Struct, frozen=True):
    """The trace of what is being done.

    Attributes:
        trace_id: of the whole trace, 32 hexadecimal digits.
        span_id: of the request that this is done for, or of our own span; 16 digits.
        flags: 2 digits; the last bit says that it is recorded.
        state: the value of ``tracestate``, which belongs to the recording systems.
        is_own_span: ``span_id`` is a span that this node records.
    """

    trace_id: str
    span_id: str
    flags: str = "00"
    state: str = ""
    is_own_span: bool = False

    def headers(self) -> dict[str, str]:
        """Return the headers of a request that is sent on, which has an id of its own."""
        span_id = self.span_id if self.is_own_span else random_hex(_SPAN_ID_BYTES)
        headers = {"traceparent": f"{_FIRST_VERSION}-{self.trace_id}-{span_id}-{self.flags}"}
        return {**headers, "tracestate": self.state} if self.state else headers


#: The trace of the request that is being served; None where it has none.
TRACE: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def begin_trace(headers: Mapping[str, str]) -> None:
    """Make the trace of a request with these headers the current one, unless a span of ours stands for it already."""
    current = TRACE.get()
    if current is None or not current.is_own_span:
        TRACE.set(read_trace(headers))


def read_trace(headers: Mapping[str, str]) -> TraceContext | None:
    """Return the trace that a request belongs to; None where it names none, or names one in a form that is none."""
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", "").strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    # Later versions may have more members (W3C Trace Context, 4.3); all zeros are no id.
    is_valid = version != _INVALID_VERSION and (version != _FIRST_VERSION or rest is None)
    if not is_valid or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    state = headers.get("tracestate", "")
    is_usable = state.isascii() and state.isprintable() and len(state) <= _MAX_STATE_LENGTH
    return TraceContext(trace_id, span_id, flags, state if is_usable else "")


def new_trace_headers() -> dict[str, str]:
    """Return the headers of a request that nobody waits for: it begins a trace, which nobody has recorded yet."""
    return TraceContext(random_hex(_TRACE_ID_BYTES), "").headers()
