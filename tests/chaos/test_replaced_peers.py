"""A peer comes back as another: with an empty store, or at another node's address."""

import pytest

from p2p_oicp.crypto.keystore import read_private_key
from tests.chaos import ledger
from tests.support import messages
from tests.support.clients import SigningTestClient
from tests.support.waiting import eventually

# Times after any store was born, as a session has them that begins now.
NOW = dict.fromkeys(("SessionStart", "ChargingStart", "ChargingEnd", "SessionEnd"), "2999-03-01T10:00:00+01:00")

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECURE = "signed"


async def test_an_emp_node_that_comes_back_with_an_empty_store_gets_the_whole_state_again(on):
    await on.csms.drive(2)
    await on.balances()
    await on.b.kill()
    await on.replace(on.b)
    await on.cards.replace()  # its backend's own: only it can tell them again
    await on.state_becomes_equal()


async def test_what_an_emp_node_lost_with_its_store_comes_back_and_sessions_under_way_end_well(on):
    await on.csms.drive(3)
    await on.balances()  # what is on its way from the lost store to the backend is lost with it, but for the records
    under_way = await on.authorize(on.csms.evses[0])
    await on.b.kill()
    await on.csms.tell_all(under_way, on.csms.evses[0], "csms")
    await on.replace(on.b)
    await on.cards.replace()
    await on.csms.drive(1)
    balance = await on.balances()
    assert balance.records == len(on.csms.records)


async def test_what_an_emp_node_has_taken_and_not_told_its_backend_is_not_lost_with_its_store(on):
    on.contracts.trouble = lambda _: "fail"
    session = await on.csms.charge(on.csms.evses[0])
    await eventually(lambda: session.lower() in ledger.records_in(ledger.database(on.b), "emp"), timeout=20)
    await on.b.kill()
    on.contracts.trouble = lambda _: ""
    await on.replace(on.b)
    await eventually(lambda: session in on.contracts.records, timeout=20)


async def test_a_made_up_session_is_refused_also_after_a_store_was_replaced(on):
    node_a = SigningTestClient(on.http, on.to_b.url, read_private_key(on.a.keys / "node.key"))
    answer = await node_a.post(messages.CDR, messages.cdr(messages.UNKNOWN_SESSION, **NOW))
    assert (answer.status, answer.code) == (200, "400")


async def test_a_cpo_node_that_comes_back_with_an_empty_store_is_believed_what_it_says_anew(on):
    await on.a.kill()
    await on.replace(on.a)
    del on.csms.evses[-1]
    await on.push()  # fewer statuses; EVSE data and the like as when all began
    await on.state_becomes_equal()


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
    await eventually(
        lambda: ledger.rows(on.a, "SELECT 1 FROM outbox WHERE last_error LIKE '%another system answers%'"), 20
    )
    assert ledger.rows(on.a, "SELECT count(*) FROM outbox WHERE state = 'dead'") == [(0,)]
    on.to_a.upstream, on.to_b.upstream = on.to_b.upstream, on.to_a.upstream
    await on.balances()
