"""What `doctor` says of a system of ours is true now; one fault hides no other."""

import asyncio
from types import SimpleNamespace

import pytest

from p2p_oicp.delivery.connection_checks import Outcome
from p2p_oicp.delivery.health import ChannelHealth, Trouble
from p2p_oicp.errors import FailureCause, StoreUnavailable
from p2p_oicp.server.doctor import Doctor
from tests.support.clocks import ManualClock

CSMS = "backend:csms"


class Calls:
    def __init__(self, cause: str) -> None:
        self.trouble = Trouble(cause=cause, since=1.0, last_at=60.0, error="why", tries=2)

    def clock_skew(self, _name: str) -> None:
        return None

    def channel(self, _name: str) -> ChannelHealth:
        return ChannelHealth(channel="requests", troubles=(self.trouble,))


class FailingChecks:
    async def check(self, _peer: object) -> list[object]:
        raise StoreUnavailable("the disk is full")


def doctor(live: Calls | None = None) -> Doctor:
    rest = dict.fromkeys(("backends", "webhooks", "reporter", "readiness"))
    return Doctor(None, checks=FailingChecks(), live=live, connections=1, clock=ManualClock(), **rest)


@pytest.mark.parametrize(
    ("cause", "outcome", "words"),
    [
        (FailureCause.CANNOT_CONNECT, Outcome.OK, "answers at"),
        (FailureCause.SERVER_ERROR, Outcome.FAILED, "The last request failed at 1970-01-01T00:01:00.000+00:00. Our"),
    ],
)
async def test_a_system_that_is_mended_is_well_unless_a_connection_does_not_show_it(cause, outcome, words):
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        own = SimpleNamespace(destination=CSMS, is_built_in=False, is_ocpi=False, url=url, tls=None)
        result = await doctor(Calls(cause))._check_backend(own)
    assert (result.outcome, words in result.text) == (outcome, True), result


async def test_a_database_that_fails_is_a_result_and_no_end_of_the_others():
    (result,) = await doctor()._check_peer(SimpleNamespace(name="node b"))
    assert (result.name, result.outcome, result.error) == ("node b", Outcome.FAILED, "the disk is full")
    assert result.text == "The database cannot be written."
    assert result.cure
