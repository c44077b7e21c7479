"""The purge of datasets: versions and tombstones from before a cutoff, and old quarantined records."""

import pytest

from p2p_oicp.oicp import Finding, Severity
from p2p_oicp.storage import cdrs
from p2p_oicp.storage.cdrs import CdrRow
from p2p_oicp.storage.datasets import quarantine, queries
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.models import Changeset, DatasetKind, DatasetRecord, RecordGroup
from p2p_oicp.storage.datasets.quarantine import QuarantinedRecord
from p2p_oicp.storage.retention import purge_datasets
from p2p_oicp.storage.statements import Statement
from tests.support.changesets import many, push

COUNTS = Statement(
    "SELECT (SELECT count(*) FROM dataset_records) AS records, (SELECT count(*) FROM dataset_versions) AS versions, "
    "(SELECT count(*) FROM quarantine) AS quarantined",
    {},
)
PURGED = Statement("SELECT change, at FROM dataset_purges WHERE dataset = 2", {})
CHANGE_OF = Statement("SELECT change FROM dataset_records WHERE key = :key", {})


async def counts(store) -> dict[str, int]:
    return dict((await store.query(COUNTS))[0])


@pytest.fixture
def coordinator(store, clock) -> DatasetCoordinator:
    return DatasetCoordinator(store, clock.time)


async def test_only_versions_that_ended_before_the_cutoff_are_purged(store, coordinator, clock):
    start = clock.now
    await coordinator.apply(push("fullLoad", A="Available", B="Available", **many(500)))
    clock.now = start + 100
    await coordinator.apply(push("fullLoad", A="Occupied"))
    (gone,) = await store.query(CHANGE_OF, key="E00499")
    clock.now = start + 200
    await coordinator.apply(push("update", A="Reserved"))
    await coordinator.apply(push("insert", C="Available"))
    await coordinator.apply(push("delete", C="Available"))
    assert await counts(store) == {"records": 503, "versions": 504, "quarantined": 0}
    assert await purge_datasets(store, {DatasetKind.EVSE_STATUS: start + 150}, 0.0) > 0
    # What ended at 100 is gone; what ended at 200 is there, and what is valid stays however old it is.
    assert await counts(store) == {"records": 2, "versions": 2, "quarantined": 0}
    (purged,) = await store.query(PURGED)
    assert (purged["change"], purged["at"]) >= (gone["change"], start + 100)
    assert [row["key"] for row in await queries.valid_at(store, DatasetKind.EVSE_STATUS, start + 150)] == ["A"]


async def test_nothing_of_another_dataset_is_purged(store, coordinator, clock):
    await coordinator.apply(push("insert", A="Available"))
    await coordinator.apply(push("delete", A="Available"))
    clock.now += 1000
    assert await purge_datasets(store, {DatasetKind.EVSE_DATA: clock.now}, 0.0) == 0


async def test_quarantined_records_are_purged_by_the_time_they_were_last_seen(store):
    found = Finding(Severity.ERROR, "/EvseID", "missing", "'EvseID' is mandatory")
    for at, raw in ((10.0, b"old"), (10.0, b"again"), (50.0, b"again")):
        await quarantine.add(store, "peer", "PushEvseData", [QuarantinedRecord(raw, (found,))], at)
    await purge_datasets(store, {}, 30.0)
    assert [bytes(row["record"]) for row in await store.query(quarantine.LIST_ALL)] == [b"again"]


async def test_a_peer_cannot_fill_the_quarantine(store, monkeypatch):
    monkeypatch.setattr(quarantine, "MAX_RECORDS_PER_SOURCE", 5)
    found = Finding(Severity.ERROR, "/EvseID", "missing", "'EvseID' is mandatory")
    for number in range(4):
        records = [QuarantinedRecord(b"%d %d" % (number, place), (found,)) for place in range(3)]
        await quarantine.add(store, "peer", "PushEvseData", records, float(number))
    quarantined = [bytes(row["record"]) for row in await store.query(quarantine.LIST_ALL)]
    assert quarantined == [b"2 1", b"2 2", b"3 0", b"3 1", b"3 2"]


async def test_prices_stay_as_long_as_a_cdr_that_was_made_under_them(store, coordinator, clock):
    start = clock.now
    await coordinator.apply(price(1))
    clock.now = start + 100
    await coordinator.apply(price(2))
    cdr = CdrRow(
        role="cpo", session_key="s", peer="b", operator_key="", provider_key="", session_end=start + 50, body=b"{}"
    )
    await store.write(lambda tx: cdrs.insert(tx, cdr, start + 60))
    cutoffs = dict.fromkeys(DatasetKind, start + 1000)
    await purge_datasets(store, cutoffs, 0.0)
    (valid,) = await queries.valid_at(store, DatasetKind.PRICING_PRODUCT, start + 50)
    assert valid["raw"] == b'{"price":1}'
    await store.write(lambda tx: tx.run(Statement("DELETE FROM cdrs", {})))
    await purge_datasets(store, cutoffs, 0.0)
    assert await queries.valid_at(store, DatasetKind.PRICING_PRODUCT, start + 50) == []


def price(amount: int) -> Changeset:
    record = DatasetRecord("DEABC|*|AC1", "DEABC|*", b'{"price":%d}' % amount, "*")
    groups = (RecordGroup("DEABC|*", "DE*ABC", b"{}"),)
    return Changeset(dataset=DatasetKind.PRICING_PRODUCT, source="", groups=groups, records=[record])
