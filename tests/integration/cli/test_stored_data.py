"""`p2p-oicp history` and `quarantine list`: people look into what a node has stored."""

import asyncio
import json

import pytest

from p2p_oicp.oicp import Finding, Severity
from p2p_oicp.storage import open_store
from p2p_oicp.storage.datasets import quarantine
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.models import Changeset, DatasetKind, DatasetRecord, RecordGroup
from p2p_oicp.storage.datasets.quarantine import QuarantinedRecord
from tests.support.changesets import push


@pytest.fixture
def node(tmp_path):
    """A node with a status that changed twice and was withdrawn, and one quarantined record."""
    home = tmp_path / "node"
    home.mkdir()
    (home / "peers.toml").write_text("")
    (home / "node.toml").write_text('[node]\nname = "n"\noperators = ["DE*ABC"]\n[security]\nrequire = []\n')
    times = iter([1000.0, 2000.0, 3000.0])

    async def fill() -> None:
        async with open_store(home / "data" / "node.sqlite3") as store:
            coordinator = DatasetCoordinator(store, lambda: next(times))
            for action, status in (("insert", "Available"), ("update", "Occupied"), ("delete", "Occupied")):
                await coordinator.apply(push(action, DEABCE1=status))
            found = Finding(Severity.ERROR, "/EvseID", "missing", "'EvseID' is mandatory")
            for _ in range(2):
                await quarantine.add(store, "B", "PushEvseStatus", [QuarantinedRecord(b"{}", (found,))], 5.0)

    asyncio.run(fill())
    return home / "node.toml"


def test_the_history_of_an_evse_is_complete(p2p_oicp, node):
    found = json.loads(p2p_oicp("history", "DE*ABC*E1", "--json", "--config", node).out)
    assert [(v["dataset"], v["source"], v["since"][14:19], v["until"] and v["until"][14:19]) for v in found] == [
        ("evse status", "own", "16:40", "33:20"),
        ("evse status", "own", "33:20", "50:00"),
        ("evse status", "own", "50:00", None),
    ]
    assert [v["deleted"] for v in found] == [False, False, True]
    text = p2p_oicp("history", "deabcE1", "--config", node).out
    assert "EvseStatus = Occupied" in text
    assert "withdrawn" in text


@pytest.mark.parametrize(
    ("at", "status"),
    [
        ("1970-01-01T00:20:00+00:00", "Available"),
        ("1970-01-01T01:40:00+01:00", "Occupied"),
        ("1970-01-01T00:10:00Z", None),
        ("1970-01-01T02:00:00Z", None),
    ],
)
def test_the_version_at_a_time_in_the_past_is_shown(p2p_oicp, node, at, status):
    answer = p2p_oicp("history", "DE*ABC*E1", "--at", at, "--json", "--config", node)
    assert [version["record"]["EvseStatus"] for version in json.loads(answer.out)] == ([status] if status else [])
    assert answer.code == (0 if status else 1)


def test_a_time_without_an_offset_is_explained(p2p_oicp, node):
    answer = p2p_oicp("history", "DE*ABC*E1", "--at", "yesterday", "--config", node)
    assert answer.code == 2
    assert "expected a time with its offset" in answer.err


def test_quarantined_records_are_listed_with_their_reason(p2p_oicp, node):
    (found,) = json.loads(p2p_oicp("quarantine", "list", "--json", "--config", node).out)
    assert (found["source"], found["operation"], found["occurrences"], found["record"]) == (
        "B",
        "PushEvseStatus",
        2,
        "{}",
    )
    assert "'EvseID' is mandatory" in p2p_oicp("quarantine", "list", "--config", node).out
    assert "No quarantined records" in p2p_oicp("quarantine", "list", "--from", "C", "--config", node).err


def test_the_history_of_an_evse_says_what_its_products_cost_at_a_time(p2p_oicp, node):
    times = iter([1000.0, 1000.0, 2000.0])

    async def fill() -> None:
        async with open_store(node.parent / "data" / "node.sqlite3") as store:
            coordinator = DatasetCoordinator(store, lambda: next(times))
            prices = b'{"EvseID":"DE*ABC*E1","ProviderID":"*","EvseIDProductList":["AC1"]}'
            await coordinator.apply(priced(DatasetKind.EVSE_PRICING, "DEABCE1|*", "DEABC", prices))
            for amount in (b"0.4", b"0.5"):
                product = b'{"ProductID":"AC1","PricePerReferenceUnit":%b}' % amount
                await coordinator.apply(priced(DatasetKind.PRICING_PRODUCT, "DEABC|*|AC1", "DEABC|*", product))

    asyncio.run(fill())
    for at, amount in (("1970-01-01T00:20:00Z", 0.4), ("1970-01-01T01:00:00Z", 0.5)):
        found = json.loads(p2p_oicp("history", "DE*ABC*E1", "--at", at, "--json", "--config", node).out)
        assert [v["record"]["PricePerReferenceUnit"] for v in found if v["dataset"] == "pricing product"] == [amount]


def priced(dataset: DatasetKind, key: str, group: str, raw: bytes) -> Changeset:
    record = DatasetRecord(key, group, raw, "*")
    return Changeset(dataset=dataset, source="", groups=(RecordGroup(group, "DE*ABC", b"{}"),), records=[record])
