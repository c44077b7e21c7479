"""Copies of datasets: whom they exclude, and how far they are."""

from p2p_oicp.storage import peer_state
from p2p_oicp.storage.datasets.change_feed import ReplicaScope
from p2p_oicp.storage.statements import Statement

_NEWEST = Statement("SELECT value FROM counters WHERE name = 'change'", {})


def only(*sources: str):
    """The sources that are peers no more, as a scope asks for them."""

    async def excluded() -> list[str]:
        return list(sources)

    return excluded


async def newest_change(store) -> int:
    return (await store.query(_NEWEST))[0]["value"]


def set_cursor(tx, scope: ReplicaScope, key: str, change: int) -> None:
    peer_state.set_cursor(tx, scope.peer, scope.dataset, key, change)
