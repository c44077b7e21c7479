"""W3C Trace Context: what is read of a request, and what is sent on."""

import contextvars
import re

import pytest

from p2p_oicp.tracing import TRACE, TraceContext, begin_trace, new_trace_headers, read_trace

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE_ID}-{SPAN_ID}-01"


def test_a_trace_is_sent_on_with_an_id_of_its_own_for_each_request():
    trace = read_trace({"traceparent": HEADER, "tracestate": "vendor=value"})
    first, second = trace.headers(), trace.headers()
    assert first["tracestate"] == "vendor=value"
    ids = set()
    for headers in (first, second):
        version, trace_id, span_id, flags = headers["traceparent"].split("-")
        assert (version, trace_id, flags) == ("00", TRACE_ID, "01")
        ids.add(span_id)
    assert len(ids | {SPAN_ID}) == 3


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        HEADER.upper(),
        f"{HEADER}-more",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}",
    ],
)
def test_what_is_no_traceparent_is_not_sent_on(header):
    assert read_trace({"traceparent": header, "tracestate": "vendor=value"}) is None


def test_a_later_version_may_say_more():
    trace = read_trace({"traceparent": f"01-{TRACE_ID}-{SPAN_ID}-01-more"})
    assert trace.headers()["traceparent"].startswith(f"00-{TRACE_ID}-")


@pytest.mark.parametrize("state", ["x" * 513, "a=b\nc", "ä=b"])
def test_a_tracestate_that_cannot_be_a_header_is_left_out(state):
    assert "tracestate" not in read_trace({"traceparent": HEADER, "tracestate": state}).headers()


def test_a_new_trace_counts_as_one_that_nobody_records():
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", new_trace_headers()["traceparent"])
    assert new_trace_headers() != new_trace_headers()


def test_a_span_of_ours_is_what_the_next_system_sees():
    own = TraceContext(TRACE_ID, SPAN_ID, "01", is_own_span=True)
    assert own.headers() == {"traceparent": HEADER}


def test_a_request_ends_the_trace_of_the_one_before_but_not_a_span_of_ours():
    contextvars.copy_context().run(_begin_several)


def _begin_several() -> None:
    begin_trace({"traceparent": HEADER})
    assert TRACE.get().trace_id == TRACE_ID
    begin_trace({})
    assert TRACE.get() is None
    own = TraceContext(TRACE_ID, SPAN_ID, is_own_span=True)
    TRACE.set(own)
    begin_trace({})
    assert TRACE.get() is own
