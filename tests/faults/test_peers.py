"""A peer comes back as another: with an empty store, or at another node's address."""

import asyncio

import pytest

from tests.faults import books

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_emp_node_that_comes_back_with_an_empty_store_gets_the_whole_state_again(on):
    await on.csms.drive(2)
    await on.balances()
    await on.b.kill()
    await on.replace(on.b)
    assert await on.statuses_are_equal()


async def test_a_cpo_node_that_comes_back_with_an_empty_store_is_believed_what_it_says_anew(on):
    await on.a.kill()
    await on.replace(on.a)
    del on.csms.evses[-1]
    await on.push()
    assert await on.statuses_are_equal()


async def test_what_is_meant_for_a_node_whose_address_another_has_taken_waits_for_that_node(on):
    for node in (on.a, on.b):
        await node.kill()
        await on.replace(node)
    on.forget()
    await on.push()
    session = await on.authorize(on.csms.evses[0])
    for node in (on.a, on.b):
        await node.kill()
    on.to_a.upstream, on.to_b.upstream = on.to_b.upstream, on.to_a.upstream
    for node in (on.a, on.b):
        await node.start()
    await on.csms.tell_all(session, on.csms.evses[0], "csms")
    await on.csms.set_status(on.csms.evses[1], "Reserved")
    async with asyncio.timeout(5):
        while not books.rows(on.a, "SELECT 1 FROM outbox WHERE last_error LIKE '%another system answers%'"):
            await asyncio.sleep(0.02)
    assert books.rows(on.a, "SELECT count(*) FROM outbox WHERE state = 'dead'") == [(0,)]
    on.to_a.upstream, on.to_b.upstream = on.to_b.upstream, on.to_a.upstream
    await on.balances()
