"""Snapshots of pulls: consistent over their pages, shared while they are up to date, and bounded."""

from array import array

import pytest

from p2p_oicp.roles.datasets.evse_pull import PullSnapshotCache


class Data:
    """Records that are searched; ``searched`` counts how often."""

    def __init__(self) -> None:
        self.newest = 1
        self.searched = 0

    async def version(self) -> int:
        return self.newest

    async def search(self) -> "array[int]":
        self.searched += 1
        return array("q", range(10 * self.newest))


@pytest.fixture
def data() -> Data:
    return Data()


@pytest.fixture
def page(data):
    """Request a page; return how many records its snapshot has."""
    snapshots = PullSnapshotCache(data.version, max_bytes=10_000)

    async def ask(caller: str, request: bytes = b"all", *, first: bool = False) -> int:
        return len((await snapshots.get(caller, request, is_first=first, search=data.search)).ids)

    return ask


async def test_the_pages_of_a_pull_are_consistent_and_the_next_first_page_searches_again(data, page):
    assert await page("a", first=True) == 10
    data.newest = 2
    assert await page("a") == 10
    assert await page("a", first=True) == 20
    assert await page("a") == 20


async def test_a_snapshot_that_is_up_to_date_serves_all_clients(data, page):
    assert [await page(caller, first=True) for caller in ("a", "b", "a")] == [10, 10, 10]
    assert data.searched == 1


async def test_a_new_pull_of_another_client_does_not_change_one_that_goes_on(data, page):
    await page("a", first=True)
    data.newest = 2
    assert await page("b", first=True) == 20
    assert await page("a") == 10


async def test_the_least_recently_used_snapshots_are_evicted(data, page):
    for number in range(20):
        await page("a", b"%d" % number, first=True)
    searched = data.searched
    assert await page("a", b"19") == 10
    assert data.searched == searched
    assert await page("a", b"0") == 10
    assert data.searched == searched + 1
