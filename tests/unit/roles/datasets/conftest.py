"""The services of a node that is an EMP and pulls or is pushed by a CPO; no node runs."""

from collections.abc import Callable

import pytest

from p2p_oicp.clock import UuidGenerator
from p2p_oicp.config.limits import DeadlineSettings
from p2p_oicp.crypto.pins import PinGuard
from p2p_oicp.delivery import WakeupRegistry
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peering.agreements import PartyAgreements
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles import Services
from p2p_oicp.roles.context import RemovedPeers
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator

CPO = Peer("cpo", "http://cpo", operators=(OperatorID("DE*GEF"),), services=frozenset({"PullEvseData"}))
ME = Peer("me", "http://me", providers=(ProviderID("DE-GDF"),), is_self=True)


@pytest.fixture
def services(store, clock) -> Callable[..., Services]:
    """Return the services of a node, over one store; ``peers`` sends its requests."""

    def make(peers=None) -> Services:
        registry = PeerRegistry((ME, CPO))
        return Services(
            registry=registry,
            store=store,
            peers=peers,
            recorder=None,
            wakeups=WakeupRegistry(),
            clock=clock,
            ids=UuidGenerator(),
            datasets=DatasetCoordinator(store, clock.time),
            removed_peers=RemovedPeers(registry, store),
            agreements=PartyAgreements(ME),
            deadlines=DeadlineSettings(),
            pins=PinGuard(clock),
            pin_rounds=4,
        )

    return make
