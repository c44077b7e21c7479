"""One trace from a charging system's request to the contract system of the other company, through two nodes."""

import builtins
import re
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.node import Node
from tests.support.messages import CDR, START, UID, authorize_start, cdr
from tests.support.own_systems import OwnSystem
from tests.support.waiting import eventually

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "csms=1"}
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@pytest.fixture
async def contracts():
    """A contract system, which lists what it gets."""
    async with OwnSystem(frozenset({UID})) as system:
        yield system


@asynccontextmanager
async def running(stopped, contracts, **providers):
    file = stopped.folder / "b" / "node.toml"
    file.write_text(file.read_text().replace("[security]", f'emp_url = "{contracts.url}"\n[security]'))
    async with AsyncExitStack() as stack:
        for name in ("b", "a"):
            node = Node(load_settings(stopped.folder / name / "node.toml"), tracer_provider=providers.get(name))
            await stack.enter_async_context(node)
        yield


def parents(contracts) -> list[tuple[str, str]]:
    """Trace id and span id of each request that the contract system got; empty where it had none."""
    found = [TRACEPARENT.fullmatch(each.headers.get("traceparent", "")) for each in contracts.requests]
    return [match.group(1, 2) if match else ("", "") for match in found]


async def test_a_trace_goes_from_the_charging_system_to_the_contract_system(stopped, contracts):
    async with running(stopped, contracts):
        assert (await stopped.a.post(START, authorize_start(), headers=HEADERS)).json["SessionID"]
    ((trace_id, span_id),) = parents(contracts)
    assert trace_id == TRACE_ID
    assert span_id != SPAN_ID
    assert contracts.requests[0].headers["tracestate"] == "csms=1"


async def test_a_request_without_one_is_sent_on_without_one_also_on_a_connection_that_had_one(stopped, contracts):
    async with running(stopped, contracts):
        await stopped.a.post(START, authorize_start(), headers=HEADERS)
        await stopped.a.post(START, authorize_start(EvseID="DE*GEF*E2"))
    assert [trace_id for trace_id, _ in parents(contracts)] == [TRACE_ID, ""]


async def test_what_is_delivered_later_has_a_trace_of_its_own(stopped, contracts):
    async with running(stopped, contracts):
        session = (await stopped.a.post(START, authorize_start(), headers=HEADERS)).json["SessionID"]
        await stopped.a.post(CDR, cdr(session), headers=HEADERS)
        await eventually(lambda: len(contracts.requests) == 2)
    (_, _), (trace_id, _) = parents(contracts)
    assert trace_id not in {"", TRACE_ID}


async def test_spans_of_both_nodes_are_one_trace(stopped, contracts):
    exporter = InMemorySpanExporter()
    providers = {name: TracerProvider(shutdown_on_exit=False) for name in "ab"}
    for provider in providers.values():
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with running(stopped, contracts, **providers):
        await stopped.a.post(START, authorize_start(), headers=HEADERS)
    spans = [span for span in exporter.get_finished_spans() if span.context.trace_id == int(TRACE_ID, 16)]
    expected, parent = [SpanKind.SERVER, SpanKind.CLIENT] * 2, int(SPAN_ID, 16)
    by_parent = {span.parent.span_id: span for span in spans}
    for kind in expected:
        span = by_parent.pop(parent)
        assert (span.name, span.kind) == ("AuthorizeStart", kind)
        assert span.attributes["http.response.status_code"] == 200
        parent = span.context.span_id
    assert not by_parent
    assert parents(contracts) == [(TRACE_ID, f"{parent:016x}")]


async def test_with_spans_a_request_without_a_trace_begins_one(stopped, contracts):
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with running(stopped, contracts, a=provider):
        await stopped.a.post(START, authorize_start())
    spans = [span for span in exporter.get_finished_spans() if span.name == "AuthorizeStart"]
    (served,) = [span for span in spans if span.kind is SpanKind.SERVER]
    assert served.parent is None
    assert [trace_id for trace_id, _ in parents(contracts)] == [f"{served.context.trace_id:032x}"]


async def test_no_span_has_an_id_of_a_driver_or_of_a_session(stopped, contracts):
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with running(stopped, contracts, a=provider, b=provider):
        session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
        await stopped.a.post(CDR, cdr(session))
        await eventually(lambda: len(contracts.requests) == 2)
    text = " ".join(span.to_json() for span in exporter.get_finished_spans())
    assert UID not in text
    assert session not in text


async def test_without_the_extra_a_node_says_what_to_install(stopped, monkeypatch):
    file = stopped.folder / "a" / "node.toml"
    file.write_text(f'{file.read_text()}[tracing]\notlp_endpoint = "http://127.0.0.1:9/v1/traces"\n')
    original = builtins.__import__

    def without_the_extra(name, *args, **kwargs):
        if name.startswith("opentelemetry.exporter"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_the_extra)
    with pytest.raises(ConfigurationError, match=r"pip install 'p2p-oicp\[otel\]'"):
        async with Node(load_settings(file)):
            pass


async def test_spans_are_sent_to_a_collector(stopped, contracts):
    received = []

    async def receive(request: web.Request) -> web.Response:
        received.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", receive)
    async with TestServer(app) as collector:
        for name in "ab":
            file = stopped.folder / name / "node.toml"
            file.write_text(f'{file.read_text()}[tracing]\notlp_endpoint = "{collector.make_url("/v1/traces")}"\n')
        async with running(stopped, contracts):
            assert (await stopped.a.post(START, authorize_start())).status == 200
    for name in (b"node a", b"node b"):
        assert any(name in body and b"AuthorizeStart" in body for body in received)
