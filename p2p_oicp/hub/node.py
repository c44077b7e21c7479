"""The hub itself: a node that answers for the parties of all its partners, on one listener."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import structlog

from p2p_oicp import apps
from p2p_oicp.apps import BackendApiExtension
from p2p_oicp.backends import BackendFactory, BackendRegistry
from p2p_oicp.builder import Hello, NodeComponents
from p2p_oicp.client.recording import ExchangeLog
from p2p_oicp.concurrency import TaskSupervisor
from p2p_oicp.config import Settings
from p2p_oicp.config.hub import HubSettings, PartnerSettings, Script, load_script, parse_partner
from p2p_oicp.config.limits import DeliverySettings
from p2p_oicp.config.model import (
    BackendApiSettings,
    DashboardSettings,
    NodeSettings,
    PeerApiSettings,
    SecuritySettings,
)
from p2p_oicp.config.recording import StorageSettings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.hub.partners import PartnerAuthenticator, PartnerDirectory
from p2p_oicp.hub.script import ScriptPlayer
from p2p_oicp.node import Node
from p2p_oicp.peering.components import open_exchange_log
from p2p_oicp.server import Authenticator, BackendAccess, RequestPipeline, start_listener
from p2p_oicp.server.app import Routes
from p2p_oicp.server.hub_api import HubApi
from p2p_oicp.server.interception import ConnectionRouter, OperationInterceptor

log = structlog.get_logger(__name__)

_NAME = "hub"
# A partner under test is back soon.
_MAX_RETRY_SECONDS = 10.0


class Hub(Node):
    """A clearing house for tests; an async context manager. ``backend_url`` is its base URL while it runs.

    Args:
        settings: of the hub.
        folder: of its database; it is created.
        script: a file with rules, read again by `reload`; None: no rules at first.
        keeps: whether partners that are added are kept in the folder.

    Raises:
        ConfigurationError: settings or script cannot be used, or the port cannot be listened on.
        StoreUnavailable: the database cannot be used.
    """

    _is_open: ClassVar[bool] = True

    def __init__(self, settings: HubSettings, folder: Path, *, script: Path | None = None, keeps: bool = False) -> None:
        node_settings = _node_settings(settings, folder)
        super().__init__(node_settings)
        self._hub_settings = settings
        self._script_file = script
        rules = Script() if script is None else load_script(script)
        self._script = ScriptPlayer(rules)
        file = folder / "partners.json" if keeps else None
        self._partners = PartnerDirectory(self.registry, node_settings, learns=settings.hub.learn, file=file)
        self._partners.load(settings.partners)
        self._exchanges: ExchangeLog | None = None
        self._add_scripted(rules)

    @property
    def url(self) -> str:
        """Its base URL, behind which ``/api/oicp`` begins; empty until it listens."""
        return self.backend_url

    async def reload(self) -> None:
        """Read the script again; one that cannot be used is logged, and the rules stay as they were."""
        if self._script_file is None:
            return
        try:
            self.replace_script(load_script(self._script_file))
        except ConfigurationError as error:
            log.error("script.reload_failed", reason=str(error))  # noqa: TRY400 - the text says it all

    def replace_script(self, script: Script) -> None:
        """Answer by another script from now on."""
        self._add_scripted(script)
        self._script.replace(script)

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules of the script, each with how often it was used."""
        return self._script.to_json()

    def partners(self) -> list[dict[str, Any]]:
        """Return the partners, with their names, parties and URLs."""
        return self._partners.to_json()

    def _add_scripted(self, script: Script) -> None:
        """Make partners of the providers that only the script speaks for."""
        for rule in script.rules:
            if rule.authorize is not None and not self.registry.own.handles_party(rule.authorize):
                self._partners.put(parse_partner({"providers": [rule.authorize.text]}))

    def put_partner(self, entry: PartnerSettings) -> PartnerSettings:
        """Add or change a partner; raises ConfigurationError."""
        return self._partners.put(entry)

    def _open_exchange_log(self) -> ExchangeLog | None:
        self._exchanges = open_exchange_log(self._settings, is_masked=False)
        return self._exchanges

    def _create_backend_authenticator(self) -> Authenticator:
        return PartnerAuthenticator(self._partners)

    def _interceptor(self) -> OperationInterceptor | None:
        return self._script.intercept

    def _create_backends(self, factory: BackendFactory) -> BackendRegistry:
        return self._partners.create_backends(factory)

    async def _start_listeners(self, stack: AsyncExitStack, components: NodeComponents, hello: Hello) -> None:
        """Listen for partners, and for nobody else: a hub has no peers."""
        supervisor = await stack.enter_async_context(TaskSupervisor())
        self._partners.start(components, supervisor)
        table = self._hub_settings.hub
        extension = BackendApiExtension(self._access(), self._routes)
        app = ConnectionRouter(apps.build_backend_app(components, hello, self._readiness, extension))
        open_listener = partial(start_listener, max_connections=self._settings.limits.connections, now=self._clock.time)
        self.backend_url = await open_listener(stack, app, table.host, table.port, "hub")
        # Order: on exit first, or the listener would wait for requests that hang.
        stack.callback(self._script.end)

    def _access(self) -> BackendAccess:
        table = self._hub_settings.hub
        token = table.token.get_secret_value() if table.token is not None else None
        has_any_name = not table.is_loopback
        return BackendAccess(token, oicp_needs_token=True, hosts=(table.host,), has_any_name=has_any_name)

    def _routes(self, pipeline: RequestPipeline) -> Routes:
        return HubApi(self, self._exchanges).routes(pipeline)

    async def _readiness(self) -> dict[str, object]:
        store_failure = await self.store.failure() if self.store is not None else None
        status = {"status": "ready"} if store_failure is None else {"status": "unavailable", "store": store_failure}
        return {**status, "hub": self.backend_url, "partners": len(self.partners())}

    def _log_ready(self) -> None:
        table = self._hub_settings.hub
        if not table.is_loopback and table.token is None:
            log.warning("hub.open_to_all", host=table.host, meaning="whoever reaches it may roam as any company")
        log.info("hub.ready", url=self.backend_url, partners=len(self.partners()))


def _node_settings(settings: HubSettings, folder: Path) -> Settings:
    """Return the settings of the node that a hub is; the environment, which is a node's, has no part in it."""
    folder = folder.absolute()
    token = settings.hub.token
    return Settings.model_construct(
        set(),  # nobody has named a peers file, so that it may be absent
        peers_file=folder / "peers.toml",
        # Not validated: a hub may have no party yet.
        node=NodeSettings.model_construct(name=_NAME, operators=(), providers=(), data_dir=folder),
        peer_api=PeerApiSettings(url="http://localhost"),
        backend_api=BackendApiSettings(token=token),
        backends=(),
        security=SecuritySettings(require=(), keys=folder / "keys"),
        storage=StorageSettings(file=folder / "hub.sqlite3", synchronous="NORMAL"),
        limits=settings.limits,
        deadlines=settings.deadlines,
        sessions=settings.sessions,
        cdr=settings.cdr,
        delivery=DeliverySettings(retry_max=_MAX_RETRY_SECONDS),
        exchanges=settings.exchanges,
        dashboard=DashboardSettings(enabled=False),
        log=settings.log,
    )
