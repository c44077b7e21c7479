"""The lines of events at terminals of three widths: ids are whole, and what does not fit stands below."""

import msgspec
import pytest

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
