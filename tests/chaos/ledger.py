"""Compares both databases and both companies' ledgers, and lists the differences."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from p2p_oicp.simulator import NodeProcess
from p2p_oicp.storage.datasets.models import OWN, DatasetKind
from tests.chaos.backends import LedgerContracts, LedgerCsms
from tests.chaos.datasets import PushedDataset
from tests.support.database import execute, read


@dataclass
class Restores:
    """What restores of the nodes have lost and repeated; sessions by their lower-case ids where keys are compared.

    Attributes:
        sessions: those that were open, whose notifications may be lost or come again.
        allowed_copies: how many copies of a CDR more than one the EMP's backend may have received.
        to_send_again: the CDRs that the restored database of the CPO's node does not have.
        lost: those of them that the database of the EMP's node does not have, either.
        lost_count: how many of these the EMP's backend does not have, and the CSMS did not send again, in all rounds.
    """

    sessions: set[str] = field(default_factory=set)
    allowed_copies: Counter[str] = field(default_factory=Counter)
    to_send_again: dict[str, bytes] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    lost_count: int = 0


@dataclass
class Balance:
    """The result of a comparison; it is even if there are no ``faults``."""

    sessions: int = 0
    records: int = 0
    lost: int = 0
    duplicated: int = 0
    repeated: int = 0
    dead: int = 0
    waiting: int = 0
    unconfirmed: int = 0
    lost_with_database: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def is_even(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        counts = (
            f"sessions {self.sessions}, CDRs acknowledged {self.records}, lost {self.lost}, "
            f"different copies {self.duplicated}, "
            f"delivered again to the backend {self.repeated}, dead letters {self.dead}, waiting {self.waiting}, "
            f"unconfirmed {self.unconfirmed}, lost with a database and not sent again {self.lost_with_database}"
        )
        return "\n  ".join([counts, *self.faults[:20]])


def database(node: NodeProcess) -> Path:
    return node.directory / "data" / "node.sqlite3"


def rows(node: NodeProcess, query: str) -> list[tuple]:
    """Read a node's database, beside the node."""
    return read(database(node), query)


def write(node: NodeProcess, statement: str) -> None:
    """Change a node's database beside the node, which only tests do."""
    execute(database(node), statement)


def stored_datasets(file: Path, source: str = OWN) -> dict[str, bytes]:
    """Return a database's valid records, by dataset and key: the node's own, or its copy of a peer's (by its name)."""
    peer = f"coalesce((SELECT id FROM peers WHERE name = '{source}'), '{source}')"
    query = f"SELECT dataset, key, raw FROM dataset_records WHERE source = {peer} AND deleted = 0"
    return {f"{DatasetKind(dataset).name} {key}": raw for dataset, key, raw in read(file, query)}


def dataset_faults(datasets: Iterable[PushedDataset], cpo: NodeProcess, emp: NodeProcess) -> list[str]:
    """Compare what backends have pushed, what their nodes have stored, and the copies at the other node."""
    faults, known = [], {}
    for node, other in ((cpo, emp), (emp, cpo)):
        own, copy = stored_datasets(database(node)), stored_datasets(database(other), node.spec.name)
        faults += _differences(f"the datasets of {node.spec.name}", own, f"the copy of {other.spec.name}", copy)
        known |= own
    for each in datasets:
        stored = [raw for key, raw in known.items() if key.startswith(f"{each.spec.name} ")]
        faults += [f"{each.spec.name}: the node has stored other records than were pushed"] * each.differs_from(stored)
    return faults


def stored_cdrs(file: Path, role: str) -> dict[str, bytes]:
    return dict(read(file, f"SELECT session_key, body FROM cdrs WHERE role = '{role}'"))


