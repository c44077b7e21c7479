"""The book-keeper: compares both stores and both companies' own books, and says what does not balance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from p2p_oicp.simulator import NodeProcess
from p2p_oicp.storage.datasets.models import OWN, DatasetKind
from tests.chaos.backends import Contracts, Csms
from tests.chaos.datasets import Told
from tests.support.database import execute, read


@dataclass
class Balance:
    """What a comparison showed; it balances if there are no ``faults``."""

    sessions: int = 0
    records: int = 0
    lost: int = 0
    doubled: int = 0
    repeated: int = 0
    dead: int = 0
    waiting: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def is_even(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        counts = (
            f"sessions {self.sessions}, CDRs acknowledged {self.records}, lost {self.lost}, doubled {self.doubled}, "
            f"told again to the backend {self.repeated}, dead letters {self.dead}, waiting {self.waiting}"
        )
        return "\n  ".join([counts, *self.faults[:20]])


def database(node: NodeProcess) -> Path:
    return node.directory / "data" / "node.sqlite3"


def rows(node: NodeProcess, query: str) -> list[tuple]:
    """Read a node's store, beside the node."""
    return read(database(node), query)


def write(node: NodeProcess, statement: str) -> None:
    """Change a node's store beside the node, as no program may."""
    execute(database(node), statement)


def state_in(file: Path, source: str = OWN) -> dict[str, bytes]:
    """Return a store's valid records of state, by kind and key: its node's own, or its copy of a peer's."""
    query = f"SELECT dataset, key, raw FROM dataset_records WHERE source = '{source}' AND deleted = 0"
    return {f"{DatasetKind(dataset).name} {key}": raw for dataset, key, raw in read(file, query)}


def state_faults(told: Iterable[Told], cpo: NodeProcess, emp: NodeProcess) -> list[str]:
    """Compare what backends have told, what their nodes know of it, and the copies that the other node has."""
    faults, known = [], {}
    for node, other in ((cpo, emp), (emp, cpo)):
        own, copy = state_in(database(node)), state_in(database(other), node.spec.name)
        faults += _unlike(f"the state of {node.spec.name}", own, f"the copy of {other.spec.name}", copy)
        known |= own
    for each in told:
        stored = [raw for key, raw in known.items() if key.startswith(f"{each.kind.name} ")]
        faults += [f"{each.kind.name}: the node knows other records than it was told"] * each.differs_from(stored)
    return faults


def records_in(file: Path, role: str) -> dict[str, bytes]:
    return dict(read(file, f"SELECT session_key, body FROM cdrs WHERE role = '{role}'"))


def compare(csms: Csms, contracts: Contracts, cpo: NodeProcess, emp: NodeProcess) -> Balance:
    """Compare the four books as they are now; state is compared by :func:`settled`."""
    acknowledged = {session.lower(): body for session, body in csms.records.items()}
    told = {session.lower(): bodies for session, bodies in contracts.records.items()}
    at_cpo, at_emp = records_in(database(cpo), "cpo"), records_in(database(emp), "emp")
    balance = Balance(
        sessions=rows(cpo, "SELECT count(*) FROM sessions WHERE role = 'cpo'")[0][0],
        records=len(acknowledged),
        repeated=sum(len(bodies) - 1 for bodies in told.values()),
        dead=_letters(cpo, "dead") + _letters(emp, "dead"),
        waiting=_letters(cpo, "waiting") + _letters(emp, "waiting"),
    )
    lost = {key for key in acknowledged if key not in told}
    doubled = {key for key, bodies in told.items() if len(set(bodies)) > 1}
    balance.lost, balance.doubled = len(lost), len(doubled)
    balance.faults += _named("lost: acknowledged by the CPO's node, unknown to the EMP's backend", lost)
    balance.faults += _named("doubled: the EMP's backend was told different records", doubled)
    balance.faults += _unlike("the CSMS's books", acknowledged, "the CPO node's store", at_cpo)
    balance.faults += _unlike("the CPO node's store", at_cpo, "the EMP node's store", at_emp)
    balance.faults += _unlike("the EMP node's store", at_emp, "its backend's books", {k: v[0] for k, v in told.items()})
    balance.faults += _notifications(csms, contracts)
    balance.faults += _unsettled(cpo, "cpo", at_cpo) + _unsettled(emp, "emp", at_emp)
    balance.faults += [f"{balance.dead} dead letters"] * bool(balance.dead)
    balance.faults += [f"{balance.waiting} letters still wait"] * bool(balance.waiting)
    return balance


def _letters(node: NodeProcess, state: str) -> int:
    return rows(node, f"SELECT count(*) FROM outbox WHERE state = '{state}'")[0][0]


def _named(what: str, keys: Iterable[str]) -> list[str]:
    listed = sorted(keys)
    return [f"{what}: {len(listed)}, first {', '.join(listed[:3])}"] if listed else []


def _unlike(left_name: str, left: dict[str, bytes], right_name: str, right: dict[str, bytes]) -> list[str]:
    """Name the records that are on one side only, or not byte for byte the same."""
    return [
        *_named(f"in {left_name}, not in {right_name}", left.keys() - right.keys()),
        *_named(f"in {right_name}, not in {left_name}", right.keys() - left.keys()),
        *_named(
            f"not the same in {left_name} and {right_name}",
            {k for k in left.keys() & right.keys() if left[k] != right[k]},
        ),
    ]


def _notifications(csms: Csms, contracts: Contracts) -> list[str]:
    """Each acknowledged notification was told, in order; a Progress may be superseded by a newer one."""
    faults = []
    for session, sent in csms.notified.items():
        told = list(dict.fromkeys(contracts.notified.get(session, [])))
        missing = [body for body in sent if body not in told and b'"Progress"' not in body]
        if missing:
            faults.append(f"notification of {session} lost: {missing[0][:60]!r}")
        elif told != [body for body in sent if body in told]:
            faults.append(f"notifications of {session} out of order")
    return faults


def _unsettled(node: NodeProcess, role: str, records: dict[str, bytes]) -> list[str]:
    settled = {
        row[0] for row in rows(node, f"SELECT session_key FROM sessions WHERE role = '{role}' AND state = 'settled'")
    }
    return _named(f"sessions of {role} that have a record and are not settled", records.keys() - settled)


async def differences(
    csms: Csms, contracts: Contracts, told: Iterable[Told], cpo: NodeProcess, emp: NodeProcess
) -> list[str]:
    """Say where state is not the same everywhere; statuses are compared as the EMP's backend sees them, as well."""
    known = await contracts.pull()
    differing = {k for k in known.keys() | csms.statuses.keys() if known.get(k) != csms.statuses.get(k)}
    return _named("statuses differ", differing) + state_faults(told, cpo, emp)


async def settled(
    csms: Csms,
    contracts: Contracts,
    told: Iterable[Told],
    cpo: NodeProcess,
    emp: NodeProcess,
    *,
    within: float = 20.0,
) -> Balance:
    """Return the books once they balance and state is the same, or as they are after ``within`` seconds."""
    until = time.monotonic() + within
    while True:
        balance = compare(csms, contracts, cpo, emp)
        if balance.is_even:
            balance.faults += await differences(csms, contracts, told, cpo, emp)
        if balance.is_even or time.monotonic() > until:
            return balance
        await asyncio.sleep(0.1)
