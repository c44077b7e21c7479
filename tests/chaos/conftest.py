from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.proxy import PASS
from tests.chaos.testbed import Testbed, start_testbed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(request, tmp_path_factory) -> AsyncIterator[Testbed]:
    """Two nodes with backends and proxies, for all tests of a module.

    How the nodes authenticate is the module's ``SECURE``; not at all if it has none.
    """
    secure = getattr(request.module, "SECURE", "none")
    async with start_testbed(tmp_path_factory.mktemp("testbed"), secure=secure) as testbed:
        await testbed.push()
        yield testbed


@pytest.fixture
def testbed(shared) -> Testbed:
    """The shared testbed, with proxies that pass everything."""
    for proxy in (shared.proxy_to_a, shared.proxy_to_b):
        proxy.choose, proxy.default = None, PASS
        proxy.script.clear()
        proxy.applied.clear()
    shared.contracts.fault_for = lambda _: ""
    return shared
