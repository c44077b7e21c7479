"""Objects of OCPI partners in the database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_oicp.storage.ocpi import findings, objects
from p2p_oicp.storage.ocpi.findings import PullCursor, StoredFinding
from p2p_oicp.storage.ocpi.objects import ObjectID, ObjectKind, ObjectState, StoredObject

ID = ObjectID.of("citrine", ObjectKind.CDR, "DE", "GEF", "Cdr-1")
CDR = StoredObject(ID, "Cdr-1", b'{"id":"Cdr-1","total_energy":1.5}', 10.0, 20.0, ObjectState.PENDING)
FINDING = StoredFinding(ObjectKind.CDR, "Cdr-1", "no-counterpart", "/remark", "remark has no place", 5.0)


async def write(store, job, *arguments):
    return await store.write(lambda tx: job(tx, *arguments))


async def test_an_object_is_the_same_in_every_letter_case_and_stays_as_it_was_written(store):
    await write(store, objects.put, CDR)
    stored = await objects.get_now(store, ObjectID.of("citrine", ObjectKind.CDR, "de", "gef", "CDR-1"))
    assert stored == CDR
    assert (stored.object_id, str(stored.value["total_energy"])) == ("Cdr-1", "1.5")
    assert await objects.find_now(store, "citrine", ObjectKind.CDR, "cDR-1") == [CDR]
    assert await objects.find_now(store, "another", ObjectKind.CDR, "cDR-1") == []


async def test_what_became_of_an_object_is_recorded_unless_there_is_a_newer_form(store):
    await write(store, objects.put, CDR)
    await write(store, objects.put, replace(CDR, received_at=21.0))
    assert not await write(store, objects.set_state, CDR, ObjectState.CARRIED)
    current = await objects.get_now(store, ID)
    assert await write(store, objects.set_state, current, ObjectState.HELD, "uncorrelated", "s-1")
    held = await objects.get_now(store, ID)
    assert (held.state, held.reason, held.session_key) == (ObjectState.HELD, "uncorrelated", "s-1")


async def test_held_cdrs_are_counted_for_each_partner(store):
    for name, state in (("a", ObjectState.HELD), ("b", ObjectState.HELD), ("c", ObjectState.CARRIED)):
        id_ = ObjectID.of("citrine", ObjectKind.CDR, "DE", "GEF", name)
        await write(store, objects.put, replace(CDR, id=id_, received_at=20.0 + len(name), state=state))
    assert await objects.held_cdrs(store) == [objects.HeldCount("citrine", 2, 21.0)]


async def test_what_waits_for_its_session_is_tried_again(store):
    session = replace(CDR, id=replace(ID, kind=ObjectKind.SESSION), state=ObjectState.WAITING)
    await write(store, objects.put, session)
    assert await write(store, objects.retry_waiting, "citrine", ObjectKind.SESSION) == 1
    (pending,) = await objects.list_in_state(store, "citrine", ObjectKind.SESSION, ObjectState.PENDING)
    assert pending.id == session.id


async def test_a_finding_is_reported_once_for_an_object(store):
    await write(store, findings.replace_all, "citrine", ObjectKind.CDR, "Cdr-1", [FINDING, FINDING])
    await write(store, findings.replace_all, "citrine", ObjectKind.CDR, "cdr-1", [replace(FINDING, at=6.0)])
    assert await findings.list_latest(store, "citrine", 10) == [replace(FINDING, at=6.0)]
    assert await findings.list_of_object(store, "citrine", ObjectKind.CDR, "CDR-1") == [replace(FINDING, at=6.0)]


async def test_a_refused_form_of_an_object_stays_when_its_findings_are_replaced(store):
    conflict = replace(FINDING, code="conflict", pointer="", body=b"{}")
    assert await write(store, findings.add, "citrine", conflict)
    await write(store, findings.replace_all, "citrine", ObjectKind.CDR, "Cdr-1", [])
    assert await findings.list_latest(store, "citrine", 10) == [conflict]


@pytest.mark.parametrize("cursor", [PullCursor(None, 3.0), PullCursor(2.5, 3.0)], ids=["nothing came", "some came"])
async def test_how_far_a_list_was_pulled_is_stored(store, cursor):
    await write(store, findings.set_cursor, "citrine", ObjectKind.CDR, PullCursor(1.0, 1.0))
    await write(store, findings.set_cursor, "citrine", ObjectKind.CDR, cursor)
    assert await findings.cursor_now(store, "citrine", ObjectKind.CDR) == cursor
    assert await findings.cursor_now(store, "citrine", ObjectKind.TARIFF) is None
