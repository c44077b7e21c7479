"""Schemathesis, from our own OpenAPI documents, against both listeners; ``tests.chaos.contract`` runs longer."""

import asyncio

import pytest

from tests.chaos import contract

pytestmark = pytest.mark.asyncio(loop_scope="module")


MAX_MEMORY_GROWTH = 50
# A document has the operations that its role serves: each is called at the node that serves it to its peers, and at
# the one that receives it from its own backend and forwards it.
LISTENERS = [
    ("emp", "b", "peer_url"),
    ("emp", "a", "backend_url"),
    ("cpo", "a", "peer_url"),
    ("cpo", "b", "backend_url"),
]


@pytest.mark.parametrize(("role", "node", "listener"), LISTENERS)
async def test_no_generated_request_brings_a_node_down(testbed, role, node, listener):
    process = getattr(testbed, node)
    testbed.reset_peak_memory()
    output = await asyncio.to_thread(contract.run, role, getattr(process, listener), examples=3)
    assert output.returncode == 0, output.stdout[-3000:] + output.stderr[-1000:]
    assert "http.internal_error" not in process.log()
    assert testbed.memory_growth() < MAX_MEMORY_GROWTH


@pytest.mark.parametrize(("node", "listener"), [("a", "backend_url"), ("b", "backend_url"), ("a", "peer_url")])
async def test_whatever_is_read_is_answered_as_the_nodes_own_document_says(testbed, node, listener):
    process = getattr(testbed, node)
    output = await asyncio.to_thread(contract.run_reads, getattr(process, listener), examples=3)
    assert output.returncode == 0, output.stdout[-3000:] + output.stderr[-1000:]
    assert "http.internal_error" not in process.log()
