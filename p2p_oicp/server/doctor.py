"""``POST /admin/v1/doctor``: tries everything that has to work, now, for ``p2p-oicp doctor``.

Peers one by one (`delivery.connection_checks`), our own backends, both addresses of the peer API, and what
`NodeStatusReporter` knows of the node itself. What only the machine's files say, the command adds.
"""

from __future__ import annotations

import asyncio
import platform
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
from aiohttp import web

from p2p_oicp.backends import BackendRegistry
from p2p_oicp.backends.registry import OwnBackend
from p2p_oicp.client import check_connection
from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.crypto.tls import unverified_context
from p2p_oicp.delivery.connection_checks import (
    CONNECTION_TIMEOUT_SECONDS,
    CheckResult,
    Outcome,
    PeerChecks,
    connection_result,
    failed_result,
)
from p2p_oicp.delivery.health import LiveCalls, Trouble
from p2p_oicp.delivery.health_texts import Condition, explain
from p2p_oicp.delivery.webhook_pool import Webhook, WebhookPool
from p2p_oicp.errors import FailureCause, PeerError, StoreError, VerificationError
from p2p_oicp.ocpi_gateway.partners import OcpiPartners
from p2p_oicp.peering import Peering
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.openapi import status_endpoints
from p2p_oicp.server.pipeline import RequestContext, RequestPipeline
from p2p_oicp.server.status import NODE_NAME, NodeStatusReporter
from p2p_oicp.version import VERSION

# Each takes some connections and some seconds at most.
_PEERS_AT_ONCE = 16
# Not TLS_FAILED: a client certificate that is refused breaks the connection only when a response is read.
_TESTED_BY_CONNECTION = frozenset(
    {
        FailureCause.CANNOT_CONNECT,
        FailureCause.UNKNOWN_HOST,
        FailureCause.UNTRUSTED_CERTIFICATE,
        FailureCause.WRONG_HOST_NAME,
        FailureCause.EXPIRED_CERTIFICATE,
        FailureCause.CERTIFICATE_NOT_YET_VALID,
    }
)

Readiness = Callable[[], Awaitable[dict[str, object]]]


