"""Puts the parts of one node together; ``node`` starts and ends what is made here."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from p2p_oicp.backends import CpoBackend, EmpBackend, choose_cpo, choose_emp
from p2p_oicp.clock import Clock, Mint
from p2p_oicp.delivery import (
    Acquaintances,
    Backoff,
    Bells,
    OutboxWorker,
    PeerCourier,
    PeerEnquirer,
    SignsOfLife,
    Supervisor,
    Worker,
)
from p2p_oicp.identity import RequestSigner
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.roles import CpoRole, EmpRole, RoleContext
from p2p_oicp.roles.carriers import EmpBackendCarrier
from p2p_oicp.roles.context import EMP_BACKEND
from p2p_oicp.roles.crew import Crew
from p2p_oicp.roles.expiry import Expiry
from p2p_oicp.roles.forgetting import Forgetting
from p2p_oicp.roles.former import FormerPeers
from p2p_oicp.roles.reports import SessionReports
from p2p_oicp.roles.state.sweeping import Retention, Sweeper
from p2p_oicp.settings import Settings
from p2p_oicp.storage import Store, birth
from p2p_oicp.storage.state.keeper import Keeper
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust import Change, Trust, TrustFiles
from p2p_oicp.version import VERSION
from p2p_oicp.web import (
    Admin,
    AdminPeers,
    Api,
    Capacity,
    Crowd,
    Doorkeeper,
    Gate,
    Greetings,
    Listener,
    Metrics,
    OutboxAdmin,
    OwnGate,
    PeerPairings,
    SessionEnquiries,
    Side,
    backend_app,
    peer_app,
)
from p2p_oicp.web.apps import Status


@dataclass(frozen=True, slots=True)
class Site:
    """What a node is given: its settings, who it is, whom it knows, time, and what numbers come from."""

    settings: Settings
    me: Peer
    registry: PeerRegistry
    clock: Clock
    mint: Mint

    @property
    def backoff(self) -> Backoff:
        """How long to wait after failures."""
        return Backoff(self.settings.delivery.retry_first, self.settings.delivery.retry_max)

    @property
    def capacity(self) -> Capacity:
        """How many requests each listener takes on."""
        limits = self.settings.limits
        return Capacity(limits.requests, limits.pushes, limits.waiting)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the listeners and the workers share."""

    site: Site
    trust: Trust
    context: RoleContext
    client: OicpClient
    courier: PeerCourier
    signs: SignsOfLife
    metrics: Metrics
    emp_backend: EmpBackend
    cpo: CpoRole | None
    emp: EmpRole | None


def trust_of(site: Site) -> Trust:
    """Return what knows keys and peers, to be entered, and opened when there is a client."""
    settings, tls = site.settings, site.settings.tls
    files = TrustFiles(
        keys=settings.security.keys,
        peers=settings.peers_file,
        nonces=settings.node.data_dir / "nonces",
        tls=(tls.certificate, tls.key, tls.ca),
        peers_may_be_absent=settings.discovery.mdns,
    )
    return Trust(site.me, registry=site.registry, require=settings.security.require, files=files, clock=site.clock)


async def assemble(
    stack: AsyncExitStack, site: Site, store: Store, trust: Trust, backends: tuple[CpoBackend | None, EmpBackend | None]
) -> Parts:
    """Return the parts; ``backends`` are those in Python, where there are any."""
    client = await stack.enter_async_context(_client(site, trust.signer))
    bells, courier, urls = Bells(), PeerCourier(client), site.settings.backend_api
    context = RoleContext(
        me=site.me,
        registry=site.registry,
        store=store,
        courier=courier,
        bells=bells,
        clock=site.clock,
        mint=site.mint,
        keeper=Keeper(store, site.clock.time),
        former=FormerPeers(site.registry, store),
        authorization_deadline=site.settings.authorization.deadline,
        pin_rounds=site.settings.security.pin_rounds,
    )
    cpo_backend = choose_cpo(backends[0], urls.cpo_url, client)
    emp_backend = choose_emp(backends[1], urls.emp_url, client, store)
    signs, metrics = SignsOfLife(bells, store, site.clock), Metrics(store, site.clock)
    cpo = CpoRole(context, cpo_backend) if site.me.operators else None
    emp = _emp_role(site.settings, context, emp_backend, client) if site.me.providers else None
    return Parts(site, trust, context, client, courier, signs, metrics, emp_backend, cpo, emp)


def _client(site: Site, signer: RequestSigner) -> OicpClient:
    return OicpClient(
        mint=site.mint,
        signer=signer,
        user_agent=f"p2p-oicp/{VERSION}",
        max_body=site.settings.peer_api.max_body,
        clock=site.clock,
    )


