"""Builds the parts of one node, each complete when it is made; ``node`` starts and stops what is built here.

In the order of `node.Node.__aenter__`: ``peering.open_peering`` (keys, peers, transport), `build_roles` (dispatchers,
peer client, and the roles between them), `build_hello`, the two applications, and the workers.

Two pairs of parts need each other; one side of each is built first, and the other registers there: hello with the key
refresher, which its client needs, and the roles with the dispatcher, which serves this node's requests to itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from p2p_oicp.backends import BackendFactory, BackendRegistry, TokenListBackend
from p2p_oicp.backends.client import CallOutcome
from p2p_oicp.client import AuthenticatedPeerClient
from p2p_oicp.client.peer_client import CallObserver
from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.concurrency import TaskSupervisor, Worker
from p2p_oicp.config import Settings
from p2p_oicp.crypto.pins import PinGuard
from p2p_oicp.delivery import (
    ExponentialBackoff,
    HttpNodeClient,
    NodeClient,
    PeerLiveness,
    StoreEpochs,
    WakeupRegistry,
)
from p2p_oicp.delivery.hello import HelloClient
from p2p_oicp.delivery.webhook_pool import WebhookPool
from p2p_oicp.delivery.webhooks import WebhookParts
from p2p_oicp.events.cloud_events import source_of
from p2p_oicp.events.feed import EventFeed
from p2p_oicp.ocpi_gateway.cpo import CpoPartners
from p2p_oicp.ocpi_gateway.gateway import OcpiGateway
from p2p_oicp.peering import Peering, PeersChanged
from p2p_oicp.peering.peer_status import HeldPeersJob
from p2p_oicp.peering.peer_tls import CertificateExpiryJob
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles import CpoRole, EmpRole, Services
from p2p_oicp.roles.context import RemovedPeers
from p2p_oicp.roles.lost_sessions import LostSessions
from p2p_oicp.roles.peer_workers import PeerWorkerPool, workers_for_backends
from p2p_oicp.roles.recovery import RecoveryJob
from p2p_oicp.roles.retention import DatasetRetentionJob, RetentionPolicy, SessionExpiryJob, SessionRetentionJob
from p2p_oicp.server import (
    AdmissionLimits,
    Authenticator,
    HelloHandler,
    InProcessPeerClient,
    ListenerKind,
    LocalBackendClient,
    Metrics,
    OperationDispatcher,
    PeerAuthenticator,
    PeerLimiter,
)
from p2p_oicp.server.figures import MinuteFigures
from p2p_oicp.server.interception import InterceptedDispatcher, OperationInterceptor
from p2p_oicp.server.metrics import CallRecorder
from p2p_oicp.server.metrics_page import EventLoopLag
from p2p_oicp.storage import Store
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.limited_events import LimitedEventLog


@dataclass(frozen=True, slots=True)
class NodeEnvironment:
    """What a node is given from outside.

    Attributes:
        settings: the settings.
        registry: its own entry, and its peers.
        clock: the time.
        ids: the source of ids.
        backend_authenticator: knows who speaks to the backend API.
        interceptor: may answer in place of a role on the backend API; None: nothing does.
        is_open: parties are added while it runs, so that it has both roles before it has any party.
        ocpi: the gateway for OCPI partners.
    """

    settings: Settings
    registry: PeerRegistry
    clock: Clock
    ids: IdGenerator
    backend_authenticator: Authenticator
    interceptor: OperationInterceptor | None = None
    is_open: bool = False
    ocpi: OcpiGateway | None = None

    @property
    def local_peer(self) -> Peer:
        return self.registry.own

    @property
    def backoff(self) -> ExponentialBackoff:
        return ExponentialBackoff(self.settings.delivery.retry_first, self.settings.delivery.retry_max)

    @property
    def admission_limits(self) -> AdmissionLimits:
        """How many requests each listener takes on at once."""
        limits = self.settings.limits
        return AdmissionLimits(limits.requests, limits.pushes, limits.waiting)


class Dispatchers(NamedTuple):
    """What serves OICP to peers, and to our own backend."""

    peer: OperationDispatcher
    backend: OperationDispatcher


@dataclass(frozen=True, slots=True)
class NodeComponents:
    """What listeners and workers share."""

    environment: NodeEnvironment
    peering: Peering
    services: Services
    client: AuthenticatedPeerClient
    nodes: NodeClient
    store_epochs: StoreEpochs
    liveness: PeerLiveness
    metrics: Metrics
    lag: EventLoopLag
    figures: MinuteFigures
    authenticator: PeerAuthenticator
    dispatchers: Dispatchers
    backends: BackendRegistry
    calls: CallRecorder
    events: LimitedEventLog
    feed: EventFeed
    webhooks: WebhookPool
    ocpi_cpos: CpoPartners | None
    cpo: CpoRole | None
    emp: EmpRole | None


def build_roles(
    environment: NodeEnvironment,
    store: Store,
    store_epochs: StoreEpochs,
    feed: EventFeed,
    peering: Peering,
    wakeups: WakeupRegistry,
    liveness: PeerLiveness,
    create_backends: Callable[[BackendFactory], BackendRegistry],
) -> NodeComponents:
    """Return the roles, with what they send by and are called by."""
    local_peer, metrics = environment.local_peer, Metrics()
    events = LimitedEventLog(store, environment.clock)
    calls = CallRecorder(metrics, environment.clock, events)
    limiter = _build_limiter(environment)
    authenticator = PeerAuthenticator(peering, limiter, metrics.observe_signature_failure)
    dispatchers = _build_dispatchers(environment, authenticator, limiter, liveness, metrics, events)
    client = _build_peer_client(environment, peering, dispatchers.peer, calls)
    services = _build_services(environment, store, peering, wakeups, client, metrics)
    observe = partial(calls.record_backend, partial(liveness.mark_answered, services.background))
    local, ocpi = LocalBackendClient(dispatchers.backend, local_peer), environment.ocpi
    ocpi_cpos = CpoPartners(ocpi.partners, services, local.send, events.add) if ocpi is not None else None
    backends = create_backends(_build_backend_factory(environment, services, peering, observe, ocpi_cpos))
    nodes = HttpNodeClient(client)
    lost_sessions = partial(LostSessions, services, store_epochs, nodes, peering.evidence)
    is_cpo, is_emp = environment.is_open or local_peer.operators, environment.is_open or local_peer.providers
    cpo = CpoRole(services, backends, lost_sessions("cpo")) if is_cpo else None
    emp = _build_emp_role(environment, services, backends, nodes, lost_sessions) if is_emp else None
    webhook_parts = WebhookParts(
        feed, source_of(local_peer.url, local_peer.name), store, peering.transport, peering.identity.signer,
        wakeups, environment.clock, environment.backoff,
    )  # fmt: skip
    webhooks = WebhookPool(environment.settings.webhooks, webhook_parts)
    # Order: last, for the roles send by the client, which has the dispatcher for requests to this node itself.
    for dispatcher in dispatchers:
        dispatcher.register(cpo, emp)
    return NodeComponents(
        environment, peering, services, client, nodes, store_epochs, liveness, metrics,
        EventLoopLag(environment.clock), MinuteFigures(metrics, environment.clock), authenticator, dispatchers,
        backends, calls, events, feed, webhooks, ocpi_cpos, cpo, emp,
    )  # fmt: skip


def _build_backend_factory(
    environment: NodeEnvironment,
    services: Services,
    peering: Peering,
    observe: CallOutcome,
    ocpi_cpos: CpoPartners | None,
) -> BackendFactory:
    return BackendFactory(
        peering.transport,
        peering.identity.signer,
        environment.ids,
        environment.clock,
        token_list=partial(TokenListBackend, services.store, services.pins),
        observe=observe,
        ocpi=ocpi_cpos.backend_of if ocpi_cpos is not None else None,
    )


def _build_limiter(environment: NodeEnvironment) -> PeerLimiter:
    per_second = environment.settings.peer_api.requests_per_second
    concurrent = environment.admission_limits.per_peer
    return PeerLimiter(environment.clock, requests_per_second=per_second, concurrent=concurrent)


def _build_dispatchers(
    environment: NodeEnvironment,
    authenticator: PeerAuthenticator,
    limiter: PeerLimiter,
    liveness: PeerLiveness,
    metrics: Metrics,
    events: LimitedEventLog,
) -> Dispatchers:
    """Return the dispatchers, without handlers yet."""

    def create(
        dispatcher: Callable[..., OperationDispatcher], kind: ListenerKind, authenticator: Authenticator
    ) -> OperationDispatcher:
        return dispatcher(
            kind,
            authenticator=authenticator,
            observers=metrics.observers(kind.name.lower()),
            registry=environment.registry,
            liveness=liveness,
            limiter=limiter,
            events=events,
            clock=environment.clock,
        )

    interceptor = environment.interceptor
    backend = OperationDispatcher if interceptor is None else partial(InterceptedDispatcher, interceptor=interceptor)
    return Dispatchers(
        create(OperationDispatcher, ListenerKind.PEER, authenticator),
        create(backend, ListenerKind.BACKEND, environment.backend_authenticator),
    )


def _build_peer_client(
    environment: NodeEnvironment, peering: Peering, peer_dispatcher: OperationDispatcher, observer: CallObserver
) -> AuthenticatedPeerClient:
    return AuthenticatedPeerClient(
        peering.transport,
        signer=peering.identity.signer,
        tls=peering.tls,
        key_refresher=peering.key_refresher,
        ids=environment.ids,
        clock=environment.clock,
        local=InProcessPeerClient(peer_dispatcher),
        observer=observer,
    )


def _build_services(
    environment: NodeEnvironment,
    store: Store,
    peering: Peering,
    wakeups: WakeupRegistry,
    client: AuthenticatedPeerClient,
    metrics: Metrics,
) -> Services:
    settings, recorder = environment.settings, peering.evidence.recorder
    return Services(
        registry=environment.registry,
        store=store,
        peers=client,
        recorder=recorder,
        wakeups=wakeups,
        clock=environment.clock,
        ids=environment.ids,
        datasets=DatasetCoordinator(store, environment.clock.time),
        removed_peers=RemovedPeers(environment.registry, store),
        agreements=peering.agreements,
        deadlines=settings.deadlines,
        refuses_doubtful=settings.cdr.implausible == "refuse",
        pins=PinGuard(environment.clock, metrics.observe_pin),
        pin_rounds=settings.security.pin_rounds,
    )


def _build_emp_role(
    environment: NodeEnvironment,
    services: Services,
    backends: BackendRegistry,
    nodes: NodeClient,
    lost_sessions: Callable[[str], LostSessions],
) -> EmpRole:
    return EmpRole(
        services,
        backends,
        nodes=nodes,
        lost_sessions=lost_sessions("emp"),
        clarify_interval=environment.settings.sessions.clarify_interval,
        reconcile_interval=environment.settings.cdr.reconcile_interval,
    )


class Hello(NamedTuple):
    """Both sides of hello."""

    client: HelloClient
    handler: HelloHandler


def build_hello(components: NodeComponents) -> Hello:
    """Return what sends hello to peers and handles theirs; it is also sent after each refresh of a peer's keys."""
    environment, store_epochs, wakeups = components.environment, components.store_epochs, components.services.wakeups
    client = HelloClient(
        environment.local_peer,
        client=components.client,
        store_epochs=store_epochs,
        wakeups=wakeups,
        backoff=environment.backoff,
        agreements=components.peering.agreements,
        store=components.services.store,
        clock=environment.clock,
    )
    # A peer that refuses us may not know our new key: hello names us, so that it can fetch our descriptor.
    components.peering.key_refresher.subscribe(client.send_once)
    handler = HelloHandler(
        environment.local_peer,
        registry=environment.registry,
        liveness=components.liveness,
        store_epochs=store_epochs,
        wakeups=wakeups,
        agreements=components.peering.agreements,
        call_back=client.call_back,
    )
    return Hello(client, handler)


