"""Spans of this node by OpenTelemetry: one for each request that it serves, and one for each that it sends.

The library is an extra (``pip install 'p2p-oicp[otel]'``), and is imported only where ``[tracing]`` asks for spans. An
embedding program gives its own provider (``Node(tracer_provider=…)``), and its spans within our backends are children
of ours. No span has anything of a message: neither ids of drivers nor of sessions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.tracing import TRACE, TraceContext
from p2p_oicp.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Tracer

_EXPORT_TIMEOUT_SECONDS = 5
_HEX = 16
_RECORDED_FLAG = 1


class TracerSource(Protocol):
    """A provider of OpenTelemetry."""

    def get_tracer(self, instrumenting_module_name: str, instrumenting_library_version: str | None = None) -> Tracer:
        """Return the tracer of a library."""


class SpanRecorder:
    """Records the spans of one node.

    Args:
        provider: where they go.
    """

    def __init__(self, provider: TracerSource) -> None:
        self._tracer = provider.get_tracer("p2p_oicp", VERSION)

    @contextmanager
    def serving(self, name: str, attributes: Mapping[str, str]) -> Iterator[Span]:
        """Record the serving of a request, whose trace is the current one; it is a part of that one, or begins one."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra

        with self._span(name, SpanKind.SERVER, attributes) as span:
            yield span

    @contextmanager
    def sending(self, name: str, attributes: Mapping[str, str]) -> Iterator[Span]:
        """Record the sending of a request, until its response."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra

        with self._span(name, SpanKind.CLIENT, attributes) as span:
            yield span

    @contextmanager
    def _span(self, name: str, kind: SpanKind, attributes: Mapping[str, str]) -> Iterator[Span]:
        from opentelemetry.trace import StatusCode, use_span  # noqa: PLC0415 - an extra

        span = self._tracer.start_span(name, context=_parent_context(TRACE.get()), kind=kind, attributes=attributes)
        own = span.get_span_context()
        trace_id, span_id, flags = f"{own.trace_id:032x}", f"{own.span_id:016x}", f"{own.trace_flags:02x}"
        trace = TraceContext(trace_id, span_id, flags, own.trace_state.to_header(), is_own_span=True)
        token = TRACE.set(trace)
        try:
            # The text of an error may have what a partner wrote, and stays in the log.
            with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                try:
                    yield span
                except Exception as error:
                    span.set_attribute("error.type", type(error).__name__)
                    span.set_status(StatusCode.ERROR)
                    raise
        finally:
            TRACE.reset(token)


def _parent_context(parent: TraceContext | None) -> Context | None:
    """Return a context with the span that a new one is a child of; None: the one of the embedding program, if any."""
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    if parent is None:
        return None
    context = trace.SpanContext(
        int(parent.trace_id, _HEX),
        int(parent.span_id, _HEX),
        is_remote=not parent.is_own_span,
        trace_flags=trace.TraceFlags(int(parent.flags, _HEX) & _RECORDED_FLAG),
        trace_state=trace.TraceState.from_header([parent.state] if parent.state else []),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(context))


def otlp_provider(node: str, endpoint: str, sampled: float) -> TracerProvider:
    """Return a provider that sends spans to an OpenTelemetry collector; ``shutdown`` sends what is left.

    Args:
        node: the node's name, by which its spans are found.
        endpoint: the collector's URL for traces (OTLP over HTTP).
        sampled: the part of the traces that begin here of which spans are recorded.

    Raises:
        ConfigurationError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
    except ImportError as error:
        hint = "[tracing] otlp_endpoint needs OpenTelemetry; run: pip install 'p2p-oicp[otel]'"
        raise ConfigurationError(hint) from error
    resource = Resource.create({"service.name": "p2p-oicp", "service.instance.id": node, "service.version": VERSION})
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(sampled), resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint, timeout=_EXPORT_TIMEOUT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