def _emp_role(settings: Settings, context: RoleContext, backend: EmpBackend, client: OicpClient) -> EmpRole:
    return EmpRole(
        context,
        backend,
        enquirer=PeerEnquirer(client),
        clarify_interval=settings.sessions.clarify_interval,
        reconcile_interval=settings.cdrs.reconcile_interval,
    )


def apis(parts: Parts, gate: Gate) -> tuple[Api, Api]:
    """Return what serves OICP to peers, whom ``gate`` lets in, and to our own backend."""
    me, meter = parts.site.me, parts.metrics.meter
    crowd = Crowd(parts.site.capacity.of_one_peer)
    make = partial(Api, me=me, cpo=parts.cpo, emp=parts.emp, signs=parts.signs, crowd=crowd)
    return (
        make(Side.PEER, gate=gate, meter=meter("peer")),
        make(Side.BACKEND, gate=OwnGate(me), meter=meter("backend")),
    )


async def greetings_of(parts: Parts, gate: Gate) -> Greetings:
    """Return what says hello, and hears it."""
    site, context = parts.site, parts.context
    ours = await context.store.write(lambda tx: birth.certificate(tx, site.clock.time()))
    replaced = parts.emp.reconciling.wanted if parts.emp else None
    return Greetings(
        site.me,
        registry=site.registry,
        client=parts.client,
        signs=parts.signs,
        gate=gate,
        acquaintances=Acquaintances(context.store, context.bells, ours, replaced),
        backoff=site.backoff,
    )


def _doorkeeper(parts: Parts, listener: str, max_body: int) -> Doorkeeper:
    return Doorkeeper(max_body, parts.metrics.turned_away(listener), parts.site.capacity)


def for_peers(parts: Parts, api: Api, gate: Gate, greetings: Greetings) -> web.Application:
    """Return the peer API."""
    there, trust = parts.site.settings.peer_api, parts.trust
    listener = Listener(
        api,
        parts.site.mint,
        doorkeeper=_doorkeeper(parts, "peer", there.max_body),
        public_url=there.url,
        signer=trust.signer.sign_answer,
        witness=trust.evidence.received,
    )
    enquiries = SessionEnquiries(api, SessionReports(parts.context))
    pairings = PeerPairings(listener, gate=gate, trust=trust)
    return peer_app(listener, hello=greetings.hear, sessions=enquiries.serve, also=pairings.routes())


def for_backends(parts: Parts, api: Api, readiness: Status) -> web.Application:
    """Return the backend API, and what a person may ask of this node."""
    there, context = parts.site.settings.backend_api, parts.context
    listener = Listener(
        api,
        parts.site.mint,
        doorkeeper=_doorkeeper(parts, "backend", there.max_body),
        token=there.token.get_secret_value() if there.token else None,
    )
    admin = [
        *Admin(parts.emp.reconciling if parts.emp else None).routes(listener),
        *OutboxAdmin(context.store, context.bells, context.clock).routes(listener),
        *AdminPeers(listener, trust=parts.trust, client=parts.client).routes(),
    ]
    return backend_app(listener, readiness=readiness, metrics=parts.metrics.show, admin=admin)


def start_workers(parts: Parts, supervisor: Supervisor, greetings: Greetings) -> None:
    """Start the housekeepers, and the workers of each peer, which come and go with it."""
    for name, worker in _housekeepers(parts).items():
        supervisor.keep_running(name, worker.run)
    crew = Crew(parts.context, supervisor=supervisor, backoff=parts.site.backoff, greet=greetings.greet)
    crew.follow(Change(added=parts.site.registry.all()))
    parts.trust.directory.on_change = crew.follow
    supervisor.keep_running("peers file", parts.trust.directory.watch)


def _housekeepers(parts: Parts) -> dict[str, Worker]:
    context, settings = parts.context, parts.site.settings
    times, kept = settings.sessions, settings.storage
    retention = Retention(kept.history_days, kept.status_history_days, kept.quarantine_days)
    workers: dict[str, Worker] = {
        "expiry": Expiry(context, authorize_ttl=times.authorize_ttl, session_ttl=times.session_ttl),
        "sweeper": Sweeper(context, retention),
        "forgetting": Forgetting(context, kept.history_days, kept.evidence_days),
    }
    if parts.emp:
        bell, backoff = context.bells.hang(EMP_BACKEND, EMP_BACKEND), parts.site.backoff
        carrier = EmpBackendCarrier(parts.emp_backend)
        worker = OutboxWorker(carrier, store=context.store, bell=bell, clock=context.clock, backoff=backoff)
        workers |= {**parts.emp.workers(), EMP_BACKEND: worker}
    return workers
