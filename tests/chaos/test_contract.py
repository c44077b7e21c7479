"""Schemathesis, from our own OpenAPI documents, against both listeners; ``tests.chaos.contract`` asks for longer."""

import asyncio

import pytest

from tests.chaos import contract

pytestmark = pytest.mark.asyncio(loop_scope="module")


MOST_MEGABYTES_MORE = 50
# A document holds what its role serves: each operation is asked at the node that serves it to its peers, and at the
# one that takes it from its own backend and sends it on.
LISTENERS = [
    ("emp", "b", "peer_url"),
    ("emp", "a", "backend_url"),
    ("cpo", "a", "peer_url"),
    ("cpo", "b", "backend_url"),
]


@pytest.mark.parametrize(("role", "node", "listener"), LISTENERS)
async def test_no_generated_request_brings_a_node_down(on, role, node, listener):
    process = getattr(on, node)
    on.forget_peaks()
    said = await asyncio.to_thread(contract.ask, role, getattr(process, listener), examples=3)
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-1000:]
    assert "http.internal_error" not in process.log()
    assert on.growth() < MOST_MEGABYTES_MORE