def start_workers(components: NodeComponents, supervisor: TaskSupervisor, hello_client: HelloClient) -> None:
    """Start the background jobs, and the workers of each peer, which come and go with it."""
    for name, worker in background_jobs(components).items():
        supervisor.start_service(name, worker.run)
    directory = components.peering.directory
    peer_workers = PeerWorkerPool(
        components.services,
        nodes=components.nodes,
        supervisor=supervisor,
        backoff=components.environment.backoff,
        send_hello=hello_client.keep_sending,
    )
    # Order: no await between the two, so that no change of the peers is lost or applied twice.
    peer_workers.on_peers_changed(PeersChanged(added=components.environment.registry.all()))
    directory.subscribe(peer_workers.on_peers_changed)
    supervisor.start_service("peers file", directory.watch)


def background_jobs(components: NodeComponents) -> dict[str, Worker]:
    """Return the jobs that belong to no peer, by name; of an open node without those of its backends."""
    services, settings = components.services, components.environment.settings
    ttl, days = settings.sessions, settings.storage
    retention = RetentionPolicy(days.history_days, days.status_history_days, days.quarantine_days)
    workers: dict[str, Worker] = {
        "event loop lag": components.lag,
        "figures": components.figures,
        "events": components.events,
        "event feed": components.feed,
        "held peers": HeldPeersJob(components.peering.status_reporter, services.store, services.clock),
        "session expiry": SessionExpiryJob(services, authorize_ttl=ttl.authorize_ttl, session_ttl=ttl.session_ttl),
        "dataset retention": DatasetRetentionJob(services, retention),
        "session retention": SessionRetentionJob(services, days.history_days, days.evidence_days, days.event_days),
    }
    if components.peering.exchanges is not None:
        workers["exchanges"] = components.peering.exchanges
    for number, certificate in enumerate(components.peering.certificates()):
        workers[f"certificate expiry {number}"] = CertificateExpiryJob(certificate, services.clock, services.store)
    roles = [role.recovery for role in (components.cpo, components.emp) if role is not None]
    if components.store_epochs.gaps:
        workers["recovery"] = RecoveryJob(services, components.store_epochs, components.nodes, roles)
    if components.ocpi_cpos is not None:
        workers |= dict(components.ocpi_cpos.workers())
    return workers | _backend_jobs(components)


def _backend_jobs(components: NodeComponents) -> dict[str, Worker]:
    """Return the jobs of the EMP's role, and those of the backends; an open node starts the latter itself."""
    emp = components.emp
    workers = emp.workers() if emp is not None else {}
    if components.environment.is_open:
        return workers
    verdicts, backoff = emp.pending_verdicts if emp is not None else None, components.environment.backoff
    return workers | dict(workers_for_backends(components.backends, verdicts, components.services, backoff))
