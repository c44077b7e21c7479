"""The two applications of a node: the peer API, and the backend API with the administration and the metrics.

Built of the parts that `builder` has made; `node` serves them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from p2p_oicp.builder import Hello, NodeComponents
from p2p_oicp.delivery.connection_checks import PeerChecks
from p2p_oicp.delivery.health import HealthReader, LiveCalls
from p2p_oicp.delivery.pauses import DeliveryPauses
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.ocpi_gateway.health import LiveOcpi
from p2p_oicp.ocpi_gateway.partners import OcpiPartners
from p2p_oicp.ocpi_gateway.requests import NoModules
from p2p_oicp.roles.cdr_actions import CdrActions
from p2p_oicp.roles.datasets.withdrawal import PartyWithdrawal
from p2p_oicp.roles.peer_workers import replicas_of
from p2p_oicp.roles.session_export import SessionExport
from p2p_oicp.roles.verdicts import VerdictService
from p2p_oicp.server import (
    AdmissionController,
    AdmissionLimits,
    BackendAccess,
    CdrAdminApi,
    EventAdminApi,
    ExchangeAdminApi,
    OutboxAdminApi,
    PairingHandler,
    PeerAdminApi,
    PeerSettingsApi,
    ProbeHandler,
    RequestPipeline,
    RequestRouter,
    SessionExportHandler,
    StatusAdminApi,
    backend_routes,
    node_routes,
)
from p2p_oicp.server.app import ReadinessProbe, Routes
from p2p_oicp.server.credential_admin import CredentialAdminApi
from p2p_oicp.server.dashboard import AdminCalls, Dashboard, DashboardAccess
from p2p_oicp.server.dashboard.message_sender import MessageSender
from p2p_oicp.server.dashboard.tiles import open_tiles
from p2p_oicp.server.doctor import Doctor
from p2p_oicp.server.event_stream import EventStreamApi, StreamLimits
from p2p_oicp.server.evse_admin import EvseAdminApi
from p2p_oicp.server.inbound import PublicAddress
from p2p_oicp.server.map_admin import EvseMapApi
from p2p_oicp.server.metrics_page import MetricsPage, NodeFacts
from p2p_oicp.server.ocpi import OcpiListener
from p2p_oicp.server.ocpi.admin import OcpiAdminApi
from p2p_oicp.server.ocpi.object_admin import OcpiObjectApi
from p2p_oicp.server.openapi.documents import Listener
from p2p_oicp.server.openapi.page import ApiDocuments
from p2p_oicp.server.pause_admin import PauseAdminApi
from p2p_oicp.server.record_admin import RecordAdminApi
from p2p_oicp.server.recording import record_exchanges
from p2p_oicp.server.settings_admin import SettingsAdminApi
from p2p_oicp.server.status import NodeStatusReporter
from p2p_oicp.server.webhook_admin import WebhookAdminApi


def build_peer_app(components: NodeComponents, hello: Hello) -> RequestRouter:
    """Return the peer API."""
    listener_settings, peering = components.environment.settings.peer_api, components.peering
    pipeline = RequestPipeline(
        components.dispatchers.peer,
        components.authenticator,
        components.environment.ids,
        admission=AdmissionController(listener_settings.max_body, components.environment.admission_limits),
        public=PublicAddress(listener_settings.url, listener_settings.trusted_proxies),
        signer=peering.identity.signer.sign_response,
        recorder=peering.evidence.recorder,
    )
    if peering.exchanges is not None:
        record_exchanges(pipeline, peering.exchanges, components.environment.clock)
    export = SessionExport(components.services, components.store_epochs, peering.evidence)
    verdicts = VerdictService(components.services, components.store_epochs)
    sessions = SessionExportHandler(components.authenticator, export, verdicts)
    probe = ProbeHandler(components.authenticator, components.environment.clock)
    pairing = PairingHandler(pipeline, authenticator=components.authenticator, peering=peering)
    documents = ApiDocuments(Listener.PEER).routes(pipeline)
    return RequestRouter(pipeline, [*node_routes(pipeline, hello.handler, sessions, pairing, probe), *documents])


def build_ocpi_app(components: NodeComponents) -> OcpiListener | None:
    """Return what serves OCPI partners; None: there is no gateway."""
    environment = components.environment
    gateway, cpos = environment.ocpi, components.ocpi_cpos
    if gateway is None or cpos is None:
        return None
    return OcpiListener(
        gateway.partners,
        gateway.registrar,
        {"cpo": cpos, "emsp": NoModules()},
        store=components.services.store,
        ids=environment.ids,
        clock=environment.clock,
        observe=components.metrics.observe_ocpi,
    )


def build_status_reporter(components: NodeComponents) -> NodeStatusReporter:
    """Return what reports how the node, its peers and its backends are."""
    environment, peering, services = components.environment, components.peering, components.services
    return NodeStatusReporter(
        environment.local_peer.name,
        store=services.store,
        file=environment.settings.storage.file,
        clock=environment.clock,
        health=_build_health(components),
        without_backend=[own.parties for own in components.backends.all if own.is_built_in],
        policy=peering.policy,
        endings=peering,
    )


def _ocpi_partners(components: NodeComponents) -> OcpiPartners | None:
    return components.environment.ocpi.partners if components.environment.ocpi is not None else None


def _live_calls(components: NodeComponents) -> LiveCalls:
    """Return how the last calls of peers, backends and OCPI partners went."""
    return LiveOcpi(components.calls, _ocpi_partners(components))


def _build_health(components: NodeComponents) -> HealthReader:
    environment, services = components.environment, components.services
    return HealthReader(
        store=services.store,
        registry=environment.registry,
        clock=environment.clock,
        live=_live_calls(components),
        backends=[own.destination for own in components.backends.all],
        webhooks=components.webhooks.behind,
        built_in=[own.destination for own in components.backends.all if own.is_built_in],
        replicas=partial(replicas_of, backends=components.backends, services=services),
        held_reason=components.peering.directory.held_reason,
        pause_of=services.wakeups.pause_of,
    )


def _build_metrics_page(
    components: NodeComponents, reporter: NodeStatusReporter, streams: EventStreamApi
) -> MetricsPage:
    peering = components.peering
    facts = NodeFacts(
        database_bytes=reporter.database_bytes,
        certificate_endings=peering.certificate_endings,
        signing_keys=peering.signing_keys,
        held_parties=peering.status_reporter.held_parties,
        event_clients=lambda: streams.clients,
    )
    return MetricsPage(
        components.metrics,
        store=components.services.store,
        health=_build_health(components),
        facts=facts,
        lag=components.lag,
        clock=components.environment.clock,
    )


def build_peer_checks(components: NodeComponents, hello: Hello) -> PeerChecks:
    """Return what tries the way to peers and back."""
    environment, peering = components.environment, components.peering
    return PeerChecks(
        environment.local_peer,
        registry=environment.registry,
        hello=hello.client,
        nodes=components.nodes,
        tls=peering.tls,
        policy=peering.policy,
        live=components.calls,
        clock=environment.clock,
    )


def build_doctor(
    components: NodeComponents, checks: PeerChecks, reporter: NodeStatusReporter, readiness: ReadinessProbe
) -> Doctor:
    """Return what tries all connections of the node."""
    return Doctor(
        components.peering,
        checks=checks,
        backends=components.backends,
        webhooks=components.webhooks,
        reporter=reporter,
        live=_live_calls(components),
        readiness=readiness,
        connections=components.environment.settings.limits.connections,
        clock=components.environment.clock,
        ocpi=_ocpi_partners(components),
    )


@dataclass(frozen=True, slots=True)
class BackendApiExtension:
    """What a clearing house has besides: its own rules of access, and its paths."""

    access: BackendAccess
    routes: Callable[[RequestPipeline], Routes]


def build_backend_app(
    components: NodeComponents, hello: Hello, readiness: ReadinessProbe, extension: BackendApiExtension | None = None
) -> RequestRouter:
    """Return the backend API, with the administration and the metrics."""
    access = extension.access if extension is not None else _build_access(components)
    pipeline, reporter = _backend_pipeline(components, access), build_status_reporter(components)
    streams = EventStreamApi(components.feed, StreamLimits(components.environment.settings.limits.event_clients))
    administration = partial(
        _admin_routes, components, reporter, checks=build_peer_checks(components, hello), readiness=readiness
    )
    routes = [
        *backend_routes(
            pipeline,
            readiness,
            reporter.degraded,
            _build_metrics_page(components, reporter, streams).render,
            metrics_need_token=access.oicp_needs_token,
        ),
        *administration(pipeline=pipeline),
        *streams.routes(pipeline),
        *ApiDocuments(Listener.BACKEND if extension is None else Listener.HUB).routes(pipeline),
        *_dashboard_routes(components, pipeline, administration, streams),
        *(extension.routes(pipeline) if extension is not None else ()),
    ]
    return RequestRouter(pipeline, routes)


def _admin_routes(
    components: NodeComponents,
    reporter: NodeStatusReporter,
    *,
    checks: PeerChecks,
    readiness: ReadinessProbe,
    pipeline: RequestPipeline,
) -> Routes:
    """Return the administration, served by a pipeline."""
    services = components.services
    withdrawal = PartyWithdrawal(services)
    return [
        *StatusAdminApi(reporter, components.peering, components.liveness).routes(pipeline),
        *PauseAdminApi(
            DeliveryPauses(services.wakeups, services.store, services.clock), components.environment.registry
        ).routes(pipeline),
        *PeerAdminApi(pipeline, components.peering, components.client, withdrawal, checks).routes(),
        *build_doctor(components, checks, reporter, readiness).routes(pipeline),
        *_record_routes(components, pipeline),
    ]


def _dashboard_routes(
    components: NodeComponents,
    pipeline: RequestPipeline,
    administration: Callable[..., Routes],
    streams: EventStreamApi,
) -> Routes:
    """Return the pages for people, which call the administration without HTTP; none where they are turned off."""
    environment, services = components.environment, components.services
    settings = environment.settings
    if not settings.dashboard.enabled:
        return []
    admin = AdminCalls()
    admin.add(administration(pipeline=admin.as_pipeline()))
    token, read_only_token = settings.backend_api.token, settings.dashboard.read_only_token
    access = DashboardAccess(
        token.get_secret_value() if token is not None else None,
        read_only_token.get_secret_value() if read_only_token is not None else None,
        services.clock,
    )
    sender = MessageSender(
        components.dispatchers.backend,
        components.peering.exchanges,
        components.backends.name_for,
        services.ids,
        services.clock,
    )
    dashboard = Dashboard(
        environment.local_peer,
        access,
        admin,
        streams,
        services.store,
        services.clock,
        sender=sender,
        tiles=open_tiles(settings.dashboard.map_tiles),
    )
    return dashboard.routes(pipeline)


def _build_access(components: NodeComponents) -> BackendAccess:
    listener_settings = components.environment.settings.backend_api
    if listener_settings.token is None and listener_settings.token_file is not None:
        raise ConfigurationError("[backend_api] token_file was not read: load_settings reads it")
    return BackendAccess(
        listener_settings.token.get_secret_value() if listener_settings.token else None,
        oicp_needs_token=listener_settings.oicp_needs_token,
        accepts_certificates=listener_settings.accepts_certificates,
        hosts=(listener_settings.host, *listener_settings.hosts),
    )


def _record_routes(components: NodeComponents, pipeline: RequestPipeline) -> Routes:
    """Return the routes of the administration that show and change what is stored."""
    services, recording = components.services, components.environment.settings.exchanges.record
    stored = components.environment.settings.storage
    roles = [role for role in (components.cpo, components.emp) if role is not None]
    actions = CdrActions(services, {role.cdr_handler.role: role.cdr_handler for role in roles})
    return [
        *CdrAdminApi(components.emp.cdr_reconciler if components.emp else None, actions).routes(pipeline),
        *PeerSettingsApi(components.peering.directory).routes(pipeline),
        *ExchangeAdminApi(components.peering.exchanges, recording).routes(pipeline),
        *WebhookAdminApi(components.webhooks).routes(pipeline),
        *OcpiAdminApi(components.environment.ocpi, services.store).routes(pipeline),
        *OcpiObjectApi(components.ocpi_cpos, services.store).routes(pipeline),
        *EventAdminApi(services.store, components.feed.view).routes(pipeline),
        *RecordAdminApi(services.store).routes(pipeline),
        *EvseMapApi(services.store).routes(pipeline),
        *components.figures.routes(pipeline),
        *EvseAdminApi(services.store, services.clock, stored.status_history_days, stored.history_days).routes(pipeline),
        *CredentialAdminApi(
            services.store, components.peering, components.environment.settings.security.keys, services.clock
        ).routes(pipeline),
        *SettingsAdminApi(components.environment.settings, components.peering, services.clock).routes(pipeline),
        *OutboxAdminApi(services.store, services.wakeups, services.clock, components.backends).routes(pipeline),
    ]


def _backend_pipeline(components: NodeComponents, access: BackendAccess) -> RequestPipeline:
    listener_settings = components.environment.settings.backend_api
    pipeline = RequestPipeline(
        components.dispatchers.backend,
        components.environment.backend_authenticator,
        components.environment.ids,
        admission=AdmissionController(listener_settings.max_body, _limits_for_own_systems(components)),
        access=access,
    )
    if (exchanges := components.peering.exchanges) is not None:
        record_exchanges(pipeline, exchanges, components.environment.clock, components.backends.name_for)
    return pipeline


def _limits_for_own_systems(components: NodeComponents) -> AdmissionLimits:
    backends = components.environment.settings.all_backends()
    concurrent = [backend.concurrent for backend in backends if backend.serves_role("cpo")]
    return components.environment.admission_limits.for_own_systems(concurrent)
