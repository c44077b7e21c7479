"""Everything that takes part in the day, put together and connected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from p2p_oicp.clock import SystemClock
from p2p_oicp.oicp import UID, EvcoID, EvseID, OperatorID, ProviderID
from p2p_oicp.simulator.charging import ChargingPoint
from p2p_oicp.simulator.cluster import Cluster, NodeProcess
from p2p_oicp.simulator.contracts import Contract, ContractSystem
from p2p_oicp.simulator.csms import Csms
from p2p_oicp.simulator.demo.report import Check, Report
from p2p_oicp.simulator.demo.timeline import Timeline
from p2p_oicp.simulator.journal import Journal
from p2p_oicp.simulator.node_files import NodeSpec
from p2p_oicp.simulator.story_clock import StoryClock

OPERATOR = OperatorID("DE*GEF")
PROVIDER = ProviderID("DE-GDF")
EVSES = tuple(EvseID(f"DE*GEF*E1001*{number}") for number in (1, 2, 3, 4))

CARD = UID("04A1B2C3D4E5F6")
BLOCKED_CARD = UID("04B10C4ED00000")
STRANGE_CARD = UID("CAFEBABE")
APP_DRIVER = EvcoID("DE-GDF-C12345678-X")

# The day is told in this time before now, so that nothing in it lies in the future.
_LENGTH_OF_DAY = timedelta(hours=12)


@dataclass
class World:
    """The cast, and what was found out; ``patience`` is how long to wait for what is on its way, in seconds."""

    cluster: Cluster
    csms: Csms
    contracts: ContractSystem
    timeline: Timeline
    report: Report
    started: float
    scene: str = ""
    patience: float = 10.0

    @property
    def node_a(self) -> NodeProcess:
        """The operator's node."""
        return self.cluster["node A"]

    @property
    def node_b(self) -> NodeProcess:
        """The provider's node."""
        return self.cluster["node B"]

    def elapsed(self) -> float:
        """Seconds since the demonstration began."""
        return SystemClock().monotonic() - self.started

    def tell(self, text: str) -> None:
        """Show that something happened."""
        self.timeline.event(self.elapsed(), text)

    def check(self, sentence: str, found: object, expected: object = True) -> None:  # noqa: FBT002 - a value, no switch
        """Record whether a sentence is true: ``found`` must equal ``expected``."""
        held = found == expected
        check = Check(self.scene, sentence, held, "" if held else f"expected {expected!r}, found {found!r}")
        self.report.checks.append(check)
        self.timeline.check(check)


@asynccontextmanager
async def open_world(directory: Path, timeline: Timeline, report: Report) -> AsyncIterator[World]:
    """Start backends and nodes, connect them, and end all of them afterwards."""
    clock = SystemClock()
    started = clock.monotonic()
    journal = Journal(clock, listeners=[lambda exchange: timeline.exchange(exchange.at - started, exchange)])
    async with (
        _csms(journal) as csms,
        _contract_system(journal) as contracts,
        Cluster(directory, _specs(csms, contracts)) as cluster,
    ):
        csms.connect("node A", cluster["node A"].backend_url)
        contracts.connect("node B", cluster["node B"].backend_url)
        world = World(cluster, csms, contracts, timeline, report, started)
        try:
            yield world
        finally:
            report.exchanges = len(journal.exchanges)


def _specs(csms: Csms, contracts: ContractSystem) -> list[NodeSpec]:
    return [
        NodeSpec("node A", operators=(OPERATOR.text,), cpo_url=csms.url),
        NodeSpec("node B", providers=(PROVIDER.text,), emp_url=contracts.url),
    ]


def _csms(journal: Journal) -> Csms:
    now = datetime.now().astimezone().replace(microsecond=0)
    return Csms(
        name="CSMS",
        operator=OPERATOR,
        points=[ChargingPoint(evse_id, Decimal("1000.125") * (place + 1)) for place, evse_id in enumerate(EVSES)],
        journal=journal,
        clock=StoryClock(now - _LENGTH_OF_DAY),
    )


def _contract_system(journal: Journal) -> ContractSystem:
    contracts = [
        Contract(EvcoID("DE-GDF-C00000001-1"), uids=(CARD,)),
        Contract(EvcoID("DE-GDF-C00000002-2"), uids=(BLOCKED_CARD,), is_valid=False),
        Contract(APP_DRIVER),
    ]
    return ContractSystem(name="contracts", provider=PROVIDER, contracts=contracts, journal=journal)
