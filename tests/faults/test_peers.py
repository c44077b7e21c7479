"""A peer comes back as another: with an empty store, or at another node's address."""

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def start_empty(node):
    await node.kill()
    for file in (node.directory / "data").glob("node.sqlite3*"):
        file.unlink()
    await node.start()


async def test_an_emp_node_that_comes_back_with_an_empty_store_gets_the_whole_state_again(on):
    await on.csms.drive(2)
    await on.balances()
    await start_empty(on.b)
    assert await on.until_statuses_are_equal()


async def test_what_is_meant_for_a_node_whose_address_another_has_taken_waits_for_it(on):
    on.to_a.upstream, on.to_b.upstream = on.to_b.upstream, on.to_a.upstream
    await on.csms.set_status(on.csms.evses[0], "Reserved")
