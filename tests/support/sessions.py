"""Sessions, as the database of a node has them."""

from tests.support.nodes import query
from tests.support.waiting import eventually_equals


def states(pair, name: str) -> list[str]:
    return [state for (state,) in query(pair, name, "SELECT state FROM sessions")]


async def until_state(pair, name: str, expected: str) -> None:
    """Wait until a node's only session has a state."""
    await eventually_equals(lambda: states(pair, name), [expected])
