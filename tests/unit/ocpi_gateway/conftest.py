from __future__ import annotations

import pytest

from tests.support.ocpi_gateway import Bench, open_bench


@pytest.fixture
async def bench(store, clock) -> Bench:
    return open_bench(store, clock)