class Doctor:
    """Tries the connections of a node.

    Args:
        peering: the peers, and our own descriptor.
        checks: of the peers.
        backends: our own.
        webhooks: the receivers of events.
        reporter: how the node itself is.
        live: what became of the last calls of the backends.
        readiness: has the address that the peer API listens on.
        connections: how many each listener takes.
        clock: the time.
        ocpi: the OCPI partners; None: there are none.
    """

    def __init__(  # noqa: PLR0913 - one argument for each part that is tried
        self,
        peering: Peering,
        *,
        checks: PeerChecks,
        backends: BackendRegistry,
        webhooks: WebhookPool,
        reporter: NodeStatusReporter,
        live: LiveCalls,
        readiness: Readiness,
        connections: int,
        clock: Clock,
        ocpi: OcpiPartners | None = None,
    ) -> None:
        self._peering = peering
        self._checks = checks
        self._backends = backends
        self._webhooks = webhooks
        self._reporter = reporter
        self._live = live
        self._readiness = readiness
        self._connections = connections
        self._clock = clock
        self._ocpi = ocpi
        self._slots = asyncio.Semaphore(_PEERS_AT_ONCE)

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [status_endpoints.DOCTOR.route(pipeline, self._run)]

    async def _run(self, _context: RequestContext) -> OperationResponse:
        results = await self.run()
        content = {"checks": [each.to_json() for each in results], "process": self._process()}
        return OperationResponse(orjson.dumps(content))

    async def run(self) -> list[CheckResult]:
        """Try everything; return the node first, then peers, then backends."""
        peers = [peer for peer in self._peering.registry.all() if not peer.is_self]
        own, of_peers, of_backends, of_webhooks = await asyncio.gather(
            self._check_node(),
            asyncio.gather(*map(self._check_peer, peers)),
            asyncio.gather(*map(self._check_backend, self._backends.all)),
            asyncio.gather(*map(self._check_webhook, self._webhooks.all)),
        )
        of_peers_flat = [each for results in of_peers for each in results]
        return [*own, *of_peers_flat, *await self._paused_peers(), *of_backends, *of_webhooks]

    async def _paused_peers(self) -> list[CheckResult]:
        """Return the peers to which a person has paused deliveries: that they get nothing is no fault."""
        try:
            health = await self._reporter.peers()
        except StoreError:
            return []  # the check of the node says so
        paused = ((name, explain(Condition.PAUSED, name)) for name, each in health.items() if each["paused"])
        return [
            CheckResult(check="deliveries", name=name, outcome=Outcome.NOTICE, text=text, cure=cure)
            for name, (text, cure) in paused
        ]

    async def _check_peer(self, peer: Peer) -> list[CheckResult]:
        async with self._slots:
            try:
                return await self._checks.check(peer)
            except StoreError as error:
                return [_database_failed(peer, error)]

    async def _check_backend(self, own: OwnBackend) -> CheckResult:
        """Connect, without a request, which a system may take for a message; the last real one says the rest."""
        if own.is_built_in:
            return _without_backend(own)
        if own.is_ocpi:
            return await self._check_ocpi_partner(own)
        result = await self._connect(own)
        channel = self._live.channel(own.destination)
        if result.outcome is Outcome.FAILED or channel is None:
            return result
        untested = (trouble for trouble in channel.troubles if trouble.cause not in _TESTED_BY_CONNECTION)
        return next((_of_last_request(own, trouble) for trouble in untested), result)

    async def _check_ocpi_partner(self, own: OwnBackend) -> CheckResult:
        """Connect, without a request, to where the versions of a partner are; its registration says the rest."""
        partner = self._ocpi.find(own.name) if self._ocpi is not None else None
        channel = self._live.channel(own.destination)
        trouble = channel.troubles[0] if channel is not None and channel.troubles else None
        if partner is None or partner.stored is None or not partner.is_registered:
            text, cure = explain(Condition.NOT_REGISTERED, own.destination)
            return CheckResult(check="OCPI", name=own.destination, outcome=Outcome.SKIPPED, text=text, cure=cure)
        url = partner.stored.registration.versions_url
        try:
            ends_at = await check_connection(url, own.destination, None, CONNECTION_TIMEOUT_SECONDS)
        except PeerError as error:
            return failed_result("OCPI", own.destination, error, is_backend=True)
        if trouble is not None and trouble.cause not in _TESTED_BY_CONNECTION:
            return replace(_of_last_request(own, trouble), check="OCPI")
        return connection_result(own.destination, url, ends_at, self._clock.time(), check="OCPI")

    async def _check_webhook(self, webhook: Webhook) -> CheckResult:
        """Connect, without a request, which would be an event; the last real one says the rest."""
        name, url = webhook.target.name, webhook.settings.url
        try:
            ends_at = await check_connection(url, name, None, CONNECTION_TIMEOUT_SECONDS)
        except PeerError as error:
            return failed_result("webhook", name, error, is_backend=True)
        if (last_error := webhook.sender.last_error) is not None and last_error.cause not in _TESTED_BY_CONNECTION:
            return failed_result("webhook", name, last_error, is_backend=True)
        return connection_result(name, url, ends_at, self._clock.time(), check="webhook")

    async def _connect(self, own: OwnBackend) -> CheckResult:
        name = own.destination
        if own.url is None:
            text = f"{name} is a Python object of this program."
            return CheckResult(check="backend", name=name, outcome=Outcome.OK, text=text)
        try:
            ends_at = await check_connection(own.url, name, own.tls, CONNECTION_TIMEOUT_SECONDS)
        except PeerError as error:
            return failed_result("backend", name, error, is_backend=True)
        return connection_result(name, own.url, ends_at, self._clock.time(), check="backend")

    async def _check_node(self) -> list[CheckResult]:
        report, listening, public = await asyncio.gather(
            self._reporter.own_problems(), self._check_listener(), self._check_public_url()
        )
        problems = [_of_problem(each) for each in report]
        if not problems:
            text = "Disk, database, certificates and keys are well."
            problems = [CheckResult(check="node", name=NODE_NAME, outcome=Outcome.OK, text=text)]
        return [*problems, listening, public]

    async def _check_listener(self) -> CheckResult:
        address = str((await self._readiness())["peer_api"])
        try:
            await check_connection(address, NODE_NAME, unverified_context(), CONNECTION_TIMEOUT_SECONDS)
        except PeerError as error:
            text = f"The peer API does not answer at {address}, where it listens."
            cure = "Restart the node; if it lasts, look into its log."
            return CheckResult(
                check="ports", name=NODE_NAME, outcome=Outcome.FAILED, text=text, cure=cure, error=error.reason
            )
        text = f"The peer API listens at {address}."
        return CheckResult(check="ports", name=NODE_NAME, outcome=Outcome.OK, text=text)

    async def _check_public_url(self) -> CheckResult:
        url = self._peering.identity.local_peer.url
        try:
            signed = await self._peering.pairing.inspect(url)
        except (PeerError, VerificationError) as error:
            # Many networks do not lead their own public address back inside: what peers say counts more.
            text = f"Our own public URL {url} does not answer from this machine."
            cure = 'Look at "hello from the peer" below: if peers reach this node, nothing is to be done.'
            return _public_url(Outcome.NOTICE, text, cure, str(error))
        if self._peering.identity.has(signed.key.key_id):
            return _public_url(Outcome.OK, f"This node answers at its public URL {url}.")
        text = f"Another node answers at our public URL {url}: {signed.descriptor.name}."
        return _public_url(Outcome.FAILED, text, "Correct [peer_api] url of node.toml, or your proxy.")

    def _process(self) -> dict[str, object]:
        opened, allowed = _file_descriptors()
        return {
            "version": VERSION,
            "python": platform.python_version(),
            "openssl": ssl.OPENSSL_VERSION,
            "platform": sys.platform,
            "connections": self._connections,
            "open_files": opened,
            "max_open_files": allowed,
        }


