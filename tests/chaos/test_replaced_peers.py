"""A peer returns with an empty database, or at another node's address."""

import pytest

from p2p_oicp.crypto.keystore import read_private_key
from tests.chaos import ledger
from tests.support import messages
from tests.support.clients import SigningTestClient
from tests.support.waiting import eventually

# Times after the creation of any database, as those of a session that begins now.
NOW = dict.fromkeys(("SessionStart", "ChargingStart", "ChargingEnd", "SessionEnd"), "2999-03-01T10:00:00+01:00")

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECURE = "signed"


async def test_an_emp_node_with_an_empty_store_gets_all_datasets_again(testbed):
    await testbed.csms.run_sessions(2)
    await testbed.check_ledger()
    await testbed.b.kill()
    await testbed.replace(testbed.b)
    await testbed.authentication.replace()  # its own backend's: only the backend can push them again
    await testbed.wait_until_datasets_agree()


async def test_what_an_emp_node_lost_with_its_store_is_restored_and_active_sessions_are_settled(testbed):
    await testbed.csms.run_sessions(3)
    await testbed.check_ledger()  # except CDRs, what was on its way from the lost store to the backend is lost with it
    under_way = await testbed.authorize(testbed.csms.evses[0])
    await testbed.b.kill()
    await testbed.csms.send_session_messages(under_way, testbed.csms.evses[0], "csms")
    await testbed.replace(testbed.b)
    await testbed.authentication.replace()
    await testbed.csms.run_sessions(1)
    balance = await testbed.check_ledger()
    assert balance.records == len(testbed.csms.records)


async def test_what_an_emp_node_has_accepted_and_not_delivered_is_not_lost_with_its_store(testbed):
    testbed.contracts.fault_for = lambda _: "fail"
    session = await testbed.csms.charge(testbed.csms.evses[0])
    await eventually(lambda: session.lower() in ledger.stored_cdrs(ledger.database(testbed.b), "emp"), timeout=20)
    await testbed.b.kill()
    testbed.contracts.fault_for = lambda _: ""
    await testbed.replace(testbed.b)
    await eventually(lambda: session in testbed.contracts.records, timeout=20)


async def test_a_made_up_session_is_refused_also_after_a_store_was_replaced(testbed):
    node_a = SigningTestClient(testbed.http, testbed.proxy_to_b.url, read_private_key(testbed.a.keys / "node.key"))
    reply = await node_a.post(messages.CDR, messages.cdr(messages.UNKNOWN_SESSION, **NOW))
    assert (reply.status, reply.code) == (200, "400")


async def test_what_a_cpo_node_with_an_empty_store_pushes_replaces_its_peers_copies(testbed):
    await testbed.a.kill()
    await testbed.replace(testbed.a)
    del testbed.csms.evses[-1]
    await testbed.push()  # fewer statuses; the other datasets as at the beginning
    await testbed.wait_until_datasets_agree()


async def test_messages_for_a_node_whose_address_another_node_has_wait_for_that_node(testbed):
    for node in (testbed.a, testbed.b):
        await node.kill()
        await testbed.replace(node)
    testbed.clear_ledgers()
    await testbed.push()
    session = await testbed.authorize(testbed.csms.evses[0])
    for node in (testbed.a, testbed.b):
        await node.kill()
    testbed.proxy_to_a.upstream, testbed.proxy_to_b.upstream = testbed.proxy_to_b.upstream, testbed.proxy_to_a.upstream
    for node in (testbed.a, testbed.b):
        await node.start()
    await testbed.csms.send_session_messages(session, testbed.csms.evses[0], "csms")
    await testbed.csms.set_status(testbed.csms.evses[1], "Reserved")
    await eventually(
        lambda: ledger.rows(testbed.a, "SELECT 1 FROM outbox WHERE last_error LIKE '%another system answers%'"), 20
    )
    assert ledger.rows(testbed.a, "SELECT count(*) FROM outbox WHERE state = 'dead'") == [(0,)]
    testbed.proxy_to_a.upstream, testbed.proxy_to_b.upstream = testbed.proxy_to_b.upstream, testbed.proxy_to_a.upstream
    await testbed.check_ledger()
