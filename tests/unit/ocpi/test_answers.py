"""Answers, pages and PATCH."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_oicp.ocpi.envelope import OcpiReply, OcpiStatus, apply_patch, read_envelope, single_object, write_envelope
from p2p_oicp.ocpi.paging import PageRequest, next_page, read_page_request, serve_page
from tests.support.ocpi_objects import session

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)
URL = "https://node.example/ocpi/2.2.1/cpo/locations"


def test_an_answer_without_data_has_no_such_member():
    assert write_envelope(NOW) == {"status_code": 1000, "timestamp": "2026-12-01T10:00:00Z"}


def test_an_answer_says_what_is_wrong():
    answer = write_envelope(NOW, status_code=OcpiStatus.INVALID_PARAMETERS, message="/id: is empty")
    assert (answer["status_code"], answer["status_message"]) == (2001, "/id: is empty")


@pytest.mark.parametrize(
    ("http_status", "body", "status_code"),
    [
        (200, {"data": {"a": 1}, "status_code": 1000, "timestamp": "x"}, 1000),
        (200, {"data": []}, 1000),
        (201, {"status_code": "1000"}, 1000),
        (200, {"status_code": " 2003"}, 2003),
        (200, {"status_code": "fine"}, 1000),
        (500, {"status_code": "³000"}, None),
        (404, {"detail": "Not Found"}, None),
        (500, {"data": None, "status_code": None}, None),
        (200, [], None),
    ],
    ids=[
        "whole",
        "no-code",
        "text",
        "text-of-an-error",
        "another-text",
        "no-digits",
        "no-envelope",
        "no-code-of-an-error",
        "list",
    ],
)
def test_an_answer_is_read_tolerantly(http_status, body, status_code):
    assert read_envelope(http_status, json.dumps(body).encode()).status_code == status_code


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["1000", 1000, "2001", 2001]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
envelopes = st.fixed_dictionaries({}, optional={"status_code": values, "data": values, "status_message": values})


@given(
    st.integers(100, 599), st.binary(max_size=60) | (envelopes | values).map(lambda value: json.dumps(value).encode())
)
def test_no_answer_fails_the_reading(http_status, body):
    reply = read_envelope(http_status, body)
    assert (type(reply.status_code) in {int, type(None)}, type(reply.message)) == (True, str)


@pytest.mark.parametrize(
    ("status_code", "is_success"), [(999, False), (1000, True), (1999, True), (2000, False), (None, False)]
)
def test_1xxx_is_success(status_code, is_success):
    assert OcpiReply(200, status_code).is_success is is_success


@pytest.mark.parametrize(
    ("data", "expected"),
    [({"a": 1}, {"a": 1}), ([{"a": 1}], {"a": 1}), ([], None), ([{}, {}], None), (None, None), ("x", None)],
)
def test_a_list_of_one_is_its_object(data, expected):
    assert single_object(data) == expected


def test_a_patch_of_the_same_time_is_applied():
    stored = session()
    outcome = apply_patch(stored, {"kwh": 2, "last_updated": stored["last_updated"]})
    assert outcome.object["kwh"] == 2


def test_a_patch_leaves_the_stored_object_alone():
    stored = session()
    apply_patch(stored, {"kwh": 2, "last_updated": "2027-01-01T00:00:00Z"})
    assert stored == session()


@given(st.integers(0, 500), st.integers(1, 100), st.integers(1, 150))
def test_a_client_that_follows_the_links_has_each_object_once(total, max_limit, limit):
    seen, url, query = [], URL, {"limit": str(limit), "date_from": "2026-11-01T00:00:00Z"}
    while url:
        request = read_page_request(query, max_limit=max_limit)
        page = serve_page(URL, query, request, total)
        seen += range(page.first, page.first + page.count)
        url = next_page(url, request, page.count, page.headers)
        query = dict(part.split("=") for part in url.partition("?")[2].split("&")) if url else {}
    assert seen == list(range(total))


@given(st.integers(0, 500), st.integers(1, 60))
def test_a_client_without_links_has_each_object_once(total, limit):
    seen, url, offset = [], URL, 0
    while url:
        count = max(0, min(limit, total - offset))
        seen += range(offset, offset + count)
        url = next_page(URL, PageRequest(offset, limit), count, {"X-Total-Count": str(count)})
        offset += count
    assert seen == list(range(total))


@pytest.mark.parametrize("query", [{"offset": "-1"}, {"limit": "0"}, {"limit": "x"}, {"offset": "1e3"}, {"limit": ""}])
def test_an_offset_or_limit_that_is_none_is_refused(query):
    assert read_page_request(query) is None


@pytest.mark.parametrize(
    "link",
    ["", "<>", "garbage", '<http://[>; rel="next"', f'<{URL}?offset=50>; rel="prev"', f"<{URL}>; rel=next; rel=prev"],
)
def test_a_broken_link_ends_nothing_that_offsets_can_go_on(link):
    assert next_page(URL, PageRequest(0, 50), 50, {"Link": link}) is not None
