"""The lines of events at terminals of three widths: ids are whole, and what does not fit stands below."""

import json
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from p2p_oicp.cli import client
from p2p_oicp.cli.events import format_event
from p2p_oicp.events import EVENT_DEFINITIONS

EVENTS = {each.name: msgspec.to_builtins(each.sample) for each in EVENT_DEFINITIONS}
LONG = "the clearing house does not answer: no connection to roaming.example:8320: Connection refused"


def lines(name: str, width: int, **members: object) -> list[str]:
    return format_event({**EVENTS[name], **members}, width, utc=True)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (
            60,
            [
                "09-21 14:13:20  session charging",
                "                0199c1c2-7b1f-7c3a-9d52-4f1f0a6a8c11",
                "                DE*ABC*E1234*1  (emp-x)",
            ],
        ),
        (
            80,
            [
                "09-21 14:13:20  session charging      0199c1c2-7b1f-7c3a-9d52-4f1f0a6a8c11",
                "                DE*ABC*E1234*1  (emp-x)",
            ],
        ),
        (
            140,
            [
                "09-21 14:13:20  session charging      0199c1c2-7b1f-7c3a-9d52-4f1f0a6a8c11  DE*ABC*E1234*1  (emp-x)",
            ],
        ),
    ],
)
def test_an_event_of_a_session_at_three_widths(width, expected):
    assert lines("session.charging", width) == expected


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("name", EVENTS)
def test_no_line_is_longer_than_the_terminal_and_no_text_is_cut(name, width):
    printed = lines(name, width, text=LONG, count=12)
    assert max(map(len, printed)) <= width
    assert LONG in " ".join(" ".join(printed).split())


def serving(pages: list[dict]):
    """Answer requests with pages, one after the other; return the answering function and the queries that it got."""
    queries = []

    def call(_config, _method, url):
        parts = urlsplit(url)
        queries.append((parts.path, {name: value for name, [value] in parse_qs(parts.query).items()}))
        return pages[len(queries) - 1]

    return call, queries


def page(*numbers: int, cursor: str | None) -> dict:
    events = [{"id": f"a-{number}", "type": "key", "what": "rotated", "at": 1.0} for number in numbers]
    return {"events": events, "cursor": cursor, "newest_id": "a-9"}


NEWEST = "/admin/v1/events/newest"
PAGES = {
    "one page has them all": ([page(9, 8, cursor="8")], [{"limit": "2"}], ["a-8", "a-9"]),
    "there are fewer": ([page(9, cursor=None)], [{"limit": "2"}], ["a-9"]),
    "they are far apart": (
        [page(9, cursor="5"), page(cursor="3"), page(2, cursor="2")],
        [{"limit": "2"}, {"limit": "1", "cursor": "5"}, {"limit": "1", "cursor": "3"}],
        ["a-2", "a-9"],
    ),
}


@pytest.mark.parametrize(("pages", "expected", "ids"), PAGES.values(), ids=PAGES)
def test_the_newest_are_read_with_as_few_requests_as_they_need(monkeypatch, p2p_oicp, pages, expected, ids):
    call, queries = serving(pages)
    monkeypatch.setattr(client, "call_admin", call)
    printed = p2p_oicp("events", "--json", "--limit", "2").out.splitlines()
    assert [json.loads(line)["id"] for line in printed] == ids
    assert queries == [(NEWEST, query) for query in expected]


def test_a_limit_of_0_shows_none_of_the_newest(monkeypatch, p2p_oicp):
    monkeypatch.setattr(client, "call_admin", serving([page(cursor="10")])[0])
    assert p2p_oicp("events", "--json", "--limit", "0").out == ""
