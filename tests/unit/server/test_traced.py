"""Spans have few names, whatever is sent."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from p2p_oicp.server.traced import TracedRouter
from p2p_oicp.tracing.spans import SpanRecorder


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("POST", "/api/oicp/cdrmgmt/v22/operators/DE*ABC/charge-detail-record", 200, "ChargeDetailRecord"),
        ("POST", "/p2p/v1/hello", 200, "POST /p2p/v1/hello"),
        ("GET", "/p2p/v1/sessions/0815?x=y", 200, "GET /p2p/v1/sessions"),
        ("GET", "/.well-known/oicp-p2p", 200, "GET /.well-known/oicp-p2p"),
        ("GET", "/p2p/v1/whatever", 404, "other"),
        ("GET", "/wp-admin/setup.php", 404, "other"),
        ("BREW", "/p2p/v1/hello", 405, "other"),
    ],
)
async def test_a_span_has_the_name_of_something_that_is_there(method, path, status, name):
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def serve(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status)

    await TracedRouter(serve, SpanRecorder(provider), "peer")(make_mocked_request(method, path))
    (span,) = exporter.get_finished_spans()
    assert span.name == name
    assert span.attributes["http.request.method"] in {"GET", "POST", "_OTHER"}
