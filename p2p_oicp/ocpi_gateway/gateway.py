"""The gateway of a node: partners, registration, and its jobs. The faces (`cpo`) serve modules."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from p2p_oicp.client import HttpTransport
from p2p_oicp.client.ocpi import MAX_RESPONSE_BYTES, OcpiClient
from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.concurrency import Worker
from p2p_oicp.config import Settings
from p2p_oicp.crypto.sealing import OCPI_KEY_FILE, open_sealer
from p2p_oicp.ocpi_gateway.partners import OcpiPartners
from p2p_oicp.ocpi_gateway.refreshing import PresentedPartiesJob
from p2p_oicp.ocpi_gateway.registration import Registrar
from p2p_oicp.peers import PeerRegistry
from p2p_oicp.storage import Store, ocpi_partners
from p2p_oicp.tracing.spans import SpanRecorder
from p2p_oicp.version import VERSION


@dataclass(frozen=True, slots=True)
class OcpiGateway:
    """All parts of the gateway.

    Attributes:
        partners: the partners.
        registrar: exchanges credentials.
        workers: its jobs, by name.
    """

    partners: OcpiPartners
    registrar: Registrar
    workers: Mapping[str, Worker] = field(default_factory=dict)


async def open_gateway(
    stack: AsyncExitStack,
    settings: Settings,
    registry: PeerRegistry,
    store: Store,
    clock: Clock,
    ids: IdGenerator,
    spans: SpanRecorder | None = None,
) -> OcpiGateway | None:
    """Return the gateway of a node; None: it has no table ``[ocpi]``. Raises ConfigurationError for an unusable key."""
    if settings.ocpi is None:
        return None
    sealer = open_sealer(settings.security.keys / OCPI_KEY_FILE)
    transport = await stack.enter_async_context(
        # Of its own: its responses have another bound than those of peers.
        HttpTransport(user_agent=f"p2p-oicp/{VERSION}", max_body=MAX_RESPONSE_BYTES, now=clock.time, spans=spans)
    )
    client = OcpiClient(transport, ids=ids, clock=clock)
    stored = await ocpi_partners.list_now(store)
    partners = OcpiPartners(settings.ocpi, registry, store, sealer, client, clock, stored)
    registrar = Registrar(partners, store, sealer, clock)
    return OcpiGateway(partners, registrar, workers={"OCPI parties": PresentedPartiesJob(partners, registrar, clock)})
