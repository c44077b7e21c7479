"""Sessions, commands and served objects of OCPI partners in the database."""

from __future__ import annotations

from dataclasses import replace

from p2p_oicp.storage.ocpi import commands, evses, served, sessions
from p2p_oicp.storage.ocpi.commands import StoredCommand
from p2p_oicp.storage.ocpi.evses import StoredConnector, StoredEvse
from p2p_oicp.storage.ocpi.objects import ObjectKind
from p2p_oicp.storage.ocpi.served import ServedFilter, ServedObject
from p2p_oicp.storage.ocpi.sessions import OcpiSession, OpenedBy, SessionFacts

FACTS = SessionFacts(uid="DEADBEEF", evse_uids=("E1",), identification={"RFIDMifareFamilyIdentification": {"UID": "A"}})
SESSION = OcpiSession("citrine", "0199C1C2-7b1f", OpenedBy.AUTHORIZE, 100.0, 100.0, facts=FACTS)
COMMAND = StoredCommand("c-1", "citrine", "START_SESSION", "s-1", 100.0, 148.0)
EVSE = StoredEvse(
    "citrine", "Loc1", "E1", "DE*GEF*E1", "DE*GEF*E1", (StoredConnector("1", ("t",)),), (), b"{}", "Unknown"
)
TOKEN = ServedObject("citrine", ObjectKind.TOKEN, "DE", "DCB", "DEADBEEF", "DE-DCB", b"{}", 100.0)


async def write(store, job, *arguments):
    return await store.write(lambda tx: job(tx, *arguments))


async def test_a_session_is_found_by_its_ids_in_every_letter_case_and_by_its_time(store):
    await write(store, sessions.put, SESSION)
    assert await write(store, sessions.bind, "citrine", SESSION.session_id, "Ocpi-7")
    bound = replace(SESSION, ocpi_id="Ocpi-7")
    for ids, since in ((("0199c1c2-7B1F",), 500), (("OCPI-7",), 500), ((), 90)):
        assert await write(store, sessions.candidates, "citrine", ids, since, 600) == [bound], (ids, since)
    assert await write(store, sessions.candidates, "citrine", ("other",), 101, 600) == []
    assert await sessions.get_now(store, "citrine", "0199C1C2-7B1F") == bound


async def test_a_session_keeps_the_session_id_that_it_has(store):
    await write(store, sessions.put, replace(SESSION, ocpi_id="first"))
    assert not await write(store, sessions.bind, "citrine", SESSION.session_id, "second")
    assert (await sessions.get_now(store, "citrine", SESSION.session_id)).ocpi_id == "first"


async def test_the_first_result_of_a_command_counts(store):
    await write(store, commands.insert, COMMAND)
    await write(store, commands.set_response, "c-1", b"{}", 130.0)
    assert await write(store, commands.set_result, "C-1", b'{"result":"ACCEPTED"}')
    assert not await write(store, commands.set_result, "c-1", b'{"result":"FAILED"}')
    stored = await commands.get_now(store, "c-1")
    assert stored == replace(COMMAND, response=b"{}", result=b'{"result":"ACCEPTED"}', deadline=130.0)


async def test_an_evse_is_found_by_its_evse_id_and_its_location(store):
    await write(store, evses.put_many, [EVSE])
    await write(store, evses.put_many, [changed := replace(EVSE, status="Available")])
    assert await evses.find_now(store, "citrine", "DE*GEF*E1") == changed
    assert await evses.of_location_now(store, "citrine", "LOC1") == [changed]
    await write(store, evses.remove_many, [changed])
    assert await evses.list_all(store, "citrine") == []


async def test_a_served_object_that_changes_stays_in_its_place(store):
    for uid in ("A", "B", "C"):
        await write(store, served.put, replace(TOKEN, object_id=uid))
    await write(store, served.put, replace(TOKEN, object_id="a", last_updated=200.0))
    page, total = await served.page(store, ServedFilter("citrine", ObjectKind.TOKEN), 0, 2)
    assert ([each.object_id for each in page], total) == (["a", "B"], 3)
    page, total = await served.page(store, ServedFilter("citrine", ObjectKind.TOKEN, since=150.0), 0, 2)
    assert ([each.object_id for each in page], total) == (["a"], 1)
    page, total = await served.page(store, ServedFilter("citrine", ObjectKind.TOKEN, until=200.0), 0, 2)
    assert ([each.object_id for each in page], total) == (["B", "C"], 2)


async def test_an_object_stays_outstanding_until_its_newest_form_is_acknowledged(store):
    await write(store, served.put, TOKEN)
    (first,) = await served.outstanding(store, "citrine", 10)
    await write(store, served.put, replace(TOKEN, last_updated=101.0))
    await write(store, served.acknowledge, first)
    (second,) = await served.outstanding(store, "citrine", 10)
    await write(store, served.acknowledge, second)
    assert await served.outstanding(store, "citrine", 10) == []
    assert await write(store, served.send_again, "citrine", ObjectKind.TOKEN) == 1
    assert len(await served.outstanding(store, "citrine", 10)) == 1
