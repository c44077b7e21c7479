"""Schemathesis, from our own OpenAPI documents, against both listeners; ``tests.faults.contract`` asks for longer."""

import asyncio

import pytest

from tests.faults import contract

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(("role", "node", "listener"), [("emp", "b", "peer_url"), ("emp", "a", "backend_url")])
async def test_no_generated_request_brings_a_node_down(on, role, node, listener):
    process = getattr(on, node)
    said = await asyncio.to_thread(contract.ask, role, getattr(process, listener), examples=3)
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-1000:]
    assert "http.bug" not in process.log()
