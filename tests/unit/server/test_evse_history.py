"""What became of an EVSE: its statuses as a strip, and the differences between versions."""

import pytest

from p2p_oicp.clock import format_timestamp
from p2p_oicp.server.dashboard.evse_history import Change, compare_versions, differences, draw_strips

NOW = 1_800_000_000.0


def status(name: str | None, since: float, until: float, source: str = "own") -> dict:
    return {
        "source": source, "status": name, "since": format_timestamp(NOW - since), "until": format_timestamp(NOW - until)
    }  # fmt: skip


def present(name: str | None, since: float, source: str = "own", **record) -> dict:
    at = format_timestamp(NOW - since)
    return {"source": source, "status": name, "status_changed_at": at, "changed_at": at, "record": record}


def test_a_strip_has_all_statuses_in_the_order_of_time_and_their_shares():
    earlier = [status("Occupied", 40, 10), status("Available", 100, 40)]
    (strip,) = draw_strips([present("Available", 10)], earlier, NOW, 300)
    assert [(each.status, each.x, each.width) for each in strip.spans] == [
        ("Available", 0, pytest.approx(600)), ("Occupied", pytest.approx(600), pytest.approx(300)),
        ("Available", pytest.approx(900), pytest.approx(100)),
    ]  # fmt: skip
    assert strip.shares == [("Available", pytest.approx(70)), ("Occupied", pytest.approx(30))]
    assert not strip.is_cut


def test_each_source_has_a_strip_and_one_without_a_status_has_none():
    evses = [present("Available", 5), present("Occupied", 7, "B"), present(None, 1, "C")]
    assert [each.source for each in draw_strips(evses, [], NOW, 300)] == ["own", "B"]


def test_a_strip_says_that_there_were_more_and_that_a_status_was_withdrawn():
    (strip,) = draw_strips([present("Available", 1)], [status(None, 9, 1)], NOW, 1)
    assert strip.is_cut
    assert strip.spans[0].status == "withdrawn"


def test_a_status_of_this_moment_has_a_width():
    (strip,) = draw_strips([present("Available", 0)], [], NOW, 300)
    assert [each.width > 0 for each in strip.spans] == [True]


DIFFERENCES = [
    ({"a": 1}, {"a": 1}, []),
    ({"a": 1}, {"a": 2}, [Change("/a", "1", "2")]),
    ({"a": "x"}, {}, [Change("/a", "x", None)]),
    ({}, {"a/b": None}, [Change("/a~1b", None, "null")]),
    ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, [Change("/a/b/1", "2", "3")]),
    ({"a": [1]}, {"a": [1, 2]}, [Change("/a", "[1]", "[1,2]")]),
    ({"a": "x" * 200}, {"a": "y"}, [Change("/a", "x" * 120 + "…", "y")]),
]


@pytest.mark.parametrize(("before", "after", "expected"), DIFFERENCES)
def test_what_differs_is_named_by_its_pointer(before, after, expected):
    assert [*differences(before, after)] == expected


def test_versions_are_compared_with_the_one_before_the_newest_first():
    versions = [
        {"source": "own", "since": format_timestamp(NOW - 20), "record": {"City": "Jena"}},
        {"source": "own", "since": format_timestamp(NOW - 30), "record": None},
    ]
    found = compare_versions([present("Available", 10, City="Gera")], versions)
    assert [(each.at, each.note) for each in found] == [
        (format_timestamp(NOW - 10), ""), (format_timestamp(NOW - 20), "It was sent again."),
        (format_timestamp(NOW - 30), "The oldest version that is stored."),
    ]  # fmt: skip
    assert found[0].changes == [Change("/City", "Jena", "Gera")]
