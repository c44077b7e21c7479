from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.proxy import PASS
from tests.chaos.testbed import World, world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(request, tmp_path_factory) -> AsyncIterator[World]:
    """Two nodes, their backends and a proxy before each node, for all tests of a module that leave them whole.

    What the nodes prove each other is the module's ``SECURE``, nothing if it has none.
    """
    secure = getattr(request.module, "SECURE", "none")
    async with world(tmp_path_factory.mktemp("world"), secure=secure) as on:
        await on.push()
        yield on


@pytest.fixture
def on(shared) -> World:
    """The shared world, with clear lines that remember nothing."""
    for line in (shared.to_a, shared.to_b):
        line.choose, line.always = None, PASS
        line.script.clear()
        line.taken.clear()
    shared.contracts.trouble = lambda _: ""
    return shared
