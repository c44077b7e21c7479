"""Puts the parts of one node together; ``node`` starts and ends what is made here."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from p2p_oicp.backends import CpoBackend, EmpBackend, create_cpo_backend, create_emp_backend
from p2p_oicp.client import HttpTransport
from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.config import Settings
from p2p_oicp.crypto import RequestSigner
from p2p_oicp.delivery import (
    ExponentialBackoff,
    HttpSessionStatusClient,
    OutboxDispatcher,
    PeerLiveness,
    RoutingPeerClient,
    StoreEpochExchange,
    TaskSupervisor,
    WakeupRegistry,
    Worker,
)
from p2p_oicp.delivery.outbox import BackendDeliveryTarget
from p2p_oicp.peering import IdentityPaths, PeersChanged, PeerTls
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles import CpoRole, EmpRole, Services
from p2p_oicp.roles.context import EMP_BACKEND, RemovedPeers
from p2p_oicp.roles.peer_workers import PeerWorkerPool
from p2p_oicp.roles.retention import DatasetRetentionJob, RetentionPolicy, SessionExpiryJob, SessionRetentionJob
from p2p_oicp.roles.sessions import SessionStatusService
from p2p_oicp.server import (
    AdmissionController,
    AdmissionLimits,
    BackendAuthenticator,
    CdrAdminApi,
    HelloClient,
    ListenerKind,
    Metrics,
    OperationDispatcher,
    OutboxAdminApi,
    PairingHandler,
    PeerAdminApi,
    PeerAuthenticator,
    PeerLimiter,
    RequestPipeline,
    SessionStatusHandler,
    backend_app,
    node_routes,
    peer_app,
)
from p2p_oicp.server.app import ReadinessProbe
from p2p_oicp.storage import Store, peer_state
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.version import VERSION


@dataclass(frozen=True, slots=True)
class NodeEnvironment:
    """What a node is given: its settings, who it is, whom it knows, time, and what numbers come from."""

    settings: Settings
    me: Peer
    registry: PeerRegistry
    clock: Clock
    ids: IdGenerator

    @property
    def backoff(self) -> ExponentialBackoff:
        """How long to wait after failures."""
        return ExponentialBackoff(self.settings.delivery.retry_first, self.settings.delivery.retry_max)

    @property
    def admission_limits(self) -> AdmissionLimits:
        """How many requests each listener takes on."""
        limits = self.settings.limits
        return AdmissionLimits(limits.requests, limits.pushes, limits.waiting)


@dataclass(frozen=True, slots=True)
class NodeComponents:
    """What the listeners and the workers share."""

    environment: NodeEnvironment
    trust: PeerTls
    services: Services
    client: HttpTransport
    peer_client: RoutingPeerClient
    liveness: PeerLiveness
    metrics: Metrics
    emp_backend: EmpBackend
    cpo: CpoRole | None
    emp: EmpRole | None


def build_identity(environment: NodeEnvironment) -> PeerTls:
    """Return what knows keys and peers, to be entered, and opened when there is a client."""
    settings, tls = environment.settings, environment.settings.tls
    paths = IdentityPaths(
        keys=settings.security.keys,
        peers=settings.peers_file,
        nonces=settings.node.data_dir / "nonces",
        tls=(tls.certificate, tls.key, tls.ca),
        is_peers_file_optional=settings.discovery.mdns,
    )
    return PeerTls(
        environment.me,
        registry=environment.registry,
        require=settings.security.require,
        paths=paths,
        clock=environment.clock,
    )


async def build_components(
    stack: AsyncExitStack,
    environment: NodeEnvironment,
    store: Store,
    trust: PeerTls,
    backends: tuple[CpoBackend | None, EmpBackend | None],
) -> NodeComponents:
    """Return the parts; ``backends`` are those in Python, where there are any."""
    client = await stack.enter_async_context(_build_client(environment, trust.signer))
    wakeups, peer_client, backend_api = WakeupRegistry(), RoutingPeerClient(client), environment.settings.backend_api
    services = Services(
        local_peer=environment.me,
        registry=environment.registry,
        store=store,
        peers=peer_client,
        wakeups=wakeups,
        clock=environment.clock,
        ids=environment.ids,
        datasets=DatasetCoordinator(store, environment.clock.time),
        removed_peers=RemovedPeers(environment.registry, store),
        authorization_deadline=environment.settings.authorization.deadline,
        pin_rounds=environment.settings.security.pin_rounds,
    )
    cpo_backend = create_cpo_backend(backends[0], backend_api.cpo_url, client)
    emp_backend = create_emp_backend(backends[1], backend_api.emp_url, client, store)
    liveness, metrics = PeerLiveness(wakeups, store, environment.clock), Metrics(store, environment.clock)
    cpo = CpoRole(services, cpo_backend) if environment.me.operators else None
    emp = _build_emp_role(environment.settings, services, emp_backend, client) if environment.me.providers else None
    return NodeComponents(environment, trust, services, client, peer_client, liveness, metrics, emp_backend, cpo, emp)


def _build_client(environment: NodeEnvironment, signer: RequestSigner) -> HttpTransport:
    return HttpTransport(
        ids=environment.ids,
        signer=signer,
        user_agent=f"p2p-oicp/{VERSION}",
        max_body=environment.settings.peer_api.max_body,
        clock=environment.clock,
    )


def _build_emp_role(settings: Settings, services: Services, backend: EmpBackend, client: HttpTransport) -> EmpRole:
    return EmpRole(
        services,
        backend,
        status_client=HttpSessionStatusClient(client),
        clarify_interval=settings.sessions.clarify_interval,
        reconcile_interval=settings.cdrs.reconcile_interval,
    )


def build_dispatchers(
    components: NodeComponents, authenticator: PeerAuthenticator, limiter: PeerLimiter
) -> tuple[OperationDispatcher, OperationDispatcher]:
    """Return what serves OICP to peers, whom ``gate`` lets in, and to our own backend."""
    me, observe_request = components.environment.me, components.metrics.observe_request
    create_dispatcher = partial(
        OperationDispatcher,
        local_peer=me,
        cpo=components.cpo,
        emp=components.emp,
        liveness=components.liveness,
        limiter=limiter,
    )
    return (
        create_dispatcher(ListenerKind.PEER, authenticator=authenticator, observe_request=observe_request("peer")),
        create_dispatcher(
            ListenerKind.BACKEND, authenticator=BackendAuthenticator(me), observe_request=observe_request("backend")
        ),
    )


def build_limiter(environment: NodeEnvironment) -> PeerLimiter:
    """Return what bounds the requests of each peer."""
    return PeerLimiter(
        environment.clock,
        requests_per_second=environment.settings.peer_api.requests_per_second,
        concurrent=environment.admission_limits.per_peer,
    )


async def build_hello(components: NodeComponents) -> HelloClient:
    """Return what says hello, and hears it."""
    environment, services = components.environment, components.services
    store_epoch = await services.store.write(lambda tx: peer_state.ensure_epoch(tx, environment.clock.time()))
    reconciliation_requested = components.emp.cdr_reconciler.requested if components.emp else None
    return HelloClient(
        environment.me,
        registry=environment.registry,
        client=components.client,
        liveness=components.liveness,
        store_epochs=StoreEpochExchange(services.store, services.wakeups, store_epoch, reconciliation_requested),
        backoff=environment.backoff,
    )


def _build_admission(components: NodeComponents, listener: str, max_body: int) -> AdmissionController:
    return AdmissionController(
        max_body, components.metrics.rejected_requests(listener), components.environment.admission_limits
    )


def build_peer_app(
    components: NodeComponents,
    dispatcher: OperationDispatcher,
    authenticator: PeerAuthenticator,
    hello_client: HelloClient,
) -> web.Application:
    """Return the peer API."""
    listener_settings, trust = components.environment.settings.peer_api, components.trust
    pipeline = RequestPipeline(
        dispatcher,
        authenticator,
        components.environment.ids,
        admission=_build_admission(components, "peer", listener_settings.max_body),
        public_url=listener_settings.url,
        signer=trust.signer.sign_response,
        recorder=trust.evidence.inbound_recorder,
    )
    session_status = SessionStatusHandler(authenticator, SessionStatusService(components.services))
    pairing = PairingHandler(pipeline, authenticator=authenticator, trust=trust)
    return peer_app(pipeline, node_routes(pipeline, hello_client, session_status, pairing))


def build_backend_app(
    components: NodeComponents, dispatcher: OperationDispatcher, readiness: ReadinessProbe
) -> web.Application:
    """Return the backend API, and what a person may ask of this node."""
    listener_settings, services = components.environment.settings.backend_api, components.services
    pipeline = RequestPipeline(
        dispatcher,
        BackendAuthenticator(components.environment.me),
        components.environment.ids,
        admission=_build_admission(components, "backend", listener_settings.max_body),
        token=listener_settings.token.get_secret_value() if listener_settings.token else None,
    )
    admin = [
        *CdrAdminApi(components.emp.cdr_reconciler if components.emp else None).routes(pipeline),
        *OutboxAdminApi(services.store, services.wakeups, services.clock).routes(pipeline),
        *PeerAdminApi(pipeline, trust=components.trust, client=components.client).routes(),
    ]
    return backend_app(pipeline, readiness=readiness, metrics=components.metrics.render, admin=admin)


def start_workers(components: NodeComponents, supervisor: TaskSupervisor, hello_client: HelloClient) -> None:
    """Start the housekeepers, and the workers of each peer, which come and go with it."""
    for name, worker in background_jobs(components).items():
        supervisor.start_service(name, worker.run)
    peer_workers = PeerWorkerPool(
        components.services,
        supervisor=supervisor,
        backoff=components.environment.backoff,
        send_hello=hello_client.send_until_acknowledged,
    )
    peer_workers.on_peers_changed(PeersChanged(added=components.environment.registry.all()))
    components.trust.directory.on_peers_changed = peer_workers.on_peers_changed
    supervisor.start_service("peers file", components.trust.directory.watch)


def background_jobs(components: NodeComponents) -> dict[str, Worker]:
    """Return the jobs that run as long as the node does, by name."""
    services, settings = components.services, components.environment.settings
    session_settings, storage_settings = settings.sessions, settings.storage
    retention = RetentionPolicy(
        storage_settings.history_days, storage_settings.status_history_days, storage_settings.quarantine_days
    )
    workers: dict[str, Worker] = {
        "expiry": SessionExpiryJob(
            services, authorize_ttl=session_settings.authorize_ttl, session_ttl=session_settings.session_ttl
        ),
        "sweeper": DatasetRetentionJob(services, retention),
        "forgetting": SessionRetentionJob(services, storage_settings.history_days, storage_settings.evidence_days),
    }
    if components.emp:
        wakeup, backoff = services.wakeups.register(EMP_BACKEND, EMP_BACKEND), components.environment.backoff
        target = BackendDeliveryTarget(components.emp_backend)
        dispatcher = OutboxDispatcher(
            target, store=services.store, wakeup=wakeup, clock=services.clock, backoff=backoff
        )
        workers |= {**components.emp.workers(), EMP_BACKEND: dispatcher}
    return workers
