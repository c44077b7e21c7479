"""A pair of nodes that prove to each other who they are, and an HTTP client for other nodes."""

import aiohttp
import pytest

from tests.support.signed_nodes import require, stopped  # noqa: F401 - fixtures


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session