def compare(
    csms: LedgerCsms, contracts: LedgerContracts, cpo: NodeProcess, emp: NodeProcess, restores: Restores
) -> Balance:
    """Compare both ledgers and both databases as they are now; `compare_until_even` compares datasets, too."""
    acknowledged = {session.lower(): body for session, body in csms.records.items()}
    datasets = {session.lower(): bodies for session, bodies in contracts.records.items()}
    at_cpo, at_emp = stored_cdrs(database(cpo), "cpo"), stored_cdrs(database(emp), "emp")
    balance = Balance(
        sessions=rows(cpo, "SELECT count(*) FROM sessions WHERE role = 'cpo'")[0][0],
        records=len(acknowledged),
        repeated=sum(len(bodies) - 1 for bodies in datasets.values()),
        dead=_count_messages(cpo, "dead") + _count_messages(emp, "dead"),
        waiting=_count_messages(cpo, "waiting") + _count_messages(emp, "waiting"),
        unconfirmed=rows(emp, "SELECT count(*) FROM cdrs WHERE unconfirmed = 1")[0][0],
        lost_with_database=restores.lost_count,
    )
    lost = {key for key in acknowledged if key not in datasets}
    duplicated = {key for key, bodies in datasets.items() if len(set(bodies)) > 1}
    balance.lost, balance.duplicated = len(lost), len(duplicated)
    balance.faults += _describe("lost: acknowledged by the CPO's node, unknown to the EMP's backend", lost)
    balance.faults += _describe("duplicated: the EMP's backend received different records", duplicated)
    balance.faults += _differences("the CSMS's ledger", acknowledged, "the CPO node's store", at_cpo)
    balance.faults += _differences("the CPO node's store", at_cpo, "the EMP node's store", at_emp)
    balance.faults += _differences(
        "the EMP node's store", at_emp, "its backend's ledger", {k: v[0] for k, v in datasets.items()}
    )
    balance.faults += _notifications(csms, contracts, restores.sessions)
    balance.faults += _unsettled(cpo, "cpo", at_cpo) + _unsettled(emp, "emp", at_emp)
    balance.faults += [f"{balance.dead} dead letters"] * bool(balance.dead)
    balance.faults += [f"{balance.waiting} messages still wait"] * bool(balance.waiting)
    return balance


def _count_messages(node: NodeProcess, state: str) -> int:
    return rows(node, f"SELECT count(*) FROM outbox WHERE state = '{state}'")[0][0]


def _describe(what: str, keys: Iterable[str]) -> list[str]:
    listed = sorted(keys)
    return [f"{what}: {len(listed)}, first {', '.join(listed[:3])}"] if listed else []


def _differences(left_name: str, left: dict[str, bytes], right_name: str, right: dict[str, bytes]) -> list[str]:
    """Describe the records that are on one side only, or not byte for byte the same."""
    return [
        *_describe(f"in {left_name}, not in {right_name}", left.keys() - right.keys()),
        *_describe(f"in {right_name}, not in {left_name}", right.keys() - left.keys()),
        *_describe(
            f"not the same in {left_name} and {right_name}",
            {k for k in left.keys() & right.keys() if left[k] != right[k]},
        ),
    ]


def _notifications(csms: LedgerCsms, contracts: LedgerContracts, restored: set[str]) -> list[str]:
    """Check that each acknowledged notification arrived, in order; a Progress may be superseded by a newer one."""
    faults = []
    for session, sent in csms.notified.items():
        if session in restored:
            continue
        datasets = list(dict.fromkeys(contracts.notified.get(session, [])))
        missing = [body for body in sent if body not in datasets and b'"Progress"' not in body]
        if missing:
            faults.append(f"notification of {session} lost: {missing[0][:60]!r}")
        elif datasets != [body for body in sent if body in datasets]:
            faults.append(f"notifications of {session} out of order")
    return faults


def _unsettled(node: NodeProcess, role: str, records: dict[str, bytes]) -> list[str]:
    accepted = {
        row[0] for row in rows(node, f"SELECT session_key FROM cdrs WHERE role = '{role}' AND state = 'accepted'")
    }
    settled = {
        row[0] for row in rows(node, f"SELECT session_key FROM sessions WHERE role = '{role}' AND state = 'settled'")
    }
    return [
        *_describe(f"sessions of {role} that have a record and are not settled", records.keys() - settled),
        *_describe(f"records of {role} that are not accepted", records.keys() - accepted),
    ]


async def differences(
    csms: LedgerCsms, contracts: LedgerContracts, datasets: Iterable[PushedDataset], cpo: NodeProcess, emp: NodeProcess
) -> list[str]:
    """List where datasets are not the same everywhere; statuses are also compared as the EMP's backend pulls them."""
    known = await contracts.pull()
    differing = {k for k in known.keys() | csms.statuses.keys() if known.get(k) != csms.statuses.get(k)}
    return _describe("statuses differ", differing) + dataset_faults(datasets, cpo, emp)


async def compare_until_even(
    csms: LedgerCsms,
    contracts: LedgerContracts,
    datasets: Iterable[PushedDataset],
    cpo: NodeProcess,
    emp: NodeProcess,
    restores: Restores,
    *,
    within: float = 20.0,
) -> Balance:
    """Return the comparison once it is even, datasets included, or as it is after ``within`` seconds."""
    until = time.monotonic() + within
    while True:
        balance = compare(csms, contracts, cpo, emp, restores)
        if balance.is_even:
            balance.faults += await differences(csms, contracts, datasets, cpo, emp)
        if balance.is_even or time.monotonic() > until:
            return balance
        await asyncio.sleep(0.1)