def _public_url(outcome: Outcome, text: str, cure: str = "", error: str = "") -> CheckResult:
    return CheckResult(check="public URL", name=NODE_NAME, outcome=outcome, text=text, cure=cure, error=error)


def _database_failed(peer: Peer, error: StoreError) -> CheckResult:
    text, cure = explain(Condition.DATABASE_FAILED, NODE_NAME)
    check, failed = "hello to the peer", Outcome.FAILED
    return CheckResult(check=check, name=peer.name, outcome=failed, text=text, cure=cure, error=str(error))


def _of_last_request(own: OwnBackend, trouble: Trouble) -> CheckResult:
    text, cure = explain(trouble.cause, own.destination, is_backend=True)
    if trouble.last_at is not None:
        text = f"The last request failed at {format_timestamp(trouble.last_at)}. {text}"
    return CheckResult(
        check="backend", name=own.destination, outcome=Outcome.FAILED, text=text, cure=cure, error=trouble.error
    )


def _without_backend(own: OwnBackend) -> CheckResult:
    parties = ", ".join(party.text for party in own.parties.parties)
    text = f"No backend is configured for {parties}: nothing to try."
    return CheckResult(check="backend", name=own.destination, outcome=Outcome.SKIPPED, text=text)


def _of_problem(problem: dict[str, object]) -> CheckResult:
    return CheckResult(
        check="node",
        name=str(problem["name"]),
        outcome=Outcome.FAILED if problem["severity"] == "error" else Outcome.NOTICE,
        text=str(problem["text"]),
        cure=str(problem["cure"]),
        error=str(problem["error"]),
    )


def _file_descriptors() -> tuple[int | None, int | None]:
    """Return how many files are open and how many may be; None where the system does not tell."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None, None
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    folder = Path("/proc/self/fd")
    opened = len(list(folder.iterdir())) if folder.is_dir() else None
    return opened, None if allowed == resource.RLIM_INFINITY else allowed
